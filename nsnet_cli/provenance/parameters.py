"""Parameters as AUTOMATIC1111's web UI writes them, and the many that write alike: prompt, negative prompt, a line.

    a cat
    Negative prompt: dog
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: …, Model: …, Version: v1.10.1

https://github.com/AUTOMATIC1111/stable-diffusion-webui (modules/infotext_utils.py); so do Forge, SD.Next, Fooocus in
its a1111 scheme, Civitai, Tensor.Art and savers of ComfyUI.
"""

from __future__ import annotations

import json
import re

from nsnet_cli.provenance.findings import Claim
from nsnet_cli.provenance.programs import claim_of_software
from nsnet_cli.provenance.settings import SAMPLERS, Settings

_LONGEST = 1_000_000
# The settings' line: steps, and something else that only a sampler has.
_LINE = re.compile(r"(?:^|[\n,])[ \t]*(Steps: ?\d{1,6}\s*,)", re.IGNORECASE)
# Some programs make blanks of line breaks.  Steps of a second pass ("Hires steps: 15") stand within the line.
_IN_ONE_LINE = re.compile(r"[^\s:,] [ \t]*(Steps: ?\d{1,6}\s*,)")
# Civitai leaves steps out where a model has none, and others write alike.
_WITHOUT_STEPS = re.compile(r"(?:^|\n)[ \t]*((?:Seed|Sampler|CFG scale|Size): ?[^\n]{1,20000})", re.IGNORECASE)
_CIVITAI = re.compile(r"\bCivitai (?:resources|metadata): ?[\[{]")
_CERTAIN = re.compile(
    r"\b(?:Sampler|Seed|CFG scale|Size|Model|Schedule type|Guidance|Denoising strength): ?\S", re.IGNORECASE
)
# Those that nobody writes of a walk ("Steps: 12000, Size: L"); samplers have names ("Sampler: Niskin bottle").
_UNMISTAKABLE = re.compile(
    r"\b(?:Schedule type: ?[A-Z]|(?:CFG scale|Denoising strength|Clip skip): ?-?\d|Model hash: ?[0-9a-f]{6}"
    r"|(?:Lora|TI) hashes: ?\")",
    re.IGNORECASE,
)
_SAMPLER = re.compile(r"\bSampler: ?([^,\n]{1,60})", re.IGNORECASE)
# Of these three stand beside each other only where a generator wrote them; a sampler is as good as two.
_ORDINARY = re.compile(r"\b(?:(Seed): ?-?\d|(Size): ?\d{2,5}x\d{2,5}|(Model|Version): ?\S)", re.IGNORECASE)
_KEY = re.compile(r"\s*+,?+\s*+([A-Za-z][\w \-/.()]{0,60}?):[ \t]*")
_NEXT = re.compile(r",\s*+[A-Za-z][\w \-/.()]{0,60}?:(?:\s|$)|\n")
_NEGATIVE = re.compile(r"(?:^|\n)[^\S\n]*Negative prompt:[ \t]*", re.IGNORECASE)
_NEGATIVE_IN_ONE_LINE = re.compile(r" Negative prompt:[ \t]*", re.IGNORECASE)
_NAMES = {
    "steps": "steps", "sampler": "sampler", "cfg scale": "cfg scale", "seed": "seed", "size": "size", "model": "model",
    "model hash": "model hash", "hashes": "hashes", "lora hashes": "lora hashes", "schedule type": "scheduler",
    "denoising strength": "denoising strength", "vae": "vae", "clip skip": "clip skip",
}  # fmt: skip
UNKNOWN_WEB_UI = "Stable Diffusion web UI, or a program that writes as it does"
_MOCHI_NAMES = {
    "Include in Image": "prompt", "Exclude from Image": "negative prompt", "Model": "model", "Steps": "steps",
    "Guidance Scale": "cfg scale", "Seed": "seed", "Size": "size", "Scheduler": "scheduler",
}  # fmt: skip
_MOCHI = re.compile(
    rf"(?:^|[;\n])[ \t]*({'|'.join(_MOCHI_NAMES)}|Upscaler|ML Compute Unit|Generator|Date|Metadata Version):[ \t]*"
)
_MOST_KEYS, _MOST_STEPS, _LONGEST_SETTINGS = 80, 500, 100_000


