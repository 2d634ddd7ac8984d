"""The vocabulary of provenance: findings, what they claim, and what backs them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Characters of a value that are kept; the whole of it is in the file, and `nsnet inspect` says where.
LONGEST = 1_000
# Properties of XMP, and of signed metadata in its words, that hold what is said of other pictures, which went into this
# one, and, IPTC's, of a part of this one.
OTHER_PICTURES = frozenset({"Pantry", "Ingredients", "DerivedFrom"})
REGION = "ImageRegion"


class Claim(StrEnum):
    """What a finding says of the picture's origin, if it is true."""

    GENERATED = "generated"
    PARTLY_GENERATED = "partly_generated"
    POSSIBLY_GENERATED = "possibly_generated"
    CAPTURED = "captured"
    EDITED = "edited"
    MADE_DIGITALLY = "made_digitally"
    NONE = "none"


def of_a_part(claim: Claim) -> Claim:
    """What a claim on a part of the picture, or on what went into it, says of the whole."""
    if claim in (Claim.GENERATED, Claim.PARTLY_GENERATED):
        return Claim.PARTLY_GENERATED
    return claim if claim == Claim.POSSIBLY_GENERATED else Claim.NONE


class Backing(StrEnum):
    """What stands behind a claim.

    ``signed_trusted``: a signature that a given trust list vouches for.  ``signed_untrusted``: a signature that
    fits the file by somebody who is in no given list.  ``signed_doubtful``: a signature that fits the file, with a
    certificate that has run out, was revoked or is not meant for this, or in a form that breaks the standard's rules.
    ``signed_unchecked``: a signature that could not be checked.  ``broken``: a signature that does not fit.
    ``unsigned``: text that anybody can write, change or strip.
    """

    SIGNED_TRUSTED = "signed_trusted"
    SIGNED_UNTRUSTED = "signed_untrusted"
    SIGNED_DOUBTFUL = "signed_doubtful"
    SIGNED_UNCHECKED = "signed_unchecked"
    BROKEN = "broken"
    UNSIGNED = "unsigned"


@dataclass(frozen=True)
class Finding:
    """One thing that the file says.

    ``source`` is c2pa, xmp, iptc, exif, text or jpeg; ``where`` the field within it; ``value`` what it says;
    ``carrier`` the part of the file that it stands in.
    """

    source: str
    where: str
    value: str
    claim: Claim = Claim.NONE
    backing: Backing = Backing.UNSIGNED
    carrier: str = ""


@dataclass(frozen=True)
class Trouble:
    """A source that is there and could not be read: it concerns provenance alone."""

    source: str
    message: str


def cut(value: str) -> str:
    """A value as it is shown: without the zeros that fill fields up, and no longer than `LONGEST`."""
    text = value.replace("\0", "").strip()
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
