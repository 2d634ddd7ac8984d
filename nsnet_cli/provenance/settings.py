"""What generators write of their settings, brought to one set of names; pure functions on text and JSON.

Forms, each with its public source, are listed in ``docs/provenance.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nsnet_cli.provenance.findings import Claim, Finding, cut
from nsnet_cli.provenance.programs import claim_of_software

# Our names of settings, and theirs without case, blanks, dashes and underscores.
_NAMES = {
    "prompt": ("prompt", "positiveprompt", "positive", "fullprompt", "prompttext", "c", "inputprompt", "aiprompt"),
    "negative prompt": ("negativeprompt", "negative", "uc", "negativeprompttext"),
    "model": (
        "model", "modelname", "basemodel", "basemodelname", "usestablediffusionmodel", "ckptname", "checkpoint",
        "sdmodel", "sdmodelname", "modelweights", "modelpath", "unetname", "modelid", "models",
    ),
    "model hash": ("modelhash", "basemodelhash", "sdmodelhash"),
    "seed": ("seed", "noiseseed", "imageseed", "seeds"),
    "steps": ("steps", "numinferencesteps", "inferencesteps", "numsteps"),
    "sampler": ("sampler", "samplername", "sampling", "samplingmethod"),
    "scheduler": ("scheduler", "schedulename", "scheduletype", "noiseschedule"),
    "cfg scale": ("cfgscale", "cfg", "guidancescale", "scale", "guidance", "distilledcfgscale"),
    "size": ("size", "resolution"),
    "loras": ("loras", "lora", "uselora model", "uselora"),
    "hashes": ("hashes", "lorahashes", "tihashes"),
    "denoising strength": ("denoisingstrength", "strength", "denoise", "promptstrength"),
}  # fmt: skip
_OURS = {theirs: ours for ours, names in _NAMES.items() for theirs in names}
# Settings that only generators have, under names that mean nothing else.  A seed, steps and a model have many programs;
# "scale", "strength" and the like are words of every trade.
_STRONG = frozenset({"prompt", "negative prompt", "sampler", "cfg scale", "loras", "model hash"})
_SUPPORTING = frozenset({*_STRONG, "seed", "steps", "model"})
_WORDS = frozenset({
    "scale", "strength", "guidance", "positive", "negative", "c", "sampling", "lora", "models", "size", "resolution",
})  # fmt: skip
# As words begin, and the short ones whole: "ISCO automatic" and "K. Edmunds" take samples, too.
SAMPLERS = re.compile(
    r"(?<![a-z])(?:k_|k-)?(?:euler|dpm|ddim|ddpm|heun|plms|uni_?pc|ancestral|i?pndm|deis|flow_?match|sa[_ -]solver"
    r"|res_\w|er_sde|gradient_estimation|seeds_\d|kohaku|karras|undefined|(?:lms|lcm|tcd|edm|sgm|ays|sde)(?![a-z]))",
    re.IGNORECASE,
)
# What must stand there for it to be meant: a worksheet has steps and a model, too, and a geologist a sampler.
_MEANT = {
    "seed": re.compile(r"\A\s*(?:-?\d|random)"),
    "steps": re.compile(r"\A\s*\d"),
    "cfg scale": re.compile(r"\A\s*\.?\d"),
    "sampler": SAMPLERS,
    "model": re.compile(
        r"\.(?:safetensors|ckpt|gguf|pth?|bin)\b|diffusion|dream|xl\b|turbo|[a-z]/[a-z]|\d", re.IGNORECASE
    ),
}
# Objects that hold the settings of the program that is named beside them.
WRAPPERS = {
    "sui_image_params": "SwarmUI", "invokeai_metadata": "InvokeAI", "sd-metadata": "InvokeAI",
    "generation_data": "Tensor.Art", "fooocus_scheme": "Fooocus",
}  # fmt: skip
_OF_LANGUAGE = frozenset({
    "temperature", "maxtokens", "maxnewtokens", "topp", "messages", "completion", "choices", "response", "answer",
    "caption", "alt", "alttext",
})  # fmt: skip
_CAPTIONS = frozenset({"caption", "alt", "alttext"})  # of a picture that a generator made, too
_LANGUAGE_MODEL = re.compile(
    r"(?:gpt-?[345]|gemini|grok|mistral)(?!.*imag)|llava|llama|qwen[\d.]*-?vl|claude|moondream|internvl|florence|blip|cogvlm"
    r"|minicpm|pixtral|molmo|phi-?[345]|deepseek|smolvlm|paligemma",
    re.IGNORECASE,
)
_SAMPLING = frozenset({"sampler", "cfg scale", "loras", "negative prompt"})
# What only a picture has, beside a prompt and a number.
_OF_PICTURES = frozenset({
    "imagesize", "aspectratio", "stylepreset", "numinferencesteps", "guidancescale", "numimages",
    "outputformat", "pipeline", "magicpromptoption",
})  # fmt: skip
_OF_SIMULATIONS = frozenset({"cfg scale", "steps", "seed", "sampler", "model"})
_MODEL_FILE = re.compile(
    r"\.(?:safetensors|ckpt|gguf)\b|diffusion|sdxl|\bsd[-_ ]?\d|turbo|dream(?:shaper)?|pony|illustrious", re.IGNORECASE
)
_PIXELS = re.compile(r"\d{2,5}\s?[x×*]\s?\d{2,5}")
_CALLED = ("name", "model_name", "prompt", "modelFileName", "base_caption", "caption", "text", "key", "Model")
_OF_CHARACTERS = {"v4_prompt": "prompt", "v4_negative_prompt": "negative prompt"}
_INNER = ("image", "parameters", "params", "metadata", "settings", "input", "data", "v2")
_LIST = re.compile(r"\[\s*+(?=\{)")
_LONGEST_TEXT = 1_000_000
_MOST_SETTINGS = 60


@dataclass
class Settings:
    """What one generator said: its name where that is known, and settings by our names, others by theirs."""

    program: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    claim: Claim = Claim.GENERATED

    def findings(self, source: str, carrier: str) -> list[Finding]:
        """A finding for the program and for each setting: each of them makes the ``claim``."""
        told = {"generator": self.program} if self.program else {}
        told |= {name: value for name, value in self.values.items() if value.strip()}
        return [
            Finding(source, name, cut(value), self.claim, carrier=carrier)
            for name, value in list(told.items())[:_MOST_SETTINGS]
        ]


def json_object(text: str) -> dict[str, Any] | None:
    """The object that ``text`` is, if it is one; of a list of objects the first."""
    start = text.strip().lstrip("\ufeff").strip("\0")
    if not start.startswith(("{", "[")) or len(start) > _LONGEST_TEXT * 16:
        return None
    first = _LIST.match(start)  # the rest of a list may be megabytes
    try:
        found = json.JSONDecoder(strict=False).raw_decode(start, 0 if first is None else first.end())[0]
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def settings_of(found: Mapping[str, Any], known: bool = False) -> Settings | None:
    """Settings in an object; ``known``: what it stands under says that they are some.

    None where nothing says that a generator wrote it.
    """
    program = None
    for wrapper, name in WRAPPERS.items():
        if wrapper in found:
            program, known = name, True
            inner = _as_object(found[wrapper])
            if inner is not None:
                # A graph that stands beside it is read for itself.
                beside = {k: v for k, v in found.items() if k != wrapper and _as_object(v) is None}
                found = {**inner, **{k: v for k, v in beside.items() if k not in inner}}
    values: dict[str, str] = {}
    _collect(found, values, 0)
    if values.get("seed", "").strip() == "-1":
        del values["seed"]  # any: what was drawn then is not told here
    program = program or _program(found)
    certain = names_in(found) if not known else _SUPPORTING
    if not (certain & _STRONG and len(certain & _SUPPORTING) >= 2) or not values:
        return None
    if not _of_a_picture(certain, values, frozenset(map(_plain, found))):
        return None
    return Settings(program, values)


def _of_a_picture(certain: frozenset[str], values: Mapping[str, str], names: frozenset[str]) -> bool:
    """Whether settings are of a picture where so few are certain that they could be of something else."""
    if _OF_PICTURES & names or _PIXELS.search(values.get("size", "")):
        return True
    model = values.get("model", "")
    of_generator = _MODEL_FILE.search(model) is not None or claim_of_software(model) == Claim.GENERATED
    # What is asked of a model of language has a prompt and a model, and an answer.
    asked = _OF_LANGUAGE & names
    if (
        asked
        and not certain & _SAMPLING
        and (_LANGUAGE_MODEL.search(model) or (asked - _CAPTIONS and not of_generator))
    ):
        return False
    if certain <= {"prompt", "model"}:
        return of_generator
    # A worksheet has a prompt and steps, an experiment one and a seed, a simulation steps, a seed and a sampler.
    of_others = certain in ({"prompt", "steps"}, {"prompt", "seed"}) or certain <= _OF_SIMULATIONS
    return of_generator or not of_others


def names_in(found: Mapping[str, Any]) -> frozenset[str]:
    """Our names of the settings that stand in an object under names that mean nothing else."""
    objects = [found]
    objects += [inner for k, v in list(found.items())[:500] if str(k).casefold() in _INNER and (inner := _as_object(v))]
    names: set[str] = set()
    for one in objects:
        for key, value in list(one.items())[:500]:
            plain = _plain(key)
            ours = _OURS.get(plain, "")
            if ours and plain not in _WORDS and _is_meant(ours, _text(value)):
                names.add(ours)
    return frozenset(names)


def _plain(key: object) -> str:
    """A name without case, blanks, dashes and underscores."""
    return re.sub(r"[\s_\-]", "", str(key)).casefold()


def _is_meant(ours: str, value: str) -> bool:
    if ours == "model" and claim_of_software(value) == Claim.GENERATED:
        return True
    return ours not in _MEANT or _MEANT[ours].search(value[:1_000]) is not None


def _collect(found: Mapping[str, Any], values: dict[str, str], depth: int) -> None:
    """Our settings out of an object, and out of those that some programs put them into."""
    width = height = models = ""
    characters: dict[str, list[str]] = {}
    for key, value in list(found.items())[:500]:
        plain = _plain(key)
        if plain == "width":
            width = _text(value)
        elif plain == "height":
            height = _text(value)
        elif str(key) in _OF_CHARACTERS:
            characters[_OF_CHARACTERS[str(key)]] = _of_characters(value)
        elif plain == "models":
            models = models or _text(value)  # with what was laid over them
        elif plain in _OURS:
            text = _text(value)
            if text and plain == "prompt":
                values["prompt"] = text  # the user's own, whatever a program made of it
            elif text:
                values.setdefault(_OURS[plain], text)
        elif str(key).casefold() in _INNER and depth < 3:
            inner = _as_object(value)
            if inner is not None:
                _collect(inner, values, depth + 1)
    for ours, told in characters.items():
        if told:
            values[ours] = " | ".join(filter(None, [values.get(ours, ""), *told]))
    if models:
        values.setdefault("model", models)
    if width and height:
        values.setdefault("size", f"{width}x{height}")


def _of_characters(value: Any) -> list[str]:
    """What NovelAI was asked for beside the whole, for each character."""
    caption = value.get("caption") if isinstance(value, dict) else None
    listed = caption.get("char_captions") if isinstance(caption, dict) else None
    told = [
        _text(one.get("char_caption")) for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict)
    ]
    return [text for text in told[:20] if text.strip()]


def _program(found: Mapping[str, Any]) -> str | None:
    """How the program calls itself in its settings."""
    lower = {str(key).casefold(): value for key, value in found.items()}
    software = _text(lower.get("software"))
    if claim_of_software(software) == Claim.GENERATED:
        return software[:100]
    if (
        "fooocus v2 expansion" in lower
        or "base_model_hash" in lower
        or "fooocus" in str(lower.get("version", "")).casefold()
    ):
        return _text(lower.get("version")) if "fooocus" in str(lower.get("version", "")).casefold() else "Fooocus"
    if {"uc", "c"} <= lower.keys():
        return "Draw Things"
    if "use_stable_diffusion_model" in lower:
        return "Easy Diffusion"
    if "uc" in lower and ("request_type" in lower or "sm_dyn" in lower or "v4_prompt" in lower):
        return "NovelAI"
    if "positive_prompt" in lower and "app_version" in lower:
        return f"InvokeAI {_text(lower['app_version'])}"
    for name in ("software", "app", "app_id", "generator", "program", "created_by"):
        if _text(lower.get(name)):
            return _text(lower[name])[:100]
    return None


def _as_object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else json_object(value) if isinstance(value, str) else None


def _text(value: Any) -> str:
    """A setting as text; of an object what it is called."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict):
        for name in _CALLED:
            if name in value:
                return _text(value[name])
    if isinstance(value, list) and value and all(isinstance(item, str | int | float | dict) for item in value):
        return ", ".join(filter(None, (_text(item) for item in value[:20])))
    try:
        return json.dumps(value, ensure_ascii=False)[:2_000]
    except (ValueError, RecursionError):
        return ""
