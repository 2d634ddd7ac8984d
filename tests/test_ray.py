"""The Ray engine: the rows of the local one, whatever becomes of actors and nodes."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Call, jsonl_rows, textured
from PIL import Image

from nsnet_cli import Detector
from nsnet_cli.errors import NsnetError, UsageError, WeightsError
from nsnet_cli.results.document import ErrorInfo, PictureResult

pytest.importorskip("ray", reason="needs Ray: pip install 'nsnet-cli[ray]'")

from nsnet_cli.engines.on_ray import Pool, PoolSize, RayEngine, _raised, _same, _Scanner

TESTS = Path(__file__).resolve().parent
NODE = {"num_cpus": 1, "object_store_memory": 100_000_000}


@pytest.fixture(scope="module")
def hostile() -> Iterator[None]:
    """In the processes of a Ray that begins now pictures misbehave by name, and all take a little time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_RUNTIME_ENV_HOOK", "hostile.runtime_env")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("HOSTILE_SECONDS", "0.03")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]))
        yield


@pytest.fixture(scope="module")
def cluster(hostile: None) -> Iterator[Any]:
    """A head and a node of one CPU each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


def _alike(path: Path) -> list[dict[str, Any]]:
    """Rows without what differs from scan to scan."""
    return [{k: v for k, v in row.items() if k not in ("scanned_at", "elapsed_ms")} for row in jsonl_rows(path)]


def _assert_same_rows(ours: Path, theirs: Path) -> None:
    for one, other in zip(_alike(ours), _alike(theirs), strict=True):
        for name in ("score", "probability"):
            assert one.pop(name) == pytest.approx(other.pop(name), abs=1e-3)
        assert one == other


def test_rows_are_those_of_the_local_engine_and_resumed(
    call: Call, cluster: Any, many_pictures: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(many_pictures.parent)  # so that paths mean something in one folder only
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.fromarray(textured(230, 230, seed=50)).save(odd)
    twice = f"{many_pictures.name}/a/000.png"
    inputs = (f"{many_pictures.name}/a", f"{many_pictures.name}/b/torn.png", "nosuch.png", str(odd), twice, twice)
    # Without processes that decode, here and below, because each would import PyTorch once more.
    command = ("-q", "scan", *inputs, "--weights", os.path.relpath(tiny_weights), "--workers", "0")
    local, ours = tmp_path / "local.jsonl", tmp_path / "ray.jsonl"
    on_ray = ("--engine", "ray", "--ray-address", cluster.address)
    assert call(*command, "-o", str(local))[0] == 3
    code, out, said = call(*command, *on_ray, "-o", str(ours))
    assert code == 3 and not out and not said  # none of Ray's words either
    _assert_same_rows(ours, local)
    lines = ours.read_bytes().splitlines(keepends=True)
    ours.write_bytes(b"".join(lines[:5] + lines[9:15]))
    assert call(*command, *on_ray, "--ray-workers", "1", "--resume", "-o", str(ours))[0] == 3
    _assert_same_rows(ours, local)
    assert set(lines[:5] + lines[9:15]) <= set(ours.read_bytes().splitlines(keepends=True))


def test_a_node_that_dies_in_the_middle_loses_and_doubles_nothing(
    call: Call, cluster: Any, many_pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    listed, out = tmp_path / "list", tmp_path / "out.jsonl"
    paths = [*map(str, many_pictures.glob("a/*.png")), str(many_pictures / "b" / "torn.png")] * 8
    listed.write_text("\n".join(paths))
    node, rows_then = next(iter(cluster.worker_nodes)), 0

    def kill() -> None:
        nonlocal rows_then
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not (out.exists() and out.stat().st_size):
            time.sleep(0.01)
        cluster.remove_node(node, allow_graceful=False)
        rows_then = len(out.read_bytes().splitlines())

    killer = threading.Thread(target=kill)
    killer.start()
    on_ray = ("--engine", "ray", "--ray-address", cluster.address, "--workers", "0")
    code, _, _ = call("scan", "--from-file", str(listed), "--weights", str(tiny_weights), *on_ray, "-o", str(out))
    killer.join()
    cluster.add_node(**NODE)
    assert code == 3 and 0 < rows_then < len(paths)
    rows = jsonl_rows(out)
    assert [row["path"] for row in rows] == paths and [row["input_index"] for row in rows] == list(range(len(paths)))
    assert {row["error"]["code"] for row in rows if "torn" in row["path"]} == {"truncated"}
    assert all(row["error"] is None for row in rows if "torn" not in row["path"])


def test_a_picture_that_kills_its_actor_costs_one_row(
    call: Call,
    cluster: Any,
    many_pictures: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nsnet_cli.engines.on_ray._BLOCKS", (2, 1))  # the same with fewer passes
    folder = _pictures_like(many_pictures, tmp_path, "1", "2-segfault", "3", "4")
    on_ray = ("--engine", "ray", "--ray-address", cluster.address, "--ray-workers", "1", "--workers", "0")
    code, out, _ = call("scan", str(folder), "--weights", str(tiny_weights), *on_ray, "--json")
    results = json.loads(out)["results"]
    assert code == 3 and [Path(r["path"]).stem for r in results] == ["1", "2-segfault", "3", "4"]
    assert [r["error"] and r["error"]["code"] for r in results] == [None, "decode_failed", None, None]
    assert "process died of this file" in results[1]["error"]["message"]
    assert "Ray engine" in results[1]["error"]["message"]


def test_a_ray_of_its_own_is_ended_and_says_nothing_where_decoders_die(
    call: Call, hostile: None, many_pictures: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    import ray

    folder = _pictures_like(many_pictures, tmp_path, "1", "2-segfault", "3-hang")
    options = ("--engine", "ray", "--workers", "1", "--timeout", "1", "--format", "jsonl")
    code, out, said = call("-q", "scan", str(folder), "--weights", str(tiny_weights), *options)
    assert code == 3 and not said and not ray.is_initialized()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["error"] and row["error"]["code"] for row in rows] == [None, "decode_failed", "timeout"]
    assert "SIGSEGV" in rows[1]["error"]["message"]


def _pictures_like(many_pictures: Path, folder: Path, *names: str) -> Path:
    for name in names:
        (folder / f"{name}.png").symlink_to(many_pictures / "a" / "000.png")
    return folder


class _Flaky(RayEngine):
    """The engine with passes that go as they are told, and no Ray."""

    def __init__(self, *passes: Callable[[Sequence[int], int], Iterator[int]]) -> None:
        self._pool, self._passes = Pool(PoolSize(1, 1), 1, 0), list(passes)
        self.sizes: list[int] = []

    def _ask(self, asked: Sequence[str], positions: Sequence[int], size: int) -> Iterator[tuple[int, PictureResult]]:
        self.sizes.append(size)
        for position in self._passes.pop(0)(positions, size):
            yield position, PictureResult(asked[position], "now", 0.0)


def _whole(positions: Sequence[int], size: int) -> Iterator[int]:
    return iter(positions)


def _some(positions: Sequence[int], size: int) -> Iterator[int]:
    return iter(k for k in positions if k % 50)


def _broken(positions: Sequence[int], size: int) -> Iterator[int]:
    yield from positions[:10]
    yield from positions[:2]
    raise OSError("a node was lost with blocks that nobody had fetched")


def _nothing(positions: Sequence[int], size: int) -> Iterator[int]:
    raise OSError("no node left")
    yield 0


def test_each_path_has_one_result_whatever_passes_bring() -> None:
    paths = [f"{k % 7}.png" for k in range(200)]
    for passes, sizes in (
        ([_whole], [32]),
        ([_some, _whole], [32, 32]),  # nor is one that brought most
        ([_broken, _broken, _some, _broken], [32, 32, 32, 32]),  # a pass that breaks off is no try
        ([_some, _some, _some, _some, _some], [32, 32, 8, 1, 1]),
    ):
        engine = _Flaky(*passes)
        found = list(engine(paths))
        assert sorted(k for k, _ in found) == list(range(200)) and engine.sizes == sizes
        assert all(result.path == paths[k] for k, result in found)
        lost = [k for k, result in found if result.error is not None]
        assert lost == ([0, 50, 100, 150] if len(passes) == 5 else [])
    assert isinstance(found[-1][1].error, ErrorInfo) and found[-1][1].error.code == "decode_failed"
    with pytest.raises(NsnetError, match="Ray gave up: OSError: no node left"):
        list(_Flaky(_some, _nothing)(paths))


def test_an_actor_says_what_is_wrong_and_the_driver_raises_it(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa

    detector = Detector.load(str(tiny_weights), network=False, patches=False)
    same = {**_same(detector), "options": "0" * 16}
    limits = [detector.options.max_pixels, detector.options.max_bytes]
    rest = {"trust_list": None, "batch_size": 1, "workers": 0, "timeout": 1.0, "threads": 1}

    def said(weights: str) -> Exception:
        scanner = _Scanner({"weights": weights, "patches": False}, limits, same=same, **rest)  # type: ignore[arg-type]
        table = scanner(pa.table({"position": [0], "path": [b"x.png"]}))
        assert table["position"].to_pylist() == [-1]
        return _raised(**json.loads(table["row"][0].as_py()))

    other = said(str(tiny_weights))
    assert isinstance(other, UsageError) and "options" in str(other) and "every node needs the same" in str(other)
    missing = said("nosuch")
    assert isinstance(missing, WeightsError) and socket.gethostname() in str(missing)
    same = _same(detector)
    monkeypatch.setattr(Detector, "scan_many", lambda self, *args: iter([1 / 0 for _ in args]))
    mistake = said(str(tiny_weights))
    assert type(mistake) is NsnetError and "ZeroDivisionError" in str(mistake)


def test_a_result_survives_json(tiny_weights: Path, many_pictures: Path) -> None:
    detector = Detector.load(str(tiny_weights), stability=True)
    for path in (str(many_pictures / "a" / "000.png"), str(many_pictures / "b" / "torn.png"), "no\udcff.png"):
        result = detector.scan(path)
        assert PictureResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_actors_are_as_many_as_the_cluster_feeds() -> None:
    cpus = [{"CPU": 16.0}, {"CPU": 3.0}]
    gpus = [{"CPU": 32.0, "GPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}, {"CPU": 64.0}]
    assert Pool.of(cpus, "auto", None) == Pool(PoolSize(9, 9), 2, 0)
    assert Pool.of([{"CPU": 1.0}], "auto", None) == Pool(PoolSize(1, 1), 1, 0)
    assert Pool.of([], "auto", None) == Pool(PoolSize(1, 1), 2, 0)
    assert Pool.of(gpus, "auto", None) == Pool(PoolSize(5, 5), 4, 1)
    assert Pool.of(gpus, "cpu", PoolSize.parse("2:8")) == Pool(PoolSize(2, 8), 2, 0)
    with pytest.raises(UsageError, match="has no GPU"):
        Pool.of(cpus, "cuda", None)
    for wrong in ("0", "3:2", "x", "1:", "-1"):
        with pytest.raises(UsageError, match="expected a number or MIN:MAX"):
            PoolSize.parse(wrong)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("x.jpg", "--ray-address", "auto"), "are for --engine ray"),
        (("x.jpg", "--ray-workers", "2"), "are for --engine ray"),
        (("-", "--engine", "ray"), "cannot be sent to a cluster"),
        (("x.jpg", "--engine", "ray", "--device", "mps"), "cpu or cuda, not mps"),
        (("x.jpg", "--engine", "ray", "--ray-workers", "3:1"), "expected a number or MIN:MAX"),
        (("x.jpg", "--engine", "ray", "--ray-address", "ray://there:1"), "on a node of the cluster"),
        (("x.jpg", "--engine", "ray", "--ray-address", "127.0.0.1:1"), "no Ray cluster answers there"),
        (("x.jpg", "--engine", "ray", "--ray-address", "nonsense"), "--ray-address nonsense"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(
    call: Call, tiny_weights: Path, tmp_path: Path, args: tuple[str, ...], word: str
) -> None:
    rows = tmp_path / "rows.csv"
    code, out, said = call("scan", *args, "--weights", str(tiny_weights), "-o", str(rows))
    assert code == 2 and word in said.replace("\n", " ") and not out
    assert not list(tmp_path.glob("*journal*"))


def test_without_ray_the_command_says_how_to_get_it(
    call: Call, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, said = call("scan", "x.jpg", "--weights", str(tiny_weights), "--engine", "ray")
    assert code == 2 and "pip install 'nsnet-cli[ray]'" in said
