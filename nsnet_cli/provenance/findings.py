"""The vocabulary of provenance: findings, what they claim, and what backs them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Claim(StrEnum):
    """What a finding says of the picture's origin, if it is true."""

    GENERATED = "generated"
    PARTLY_GENERATED = "partly_generated"
    CAPTURED = "captured"
    EDITED = "edited"
    NONE = "none"


class Backing(StrEnum):
    """What stands behind a claim.

    ``signed_trusted``: a signature that a given trust list vouches for.  ``signed_untrusted``: a signature that
    fits the file by somebody who is in no given list.  ``broken``: a signature that does not fit.  ``unsigned``:
    text that anybody can write, change or strip.
    """

    SIGNED_TRUSTED = "signed_trusted"
    SIGNED_UNTRUSTED = "signed_untrusted"
    BROKEN = "broken"
    UNSIGNED = "unsigned"


@dataclass(frozen=True)
class Finding:
    """One thing that the file says.

    ``source`` is c2pa, xmp, iptc, exif, text or jpeg; ``where`` the field within it; ``value`` what it says.
    """

    source: str
    where: str
    value: str
    claim: Claim = Claim.NONE
    backing: Backing = Backing.UNSIGNED


@dataclass(frozen=True)
class Trouble:
    """A source that is there and could not be read: it concerns provenance alone."""

    source: str
    message: str


# IPTC's DigitalSourceType (https://cv.iptc.org/newscodes/digitalsourcetype/), by the last part of its address.
SOURCE_TYPES = {
    "trainedAlgorithmicMedia": Claim.GENERATED,
    "algorithmicMedia": Claim.GENERATED,
    "virtualRecording": Claim.NONE,
    "compositeWithTrainedAlgorithmicMedia": Claim.PARTLY_GENERATED,
    "compositeSynthetic": Claim.PARTLY_GENERATED,
    "algorithmicallyEnhanced": Claim.EDITED,
    "humanEdits": Claim.EDITED,
    "minorHumanEdits": Claim.EDITED,
    "composite": Claim.EDITED,
    "compositeCapture": Claim.EDITED,
    "digitalCapture": Claim.CAPTURED,
    "computationalCapture": Claim.CAPTURED,
    "negativeFilm": Claim.CAPTURED,
    "positiveFilm": Claim.CAPTURED,
    "print": Claim.CAPTURED,
}
# Keys of text chunks that name a program, and all fields that do.
PROGRAM_KEYS = ("Software", "generator", "Generator")
PROGRAM_FIELDS = (*PROGRAM_KEYS, "CreatorTool", "originating program")
# Names that no sentence holds by chance: they claim wherever they stand.
_UNMISTAKABLE = (
    "stable diffusion", "midjourney", "dall-e", "dall·e", "adobe firefly", "novelai", "comfyui", "invokeai",
    "made with google ai", "made with ai", "ai generated", "ai-generated", "leonardo.ai", "gpt-image", "chatgpt",
    "bing image creator", "dreamstudio", "nightcafe", "vqgan", "disco diffusion", "latent diffusion",
)  # fmt: skip
# Names that are words as well: they claim only where a program is named.
_GENERATORS = (
    *_UNMISTAKABLE, "firefly", "fooocus", "automatic1111", "imagen", "gemini", "openai", "ideogram", "playground ai",
    "flux", "black forest labs", "seedream", "grok", "recraft", "runway", "craiyon", "wombo", "dreamina", "jimeng",
)  # fmt: skip
_EDITORS = (
    "photoshop", "lightroom", "gimp", "affinity photo", "capture one", "snapseed", "pixelmator", "darktable",
    "rawtherapee", "paint.net", "canva", "luminar", "topaz", "facetune", "vsco", "picsart", "krita", "polarr", "dxo",
)  # fmt: skip


def claim_of_source_type(value: str) -> Claim:
    """What a DigitalSourceType claims, by its address or its last part alone."""
    return SOURCE_TYPES.get(value.rstrip("/").rsplit("/", 1)[-1].strip(), Claim.NONE)


def claim_of_software(value: str) -> Claim:
    """What the name of a program claims: a generator, an editor, or nothing that is known here."""
    if _names_one(value, _GENERATORS):
        return Claim.GENERATED
    return Claim.EDITED if _names_one(value, _EDITORS) else Claim.NONE


def claim_of_text(value: str) -> Claim:
    """What a caption or credit claims: only names that it cannot hold by chance count."""
    return Claim.GENERATED if _names_one(value, _UNMISTAKABLE) else Claim.NONE


def _names_one(value: str, names: tuple[str, ...]) -> bool:
    """Whether one of ``names`` stands in ``value`` as words of its own."""
    text = value.casefold()
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)
