"""China's mandatory label of generated content (GB 45438-2025, annex E), and what ByteDance's programs write beside it.

An object ``{"Label": "1", "ContentProducer": …}``, by itself or under the key ``AIGC``, in XMP
(http://www.tc260.org.cn/ns/AIGC/1.0/), a PNG text, EXIF or a comment.  Label 1: it is generated; 2: it possibly is; 3:
it is suspected to be.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

from nsnet_cli.provenance.denials import says_nothing
from nsnet_cli.provenance.findings import Claim, Finding, cut

_LABELS = {
    "1": (Claim.GENERATED, "generated"),
    "2": (Claim.POSSIBLY_GENERATED, "possibly generated"),
    "3": (Claim.POSSIBLY_GENERATED, "suspected to be generated"),
}
# One of these besides the key makes it this label and no other object of that name.  The last two: Tencent's form.
_FIELDS = frozenset({
    "label", "contentproducer", "produceid", "contentpropagator", "propagateid", "reservedcode1", "serviceprovider",
    "serviceuser",
})  # fmt: skip
_KEY = re.compile(r"""["']?(?<![A-Za-z])AIGC["']?+\s*+[:=]?+\s*+(?=[{"'])""")
_OF_GENERATORS = re.compile(r"(?:dreamina|jimeng)(?:_\w+)?\Z", re.IGNORECASE)
_PLAIN = re.compile(r"""["']?(Label|ContentProducer|ProduceID)["']?\s*[:=]\s*["']?([^"',}]*)""", re.IGNORECASE)
_LARGEST = 65_536


def label_in(source: str, value: str, carrier: str, known: bool = False) -> list[Finding]:
    """The label in a text.  ``known``: the text stands under the label's own key."""
    text = html.unescape(value[:_LARGEST])
    fields = _fields(text, known)
    if fields is None:
        if not known:
            return []
        if says_nothing(text):
            return [Finding(source, "AIGC", cut(value), carrier=carrier)]
        return [Finding(source, "AIGC", cut(value) or "(empty)", Claim.POSSIBLY_GENERATED, carrier=carrier)]
    label = str(fields.get("label", "")).strip()
    # Without a number (Tencent's form has none) the label's being there is what it says.
    claim, meaning = _LABELS.get(label, (Claim.GENERATED, "generated") if not label else (Claim.POSSIBLY_GENERATED, ""))
    if label and says_nothing(label):
        claim, meaning = Claim.NONE, "that it is none"
    told = ", ".join(f"{name} {fields[name.casefold()]}" for name in _TOLD if str(fields.get(name.casefold(), "")))
    words = f"China's label of generated content: {meaning or 'a label that is not known'}"
    return [Finding(source, "AIGC", cut(f"{words} ({told or 'nothing else'})"), claim, carrier=carrier)]


_TOLD = ("Label", "ContentProducer", "ProduceID", "ContentPropagator", "PropagateID", "ServiceProvider", "ServiceUser")


def _fields(text: str, known: bool) -> dict[str, Any] | None:
    """The label's fields, names in lower case."""
    keyed = [found.end() for found in _KEY.finditer(text)][:20]
    starts = list(keyed)
    if known or text.lstrip().startswith("{"):
        starts.append(max(0, text.find("{")))
    for start in starts:
        found = _object(text[start:])
        if found is not None:
            names = {str(key).casefold(): value for key, value in found.items()}
            inner = names.get("aigc")
            if isinstance(inner, dict):
                names = {str(key).casefold(): value for key, value in inner.items()}
            own = _FIELDS & names.keys()
            under_key = known or start in keyed or isinstance(inner, dict)
            # By itself one such field may be of any trade: scanners, news and farms have producers and products, too.
            labelled = str(names.get("label", "")).strip() in _LABELS
            if own if under_key else len(own - {"label"}) >= (1 if labelled else 2):
                return names
    if known:
        loose = {name.casefold(): value for name, value in _PLAIN.findall(text)}
        return loose or None
    return None


def _object(text: str) -> dict[str, Any] | None:
    text = text.lstrip()
    if '"' not in text:
        text = text.replace("'", '"')  # as Python writes it
    try:
        found = json.JSONDecoder().raw_decode(text)[0]
        if isinstance(found, str):
            found = json.loads(found)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def exported_in(source: str, value: str, carrier: str) -> list[Finding]:
    """The object that ByteDance's programs (Dreamina, Doubao, CapCut, Douyin) leave in EXIF when they export."""
    if "aigc" not in value and "exportType" not in value:
        return []
    found = _object(value[:_LARGEST])
    if found is None:
        return []
    flat = _flat(found)
    product = str(flat.get("product", flat.get("source_info", "")))
    claim = Claim.NONE
    if (
        str(flat.get("aigc_label_type", "0")) in ("1", "2")
        or str(flat.get("aigc_type", "0")) == "1"
        or (_OF_GENERATORS.match(product) and flat.get("exportType") == "generation")
    ):
        claim = Claim.GENERATED
    elif not ({"aigc_label_type", "aigc_type"} & flat.keys() or product):
        return []
    return [Finding(source, "export", cut(value), claim, carrier=carrier)]


def _flat(found: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in found.items():
        if isinstance(value, str) and value.startswith("{"):
            value = _object(value) or value
        if isinstance(value, dict) and depth < 4:
            flat |= _flat(value, depth + 1)
        else:
            flat[str(key)] = value
    return flat
