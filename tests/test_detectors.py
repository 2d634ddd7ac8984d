"""The published detectors: found without PyTorch, one file each, and with a score for any picture."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from toy_detectors import (
    EMBED,
    NAMES,
    thin,
)

from nsnet_cli.detectors import methods
from nsnet_cli.detectors.registry import all_detectors, find_detector, read_about
from nsnet_cli.errors import UsageError


def test_detectors_are_listed_without_numpy_or_pytorch() -> None:
    code = (
        "import sys; from nsnet_cli.detectors.registry import all_detectors; names = [a.name for a in all_detectors()];"
        "print(*names, *{'numpy', 'torch', 'PIL'} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == NAMES
    assert set(NAMES) >= {"cnn-spot", "univfd", "freqnet", "npr", "ladeda", "aide", "dffreq", "safe", "vib-net"}


def test_every_detector_says_what_it_is() -> None:
    for about in all_detectors():
        assert all(asdict(about).values()) and "\n" not in about.idea and about.link.startswith("https://")
        detector = find_detector(about.name)
        assert detector.about == about
        doc = sys.modules[detector.network.__module__].__doc__
        # The paper stands in the file's docstring, whatever the lines break.
        assert doc and about.paper.split(":")[0] in " ".join(doc.split())
        assert (detector.eyes is None) <= detector.tower
    with pytest.raises(UsageError, match=r"no detector is called 'nrp'; there are aide, .*npr"):
        find_detector("nrp")


def test_a_new_detector_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(methods.__path__[0]) / "npr.py"
    text = source.read_text("utf-8").replace('name="npr"', 'name="tenth"').replace("year=2024", "year=2031")
    (tmp_path / "tenth.py").write_text(text, "utf-8")
    (tmp_path / "notes.py").write_text('"""No detector."""\n', "utf-8")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    assert all_detectors()[-1].name == "tenth"
    try:
        assert find_detector("tenth").about.year == 2031
    finally:
        sys.modules.pop(f"{methods.__name__}.tenth", None)


def test_what_a_file_says_of_its_detector_is_read_and_not_run() -> None:
    assert read_about("import gone\nX = 1\n", "m") is None
    with pytest.raises(TypeError, match="m: ABOUT must be About"):
        read_about("ABOUT = make_about()\n", "m")
    with pytest.raises(TypeError, match="literals"):
        read_about("ABOUT = About(name=NAME)\n", "m")


def test_shipped_residual_networks_stay_small() -> None:
    """In half precision all of them together, the classifier of 2020 included, take less than 8 megabytes."""
    detectors = [find_detector(name) for name in NAMES]
    sizes = {d.about.name: sum(p.numel() for p in d.network(**d.shape).parameters()) for d in detectors}
    assert 2 * sum(sizes.values()) < 8e6
    assert 1200 < sizes["tiny-ladeda"] < 1500
    # As wide as in the papers they have the papers' sizes.
    for name in ("npr", "safe"):
        detector = find_detector(name)
        wide = detector.network(**{**detector.shape, "width": 64})
        assert sum(p.numel() for p in wide.parameters()) == pytest.approx(1.44e6, rel=0.02)
    full = find_detector("cnn-spot").network(width=64)
    assert sum(p.numel() for p in full.parameters()) == pytest.approx(23.5e6, rel=0.01)


# --- shapes, determinism, and pictures of any size ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(5, 7), (64, 300), (333, 217)], ids=str)
def test_any_picture_has_a_score_and_always_the_same(name: str, size: tuple[int, int]) -> None:
    detector = thin(name)
    torch.manual_seed(3)
    network = detector.network(**detector.shape).eval()
    for parameter in network.parameters():  # what begins as nothing would hide what differs
        torch.nn.init.normal_(parameter, std=0.1)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    features = torch.randn(1, EMBED) if detector.tower else torch.zeros(1, 0)
    said = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        views = torch.zeros(1, 0) if detector.eyes is None else torch.from_numpy(detector.eyes.look(pixels).copy())
        with torch.inference_mode():
            logits = network(views, features.expand(len(views), -1))
        assert logits.shape == (len(views),) and logits.dtype == torch.float32 and logits.isfinite().all()
        said.append(logits)
    assert torch.equal(*said)
    if detector.eyes is not None:
        drawn = [detector.eyes.draw(pixels, Random(seed)) for seed in (7, 7, 8)]
        assert drawn[0].dtype == np.uint8 and np.array_equal(drawn[0], drawn[1])
        again = torch.from_numpy(np.ascontiguousarray(drawn[0]))[None]
        with torch.inference_mode():
            assert network(again, features).shape == (1,)
