"""What a file is by its first bytes: a picture that is read, one that is not, a video, or none of these.

A picture of a kind that is not read is named, and told what to do; it gets a row wherever it is met.  What is no
picture gets one only where somebody named it.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import zlib
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from nsnet_cli.inputs.formats.jxl_header import JXL_CODESTREAM, JXL_CONTAINER, read_header

# Formats that pictures come in (JPEG opens MPO, too).  Pillow knows many more, from EPS, which starts Ghostscript,
# to ICNS, of which a small file can fill 17 GB: they are named in the error, not opened.
FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM", "TGA", "QOI", "PCX",
    "SGI", "SUN",
)  # fmt: skip
MISNAMED = "named like a picture, but none by its content"
# So many first bytes tell what a file is.
HEAD = 4096


class Sort(StrEnum):
    """What can be done about a file that is not decoded as it stands."""

    PICTURE = "picture"
    RAW = "camera RAW"
    VIDEO = "video"
    OTHER = "other"


_ADVICE = {
    Sort.PICTURE: "save it as PNG or TIFF in a program that opens it, and scan that",
    Sort.RAW: "pip install 'nsnet-cli[raw]' reads it; or export it as TIFF or JPEG and scan that",
    Sort.VIDEO: "pip install 'nsnet-cli[video]' scans its key frames; or export frames as PNG and scan those",
    Sort.OTHER: "extract the pictures that it holds, and scan those",
}


@dataclass(frozen=True)
class Kind:
    """A kind of file that is told by its first bytes and is not decoded as it stands."""

    name: str
    sort: Sort
    advice: str = ""

    @property
    def refusal(self) -> str:
        """What was found, and what to do."""
        return f"{self.name}, which is not read: {self.advice or _ADVICE[self.sort]}"


_NO_PIXELS = "it holds no pixels; if there are pictures in it, save them as PNG and scan those"
_P, _R, _V, _O = Sort.PICTURE, Sort.RAW, Sort.VIDEO, Sort.OTHER
_HDR = "tone-map it to 8 or 16 bits in a program that opens it, save that as PNG or TIFF, and scan it"
_SOUND = Kind("sound", _O, "there is nothing to see in it")
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"8BPS\x00\x01", Kind("Photoshop document (PSD)", _P, "flatten it, save it as PNG or TIFF, and scan that")),
    (0, b"8BPS\x00\x02", Kind("large Photoshop document (PSB)", _P, "flatten it, save it as TIFF, and scan that")),
    (0, b"v/1\x01", Kind("OpenEXR picture", _P, _HDR)),
    (0, b"#?RADIANCE", Kind("Radiance HDR picture", _P, _HDR)),
    (0, b"#?RGBE", Kind("Radiance HDR picture", _P, _HDR)),
    (0, b"SDPX", Kind("DPX film scan", _P)),
    (0, b"XPDS", Kind("DPX film scan", _P)),
    (0, b"\x80\x2a\x5f\xd7", Kind("Cineon film scan", _P)),
    (0, b"PF\n", Kind("colour float map (PFM)", _P, _HDR)),
    (0, b"P7\n", Kind("PAM picture", _P)),
    (0, b"gimp xcf", Kind("GIMP document (XCF)", _P)),
    (0, b"II\xbc", Kind("JPEG XR picture", _P)),
    (0, b"\xff\xd8\xff\xf7", Kind("JPEG-LS picture", _P)),
    (0, b"BPG\xfb", Kind("BPG picture", _P)),
    (0, b"FLIF", Kind("FLIF picture", _P)),
    (0, b"farbfeld", Kind("farbfeld picture", _P)),
    (0, b"\x8aMNG\r\n\x1a\n", Kind("MNG animation", _P)),
    (0, b"\x8bJNG\r\n\x1a\n", Kind("JNG picture", _P)),
    (0, b"SIMPLE  =", Kind("FITS picture", _P)),
    (128, b"DICM", Kind("DICOM picture", _P)),
    (0, b"AT&TFORM", Kind("DjVu document", _P)),
    (0, b"Paint Shop Pro Image File\n", Kind("Paint Shop Pro picture", _P)),
    (0, b"id=ImageMagick", Kind("ImageMagick picture (MIFF)", _P)),
    (0, b"\xffWPC", Kind("WordPerfect graphic", _P)),
    (0, b"PGF6", Kind("PGF picture", _P)),
    (0, b"XISF0100", Kind("XISF picture", _P)),
    (0, b"ZISRAWFILE", Kind("Zeiss microscope picture (CZI)", _P)),
    (0, b"\x89LFP\r\n\x1a\n", Kind("Lytro light field", _P)),
    (0, b"\x06\x06\xed\xf5\xd8\x1d\x46\xe5", Kind("InDesign document", _O)),
    (0, b"DDS ", Kind("DirectDraw texture", _P)),
    (0, b"\xabKTX ", Kind("KTX texture", _P)),
    (0, b"icns", Kind("macOS icon", _P)),
    (0, b"CSFCHUNK", Kind("Clip Studio document", _P)),
    (8, b"CR\x02\x00", Kind("camera RAW (Canon CR2)", _R)),
    (4, b"ftypcrx ", Kind("camera RAW (Canon CR3)", _R)),
    (6, b"HEAPCCDR", Kind("camera RAW (Canon CRW)", _R)),
    (0, b"FUJIFILMCCD-RAW", Kind("camera RAW (Fujifilm RAF)", _R)),
    (0, b"IIU\x00", Kind("camera RAW (Panasonic RW2)", _R)),
    (0, b"IIRO", Kind("camera RAW (Olympus ORF)", _R)),
    (0, b"IIRS", Kind("camera RAW (Olympus ORF)", _R)),
    (0, b"MMOR", Kind("camera RAW (Olympus ORF)", _R)),
    (0, b"FOVb", Kind("camera RAW (Sigma X3F)", _R)),
    (0, b"\x00MRM", Kind("camera RAW (Minolta MRW)", _R)),
    (0, b"%PDF", Kind("PDF document", _O)),
    (0, b"%!PS", Kind("PostScript document", _O)),
    (0, b"\xc5\xd0\xd3\xc6", Kind("PostScript document", _O)),
    (0, b"PK\x03\x04", Kind("ZIP archive or office document", _O, "name it to scan what is in it, or give --archives")),
    (0, b"\xd0\xcf\x11\xe0", Kind("document of an older office program, or thumbnail cache", _O)),
    (4, b"ftypM4A", _SOUND),
    (8, b"WAVE", _SOUND),
    (0, b"ID3", _SOUND),
    (0, b"fLaC", _SOUND),
    (4, b"RED1", Kind("video (Redcode)", _V)),
    (4, b"RED2", Kind("video (Redcode)", _V)),
    (0, b".RMF", Kind("video (RealMedia)", _V)),
    (0, b"\xb7\xd8\x00\x20", Kind("video (Windows recording)", _V)),
    (0, b"\x1f\x07\x00", Kind("video (DV)", _V)),
    (8, b"AVI ", Kind("video (AVI)", _V)),
    (0, b"\x1a\x45\xdf\xa3", Kind("video (Matroska or WebM)", _V)),
    (0, b"\x00\x00\x01\xba", Kind("video (MPEG)", _V)),
    (0, b"\x00\x00\x01\xb3", Kind("video (MPEG)", _V)),
    (0, b"FLV\x01", Kind("video (Flash)", _V)),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind("video (Windows Media)", _V)),
    (0, b"OggS", Kind("video or sound (Ogg)", _V)),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01", Kind("video (MXF)", _V)),
    (4, b"moov", Kind("video (QuickTime)", _V)),
    (4, b"mdat", Kind("video (QuickTime)", _V)),
)
_MP4 = Kind("video (MP4 or QuickTime)", _V)
_MPEG_TS = Kind("video (MPEG transport stream)", _V)
_ICON = Kind("Windows icon or cursor", _P)
_SVG = Kind("SVG drawing", _P, _NO_PIXELS)
# Behind declarations, comments and a document type the first element is `svg`: a page may have drawings in it, too.
_SVG_ROOT = re.compile(
    rb"(?:\xef\xbb\xbf)?(?>\s+|<\?.*?\?>|<!--.*?-->|<!doctype\s+svg\b[^>\[]*(?:\[.*?\]\s*)?>)*+<(?:svg:)?svg[\s/>]",
    re.DOTALL | re.IGNORECASE,
)
# What of ISO's base media format is a picture, by the brand behind `ftyp`.
_PICTURE_BRANDS = (
    b"avif",
    b"avis",
    b"mif",
    b"msf",
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"hev",
    b"miaf",
    b"jpeg",
    b"jxl",
)
# Formats whose signature is long enough that text or data is not taken for a picture.
_STRICT_PLUGINS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF", "JPEG2000", "QOI", "SUN")  # fmt: skip
# Sizes of the header behind a bitmap file's first 14 bytes.
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


def foreign_kind(head: bytes) -> Kind | None:
    """The kind of a file that is not decoded as it stands, by up to `HEAD` first bytes; None for any other."""
    if head[257:262] == b"ustar":
        return None  # a tar begins with the name of its first member, which may be like any signature
    for at, magic, kind in _SIGNATURES:
        if head[at:].startswith(magic):
            return kind
    if head[4:8] == b"ftyp" and not head[8:].startswith(_PICTURE_BRANDS):
        # A brand of no picture in front may still have a picture's among those that it is compatible with.
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = [head[k : k + 4] for k in range(16, end - 3, 4)]
        return None if any(brand.startswith((b"mif1", b"avif", b"heic")) for brand in brands) else _MP4
    # Before `ftyp` there was none; the first byte of a size is 0, and of a text it is not.
    if head.startswith(b"\0") and head[4:8] in (b"wide", b"free", b"skip", b"pnot"):
        return _MP4
    if _is_transport_stream(head):
        return _MPEG_TS
    # Beside its first bytes, which others share, an icon says how many pictures it holds, and where the first is.
    if (
        head.startswith((b"\0\0\1\0", b"\0\0\2\0"))
        and len(head) >= 22
        and head[5] == head[9] == head[21] == 0 < head[4]
    ):
        return _ICON if int.from_bytes(head[18:22], "little") >= 22 else None
    if head.startswith(b"\x1f\x8b"):
        head = _unpacked(head)
    return _SVG if _SVG_ROOT.match(head) else None


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes, or of 192 with a time in front, each of which begins with the same byte."""
    for first, apart in ((0, 188), (4, 192)):
        if len(head) > first + 2 * apart and all(head[first + k * apart] == 0x47 for k in range(3)):
            return not head.startswith(b"GIF8")
    return False


