"""What the name of a program claims, and what a sentence that is a label and nothing else claims.

Names count where a program names itself, never in captions.  A name that is a word of some language as well counts
only where nothing but a name stands.
"""

from __future__ import annotations

import re

from nsnet_cli.provenance.denials import says_nothing
from nsnet_cli.provenance.findings import Claim

# Keys of text chunks that name a program, and all fields that do.
PROGRAM_KEYS = ("Software", "generator", "Generator", "software", "CreatorTool", "creator_tool", "Creator Tool")
PROGRAM_FIELDS = (
    *PROGRAM_KEYS, "originating program", "ProcessingSoftware", "ImageEditor", "CameraFirmware",
    "RAWDevelopingSoftware", "ImageEditingSoftware", "MetadataEditingSoftware", "softwareAgent", "claim generator",
)  # fmt: skip
_GENERATORS = (
    "stable diffusion", "stable diffusion webui", "stable-diffusion-webui", "automatic1111", "sd.next", "sdnext",
    "comfyui", "invokeai", "novelai", "fooocus", "ruinedfooocus", "ruined fooocus", "swarmui", "stableswarmui",
    "draw things", "easy diffusion", "tensor.art", "tensorart", "civitai", "diffusers", "dreamstudio",
    "stability ai", "stability.ai", "midjourney", "niji journey", "dall-e", "dall·e", "dalle", "dall e",
    "gpt-image", "gpt image", "gpt-4o", "chatgpt", "openai", "openai media service", "openai media service api",
    "openai api", "sora", "adobe firefly", "firefly", "generative fill", "bing image creator", "microsoft designer",
    "image creator from designer", "microsoft responsible ai", "mai-image", "paint cocreator", "azure openai",
    "google imagen", "imagen", "gemini", "nano banana", "google generative ai", "google ai", "vertex ai", "imagefx",
    "whisk", "meta ai", "imagine with meta", "emu", "image playground", "apple intelligence", "ideogram",
    "ideogram ai", "grok", "xai", "aurora by xai", "leonardo.ai", "leonardo ai", "leonardo", "playground ai",
    "black forest labs", "black forest labs api", "flux", "flux.1", "flux.2", "seedream", "seededit", "byteplus",
    "dreamina", "jimeng", "即梦", "即梦ai", "doubao", "豆包", "recraft", "runway", "runwayml", "craiyon", "wombo",
    "wombo dream", "nightcafe", "nightcafe studio", "krea", "krea ai", "reve", "reve.com", "aphrodite ai",
    "higgsfield", "higgsfield ai", "canva magic media", "magic media", "qwen-image", "qwen image", "kling",
    "kling ai", "hunyuan", "hailuo", "ernie", "wanxiang", "kandinsky", "shedevrum", "vqgan", "disco diffusion",
    "latent diffusion", "deepai", "starryai", "artbreeder", "hotpot.ai", "titan image generator", "nova canvas",
    "freepik ai", "mage.space", "seaart", "pixai", "yodayo", "mochi diffusion", "diffusionbee", "nmkd", "getimg.ai",
    "photosonic", "luma ai", "amazon titan", "amazon nova", "grok imagine", "stable image ultra",
    "stable image core",
)  # fmt: skip
# Words of other things too ("Captura de Imagen", "Runway 27L", "Flux capacitor"): only as the whole name of a program,
# with a version behind it, or behind its maker's name.
_WORDS = frozenset({
    "imagen", "gemini", "flux", "firefly", "leonardo", "sora", "grok", "runway", "emu", "whisk", "kling", "ernie",
    "reve", "krea", "recraft", "openai", "diffusers", "dalle", "generative fill", "xai", "hunyuan", "kandinsky",
})  # fmt: skip
# Of companies, who have photographers as well: a credit is theirs, a program is not named by it.
_COMPANIES = frozenset({"google ai", "meta ai", "stability ai", "stability.ai", "black forest labs", "byteplus"})
# The app of Meta's glasses, which take photographs, is named as its generator is.
_CAMERA_MAKERS = frozenset({"meta ai"})
_EDITORS = (
    "photoshop", "lightroom", "gimp", "affinity photo", "capture one", "snapseed", "pixelmator", "darktable",
    "rawtherapee", "paint.net", "canva", "luminar", "topaz", "facetune", "vsco", "picsart", "krita", "polarr", "dxo",
    "photo editor", "photoeditor", "paintshop", "photoscape", "picasa", "acdsee", "photo mate", "meitu", "美图秀秀",
    "remini", "imagemagick", "photopea", "fotor", "capcut", "magic editor", "adobe express", "clean up",
)  # fmt: skip
# A version, an edition, or a place behind a name that is a word: "Flux 1.1 [pro]", "Gemini 2.5 Flash Image", "Sora 2".
_BEHIND = (
    r"(?:[ .-]*+(?>v?\d[\w.]*+|ai|api|pro|dev|schnell|flash|ultra|image|turbo|kontext|preview|gen|max|"
    r"\[\w++\]|\(\w++\)))*+"
)
_LONGEST_NAME = 200
_MAKER = (
    r"(?:google |adobe |photoshop |adobe photoshop |openai |bfl |black forest labs |xai |bytedance |baidu |tencent "
    r"|kuaishou |meta )"
)
_MAKERS = rf"{_MAKER}?"

