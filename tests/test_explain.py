"""``nsnet explain``: the map of a picture, its budget, its regions, and what a user sees of it."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nsnet_cli.detector import Detector
from nsnet_cli.errors import UsageError
from nsnet_cli.explain import Tile, chart, cover, explain
from nsnet_cli.report.colours import colours, css_colour
from nsnet_cli.report.overlay import overlay

Run = Callable[..., subprocess.CompletedProcess[bytes]]
SIDE = 384


@settings(max_examples=60, deadline=None, derandomize=True)
@given(width=st.integers(30, 4000), height=st.integers(30, 4000))
def test_tiles_lie_inside_overlap_and_leave_no_gap(width: int, height: int) -> None:
    side = min(SIDE, width, height)
    tiles = cover(width, height, side)
    assert all(0 <= t.x <= width - side and 0 <= t.y <= height - side for t in tiles)
    for starts, length in ((sorted({t.x for t in tiles}), width), (sorted({t.y for t in tiles}), height)):
        assert starts[0] == 0 and starts[-1] + side == length
        assert all(b - a <= 0.75 * side + 1 for a, b in itertools.pairwise(starts))
    assert len(tiles) == len({t.x for t in tiles}) * len({t.y for t in tiles})


def bright_right(width: int) -> Callable[..., np.ndarray]:
    """Logits that say what lies right of the middle."""

    def said(tiles: list[Tile]) -> np.ndarray:
        inner = (np.arange(7) + 0.5) / 7
        rows = [np.tile(np.where(t.x + inner * t.side > width / 2, 3.0, -3.0), (7, 1)) for t in tiles]
        return np.stack(rows)

    return said


@settings(max_examples=40, deadline=None, derandomize=True)
@given(width=st.integers(64, 6000), height=st.integers(64, 6000), budget=st.integers(1, 40))
def test_the_map_shows_what_tiles_say_within_the_budget(width: int, height: int, budget: int) -> None:
    finest = min(SIDE, width, height)
    values, tiles, cell = chart(width, height, finest, budget, bright_right(width))
    assert len(tiles) <= budget
    assert values.shape == (-(-height // cell), -(-width // cell))
    known = ~np.isnan(values)
    # Only a strip that is longer than the budget reaches has cells that nobody looked at.
    assert known.all() or max(width, height) / min(width, height) > max(1, budget // 2) / 2
    centres = (np.arange(values.shape[1]) + 0.5) * cell
    blur = max(t.side for t in tiles) / 5 + cell
    left, right = centres < width / 2 - blur, centres > width / 2 + blur
    assert (values[:, left][known[:, left]] < 0).all() and (values[:, right][known[:, right]] > 0).all()


@pytest.mark.parametrize("short", [1, 2, 3, 16])
@pytest.mark.parametrize(("long", "budget"), [(500, 24), (5_000, 24), (65_000, 24), (65_000, 1)])
def test_the_thinnest_strips_have_a_map(short: int, long: int, budget: int) -> None:
    for width, height in ((long, short), (short, long)):
        values, tiles, _ = chart(width, height, min(SIDE, short), budget, bright_right(width))
        assert len(tiles) <= budget and not np.isnan(values).all()


def test_a_large_picture_is_looked_at_closely_where_most_is_found() -> None:
    width, height = 6000, 4000
    _, tiles, _ = chart(width, height, SIDE, 24, bright_right(width))
    fine = [t for t in tiles if t.side == SIDE]
    assert 0 < len(fine) < len(tiles) == 24
    assert all(t.x + SIDE > width / 2 for t in fine)


def test_colours_keep_their_order_for_those_who_see_no_green_and_red() -> None:
    shades = colours(np.linspace(-5, 5, 50).astype(np.float32)).astype(int)
    difference = shades[:, 0] - shades[:, 2]  # red minus blue: what remains without telling red from green
    assert (np.diff(difference) >= 0).all() and difference[0] < -100 and difference[-1] > 100
    assert css_colour(9.0) == "#e66101" and css_colour(0.0) == "#f7f7f7"


@pytest.fixture(scope="module")
def detector(tiny_weights: Path) -> Detector:
    return Detector.load(str(tiny_weights))


def test_explaining_says_the_verdict_of_a_scan(detector: Detector, picture: Callable[..., Path]) -> None:
    path = str(picture("c.jpg", 900, 500, seed=3, quality=92))
    found, scanned = explain(detector, path, budget=6), detector.scan(path)
    assert (found.result.score, found.result.verdict) == (scanned.score, scanned.verdict)
    assert len(found.tiles) <= 6 and found.lowest < found.highest
    x, y = found.peak
    assert found.values[y // found.cell, x // found.cell] == found.values.max()
    again = explain(detector, path, budget=6)
    assert np.array_equal(found.values, again.values)
    page = overlay(found)
    assert page.width >= 900 and page.height > 500
    with pytest.raises(UsageError, match="budget"):
        explain(detector, path, budget=0)


def test_turned_and_small_pictures_are_mapped_as_they_are_shown(detector: Detector, tmp_path: Path) -> None:
    from conftest import textured

    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(textured(300, 200, seed=1)).save(tmp_path / "turned.jpg", exif=turned)
    found = explain(detector, str(tmp_path / "turned.jpg"))
    assert found.pixels.shape == (300, 200, 3) and found.values.shape == (10, 7)
    Image.fromarray(textured(40, 21, seed=1)).save(tmp_path / "small.png")
    small = explain(detector, str(tmp_path / "small.png"))
    assert small.values.shape == (1, 2) and "too_small" in small.result.warnings
    overlay(small)


def test_the_command_writes_overlay_and_numbers(
    run_nsnet: Run, tiny_weights: Path, picture: Callable[..., Path], tmp_path: Path
) -> None:
    path, output = picture("d.png", 500, 400, seed=6), tmp_path / "map.png"
    done = run_nsnet("explain", str(path), "-o", str(output), "--json", "--weights", str(tiny_weights))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "nsnet.explanation/1"
    assert document["result"]["path"] == str(path) and len(document["result"]["patches"]) == 49
    chart = document["map"]
    assert len(chart["values"]) == chart["rows"] == 13 and len(chart["values"][0]) == chart["columns"] == 16
    assert chart["kind"] == document["result"]["patch_score_kind"] == "probe-logit" and chart["tiles"]
    with Image.open(output) as page:
        assert page.format == "PNG" and page.width > 500
    assert run_nsnet("explain", str(path), "-o", str(output), "--weights", str(tiny_weights)).returncode == 2
    shown = run_nsnet("explain", str(path), "--weights", str(tiny_weights))
    assert shown.returncode == 0 and "does not show what was altered" in " ".join(
        shown.stdout.decode().replace("│", "").split()
    )
    assert max(map(len, shown.stdout.decode().splitlines())) <= 80


def test_what_cannot_be_explained_says_so(
    run_nsnet: Run, tiny_weights: Path, picture: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("no picture")
    done = run_nsnet("explain", str(tmp_path / "a.txt"), "--weights", str(tiny_weights))
    assert done.returncode == 3 and b"a.txt" in done.stderr and done.stdout == b""
    assert run_nsnet("explain", str(tmp_path / "gone.png"), "--weights", str(tiny_weights)).returncode == 3
    assert run_nsnet("explain", "-").returncode == 2
    wrong = run_nsnet("explain", str(picture()), "-o", str(tmp_path / "map.gif"))
    assert wrong.returncode == 2 and b"suffix" in wrong.stderr


def test_a_tile_that_is_the_window_scores_as_the_window_does(detector: Detector, picture: Callable[..., Path]) -> None:
    """Of a picture that is one window, the map is that window's probes, beside the mosaic as it is."""
    path = str(picture("one.png", 384, 384, seed=2))
    found, prepared = explain(detector, path), detector.prepare(path)
    assert prepared.views is not None
    mosaic = detector.network.look(prepared.views[:1], "mosaic").features
    window = detector.network.look(prepared.views[1:], "window", probes=True).probes_seen
    scores = detector.network.fused({"mosaic": [mosaic.rows(np.zeros(25, np.int64))], "window": [window]})
    assert [(t.x, t.y, t.side) for t in found.tiles] == [(0, 0, 384)]
    # Cells of 32 pixels are read between the middles of 5 x 5 probes: the middle one lies on the probe's own.
    assert found.values[6, 6] == pytest.approx(float(scores.reshape(5, 5)[2, 2]), abs=float(scores.std()))
    assert found.lowest >= float(scores.min()) - 1e-4 and found.highest <= float(scores.max()) + 1e-4