def _unpacked(head: bytes) -> bytes:
    """The beginning of what was packed by gzip: SVG often is."""
    with suppress(zlib.error):
        return zlib.decompressobj(31).decompress(head, HEAD)
    return b""


def begins_like_picture(head: bytes) -> bool:
    """Whether these are the first bytes of a format that is decoded."""
    from PIL import Image

    register_formats()
    if not head or foreign_kind(head) is not None:
        return False
    if re.match(rb"P[1-6f]\s+[0-9#]", head) or head.startswith(JXL_CONTAINER):
        return True
    if head.startswith(JXL_CODESTREAM):
        return read_header(head) is not None
    if head.startswith(b"BM"):
        return int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    for plugin in _STRICT_PLUGINS:
        accept = Image.OPEN.get(plugin, (None, None))[1]
        with suppress(Exception):  # of a few bytes some say `struct.error`
            if accept is not None and accept(head):
                return True
    return False


def why_no_picture(head: bytes, name: str) -> str | None:
    """Why a file that is met is no picture; None where it is one, be it of a kind that is not read.

    Where the first bytes alone are weak evidence, the name has to agree.
    """
    kind = foreign_kind(head)
    if kind is not None and kind.sort in (Sort.PICTURE, Sort.RAW):
        return None
    if kind is not None:
        return kind.name
    if begins_like_picture(head) or _weakly(head, name):
        return None
    if not head and not has_picture_suffix(name):
        return "empty"
    if has_picture_suffix(name):
        return MISNAMED
    return "text" if is_text(head) else "no picture by its content"