# What Black Forest Labs' code and its descendants call themselves: "AI generated;txt2img;flux".
_SELF = re.compile(r"ai[- ]generated\s*(?:[;,:|]|\Z)", re.IGNORECASE)

# What a label says that is nothing but a label.  A sentence that only has such words in it is none.
_MADE = r"(?:made|created|generated|imagined|produced|made entirely|drawn)"
_CHANGED = r"(?:edited|modified|enhanced|retouched|altered|changed)"
_WHAT = r"(?:this |the )?(?:image|picture|photo|photograph|artwork|content|media)?(?: (?:was|is|has been))?(?: an?)?"
_WITH = r"(?:with|by|using|through|via|in)"
_AI = (
    r"(?:generative ai|gen ai|genai|ai|an ai(?: model| tool)?|a\.i\.|artificial intelligence|google ai|meta ai|"
    r"ai tools|google generative ai|adobe firefly|firefly|midjourney|dall[-·. ]?e(?: ?[23])?|chatgpt|openai|"
    r"stable diffusion[\w. ]{0,8}|"
    r"bing image creator|microsoft designer|(?:apple )?image playground|apple intelligence|gemini|imagen|grok|ideogram|"
    r"leonardo\.?ai|novelai|comfyui|invokeai|galaxy ai)"
)
_GENERATED_LABEL = re.compile(
    rf"{_WHAT} ?(?:{_MADE} {_WITH} {_AI}|(?:fully |entirely )?ai[- ]generated(?: (?:image|picture|content|media|art))?"
    rf"|synthetic(?:ally generated)? (?:image|media|content)|contains ai[- ]generated content"
    rf"|(?:apple )?image playground|由?ai生成|人工智能生成|ai合成)\W*",
    re.IGNORECASE,
)
_CHANGED_LABEL = re.compile(
    rf"(?:apple )?photos (?:clean ?up|generative edit(?:: ?[\w ]{{1,40}})?)\W*"
    rf"|{_WHAT} ?{_CHANGED} {_WITH} (?:{_AI}|clean ?up|magic editor|magic eraser|[\w ]*clean up)(?: tools)?\W*",
    re.IGNORECASE,
)


def claim_of_software(value: str) -> Claim:
    """What the name of a program claims: a generator, an editor, or nothing that is known here."""
    text = _plain(value[:_LONGEST_NAME])
    if claim_of_label(value) == Claim.EDITED:
        return Claim.EDITED
    if calls_itself_generated(value) or any(_names(text, name) for name in _NAMES):
        return Claim.GENERATED
    if any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in _EDITORS):
        return Claim.EDITED
    return claim_of_label(value)


def calls_itself_generated(value: str) -> bool:
    """Whether a program says in place of its name that the picture is generated; maker and model are then its own."""
    found = _SELF.match(value.strip())
    return found is not None and not says_nothing(value.strip()[found.end() :])


def is_word(value: str) -> bool:
    """Whether what names a generator here is a word of other things as well."""
    text = _plain(value[:_LONGEST_NAME])
    named = [name for name in _NAMES if _names(text, name)]
    return bool(named) and all(name in _WORDS for name in named)


def makes_cameras(value: str) -> bool:
    """Whether who is named here as a generator, and by nothing else, makes cameras as well."""
    return _plain(value[:_LONGEST_NAME]) in _CAMERA_MAKERS


def claim_of_label(value: str) -> Claim:
    """What a credit, a caption or a comment claims: only where it is a label and nothing else."""
    if len(value) > _LONGEST_NAME:
        return Claim.NONE
    text = " ".join(value.split())
    if _GENERATED_LABEL.fullmatch(text):
        return Claim.GENERATED
    return Claim.EDITED if _CHANGED_LABEL.fullmatch(text) else Claim.NONE


def claim_of_credit(value: str) -> Claim:
    """What a credit line claims: a label, or the name of a generator, not of a company, and nothing else."""
    text = _plain(value[:_LONGEST_NAME])
    if any(re.fullmatch(rf"{_MAKER}{re.escape(name)}{_BEHIND}", text) for name in _WORDS if name in text):
        return Claim.GENERATED
    products = (name for name in _NAMES if name not in _WORDS and name not in _COMPANIES)
    named = next((name for name in products if text.startswith(name)), None)
    if named is not None and re.fullmatch(rf"{re.escape(named)}{_BEHIND}", text):
        return Claim.GENERATED
    return claim_of_label(value)


def _plain(value: str) -> str:
    """A name for comparing: an underscore, a slash and a dash between words are what a space is."""
    return " ".join(re.sub(r"[_/,;|-]+", " ", value).casefold().split())


def _names(text: str, name: str) -> bool:
    """Whether ``name`` stands in ``text`` as words of its own; one that is a word as well must be all that stands."""
    if name not in text:
        return False
    if name in _WORDS:
        return re.fullmatch(rf"{_MAKERS}{re.escape(name)}{_BEHIND}", text) is not None
    return re.search(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", text) is not None


# The longest first: a credit is the whole of a name.
_NAMES = tuple(sorted(dict.fromkeys(map(_plain, _GENERATORS)), key=len, reverse=True))
