"""Pictures that were collected beside the corpus, taken from where they are public, and cut as the corpus is.

``collected.csv`` and ``collected-2.csv`` to ``collected-9.csv`` name each: repository, commit, path, and the hash of
the untouched file.  They were looked for after the corpus was made, in nine searches, and are in no part of it.  Most
are to be learnt from, ``train``; a third of what the first search found is held out, ``val``.  No repository and no
source of real pictures is on both sides.

What is written is a crop of each and a manifest, in a *matched container*: whatever its label, a picture goes through
the same chain, so that format, size and compression do not give the label away.  Beside them ``originals.csv`` names
the untouched files of those that are large, whose formats do.

    python benchmarks/collected.py --snapshots DIR --out DIR           what lies in DIR/<owner>+<name>
    python benchmarks/collected.py --snapshots DIR --out DIR --clone   what does not is cloned from GitHub first
    python benchmarks/val.py --collected DIR/manifest.csv              how often the detector is right about them

Everything drawn is drawn from a picture's hash.  Ends with 1 where not all pictures were there: figures of a part are
not those of the whole.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

from options import parser_with
from PIL import Image, ImageFile, ImageStat

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.decode import decode
from nsnet_cli.inputs.limits import DecodeLimits

# What each search found.
LISTS = tuple(Path(__file__).with_name(f"collected{search}.csv") for search in ("", *(f"-{n}" for n in range(2, 10))))
_FILTERS = (
    Image.Resampling.LANCZOS,
    Image.Resampling.BICUBIC,
    Image.Resampling.BILINEAR,
    Image.Resampling.BOX,
)
_LARGE, _SMALL, _LARGE_SHARE = 384, 256, 0.4
# Standard deviation of the liveliest channel, of 255.
_BLANK = 5.0
# Of a picture that has fewer pixels there is hardly more than its crop.
_WHOLE = 450_000
_COLUMNS = ("path", "label", "generator", "family", "split", "photo_like", "source_repo", "source_commit")
_COLUMNS += ("source_path", "source_licence", "jpeg_quality", "sha256")


def main() -> None:
    parser = parser_with(__doc__)
    parser.add_argument("--snapshots", type=Path, required=True, metavar="DIR", help="git directories or clones")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where crops and manifest.csv go")
    parser.add_argument("--clone", action="store_true", help="clone from GitHub what is not in --snapshots")
    parser.add_argument(
        "--list", type=Path, nargs="+", default=LISTS, metavar="CSV", help="which pictures [default: all]"
    )
    asked = parser.parse_args()
    listed = [row for path in asked.list for row in rows_of(path)]
    by_repository: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in listed:
        by_repository[row["source_repo"]].append(row)
    for folder in ("images", "originals"):
        (asked.out / folder).mkdir(parents=True, exist_ok=True)
    taken: dict[str, dict[str, Any]] = {}
    whole: dict[str, dict[str, Any]] = {}
    count: Counter[str] = Counter()
    for repository, rows in by_repository.items():
        git = git_directory(asked.snapshots / repository.replace("/", "+"))
        if git is None and asked.clone:
            git = clone(repository, asked.snapshots)
        if git is None:
            count["no snapshot"] += len(rows)
            continue
        for row in rows:
            data = original(git, row)
            if data is None:
                count["not there as it was"] += 1
                continue
            try:
                cut, quality = matched_crop(data, row["id"])
            except InputError as error:
                count[f"not decoded ({error})"] += 1
                continue
            if is_blank(cut):
                count["a crop of nothing but paper or sky"] += 1
                continue
            path = f"images/{row['id']}.jpg"
            (asked.out / path).write_bytes(cut)
            digest = hashlib.sha256(cut).hexdigest()
            taken[row["id"]] = {**row, "path": path, "jpeg_quality": quality, "sha256": digest}
            count["taken"] += 1
            if int(row["source_width"]) * int(row["source_height"]) >= _WHOLE:
                path = f"originals/{row['id']}{Path(row['source_path']).suffix.lower()}"
                (asked.out / path).write_bytes(data)
                whole[row["id"]] = {**row, "path": path, "sha256": hashlib.sha256(data).hexdigest()}
    for name, those in (("manifest.csv", taken), ("originals.csv", whole)):
        with (asked.out / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            # In the list's order, whatever lies where.
            writer.writerows(those[row["id"]] for row in listed if row["id"] in those)
    print(", ".join(f"{reason}: {n:,}" for reason, n in count.items()))
    sys.exit(len(taken) < len(listed))


def rows_of(path: Path) -> list[dict[str, str]]:
    """The pictures that a list names, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def git_directory(home: Path) -> str | None:
    """The git directory below ``home``, bare or not."""
    return next((at for at, folders, files in os.walk(home) if "HEAD" in files and "objects" in folders), None)


