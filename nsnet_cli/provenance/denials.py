"""Where nothing is said, or the opposite: fields that hold a "none", and sentences that deny."""

from __future__ import annotations

import re

_AI = r"(?:(?:gen(?:erative)? ?)?(?:ai|ia|ki)|generative|artificial intelligence|synthid|firefly|gemini|imagen)"
# What people write into a field that they must fill and have nothing for.
_USED = r"(?:(?: ?(?:was|were|is|are|has been|have been))? ?(?:used|involved|applied|needed|given|provided|available))"
_THING = r"(?:(?:gen(?:erative)? ?)?ai|artificial intelligence|prompts?|models?|systems?|tools?|software|information)"
_WITHOUT = (
    r"(?:no|without|sans|ohne|sin|senza|sem|zonder|utan|uden|keine|aucune|ninguna|nenhuma|nessuna|geen|ingen|inga)"
)
_NOTHING = re.compile(
    r"(?:none(?: at all)?|no|n[./]? ?a\.?|nil|null|nothing|nobody|unknown|undefined|false|0|[-–—.]++"
    r"|not (?:applicable|used|available|ai|ai[- ]generated|generated(?: by ai)?)|human|(?:a )?photographer|camera"
    r"|keine?[rs]?|nein|nicht verwendet|nichts|aucune?|non|rien|ningun[oa]?|nada|nenhuma?|n[ãa]o|nessun[oa]?|geen|nee"
    r"|ingen|inga|inget|ikke brukt|brak|nie użyto|ei käytetty|не использовал\w*|нет"
    r"|无|無|否|不适用|不適用|沒有|没有|未使用|なし|無し|不使用|없음)"
    rf"(?:{_USED})?(?: ?\([^()]{{0,80}}\)| [-–—:] ?[^\n]{{0,80}})?\W*+"
    rf"|no(?: {_THING}){{1,3}}(?:{_USED})?(?: in [^\n]{{0,80}})?\W*+"
    rf"|{_THING}(?: (?:was|were|is|has been))?(?: not| never) ?(?:been )?(?:used|involved|applied)\W*+"
    rf"|{_WITHOUT} (?:gen(?:erative)? ?)?(?:ai|ia|ki)"
    r"(?:[- ](?:generation|generated|content|used|only|utilisée|verwendet))*\W*+"
    r"|(?:(?:this|the) )?(?:(?:image|picture|photo|photograph) )?(?:(?:is|was) )?"
    rf"not (?:made|created|generated|produced|edited) (?:with|by|using) {_THING}\W*+"
    rf"|(?:(?:i|we) )?(?:did not|didn't|do not|have not|haven't|never) used?(?: any)? {_THING}\W*+"
    r"|(?:无|無|没有|沒有)(?:使用)?(?:生成式?)?ai"
    r"|(?:kein(?:e|er|es|en)?|nenhuma?|nessuna?|ningun[oa]?|aucune?|geen|ingen|inga) (?:gen\w* )?(?:ki|ia|ai)(?:-\w+)?"
    r"(?: \w+){0,3}\W*+"
    r"|pas d['’]ia(?: \w+)?\W*+|no se (?:ha|han|he|hemos) (?:utilizado|usado|empleado)(?: la| ninguna)? ia\W*+"
    r"|ai[- ]free\W*+|(?:生成)?ai ?(?:なし|不使用|未使用)|(?:未使用|不使用)(?:生成)?ai",
    re.IGNORECASE,
)
_LONGEST = 200
# "Captured by a camera, no generative AI used", "edited with non-AI tools", "AI-free", "Generative AI was not used".
_DENIED = re.compile(
    r"\b(?:no|not|without|never|nor|isn't|wasn't)\s+"
    r"(?:(?:any|use|usage|used|of|generated|created|made|edited|with|using|by|the|help|an?)\s+){0,4}"
    rf"{_AI}\b"
    r"|\bnon[- ](?:ai|generative)\b|\bai[- ]free\b|\bfree of (?:generative )?ai\b"
    rf"|\b{_AI}(?: (?:ai|fill|tools?|features?|models?|watermark|content))?:?"
    r" (?:(?:was|were|is|are|has|have|had|been) ){0,2}(?:not|never|no watermark) ?(?:been )?"
    r"(?:used|involved|applied|present|found|detected)\b"
    r"|\b(?:no|none)\b(?:(?!\bbut\b)[^.;,]){0,30}\b(?:is|are|was|were|been) ai[- ]generated\b"
    rf"|\bnone of\b[^.;,]{{0,30}}\b(?:made|created|generated|produced|edited) (?:with|by|using|through) {_AI}\b"
    rf"|\b{_AI}(?:[- ]generated)? ?[:=] ?(?:no|none|not|false|0|n/a)\b",
    re.IGNORECASE,
)
# Of rights, checks and settings: such a clause says nothing of how the picture was made.
_OF_OTHER_THINGS = re.compile(
    r"\b(?:training|mining|prohibit\w*|forbid\w*|permi(?:t|tted|ssion)|licen[cs]\w*|do not use|disabled|turned off"
    r"|screened|checked|scanned for|(?:none|nothing) (?:was |were )?(?:found|detected))\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[.;!](?:\s|\Z)")


def says_nothing(value: str) -> bool:
    """Whether a field that must be filled says that there is nothing to say: "None", "n/a", "No AI system used"."""
    return len(value) <= _LONGEST and _NOTHING.fullmatch(" ".join(value.split())) is not None


def asserts(claim: re.Pattern[str], sentences: str) -> bool:
    """Whether a clause of ``sentences`` says what ``claim`` finds, and no denial stands before it."""
    for clause in _clauses_on_making(sentences):
        found, denial = claim.search(clause), _DENIED.search(clause)
        if found is not None and (denial is None or found.end() <= denial.start()):
            return True
    return False


def clauses_that_stand(sentences: str) -> list[str]:
    """What of ``sentences`` denies nothing, and is of the making of a picture."""
    return [clause for clause in _clauses_on_making(sentences) if not _DENIED.search(clause)]


def _clauses_on_making(sentences: str) -> list[str]:
    return [clause for clause in _CLAUSE.split(sentences) if not _OF_OTHER_THINGS.search(clause)]
