"""What the tests share: pictures made on the spot, a tiny tower, the shipped weights, the corpus where it is."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from nsnet_cli.cli import app
from nsnet_cli.evaluation.labelled import LabelledPicture

# Arguments of a command line; its exit code, standard output and standard error.
Call = Callable[..., tuple[int, str, str]]

# The same examples every time: a failure that comes and goes teaches nothing.
settings.register_profile("nsnet", derandomize=True)
settings.load_profile("nsnet")

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "examples" / "rocket.jpg"
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The project's shared data; a stranger's clone has none, and the test says so."""
    if not (SHARED / "corpus" / "manifest.csv").is_file():
        pytest.skip("needs the corpus in ../shared, which is not part of the repository")
    return SHARED


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line in this process."""

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nsnet", *args])
        code = app._run()
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture(scope="session")
def run_nsnet() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run the command line as a user would, in its own process."""

    def run(*args: str, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "nsnet_cli", *args]
        return subprocess.run(command, input=stdin, capture_output=True, cwd=cwd or ROOT, check=False, timeout=300)

    return run


def textured(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture with structure at every scale, so that patches differ in entropy."""
    rng = np.random.default_rng(seed)
    out = np.zeros((height, width, 3))
    for scale in (1, 4, 16, 64):
        small = rng.normal(size=(height // scale + 1, width // scale + 1, 3)) * scale**0.5
        out += small.repeat(scale, 0).repeat(scale, 1)[:height, :width]
    out *= np.linspace(0.2, 1.5, width)[None, :, None]
    return (128 + 12 * out).clip(0, 255).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file of a picture in a format that Pillow writes."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Write a textured picture and give its path."""

    def make(name: str = "a.png", width: int = 320, height: int = 256, seed: int = 0, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(textured(width, height, seed)).save(path, **options)  # type: ignore[arg-type]
        return path

    return make


def labelled(name: str, label: int, group: str) -> LabelledPicture:
    """A row of a manifest that no file is behind."""
    return LabelledPicture(Path(name), name, label, group, "", "")


@pytest.fixture(scope="session")
def tiny_tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tower of two blocks with random weights: the same code paths in milliseconds."""
    from nsnet_cli.tower.file import save_tower
    from nsnet_cli.tower.vit import VisionTransformer
    from nsnet_cli.weights.shapes import VitConfig

    torch.manual_seed(0)
    config = VitConfig(patch_size=16, width=32, layers=2, heads=2, mlp_width=64, embed_dim=24)
    tower = VisionTransformer(config)
    for name, parameter in tower.named_parameters():
        if "ln_" not in name:
            torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("tower") / "tiny.safetensors"
    save_tower(path, tower.state_dict(), config, {"name": "tiny", "licence": "none", "origin": "random"})
    return path


@pytest.fixture(scope="session")
def tiny_weights(tiny_tower: Path) -> Path:
    """Weights on the tiny tower with random heads: a whole detector whose scores mean nothing, in milliseconds."""
    from nsnet_cli.disk import sha256_of
    from nsnet_cli.judges.head import ViewHeads
    from nsnet_cli.tower.file import tower_info
    from nsnet_cli.verdict.calibration import Calibration
    from nsnet_cli.views.selection import SelectionRecipe
    from nsnet_cli.weights.file import SEMANTIC, WeightsInfo, save_weights
    from nsnet_cli.weights.shapes import Adaptation, HeadConfig, SeveralLooks

    head, tower = HeadConfig(blocks=(1, 2), reduced=8, hidden=16), tower_info(tiny_tower).config
    torch.manual_seed(1)
    semantic = torch.linalg.qr(torch.randn(tower.embed_dim, 5))[0].T
    heads = ViewHeads(tower, head, semantic, ["mosaic", "window"])
    info = WeightsInfo(
        name="tiny",
        tower=tiny_tower.stem,
        tower_sha256=sha256_of(tiny_tower),
        selection=SelectionRecipe(),
        head=head,
        kernel=None,
        adaptation=Adaptation(),
        basis={},
        views=2,
        fusion={"mosaic": 0.5, "window": 0.5},
        several=SeveralLooks(),
        # Steep, and centred on what the random heads say of `textured` pictures, so that verdicts differ.
        calibration=Calibration(1000.0, 85.0, 0.3, 0.7, 0.02, 0.05, "nothing"),
        training={},
        licence="MIT",
    )
    path = tiny_tower.parent / "tiny-weights.safetensors"
    tensors = {f"head.{k}": v for k, v in heads.state_dict().items()}
    save_weights(path, tensors | {SEMANTIC: semantic}, info)
    return path


@pytest.fixture(scope="session")
def many_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small pictures in two folders, and two files that are none."""
    root = tmp_path_factory.mktemp("many")
    for k in range(40):
        path = root / ("b" if k % 3 else "a") / f"{k:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(textured(230, 230, seed=k)).save(path)
    (root / "b" / "torn.png").write_bytes((root / "a" / "000.png").read_bytes()[:2000])
    (root / "b" / "notes.txt").write_text("no picture")
    return root


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small pictures; the generated ones are dark, which even a random tower sees."""
    folder = tmp_path_factory.mktemp("corpus")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "generator", "split"])
        for k in range(40):
            label = k % 2
            pixels = textured(256, 256, seed=k).astype(int)
            pixels //= 1 + 3 * label
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{k}.png")
            writer.writerow([f"{k}.png", label, f"{'gen' if label else 'cam'}{'abcd'[k // 2 % 4]}-x", "train"])
        writer.writerow(["not-there.png", 1, "gen-val", "val"])
    return folder / "manifest.csv"


def jsonl_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
