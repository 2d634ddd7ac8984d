"""Seeded mutations of small pictures of every format, with metadata, through the worker processes of a scan.

    python benchmarks/fuzz.py [--inputs 20000] [--seed 0] [--keep FOLDER]
    python benchmarks/fuzz.py --metadata --inputs 5000

With ``--metadata`` only what files say is fuzzed: what the network sees of each must be what it sees of the same
picture without any, and none may take longer than two seconds.

Prints a JSON object: how many inputs, rows, and outcomes by code.  Ends with 1 where a row is missing, a decoder's
process died, a file hung, or an error was one of our own; such inputs are kept in FOLDER.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, PngImagePlugin

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import metadata_blocks
import tifffile
from credentials import AI, signed_jpeg
from unusual import cgbi, dng, packed_tiff

from nsnet_cli.engines.preparing import Prepared, Preparer
from nsnet_cli.engines.workers import PreparePool
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.views.plan import EntropyLook
from nsnet_cli.views.selection import SelectionRecipe

_TIMEOUT = 20.0
# A mutated header asks for any size; what is honest in a fuzzing corpus fits into this.
_LIMITS = DecodeLimits(max_pixels=50_000_000)
_BATCH = 500
_SLOW = 2.0
# What the length fields of headers are given.
_LENGTHS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--metadata", action="store_true", help="fuzz blocks of metadata around whole pictures")
    parser.add_argument("--keep", type=Path, help="where inputs that did harm are kept")
    args = parser.parse_args()
    began, outcomes, harm, rows = time.monotonic(), Counter[str](), [], 0
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        make = metadata_mutants if args.metadata else mutants
        paths = make(Path(folder), args.inputs, args.seed)
        preparer = Preparer(EntropyLook(SelectionRecipe(), 2), _LIMITS, provenance=ProvenanceReader())
        with PreparePool(preparer, args.workers, _TIMEOUT, window=_BATCH) as pool:
            for batch in pool.batches(paths, _BATCH):
                for prepared in batch:
                    rows += 1
                    outcomes[prepared.error.code if prepared.error else "scanned"] += 1
                    slowest = max(slowest, prepared.seconds)
                    if _harmful(prepared) or (args.metadata and _seen_otherwise(prepared, preparer)):
                        harm.append(f"{Path(prepared.path).name}: {prepared.error or prepared.provenance}")
                        if args.keep:
                            args.keep.mkdir(parents=True, exist_ok=True)
                            (args.keep / Path(prepared.path).name).write_bytes(Path(prepared.path).read_bytes())
                    Path(prepared.path).unlink()
    found = {
        "inputs": args.inputs,
        "seed": args.seed,
        "rows": rows,
        "outcomes": dict(sorted(outcomes.items())),
        "harm": harm,
        "slowest_seconds": round(slowest, 2),
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(found, indent=2))
    return int(bool(harm) or rows != args.inputs)


def _harmful(prepared: Prepared) -> bool:
    error = prepared.error
    said = prepared.provenance or {"errors": []}
    if any("ended the process" in trouble["message"] for trouble in said["errors"]):
        return True
    return error is not None and (
        error.code == "timeout" or "process died" in error.message or "internal error" in error.message
    )


def _seen_otherwise(prepared: Prepared, preparer: Preparer) -> bool:
    """Whether metadata changed what the network sees, or took longer than anybody should wait for it."""
    index, form = Path(prepared.path).name.split(".")
    if prepared.seconds > _SLOW or prepared.views is None:
        return True
    if metadata_blocks.hides_text(int(index)) or _turned(Path(prepared.path)):
        return False
    return prepared.views.tobytes() != _plain_views(form, preparer)


@cache
def _plain_views(form: str, preparer: Preparer) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=form) as file:
        file.write(metadata_blocks.plain(form))
        file.flush()
        views = preparer(file.name).views
    assert views is not None
    return views.tobytes()


def _turned(path: Path) -> bool:
    """Whether a mutation made a tag that turns the picture, as it should."""
    with warnings.catch_warnings(), contextlib.suppress(Exception), Image.open(path) as image:
        warnings.simplefilter("ignore")
        return image.getexif().get(0x0112, 1) != 1
    return False


def metadata_mutants(folder: Path, count: int, seed: int) -> Iterator[str]:
    """Paths of ``count`` pictures with fuzzed metadata, each written when it is asked for."""
    for k, (form, data) in enumerate(metadata_blocks.mutants(count, seed)):
        path = folder / f"{k:06d}.{form}"
        path.write_bytes(data)
        yield str(path)


def mutants(folder: Path, count: int, seed: int) -> Iterator[str]:
    """Paths of ``count`` mutated pictures, each written when it is asked for."""
    rng = random.Random(seed)
    corpus = seeds()
    for k in range(count):
        name, data = rng.choice(corpus)
        path = folder / f"{k:06d}.{name}"
        path.write_bytes(mutate(bytearray(data), rng, corpus))
        yield str(path)


def seeds() -> list[tuple[str, bytes]]:
    """Small pictures of every format that is read, in the variants that decoders treat apart."""
    noise = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    rgb = Image.fromarray(noise).resize((240, 232))
    grey, palette = rgb.convert("L"), rgb.convert("P")
    rgba = rgb.copy()
    rgba.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.register_heif_opener()
    made: list[tuple[str, bytes]] = []

    def add(name: str, image: Image.Image, form: str, **options: object) -> None:
        out = io.BytesIO()
        image.save(out, format=form, **options)  # type: ignore[arg-type]
        made.append((name, out.getvalue()))

    xmp = f'<x xmlns:e="u"><d e:DigitalSourceType="{AI}"><e:Credit>Made with Google AI</e:Credit></d></x>'.encode()
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 1, Model: dreams")
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    add("jpg", rgb, "JPEG", quality=85, exif=exif)
    add("xmp.jpg", rgb, "JPEG", quality=85, exif=exif, xmp=xmp)
    made.append(("c2pa.jpg", signed_jpeg(made[0][1])[0]))
    add("text.png", rgb, "PNG", pnginfo=text)
    add("xmp.webp", rgb, "WEBP", xmp=xmp, exif=exif)
    add("xmp.tif", rgb, "TIFF", tiffinfo={700: xmp})
    add("prog.jpg", rgb, "JPEG", quality=60, progressive=True, subsampling=0)
    add("cmyk.jpg", rgb.convert("CMYK"), "JPEG")
    add("png", rgb, "PNG")
    add("rgba.png", rgba, "PNG")
    add("p.png", palette, "PNG", transparency=0)
    add("i16.png", Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG")
    add("webp", rgb, "WEBP", quality=70)
    add("ll.webp", rgba, "WEBP", lossless=True)
    add("gif", palette, "GIF", save_all=True, append_images=[palette.rotate(90)])
    add("bmp", rgb, "BMP")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        add(f"{compression}.tif", rgb, "TIFF", compression=compression)
    add("pages.tif", grey, "TIFF", save_all=True, append_images=[grey])
    add("avif", rgb, "AVIF", quality=60)
    add("heic", rgb, "HEIF", quality=60)
    add("jp2", rgb, "JPEG2000")
    add("ppm", rgb, "PPM")
    add("tga", rgb, "TGA", compression="tga_rle")
    add("pcx", rgb, "PCX")
    add("sgi", rgb, "SGI")
    import pillow_jxl  # noqa: F401 - makes Pillow write JPEG XL

    add("jxl", rgb, "JXL", quality=80)
    add("ll.jxl", rgba, "JXL", lossless=True, use_container=True)
    pixels = np.asarray(rgb)
    for name, options in (("float.tif", {}), ("planes.tif", {"planarconfig": "separate", "tile": (64, 64)})):
        out, values = io.BytesIO(), (pixels / 255).astype(np.float32)
        values = values if not options else np.moveaxis(values, -1, 0)
        tifffile.imwrite(out, values, photometric="rgb", compression="zlib", **options)  # type: ignore[arg-type]
        made.append((name, out.getvalue()))
    made.append(("12.tif", packed_tiff(pixels.astype(np.uint16) * 16, 12)))
    made.append(("ios.png", cgbi(pixels, 255)))
    made.append(("dng", dng(240, 232)))
    made.append(("preview.dng", dng(240, 232, preview=made[0][1])))
    return made


def mutate(data: bytearray, rng: random.Random, corpus: list[tuple[str, bytes]]) -> bytes:
    """One to five mutations: most of them in the first kilobyte, where headers are."""
    for _ in range(rng.randint(1, 5)):
        if not data:
            break
        where = rng.randrange(min(len(data), 1024) if rng.random() < 0.7 else len(data))
        kind = rng.random()
        if kind < 0.35:
            data[where] ^= 1 << rng.randrange(8)
        elif kind < 0.55:
            data[where] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind < 0.7:
            data[where : where + 4] = rng.choice(_LENGTHS)
        elif kind < 0.8:
            del data[rng.randrange(len(data)) :]
        elif kind < 0.9:
            length = rng.randint(1, 64)
            data[where:where] = data[where : where + length] * rng.randint(1, 8)
        else:
            other = rng.choice(corpus)[1]
            at = rng.randrange(len(other))
            data[where : where + 256] = other[at : at + 256]
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main())
