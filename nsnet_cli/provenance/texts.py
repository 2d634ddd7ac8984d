"""Texts with a key, from PNG chunks, EXIF tags, comments and XMP: what each says of the picture's origin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from nsnet_cli.provenance.aigc import exported_in, label_in
from nsnet_cli.provenance.containers.carried import Text
from nsnet_cli.provenance.denials import says_nothing
from nsnet_cli.provenance.findings import Claim, Finding, cut
from nsnet_cli.provenance.graphs import graph_of
from nsnet_cli.provenance.parameters import mochi_of, parameters_of
from nsnet_cli.provenance.programs import PROGRAM_KEYS, claim_of_credit, claim_of_label, claim_of_software
from nsnet_cli.provenance.settings import WRAPPERS, Settings, json_object, names_in, settings_of
from nsnet_cli.provenance.source_types import claim_of_source_type

# Keys that only generators write: the key is the claim, a parser only says which program it was.
CLAIMING_KEYS = frozenset({
    "parameters", "prompt", "workflow", "generation_data", "sui_image_params", "sui_extra_data", "invokeai_metadata",
    "invokeai_graph", "invokeai_workflow", "sd-metadata", "sd_metadata", "dream", "fooocus_scheme", "negative_prompt",
    "negative prompt", "extrametadata", "extra_metadata", "civitai", "generation_parameters", "generation_params",
    "ai_metadata", "use_stable_diffusion_model", "num_inference_steps", "sampler_name", "cfg_scale", "guidance_scale",
    "sd_model", "nmkdiffusion", "comfyui", "novelai", "midjourney", "aiprompt", "ai_prompt",
})  # fmt: skip
# Of one text; a workflow of ComfyUI that carries pictures has some megabytes.
_LONGEST = 16_000_000
_PROMPT_KEY = re.compile(r"(?:^|[^a-z])prompts?(?:$|[^a-z])", re.IGNORECASE)
# Of forms that have a field for it whether there is something to say or not.
_MUST_BE_FILLED = re.compile(r"(?:iptc[\w.:]*)?ai[ _-]?(?:prompt|system)[\w -]*", re.IGNORECASE)
_PREFIX = re.compile(r"\s*(prompt|workflow|parameters|extra_pnginfo)\s*:\s*(?=[{\[\"])", re.IGNORECASE)
# Fields that only generators have: in an object that is cut off, and in one that nobody known has written.
_UNFINISHED = re.compile(r'"(?:class_type|sui_image_params|negative_?prompt|sampler_name|cfg_scale|ckpt_name)"\s*:')
_UNMISTAKABLE = re.compile(r'"(?:sui_image_params|negative_?prompt|ckpt_name)"\s*:')
_PROGRAMS = frozenset(key.casefold() for key in PROGRAM_KEYS)
_CREDITS = frozenset({"source", "credit", "author", "creator", "artist", "copyright", "publisher"})
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_JOB = re.compile(rf"\bJob ID:\s*({_UUID})", re.IGNORECASE)
_VERSION = re.compile(r"(?:^|\s)--(?:v|version) (\d[\d.]{0,4})\b", re.IGNORECASE)
_OPTIONS = re.compile(r"(?:^|\s)--[a-z]{1,16}\b", re.IGNORECASE)
# Higgsfield's job, a UUID; it is written when the file is signed already, which is then no longer what was signed.
_HIGGSFIELD = "hf-job-id"
# Hugging Face's Spaces: it says where, not that a generator ran there.
_HOSTED = frozenset({"hf_job_id", "hf-space-id", "hf-space", "hf_space", "huggingface_space", "space_id"})
_SPACE = re.compile(r"(?:huggingface\.co/spaces/|\bhf\.space\b|hugging ?face spaces?\b)", re.IGNORECASE)
_DREAM = re.compile(r'^\s*"(.*?)"((?:\s+-\S+.*)?)$', re.DOTALL)
_DREAM_NAMES = {"s": "steps", "S": "seed", "C": "cfg scale", "A": "sampler", "W": "width", "H": "height"}
# Galaxy phones' editor leaves this where one of its tools that generate was used; 0 where none was.
_SAMSUNG = re.compile(r'genAI(?!Version)\w{0,40}+\\?"?\s{0,4}[:=]\s{0,4}\\?"?(\d{1,9})', re.IGNORECASE)
_SAMSUNG_CARRIER = "Samsung trailer"
_POSTPROCESSING = frozenset({"postprocessing", "extras"})


def read_texts(texts: Sequence[Text]) -> list[Finding]:
    """All texts of one file, each for itself, and those that only together are a program's settings."""
    plain = {text.key: text.value for text in texts if text.key and len(text.value) < 10_000}
    together = settings_of(plain) if len(plain) > 1 else None
    found = [] if together is None else together.findings("text", "a text for each setting")
    # NovelAI's older form has the prompt beside its settings.
    if "novelai" in plain.get("Software", "").casefold() and plain.get("Description"):
        settings = settings_of(json_object(plain.get("Comment", "")) or {})
        if "model" not in (settings.values if settings is not None else {}) and plain.get("Source"):
            found.append(Finding("text", "model", cut(plain["Source"]), Claim.GENERATED, carrier="Source"))
        if settings is not None and "prompt" not in settings.values:
            found.append(Finding("text", "prompt", cut(plain["Description"]), Claim.GENERATED, carrier="Description"))
    for text in texts:
        if together is None or not names_in({text.key: text.value}) or graph_of(json_object(text.value) or {}):
            found += read_text("text", text.key, text.value, text.where)
    return found