def clone(repository: str, snapshots: Path) -> str | None:
    """A clone without the contents of files, which git then fetches as they are asked for; None where there is none."""
    home = snapshots / repository.replace("/", "+")
    # Under another name until it is whole: what a kill leaves is no clone.
    unfinished = home.with_name(home.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["git", "clone", "--quiet", "--bare", "--filter=blob:none", f"https://github.com/{repository}"]
    # GitHub asks for a name and a password where a repository is gone; nobody is there to answer.
    run = subprocess.run(
        [*command, str(unfinished)], stdin=subprocess.DEVNULL, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    )
    if run.returncode != 0:
        return None
    shutil.rmtree(home, ignore_errors=True)
    unfinished.rename(home)
    return git_directory(home)


def original(git: str, row: dict[str, str]) -> bytes | None:
    """The untouched file, or None where no commit has it as it was collected."""
    for commit in (row["source_commit"], "HEAD"):
        command = ["git", "--git-dir", git, "cat-file", "blob", f"{commit}:{row['source_path']}"]
        found = subprocess.run(command, capture_output=True)
        if found.returncode == 0 and hashlib.sha1(found.stdout, usedforsecurity=False).hexdigest()[:16] == row["id"]:
            return found.stdout
    return None


def matched_crop(data: bytes, mark: str) -> tuple[bytes, int]:
    """The crop of a picture as JPEG, and its quality; all that is random is drawn from ``mark``.

    Decoded as a scan decodes it; what was lossless mostly gets a generation of JPEG; larger pictures are
    mostly scaled down; a square of 384 or 256 pixels from anywhere; JPEG.
    """
    rng = Random(mark)
    decoded = decode(data, DecodeLimits())
    assert decoded.pixels is not None
    # Training knows more lossy formats; but crops that were learnt from hang on this one.
    lossless = decoded.format not in ("JPEG", "MPO", "WEBP")
    picture = Image.fromarray(decoded.pixels)
    if lossless and rng.random() < 0.85:
        picture = Image.open(io.BytesIO(as_jpeg(picture, rng.randint(80, 98), rng.choice((0, 2))))).convert("RGB")
    short = min(picture.size)
    if short > _LARGE and rng.random() < (0.85 if short > 1400 else 0.6 if short > 700 else 0.3):
        factor = rng.randint(min(400, short), min(short, 1400)) / short
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(size, rng.choice(_FILTERS))
    short = min(picture.size)
    side = _LARGE if short >= _LARGE and rng.random() < _LARGE_SHARE else min(_SMALL, short)
    left, top = rng.randint(0, picture.width - side), rng.randint(0, picture.height - side)
    quality = rng.choice((rng.randint(70, 85), rng.randint(85, 95), rng.randint(90, 98)))
    return as_jpeg(picture.crop((left, top, left + side, top + side)), quality, rng.choice((0, 2, 2))), quality


def is_blank(cut: bytes) -> bool:
    """Whether a crop shows next to nothing: such a one says nothing of where it is from."""
    return max(ImageStat.Stat(Image.open(io.BytesIO(cut)).convert("RGB")).stddev) < _BLANK


def as_jpeg(image: Image.Image, quality: int, subsampling: int) -> bytes:
    """Progressive JPEG with tables of its own, as the corpus has it."""
    out = io.BytesIO()
    # Pillow's own buffer, a byte a pixel, is too short for noise.
    ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 4 * image.width * image.height)
    image.save(out, "JPEG", quality=quality, subsampling=subsampling, optimize=True, progressive=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
