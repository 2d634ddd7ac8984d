"""Words and characters for people: verdicts in words, warnings explained, paths made harmless."""

from __future__ import annotations

import unicodedata

from nsnet_cli.document import WEAKENING_WARNINGS, ModelInfo, PictureResult

WARNINGS = {
    "few_patches": "fewer than 49 distinct patches of 32 x 32 pixels: too little to be certain of",
    "too_small": "smaller than 64 pixels on a side: too little to be certain of",
    "constant_patches": "a quarter or more of the picture is flat (borders, plain graphics) and was left out",
    "animated": "an animation: only its first frame was scanned",
}


def verdict_in_words(result: PictureResult, model: ModelInfo, threshold: float | None) -> str:
    """The sentence that is shown for a verdict; it never says more than was found."""
    if result.verdict == "generated":
        if threshold is not None:
            return f"traces of generation found (at or above your threshold of {threshold:g})"
        rate = f"{100 * model.fpr_at_t_high:.1f} %"
        return f"traces of generation found (about {rate} of real pictures in our held-out data score this high)"
    if result.verdict == "real":
        return "no traces of generation found (this does not show that the picture is authentic)"
    if WEAKENING_WARNINGS & set(result.warnings):
        return "undecided: too little of a picture to judge"
    return "undecided: between the two thresholds, where both kinds of pictures score"


def printable(text: str) -> str:
    """A path or message with every control, format and surrogate character written as an escape."""
    return "".join(
        c
        if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )
