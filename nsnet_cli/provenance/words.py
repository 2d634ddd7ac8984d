"""The three answers on content credentials in words that need no knowledge of certificates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nsnet_cli.provenance.hardbinding import LEFT_OUT
from nsnet_cli.provenance.validation import Answers


def state_words(answers: Answers, valid_until: str | None) -> str:
    """The worst thing that is the matter, in front of the signer's name."""
    state = answers.state
    if state == "expired":
        return "certificate expired" + (f" on {valid_until[:10]}" if valid_until else "")
    return {
        "damaged": "damaged",
        "unverified": "signature not checked",
        "revoked": "certificate revoked",
        "unsuited": "certificate not meant for this",
        "breaks_rules": "signature fits, rules of the standard not kept",
        "trusted": "trusted",
        "untrusted_signer": "untrusted signer",
    }[state]


def integrity_words(answers: Answers) -> str:
    if answers.integrity == "broken":
        codes = ", ".join(answers.broken[:5]) or "its parts do not hold together"
        return f"the file is no longer what was signed, or the credentials were changed ({codes})"
    if answers.integrity == "not_checked":
        return "whether the file is what was signed could not be checked"
    said = "the file is what was signed: nothing that the signature covers was changed since"
    if LEFT_OUT in answers.rules:
        said += "; it leaves out what stands before the pixels, such as EXIF, which may have been changed"
    others = [code for code in answers.rules if code != LEFT_OUT]
    if others:
        said += f"; rules of the standard that were not kept: {', '.join(others[:5])}"
    return said


def certificate_words(answers: Answers, certificate: Mapping[str, Any], signed_at: str | None) -> str:
    """Says as of when, because what is valid today is not tomorrow."""
    since, until = certificate["valid_from"], certificate["valid_until"]
    span = f" (valid from {since[:10]} to {until[:10]})" if since and until else ""
    stamped = signed_at if answers.time_stamp in ("trusted", "valid") else None
    if answers.certificate == "expired":
        said = f"the signer's certificate had run out when this was read{span}; by that nothing was changed"
        if stamped and until:
            when = "while it was valid" if _moment(stamped) <= _moment(until) else "when it had run out already"
            said += f"; a time stamp says that it was signed no later than {stamped[:10]}, {when}"
        return said
    if answers.certificate == "revoked":
        return f"the signer's certificate was withdrawn by its issuer{span}"
    if answers.certificate == "unsuited":
        return f"the signer's certificate is not made as the standard wants it for this use{span}"
    if answers.certificate == "unknown_algorithm":
        return f"the signature uses a method that is not allowed or not known{span}"
    if answers.certificate == "not_checked":
        return "the signer's certificate could not be checked"
    when = f"when it was signed, by the time stamp on {stamped[:10]}" if stamped else "when this was read"
    return f"the signer's certificate was valid {when}{span}; whether it was withdrawn is not looked up"


def _moment(text: str) -> datetime:
    """A time of a report; one that is not told lies before all others."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def trust_words(answers: Answers) -> str:
    return {
        "trusted": "somebody in your trust list vouches for the signer",
        "not_listed": "nobody in your trust list vouches for the signer: the name may be anybody's",
        "no_list": "no trust list was given (--trust-list): the signer's name may be anybody's",
    }[answers.trust]


def time_stamp_words(answers: Answers, signed_at: str | None) -> str:
    if answers.time_stamp == "valid":
        when = signed_at or "a time that is not told"
        return f"a time stamp that nobody vouches for here says that it was signed no later than {when}"
    if answers.time_stamp == "trusted":
        return f"a time stamp says that it was signed no later than {signed_at or 'a time that is not told'}"
    if answers.time_stamp == "invalid":
        return "a time stamp is there that cannot be relied on: when it was signed is not proved"
    return "no time stamp: when it was signed is not proved" + (f" (it says {signed_at})" if signed_at else "")