def read_text(source: str, key: str, value: str, carrier: str) -> list[Finding]:
    """What one text says: in the form of a generator, as a label, or as a text that is only shown."""
    text = value[:_LONGEST].replace("\0", "").strip()
    if not text:
        return []
    name = key.casefold()
    if _MUST_BE_FILLED.fullmatch(name) and says_nothing(text):
        return [Finding(source, key, cut(text), carrier=carrier)]
    found = label_in(source, text, carrier, known=name == "aigc") or exported_in(source, text, carrier)
    found = found or _by_generator(source, name, text, carrier)
    if found:
        return found
    if name == _HIGGSFIELD and re.fullmatch(_UUID, text, re.IGNORECASE):
        return Settings("Higgsfield", {"job id": text}).findings(source, carrier)
    tools = _SAMSUNG.findall(text) if carrier == _SAMSUNG_CARRIER else []
    if tools:
        claim = Claim.PARTLY_GENERATED if any(tool.strip("0") for tool in tools) else Claim.NONE
        return [Finding(source, key or "text", cut(text), claim, carrier=carrier)]
    return [Finding(source, key or "text", cut(text), claim_of_text(name, text), carrier=carrier)]


def claim_of_text(name: str, text: str) -> Claim:
    """What a text claims that no parser knows, by the key that it stands under."""
    if name.rsplit(":", 1)[-1] in ("digitalsourcetype", "digitalsourcefiletype"):  # ImageMagick spreads XMP over texts
        return claim_of_source_type(text)
    if name == "workflow":
        return Claim.POSSIBLY_GENERATED
    if name in CLAIMING_KEYS or _PROMPT_KEY.search(name):
        return Claim.GENERATED
    if name in _HOSTED:
        return Claim.POSSIBLY_GENERATED
    if name in _PROGRAMS:
        claim = claim_of_software(text)
        return Claim.POSSIBLY_GENERATED if claim == Claim.NONE and _SPACE.search(text) else claim
    if name in _POSTPROCESSING:
        return Claim.EDITED
    return claim_of_credit(text) if name in _CREDITS else claim_of_label(text)


