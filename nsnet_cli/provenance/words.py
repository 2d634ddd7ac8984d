"""The three answers on content credentials in words that need no knowledge of certificates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    if answers.rules:
        said += f"; rules of the standard that were not kept: {', '.join(answers.rules[:5])}"
    return said


def certificate_words(answers: Answers, certificate: Mapping[str, Any], signed_at: str | None) -> str:
    """Says as of when, because what is valid today is not tomorrow."""
    until = certificate["valid_until"]
    span = (
        f" (valid from {certificate['valid_from'][:10]} to {until[:10]})" if until and certificate["valid_from"] else ""
    )
    if answers.certificate == "expired":
        when = (
            f"when it was signed, {signed_at}" if signed_at and answers.time_stamp == "valid" else "when this was read"
        )
        return f"the signer's certificate had expired {when}{span}; this does not mean that anything was changed"
    if answers.certificate == "revoked":
        return f"the signer's certificate was withdrawn by its issuer{span}"
    if answers.certificate == "unsuited":
        return f"the signer's certificate is not made as the standard wants it for this use{span}"
    if answers.certificate == "unknown_algorithm":
        return f"the signature uses a method that is not allowed or not known{span}"
    if answers.certificate == "not_checked":
        return "the signer's certificate could not be checked"
    return f"the signer's certificate was valid{span}; whether it was withdrawn is not looked up"


def trust_words(answers: Answers) -> str:
    return {
        "trusted": "somebody in your trust list vouches for the signer",
        "not_listed": "nobody in your trust list vouches for the signer: the name may be anybody's",
        "no_list": "no trust list was given (--trust-list): the signer's name may be anybody's",
    }[answers.trust]


def time_stamp_words(answers: Answers, signed_at: str | None) -> str:
    if answers.time_stamp == "valid":
        return f"a time stamp says that it was signed by {signed_at or 'a time that is not told'}"
    if answers.time_stamp == "invalid":
        return "a time stamp is there that cannot be relied on: when it was signed is not proved"
    return "no time stamp: when it was signed is not proved" + (f" (it says {signed_at})" if signed_at else "")
