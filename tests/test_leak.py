"""What is said of a file is a function of its bytes: any order, any neighbours, threads and processes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from carriers import A1111, user_comment, with_chunk
from conftest import encoded
from PIL import Image

from nsnet_cli import Detector
from nsnet_cli.provenance import ProvenanceReader


def pictures(count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` small pictures: a third with a prompt in EXIF, a sixth in a text, the rest without anything."""
    for k in range(count):
        noise = np.random.default_rng(k).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        prompt = A1111.replace("a lighthouse", f"secret prompt number {k}")
        image = Image.fromarray(noise)
        if k % 3 == 0:
            yield "JPEG", encoded(image, "JPEG", exif=b"Exif\0\0" + user_comment(prompt))
        elif k % 6 == 1:
            yield "PNG", with_chunk(encoded(image, "PNG"), b"tEXt", b"parameters\0" + prompt.encode())
        else:
            yield "JPEG", encoded(image, "JPEG")


def prompt_of(found: dict[str, Any]) -> str | None:
    return found["declared"]["prompt"]


@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_pictures_in_any_order_and_in_threads(seed: int) -> None:
    made = list(enumerate(pictures(1_000)))
    random.Random(seed).shuffle(made)
    reader = ProvenanceReader()
    # Opened and let go one after another, as a scan does it, so that the addresses of objects come back.
    alone = {k: reader(bytes(bytearray(data)), form) for k, (form, data) in made}
    for k, found in alone.items():
        own = k % 3 == 0 or k % 6 == 1
        assert prompt_of(found) == (f"secret prompt number {k}" if own else None)
        assert own or found["claims"] == ["unknown"]
    with ThreadPoolExecutor(4) as threads:
        together = dict(threads.map(lambda item: (item[0], reader(item[1][1], item[1][0])), made))
    assert json.dumps(together, sort_keys=True) == json.dumps(alone, sort_keys=True)


def test_in_one_process_and_in_several(tiny_weights: Path, tmp_path: Path) -> None:
    paths = []
    for k, (form, data) in enumerate(pictures(60)):
        path = tmp_path / f"{k:03d}.{form.casefold()}"
        path.write_bytes(data)
        paths.append(str(path))
    detector = Detector.load(str(tiny_weights))
    here = [result.provenance for result in detector.scan_many(paths)]
    there = [result.provenance for result in detector.scan_many(paths, workers=2)]
    assert here == there
    for k, found in enumerate(here):
        assert found is not None
        own = k % 3 == 0 or k % 6 == 1
        assert prompt_of(found) == (f"secret prompt number {k}" if own else None)