def why_passed_over(path: Path) -> str | None:
    """Why a file that a walk meets is no picture; None where it is one, or cannot be read, which a row will say."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            return f"a {kind_of_file(mode)}"
        with open(path, "rb") as file:
            return why_no_picture(file.read(HEAD), path.name)
    except OSError:
        return None


def kind_of_file(mode: int) -> str:
    """What is no regular file, in a word."""
    for test, name in (
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "named pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
    ):
        if test(mode):
            return name
    return "special file"


def has_picture_suffix(name: str) -> bool:
    """Whether a name ends as those of pictures do: for what cannot be looked at cheaply."""
    from PIL import Image

    register_formats()
    suffix = os.path.splitext(name)[1].lower()
    return suffix == ".jxl" or Image.registered_extensions().get(suffix) in FORMATS


def other_format(head: bytes) -> Kind | None:
    """A format that Pillow knows by its first bytes and that is not among `FORMATS`."""
    from PIL import Image

    register_formats()
    for name, (factory, accept) in Image.OPEN.items():
        if name in FORMATS or accept is None:
            continue
        with suppress(Exception):
            # Some answer with a sentence that says why not.
            if accept(head) is True:
                return Kind(str(getattr(factory, "format_description", None) or name), Sort.PICTURE)
    return None


@cache
def register_formats() -> None:
    """Make Pillow know HEIF, and all that it knows by itself."""
    from PIL import Image
    from pillow_heif import register_heif_opener

    # Its remarks on damaged files are for rows, not for the terminal.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    register_heif_opener()
    Image.init()


def _weakly(head: bytes, name: str) -> bool:
    """Formats with a short signature, or none, read or not: by bytes that fit and a name that says the same."""
    from PIL import Image

    form = Image.registered_extensions().get(os.path.splitext(name)[1].lower())
    if form == "TGA":
        kinds, depths = (1, 2, 3, 9, 10, 11), (1, 8, 15, 16, 24, 32)
        return len(head) >= 18 and head[1] in (0, 1) and head[2] in kinds and head[16] in depths
    if form is None or form in ("EPS", "PDF", "MPEG", "HDF5", "GRIB", "BUFR"):
        return False
    accept = Image.OPEN.get(form, (None, None))[1]
    with suppress(Exception):
        return accept is not None and accept(head) is True
    return False


def is_text(head: bytes) -> bool:
    """Whether first bytes are those of text: UTF-16 by its mark, or no control characters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    return not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head)
