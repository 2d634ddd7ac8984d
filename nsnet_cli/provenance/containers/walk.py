"""From the bytes of a file to all that it carries, by its first bytes and never by its name."""

from __future__ import annotations

from collections.abc import Callable

from nsnet_cli.provenance.containers.carried import Carried, Part, TooMuchError
from nsnet_cli.provenance.containers.gif import walk_gif
from nsnet_cli.provenance.containers.isobmff import walk_boxes
from nsnet_cli.provenance.containers.jpeg import walk_jpeg
from nsnet_cli.provenance.containers.jumbf import walk_jumbf
from nsnet_cli.provenance.containers.netpbm import walk_netpbm
from nsnet_cli.provenance.containers.png import SIGNATURE, walk_png
from nsnet_cli.provenance.containers.riff import walk_riff
from nsnet_cli.provenance.containers.tiff import walk_exif, walk_tiff

_BOXES = (b"ftyp", b"jP  ", b"JXL ")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def walk(data: bytes) -> Carried:
    """All that ``data`` carries.  Never raises: what goes wrong is a trouble, and what was found before it is kept."""
    carried = Carried()
    carried.container, read = _reader(data)
    steps: list[Callable[[], None]] = [lambda: read(data, carried), lambda: _inside(carried)]
    for step in steps:
        try:
            step()
        except Exception as error:
            carried.trouble("file", " ".join(str(error).split())[:200] or type(error).__name__)
    return carried


def _reader(data: bytes) -> tuple[str, Callable[[bytes, Carried], None]]:
    if data.startswith(b"\xff\xd8"):
        return "JPEG", walk_jpeg
    if data.startswith(SIGNATURE):
        return "PNG", walk_png
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP", walk_riff
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF", walk_gif
    if data.startswith(_TIFF):
        return "TIFF", walk_tiff
    if data[4:8] in _BOXES:
        return "boxes", walk_boxes
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "netpbm", walk_netpbm
    return "of no parts that say anything", lambda data, carried: None


def _inside(carried: Carried) -> None:
    """What stands inside of the blocks that were found; blocks in EXIF tags come on top while this goes on."""
    done = 0
    while done < len(carried.exif):
        block = carried.exif[done]
        part = carried.part(carried.parts, Part(f"EXIF of {block.where}", block.offset, len(block.data)))
        walk_exif(block, part.parts, carried)
        done += 1


def add_jumbf(carried: Carried) -> None:
    """The boxes of manifest stores, for whoever wants to see them: they are read by a reader of their own."""
    try:
        for block in carried.jumbf:
            part = carried.part(carried.parts, Part(f"JUMBF of {block.where}", block.offset, len(block.data)))
            walk_jumbf(block, part.parts, carried)
    except TooMuchError as error:
        carried.trouble("c2pa", str(error))