def parameters_of(text: str, known: bool = False) -> Settings | None:
    """Settings in a text; ``known``: its key says that there are some, so a line alone, or none at all, is enough."""
    text = text[:_LONGEST].replace("\r\n", "\n").strip("\0 \n")
    lines = list(_LINE.finditer(text))
    # The last that begins a line; behind a comma it may stand in another setting's text.
    begun = [found for found in lines if not found.group().startswith(",")]
    line = (begun or lines)[-1] if lines else _IN_ONE_LINE.search(text)
    if line is not None:
        told = _NEGATIVE.search(text) is not None or _means_settings(text, line.start(1))
        line = line if told or (known and _CERTAIN.search(text, line.start(1))) else None
    line = line or _without_steps(text)
    if line is None and not known:
        return None
    head = text if line is None else text[: line.start(1)].rstrip(" ,\n")
    negative = _NEGATIVE.search(head) or (None if "\n" in head else _NEGATIVE_IN_ONE_LINE.search(head))
    values = {
        "prompt": (head if negative is None else head[: negative.start()]).strip(),
        "negative prompt": "" if negative is None else head[negative.end() :].strip(),
    }
    settings = {} if line is None else _settings(text[line.start(1) : line.start(1) + _LONGEST_SETTINGS])
    for key, value in settings.items():
        values.setdefault(_NAMES.get(key.casefold(), key), value)
    checkpoint = _checkpoint(settings.get("Civitai resources", ""))
    if checkpoint:
        values.setdefault("model", checkpoint)
    return Settings(_program(settings) if settings else None, values)


def _checkpoint(resources: str) -> str:
    """The model among the resources that Civitai lists, with its version."""
    try:
        listed = json.loads(resources)
    except (ValueError, RecursionError):
        return ""
    models = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    found = [one for one in models if one.get("type") == "checkpoint" or (len(models) == 1 and "type" not in one)]
    return (
        " ".join(str(found[0][key]) for key in ("modelName", "modelVersionName") if found[0].get(key)) if found else ""
    )


def _means_settings(text: str, at: int) -> bool:
    """Whether what stands in ``text`` from ``at`` on can be nothing but a generator's settings."""
    if _UNMISTAKABLE.search(text, at):
        return True
    sampler = _sampler(text, at)
    if SAMPLERS.search(sampler):
        return True
    ordinary = {next(filter(None, found.groups())).casefold() for found in _ORDINARY.finditer(text, at)}
    return len(ordinary) + (2 if sampler else 0) >= 3


def _sampler(text: str, at: int) -> str:
    """What stands behind "Sampler:" in ``text`` from ``at`` on; "" where nothing does."""
    found = _SAMPLER.search(text, at)
    return "" if found is None else found.group(1)


def _without_steps(text: str) -> re.Match[str] | None:
    """The settings' line of a model that takes no steps: Civitai's, or one that names its sampler, and more."""
    lines = list(_WITHOUT_STEPS.finditer(text))
    line = lines[-1] if lines else None
    if line is None:
        return None
    told = len(_ORDINARY.findall(text, line.start(1))) + len(_UNMISTAKABLE.findall(text, line.start(1)))
    named = SAMPLERS.search(_sampler(text, line.start(1))) is not None
    return line if _CIVITAI.search(text, line.start(1)) or told + named > 2 else None


def mochi_of(text: str) -> Settings | None:
    """Settings in Mochi Diffusion's form, fields with a line or a semicolon each.

    https://github.com/MochiDiffusion/MochiDiffusion (Model/Metadata.swift)
    """
    if "Include in Image:" not in text[:200]:
        return None
    text = text[:_LONGEST_SETTINGS]
    fields = list(_MOCHI.finditer(text))
    ends = [field.start() for field in fields[1:]] + [len(text)]
    told = {field.group(1): text[field.end() : end].strip() for field, end in zip(fields, ends, strict=True)}
    values = {ours: told[theirs] for theirs, ours in _MOCHI_NAMES.items() if told.get(theirs)}
    return Settings(told.get("Generator") or "Mochi Diffusion", values) if len(values) > 2 else None


def _settings(text: str) -> dict[str, str]:
    """``Key: value`` pairs; values in quotes, braces or brackets may hold commas."""
    found: dict[str, str] = {}
    at = 0
    for _ in range(_MOST_STEPS):
        if len(found) >= _MOST_KEYS:
            break
        key = _KEY.match(text, at)
        if key is None:
            following = _NEXT.search(text, at)
            if following is None:
                break
            at = max(at + 1, following.start())
            continue
        at = key.end()
        if text[at : at + 1] in '{["':
            try:
                value, at = json.JSONDecoder().raw_decode(text, at)
                found.setdefault(key.group(1).strip(), value if isinstance(value, str) else json.dumps(value))
                continue
            except (ValueError, RecursionError):
                pass
        following = _NEXT.search(text, at)
        end = len(text) if following is None else following.start()
        found.setdefault(key.group(1).strip(), text[at:end].strip())
        at = end
        if following is None:
            break
    return found


def _program(settings: dict[str, str]) -> str:
    """Who wrote it, by what each adds to the form."""
    version, app = settings.get("Version", ""), settings.get("App", settings.get("app", ""))
    if app:
        return app[:100]
    if any(key.startswith("Civitai") for key in settings):
        return "Civitai"
    for name in ("Fooocus", "ComfyUI", "Draw Things"):
        if name.casefold() in version.casefold():
            return version[:100]
    if claim_of_software(version) == Claim.GENERATED:
        return version[:100]
    if re.match(r"(?:f|neo|classic|reforge)\d?", version, re.IGNORECASE):
        return f"Stable Diffusion web UI Forge {version}"[:100]
    if version:
        return f"Stable Diffusion web UI {version}"[:100]
    return UNKNOWN_WEB_UI