def _by_generator(source: str, name: str, text: str, carrier: str) -> list[Finding]:
    prefix = _PREFIX.match(text)
    if prefix is not None:
        # A caption may begin so ("Prompt: "Blue hour", a challenge"): only a graph or settings behind it make it one.
        behind = text[prefix.end() :]
        if _settings("", behind, known=False) is None and not _UNFINISHED.search(behind):
            return []
        name, text = prefix.group(1).casefold(), behind
    known = name in CLAIMING_KEYS
    settings = _settings(name, text, known)
    if settings is not None:
        settings.program = settings.program or WRAPPERS.get(name)
        found = settings.findings(source, carrier)
        # What could not be understood is shown, cut short.
        if not settings.values:
            found.append(Finding(source, name, cut(text), settings.claim, carrier=carrier))
        return found
    if prefix is not None or (text.startswith(("{", "[")) and (known or _is_of_generator(text))):
        # What nobody could take apart is no prompt, whatever it stands under.
        if name == "workflow":
            return [Finding(source, name, cut(text), Claim.POSSIBLY_GENERATED, carrier=carrier)]
        return [Finding(source, "text", cut(text), Claim.GENERATED, carrier=carrier)]
    job = _JOB.search(text)
    # Agencies number their jobs, too: in a caption Midjourney's options must stand beside it.
    if job is not None and _OPTIONS.search(text):
        prompt = text[: job.start()].strip()
        values = {"prompt": prompt, "job id": job.group(0)}
        version = _VERSION.search(prompt)
        if version is not None:
            values["model"] = f"Midjourney {version.group(1)}"
        return Settings("Midjourney", values).findings(source, carrier)
    return []


def _is_of_generator(text: str) -> bool:
    """Whether an object, whole or cut off, has fields that only generators have."""
    return (_UNFINISHED if json_object(text) is None else _UNMISTAKABLE).search(text) is not None


def _settings(name: str, text: str, known: bool) -> Settings | None:
    found = json_object(text)
    if found is not None:
        settings = graph_of(found) or _of_novelai(found)
        settings = settings or settings_of(found, known and name not in ("workflow", "prompt"))
        # Savers put graphs, or the lines of parameters, into an object of their own.
        for inner in ("prompt", "workflow", "parameters", "extra_pnginfo", "extraMetadata"):
            value = found.get(inner)
            nested = value if isinstance(value, dict) else json_object(value) if isinstance(value, str) else None
            graph = graph_of(nested) if nested else None
            if graph is not None:
                return graph
            if inner == "extraMetadata" and value is not None and settings is not None:
                settings.program = "Civitai"  # which draws with ComfyUI
            if nested and inner == "extraMetadata" and not (settings is not None and settings.values.get("prompt")):
                settings = _of_civitai(nested) or settings
                continue
            if isinstance(value, str) and (settings is None or not settings.values.get("steps")):
                settings = parameters_of(value) or settings
        return settings
    if name == "dream":
        return _dream(text)
    mochi = mochi_of(text)
    if mochi is not None:
        return mochi
    settings = parameters_of(text)
    if settings is None and name == "parameters" and "negative prompt:" in text.casefold():
        settings = parameters_of(text, known=True)
    if settings is None and name in ("prompt", "negative_prompt", "negative prompt", "ai_prompt", "aiprompt"):
        ours = "negative prompt" if "negative" in name else "prompt"
        settings = Settings(None, {ours: text}) if not text.startswith(("{", "[")) else None
    return settings


def _of_novelai(found: dict[str, Any]) -> Settings | None:
    """NovelAI's texts of PNG as one object, which its WebP has in EXIF."""
    texts = {key: value for key, value in found.items() if isinstance(value, str)}
    inner = json_object(texts.get("Comment", ""))
    if inner is None or claim_of_software(texts.get("Software", "")) != Claim.GENERATED:
        return None
    settings = settings_of(inner) or Settings()
    told = {"prompt": texts.get("Description", ""), "model": texts.get("Source", "")}
    return Settings(texts["Software"], {**told, **settings.values})


def _of_civitai(found: dict[str, Any]) -> Settings | None:
    """What Civitai's generator was asked for, beside the graph that may only have scaled the outcome."""
    settings = settings_of(found, known=True)
    if settings is not None:
        settings.program = settings.program or "Civitai"
    return settings


def _dream(text: str) -> Settings | None:
    """InvokeAI's first form: the prompt in quotes, then options of its command line."""
    found = _DREAM.match(text[:100_000])
    if found is None:
        return None
    values = {"prompt": found.group(1)}
    for option, value in re.findall(r"\s-([A-Za-z])\s*(\S+)", found.group(2)):
        if option in _DREAM_NAMES:
            values[_DREAM_NAMES[option]] = value
    width, height = values.pop("width", ""), values.pop("height", "")
    if width and height:
        values["size"] = f"{width}x{height}"
    return Settings("InvokeAI", values)
