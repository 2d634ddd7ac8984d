"""Where nothing is said, or the opposite: fields that hold a "none", and sentences that deny."""

from __future__ import annotations

import re

# What people write into a field that they must fill and have nothing for.
_USED = r"(?:(?: ?(?:was|were|is|are|has been|have been))? ?(?:used|involved|applied|needed|given|provided|available))"
_THING = r"(?:(?:gen(?:erative)? ?)?ai|prompts?|models?|systems?|tools?|software|information)"
_NOTHING = re.compile(
    r"(?:none(?: at all)?|no|n[./]? ?a\.?|nil|null|nothing|nobody|unknown|undefined|false|0|[-–—.]++"
    r"|not (?:applicable|used|available|ai|ai[- ]generated|generated(?: by ai)?)"
    r"|keine?[rs]?|nicht verwendet|nichts|aucune?|non|rien|ningun[oa]?|nada|nenhuma?|nessun[oa]?|geen|ingen|inget|brak"
    rf"|нет|无|無|沒有|没有|未使用|なし|無し|不使用|없음)(?:{_USED})?(?: ?\([^()]{{0,80}}\))?\W*+"
    rf"|no(?: {_THING}){{1,3}}(?:{_USED})?\W*+"
    rf"|{_THING}(?: (?:was|were|is|has been))?(?: not| never) ?(?:been )?(?:used|involved|applied)\W*+",
    re.IGNORECASE,
)
_LONGEST = 200
# "Captured by a camera, no generative AI used", "edited with non-AI tools", "AI-free", "Generative AI was not used".
_AI = r"(?:ai|generative|synthid|firefly|gemini|imagen)"
_DENIED = re.compile(
    r"\b(?:no|not|without|never|nor|isn't|wasn't)\s+"
    r"(?:(?:any|use|usage|used|of|generated|created|made|edited|with|using|by|the|help|an?)\s+){0,4}"
    rf"{_AI}\b"
    r"|\bnon[- ](?:ai|generative)\b|\bai[- ]free\b|\bfree of (?:generative )?ai\b"
    rf"|\b{_AI}(?: (?:ai|fill|tools?|features?|models?|watermark|content))?:?"
    r" (?:(?:was|were|is|are|has|have|had|been) ){0,2}(?:not|never|no watermark) ?(?:been )?"
    r"(?:used|involved|applied|present|found|detected)\b",
    re.IGNORECASE,
)


def says_nothing(value: str) -> bool:
    """Whether a field that must be filled says that there is nothing to say: "None", "n/a", "No AI system used"."""
    return len(value) <= _LONGEST and _NOTHING.fullmatch(" ".join(value.split())) is not None


def denies_ai(sentence: str) -> bool:
    """Whether a sentence says that no model that generates had a part."""
    return _DENIED.search(sentence) is not None
