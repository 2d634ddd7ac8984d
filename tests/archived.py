"""Archives that tests write, and what is found in them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from conftest import encoded, textured
from PIL import Image

from nsnet_cli.inputs.discover import WalkCount, WalkOptions, find_pictures
from nsnet_cli.inputs.limits import DecodeLimits

LIMITS = DecodeLimits()
TARS = {"tar": "w:", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def jpeg(seed: int) -> bytes:
    return encoded(Image.fromarray(textured(96, 80, seed)), "JPEG")


PICTURES = {"a.jpg": jpeg(1), "b/c.jpg": jpeg(2), "b/d d.jpg": jpeg(3), "ä!.jpg": jpeg(4)}
OTHERS = {"notes.txt": b"no picture", ".hidden.jpg": jpeg(5), "__MACOSX/._a.jpg": b"\0\5"}


def add(tar: tarfile.TarFile, name: str, data: bytes, **header: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in header.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w:") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            add(tar, name, data)
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def found(*inputs: object, **wanted: object) -> list[str]:
    return list(find_pictures(map(str, inputs), WalkOptions(**wanted), WalkCount()))  # type: ignore[arg-type]
