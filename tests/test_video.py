"""Videos: key frames as rows, and a row that sums them up."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from conftest import Call, jsonl_rows, textured

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.decode import decode
from nsnet_cli.inputs.discover import Shard, WalkCount, WalkOptions, find_pictures
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.inputs.sources import read_source
from nsnet_cli.inputs.sources.video import look_through
from nsnet_cli.results.document import json_schema

av = pytest.importorskip("av")
LIMITS = DecodeLimits()
SIZE = (320, 240)


def write_clip(path: Path, scenes: list[int], codec: str = "mpeg4", between: int = 8) -> Path:
    """A second of 8 frames a scene, each of a texture of its own; every so many frames (``between``) a key frame."""
    with av.open(str(path), "w") as container:
        # Key frames are where they are wanted, not where scenes change.
        stream = container.add_stream(codec, rate=8, options={"sc_threshold": "1000000000"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *SIZE, "yuv420p", between
        stream.bit_rate = 4_000_000
        for number, scene in enumerate(scene for scene in scenes for _ in range(8)):
            frame = av.VideoFrame.from_ndarray(textured(*SIZE, seed=scene), format="rgb24")
            frame.pict_type = 1 if number % between == 0 else 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("video") / "clip ü.mp4", [0, 1, 1, 1, 2, 3])


def test_frames_are_spread_over_the_clip_and_near_duplicates_are_left_out(clip: Path) -> None:
    found = look_through(str(clip), 16, LIMITS)
    assert found.times == (0.0, 1.0, 4.0, 5.0) and found.seconds == pytest.approx(6.0)
    assert (found.width, found.height) == SIZE and found.places == 6
    fewer = look_through(str(clip), 2, LIMITS)
    assert len(fewer.times) == 2 and fewer.times[0] < 3 < fewer.times[1]


def test_the_last_key_frames_of_a_clip_whose_length_nobody_wrote(tmp_path: Path) -> None:
    path = tmp_path / "live.mkv"
    with av.open(str(path), "w", options={"live": "1"}) as container:
        try:
            stream = container.add_stream("libx264", rate=8, options={"g": "8", "sc_threshold": "0", "bf": "3"})
        except av.codec.codec.UnknownCodecError:
            pytest.skip("no encoder with delay here")
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for scene in (0, 1, 2):
            for _ in range(8):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(textured(*SIZE, seed=scene), format="rgb24")))
        container.mux(stream.encode())
    assert look_through(str(path), 16, LIMITS).times == (0.0, 1.0, 2.0)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "mpg", "ts", "flv"])
def test_containers_of_every_kind(suffix: str, tmp_path: Path) -> None:
    codec = {"mpg": "mpeg2video", "flv": "flv", "ts": "mpeg2video"}.get(suffix, "mpeg4")
    try:
        path = write_clip(tmp_path / f"clip.{suffix}", [0, 1, 2], codec=codec)
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"this FFmpeg cannot write {suffix}: {error}")
    *addresses, last = find_pictures([str(path)], WalkOptions(), WalkCount())
    assert len(addresses) >= 2 and last == str(path)
    for address in addresses:
        assert decode(read_source(address, LIMITS), LIMITS).size == SIZE


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda x: x),
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),  # a phone held upright
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda x: np.rot90(x, 2).swapaxes(0, 1)),
    ],
)
def test_frames_are_turned_and_mirrored_as_players_do(
    matrix: tuple[int, int, int, int], shown: Callable[[np.ndarray], np.ndarray], clip: Path, tmp_path: Path
) -> None:
    data = bytearray(clip.read_bytes())
    at = data.index(b"tkhd") + 44  # behind the layer, the group and the volume
    a, b, c, d = (65_536 * value for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    pixels = decode(read_source(f"{path}!frame/0.000s", LIMITS), LIMITS).pixels
    expected = shown(textured(*SIZE, seed=0)).astype(int)
    assert pixels is not None and pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 12
    found = look_through(str(path), 1, LIMITS)
    assert (found.height, found.width) == expected.shape[:2]


def test_of_a_clip_that_was_trimmed_without_being_compressed_anew_the_first_frame_is_looked_at(tmp_path: Path) -> None:
    whole, trimmed = write_clip(tmp_path / "whole.mp4", [0, 1, 2], between=24), tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(trimmed), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                packet.pts -= int(1.5 / stream.time_base)
                packet.dts -= int(1.5 / stream.time_base)
                packet.stream = copy
                target.mux(packet)
    found = look_through(str(trimmed), 4, LIMITS)
    assert found.places == 1 and len(found.times) == 1
    shown = decode(read_source(f"{trimmed}!frame/{found.times[0]:.3f}s", LIMITS), LIMITS).pixels
    far = [np.abs(shown.astype(int) - textured(*SIZE, seed=scene).astype(int)).mean() for scene in (0, 1, 2)]
    assert min(far) == far[1], far


def test_no_module_of_the_current_folder_is_run(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("numpy", "av"):
        (tmp_path / f"{module}.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert look_through(str(clip), 2, LIMITS).times
    assert not Path("ran").exists()


def test_a_frame_shows_what_the_clip_shows_there(clip: Path) -> None:
    for time, scene in ((0.0, 0), (1.0, 1), (4.0, 2), (5.0, 3)):
        pixels = decode(read_source(f"{clip}!frame/{time:.3f}s", LIMITS), LIMITS).pixels
        assert pixels is not None
        away = [np.abs(pixels.astype(int) - textured(*SIZE, seed=other)).mean() for other in range(4)]
        assert int(np.argmin(away)) == scene and min(away) < 12
    with pytest.raises(InputError, match="no frame") as refused:
        read_source(f"{clip}!frame/99.000s", LIMITS)
    assert refused.value.code == "not_found"


def test_damaged_videos_are_rows_that_say_so(clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    for name, data, code in (("cut.mp4", whole[: len(whole) // 2], "truncated"),
                             ("noise.mkv", b"\x1a\x45\xdf\xa3" + bytes(range(256)), "decode_failed")):  # fmt: skip
        path = tmp_path / name
        path.write_bytes(data)
        assert list(find_pictures([str(path)], WalkOptions(), WalkCount())) == [str(path)]
        with pytest.raises(InputError) as refused:
            read_source(str(path), LIMITS)
        assert refused.value.code == code
    with pytest.raises(InputError) as refused:
        look_through(str(clip), 16, DecodeLimits(max_pixels=1000))
    assert refused.value.code == "too_large"


def test_a_clip_alone_says_how_to_scan_it(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"one of them is .*!frame/\d+\.\d{3}s") as refused:
        read_source(str(clip), LIMITS)
    assert refused.value.code == "unsupported_format"
    monkeypatch.setitem(sys.modules, "av", None)
    assert list(find_pictures([str(clip)], WalkOptions(), WalkCount())) == [str(clip)]
    with pytest.raises(InputError, match=r"nsnet-cli\[video\]"):
        read_source(str(clip), LIMITS)


def test_a_scan_gives_a_row_a_frame_and_one_for_the_clip(
    clip: Path, tiny_weights: Path, call: Call, tmp_path: Path
) -> None:
    weights = ("--weights", str(tiny_weights))
    code, out, _ = call("scan", str(clip), "--json", *weights)
    document = json.loads(out)
    jsonschema.validate(document, json_schema())
    *frames, last = document["results"]
    assert code == 0 and [row["frame"]["time_s"] for row in frames] == [0.0, 1.0, 4.0, 5.0]
    assert all(row["format"] == "VIDEO" and "video_frame" in row["warnings"] for row in frames)
    assert all(row["provenance"] is None and row["frame"]["clip"] == str(clip) for row in frames)
    assert last["path"] == str(clip) and last["clip"]["frames"] == 4 and last["bytes"] == clip.stat().st_size
    spread = sorted(row["probability"] for row in frames)
    assert (last["clip"]["low"], last["clip"]["high"]) == (spread[0], spread[-1])
    assert last["probability"] == pytest.approx((spread[1] + spread[2]) / 2)
    table = call("scan", str(clip), *weights)[1]
    assert "4 frames: " in table and max(map(len, table.splitlines())) <= 80
    assert call("scan", str(clip), "--frames", "1", "--format", "csv", *weights)[1].count("\n") == 3
    page = tmp_path / "page.html"
    assert call("scan", str(clip), "-o", str(page), *weights)[0] == 0
    assert "its frames have cards of their own" in page.read_text("utf-8")


def test_a_clip_is_resumed_where_it_ended(clip: Path, tiny_weights: Path, call: Call, tmp_path: Path) -> None:
    out, weights = tmp_path / "rows.jsonl", ("--weights", str(tiny_weights))
    assert call("scan", str(clip), "-o", str(out), *weights)[0] == 0
    whole = jsonl_rows(out)
    lines = out.read_text("utf-8").splitlines(keepends=True)
    for kept in (2, 4, 5):
        out.write_text("".join(lines[:kept]), "utf-8")
        assert call("scan", str(clip), "-o", str(out), "--resume", *weights)[0] == 0
        rows = jsonl_rows(out)
        assert [row["path"] for row in rows] == [row["path"] for row in whole]
        assert [row["input_index"] for row in rows] == list(range(5))
        assert rows[-1]["clip"] == pytest.approx(whole[-1]["clip"], abs=1e-3)  # frames share batches by chance


def test_frames_and_their_clip_go_to_one_shard(clip: Path) -> None:
    addresses = list(find_pictures([str(clip)], WalkOptions(), WalkCount()))
    for number in range(1, 6):
        assert len({Shard(number, 5).takes(address) for address in addresses}) == 1


def test_a_walk_passes_over_videos_unless_they_are_asked_for(clip: Path) -> None:
    count = WalkCount(keep=True)
    assert list(find_pictures([str(clip.parent)], WalkOptions(), count)) == []
    assert count.listed[0].what.startswith("video (MP4")
    assert len(list(find_pictures([str(clip.parent)], WalkOptions(videos=True), WalkCount()))) == 5
