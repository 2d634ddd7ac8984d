"""IPTC's digital source types, and those of C2PA, as claims.

https://cv.iptc.org/newscodes/digitalsourcetype/ (the whole vocabulary, retired terms too) and section "Digital Source
Type" of the C2PA specification.
"""

from __future__ import annotations

import re

from nsnet_cli.provenance.findings import Claim

_CLAIMS = {
    # Made by a model that was trained on samples, or by an algorithm without any.
    "trainedAlgorithmicMedia": Claim.GENERATED,
    "trainedAlgorithmicData": Claim.GENERATED,
    "algorithmicMedia": Claim.GENERATED,
    # At least one element is generated.
    "compositeWithTrainedAlgorithmicMedia": Claim.PARTLY_GENERATED,
    "compositeSynthetic": Claim.PARTLY_GENERATED,
    # "based on Generative AI and/or captured elements"; elements "any of which may or may not be generative AI"
    "virtualRecording": Claim.POSSIBLY_GENERATED,
    "composite": Claim.POSSIBLY_GENERATED,
    "digitalCapture": Claim.CAPTURED,
    "computationalCapture": Claim.CAPTURED,
    "multiFrameComputationalCapture": Claim.CAPTURED,
    "multiFrameComputationallyGeneratedMedia": Claim.CAPTURED,
    "negativeFilm": Claim.CAPTURED,
    "positiveFilm": Claim.CAPTURED,
    "print": Claim.CAPTURED,
    "humanEdits": Claim.EDITED,
    "minorHumanEdits": Claim.EDITED,
    "algorithmicallyEnhanced": Claim.EDITED,
    "compositeCapture": Claim.EDITED,
    # By people with programs that do not generate: drawings, diagrams, screenshots.
    "digitalCreation": Claim.MADE_DIGITALLY,
    "digitalArt": Claim.MADE_DIGITALLY,
    "softwareImage": Claim.MADE_DIGITALLY,
    "dataDrivenMedia": Claim.MADE_DIGITALLY,
    "screenCapture": Claim.MADE_DIGITALLY,
    # "no digital source": nothing is in it yet
    "empty": Claim.NONE,
}
_SPELT = {re.sub(r"\W|_", "", name).casefold(): name for name in _CLAIMS}
# C2PA's guidance (2.2 to 2.4) writes a "d" more, and so do those who copied it.
_SPELT["compositedwithtrainedalgorithmicmedia"] = "compositeWithTrainedAlgorithmicMedia"
# schema.org's names of the same terms (IPTCDigitalSourceEnumeration) end so.
_SCHEMA_ORG = "digitalsource"


def claim_of_source_type(value: str) -> Claim:
    """What a DigitalSourceType claims: by its address, its QCode (``digsrctype:…``), or its last part alone."""
    return _CLAIMS.get(source_type_name(value), Claim.NONE)


def is_source_type(value: str) -> bool:
    """Whether the vocabulary has it; Lightroom writes "nil" where nobody chose one."""
    return source_type_name(value) in _CLAIMS


def source_type_name(value: str) -> str:
    """The term that is meant, as the vocabulary spells it: Google writes ``TrainedAlgorithmicMedia``.  Of what
    the vocabulary has not, the last part as it stands."""
    last = re.split(r"[/:#]", value.strip().rstrip("/"))[-1]
    return _SPELT.get(re.sub(r"\W|_", "", last).casefold().removesuffix(_SCHEMA_ORG), last)
