"""Words and characters for people: verdicts in words, warnings explained, paths made harmless."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from nsnet_cli.errors import UsageError
from nsnet_cli.results.document import WEAKENING_WARNINGS, ModelInfo

WARNINGS = {
    "few_patches": "fewer than 49 distinct patches of 32 x 32 pixels: too little to be certain of",
    "too_small": "smaller than 64 pixels on a side: too little to be certain of",
    "constant_patches": "a quarter or more of the picture is flat (borders, plain graphics) and was left out",
    "animated": "several frames or pages: only the first, or the one named primary, was scanned",
    "extreme_aspect": "more than four times as long as wide: training saw next to nothing like it",
    "low_quality_jpeg": "JPEG of a quality below 50: few training pictures were compressed so hard, and none below 35",
    "mostly_unseen": "less than a twentieth of so long a picture was looked at: the rest had no part in this",
    "gain_map": "the file also holds a gain map for bright screens: only the plain picture was scanned",
    "sample_range": "float or 32-bit samples: which of their values are black and white was chosen by a rule",
    "linear_light": "JPEG XL with a colour profile of its own: decoded in linear light, its shadows are coarse",
    "raw_preview": "camera RAW: the full-size preview that the camera made was scanned",
    "raw_developed": "camera RAW without a full-size preview: it was developed by LibRaw",
    "video_frame": "a frame of a video: training saw single pictures, and video's compression was not measured",
    "contradiction": "the verdict and what the file says of itself, or two things that it says, cannot both be right",
    "unstable": "another verdict after mild re-encoding, resizing or cropping: take this one with caution",
}
_EXPLANATIONS = {
    "few_patches": (
        "NS-Net looks at 49 patches of 32 x 32 pixels. This picture has fewer that are not flat, so patches are "
        "repeated, and the verdict can at most be 'uncertain'. Scan a larger version if there is one."
    ),
    "too_small": (
        "A side is shorter than 64 pixels. Pictures of this size were not measured; the verdict can at most be "
        "'uncertain'. Scan the original instead of a thumbnail."
    ),
    "constant_patches": (
        "At least a quarter of the patches have no structure at all: letter boxes, borders, plain backgrounds, "
        "diagrams. They are left out of the mosaic, so the verdict rests on the remaining part of the picture. "
        "The verdict is not changed by this."
    ),
    "animated": (
        "The file holds several frames or pages. The first was scanned, or the one that the file calls primary (HEIC, "
        "AVIF); the others may be of another origin. Extract them to scan them. The verdict is not changed by this."
    ),
    "extreme_aspect": (
        "The longer side is more than four times the shorter one: a panorama, a banner, a stitched screenshot. "
        "Training saw square crops and a handful of such originals, and such strips are often composed of several "
        "pictures. Crop to the part of interest and scan that. The verdict is not changed by this."
    ),
    "low_quality_jpeg": (
        "The quantisation tables say a quality below 50 on the usual scale of 1 to 100. Compression this hard "
        "wipes out faint traces and adds its own; few training pictures were compressed so hard, none below 35. "
        "Look for a better copy. The verdict is not changed by this."
    ),
    "mostly_unseen": (
        "A scan looks at 49 patches of 32 x 32 pixels, and at windows at both ends of the picture (another --detector "
        "at a square in its middle); of a long strip or a panorama they are a small part. What was put in elsewhere is "
        "not seen, and what was put in where the windows lie decides. Crop to the part in doubt, look at more with "
        "--views (NS-Net), or at every part with nsnet explain. The verdict is not changed by this."
    ),
    "gain_map": (
        "Ultra HDR and the like: beside the picture that every program shows lies a second one that makes it brighter "
        "on screens that can. The first was scanned, and nothing is said of the second. The verdict is not changed "
        "by this."
    ),
    "sample_range": (
        "Samples of this file are floats or integers of 32 bits, which have no fixed range. Floats from 0 to 1 were "
        "taken as black to white and the rest clipped, or, where most lie above 1, their own range; docs/inputs.md has "
        "the rule. Nothing was tone-mapped. If you know better, save it as 16-bit TIFF or PNG yourself and scan that. "
        "The verdict is not changed by this."
    ),
    "linear_light": (
        "A lossy JPEG XL whose colour profile libjxl cannot apply: it gives linear light of 8 bits, which is brought "
        "to sRGB's curve here. Shadows become coarse steps, which no camera made: take the verdict with caution, or "
        "save the picture as PNG with a program that manages colour and scan that. The verdict is not changed by this."
    ),
    "raw_preview": (
        "A camera RAW file: scanned was the JPEG of full size that the camera put into it, which is what its owner saw "
        "on the camera. Nothing is said of the sensor's data beside it. The verdict is not changed by this."
    ),
    "raw_developed": (
        "A camera RAW file without a preview of full size: LibRaw developed the sensor's data with the camera's white "
        "balance. Such a picture has never been through a camera's own processing, and training saw none like it: take "
        "the verdict with caution. The verdict is not changed by this."
    ),
    "video_frame": (
        "The picture is a key frame of a video. Training knows single pictures; what the compression of video does to "
        "their traces was not measured, and nothing is said of sound or motion. The row of the clip says how far its "
        "frames agree. The verdict is not changed by this."
    ),
    "contradiction": (
        "One of four things: the verdict is 'real' and the file declares that it was generated; the verdict is "
        "'generated' and a signature that fits the file says that a camera took it; a camera is named beside a "
        "declaration that the picture was generated; or content credentials are there that do not fit the file. "
        "Unsigned text can be written by anybody, a verdict can be wrong, and a file can have been put together from "
        "several: look at 'file says' for what each rests on. The verdict is not changed by this."
    ),
    "unstable": (
        "With --stability a picture is scored again after JPEG 85, WebP 85, resizing to 90 % and cropping 8 pixels. "
        "The probabilities lie on both sides of a threshold, so a copy of this picture might get another verdict. "
        "'stability' in the result has them all. The verdict is that of the picture as it is, unchanged by this."
    ),
}


BACKINGS = {
    "signed_trusted": "signed, signer in your trust list",
    "signed_untrusted": "signed by an unknown signer",
    "signed_doubtful": "the signature fits the file, with a reservation",
    "signed_unchecked": "signed, but the signature could not be checked",
    "broken": "signature does not fit the file",
    "unsigned": "anybody can write this",
}


def explain_warning(code: str) -> str:
    """What a warning means, whether it changes the verdict, and what to do.  Raises `UsageError`."""
    if code not in _EXPLANATIONS:
        close = difflib.get_close_matches(code, _EXPLANATIONS, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]}? There" if close else "; there"
        raise UsageError(f"no warning is called {code!r}{hint} are {', '.join(sorted(_EXPLANATIONS))}")
    return _EXPLANATIONS[code]


def verdict_in_words(
    verdict: str | None, warnings: Sequence[str], model: ModelInfo | None, threshold: float | None
) -> str:
    """The sentence that is shown for a verdict; it never says more than was found.

    Without a ``model`` nothing is known of the error rates behind it.
    """
    if verdict == "generated":
        if threshold is not None:
            return f"traces of generation found (at or above your threshold of {threshold:g})"
        if model is None:
            return "traces of generation found"
        rate = f"{100 * model.fpr_at_t_high:.1f} %"
        whose = (
            "folds of our training data that did not know them"
            if model.profile is None
            else f"the kind behind your profile {model.profile}"
        )
        return f"traces of generation found (about {rate} of real pictures in {whose} score this high)"
    if verdict == "real":
        return "no traces of generation found (this does not show that the picture is authentic)"
    if WEAKENING_WARNINGS & set(warnings):
        return "undecided: too little of a picture to judge"
    return "undecided: between the two thresholds, where both kinds of pictures score"
