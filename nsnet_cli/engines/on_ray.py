"""The Ray engine: Ray Data takes blocks of paths to actors, each with a detector of its own, and rows back.

It has the shape of ``enumerate(Detector.scan_many(...))``: paths in, positions and results out.  Ray schedules,
places and restarts; here is only what Ray cannot know: that each path must have exactly one result.  A block
whose actor dies gives none (tasks are not tried again by Ray: one that waits for an actor of a lost node would
wait for ever), so what has no result at the end of a pass is asked for again in smaller blocks, and alone at last.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import queue
import re
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsnet_cli import __version__
from nsnet_cli.engines.workers import enough_workers
from nsnet_cli.errors import ExitCode, NsnetError, UsageError, WeightsError
from nsnet_cli.inputs.sources import modified
from nsnet_cli.inputs.sources.address import is_url
from nsnet_cli.results.document import DIED_OF_IT, ErrorInfo, PictureResult, nanoseconds_utc, now_utc

if TYPE_CHECKING:
    import pyarrow as pa

    from nsnet_cli.detector import Detector

# Pictures a block, pass by pass.  Rows of the first mostly stay below the 100 kB that Ray keeps with the driver, out
# of reach of a node's death.
_BLOCKS = (32, 8, 1, 1)
# More blocks than this take long to hand over: those of the first pass are larger then.
_MANY_BLOCKS = 5_000
_CPUS = 2
_CONNECT_SECONDS = 5.0
# Seconds without any block at which Ray Data gives up, unless a block may take longer.
_NO_PROGRESS = 1800.0
_WRONG = -1
_ENVIRONMENT = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A Ray that we start works with the priority of the local engine, not with niceness 15.
    "RAY_worker_niceness": "0",
    # At an address where something else listens Ray would try for ten minutes.
    "RAY_NUM_REDIS_GET_RETRIES": "1",
    "RAY_py_gcs_connect_timeout_s": "5",
}


@dataclass(frozen=True)
class PoolSize:
    """How many actors there may be."""

    least: int
    most: int

    @classmethod
    def parse(cls, text: str) -> PoolSize:
        """``4`` or ``2:16``.  Raises `UsageError`."""
        found = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?", text)
        size = cls(int(found[1]), int(found[2] or found[1])) if found else None
        if size is None or not 1 <= size.least <= size.most:
            raise UsageError(f"--ray-workers {text}: expected a number or MIN:MAX, such as 4 or 2:16")
        return size


@dataclass(frozen=True)
class Pool:
    """Actors, and what each takes of the cluster."""

    size: PoolSize
    cpus: int
    gpus: int

    @classmethod
    def of(cls, nodes: Sequence[Mapping[str, float]], device: str, size: PoolSize | None) -> Pool:
        """For a cluster of ``nodes``, by their resources: an actor a GPU, or one for every two CPUs.

        Raises `UsageError` for ``device`` ``cuda`` where there is none.
        """
        with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1 and device != "cpu"]
        if with_gpu:
            count = sum(int(node["GPU"]) for node in with_gpu)
            cpus = max(1, min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpu))
            return cls(size or PoolSize(count, count), cpus, 1)
        if device == "cuda":
            raise UsageError("--device cuda: the Ray cluster has no GPU; use --device cpu, or auto")
        found = [int(node.get("CPU", 0)) for node in nodes]
        cpus = 1 if max(found, default=0) == 1 else _CPUS
        count = max(1, sum(n // cpus for n in found))
        return cls(size or PoolSize(count, count), cpus, 0)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connected to the cluster at ``address``, or with a Ray of our own that ends with us.

    What Ray prints is kept away: it has logs.  Raises `UsageError` where Ray is not installed or not to be reached.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError("--engine ray needs an extra: pip install 'nsnet-cli[ray]'") from error
    if address is not None:
        _check_reachable(address)
    # `local`, or Ray would take whatever cluster RAY_ADDRESS names.
    mine: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 1 << 29} if address is None else {}
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        _hush()
        try:
            with _standard_error_closed():
                ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **mine)
        except (RuntimeError, ValueError, OSError) as error:
            where = "Ray could not be started here" if address is None else f"--ray-address {address}"
            raise UsageError(f"{where}: {str(error).splitlines()[0]}") from error
        try:
            yield
        finally:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    if address.startswith("ray://"):
        raise UsageError(f"--ray-address {address}: start nsnet on a node of the cluster, with HOST:PORT or auto")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # `auto` and the like: Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray-address {address}: no Ray cluster answers there ({error})") from error


@contextlib.contextmanager
def _standard_error_closed() -> Iterator[None]:
    """For what writes there without asking Python."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _hush() -> None:
    """Ray Data's messages go to its logs alone."""
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL + 1)


class RayEngine:
    """`Detector.scan_many` on the cluster that we are `connected` to.

    Every actor loads a detector by ``weights`` (a name or a path) with the options of ``detector``, whose network
    is never needed here, and refuses where its own differ.  ``workers`` decode for each actor (None: as many as
    its CPUs feed), ``timeout`` is in seconds.  ``device`` is then that of the actors.
    """

    def __init__(
        self,
        detector: Detector,
        weights: str,
        trust_list: Path | None,
        device: str,
        size: PoolSize | None,
        batch_size: int,
        workers: int | None,
        timeout: float,
    ) -> None:
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._pool = pool = Pool.of(nodes, device, size)
        self.device = "cuda" if pool.gpus else "cpu"
        self._timeout = timeout
        by_path = detector.weights.path == Path(weights).expanduser()
        options = detector.options
        self._actor = {
            "load": {
                "weights": str(detector.weights.path.absolute()) if by_path else weights,
                "device": self.device,
                "precision": detector.asked_precision,
                "views": options.views,
                "threshold": options.threshold,
                "patches": options.patches,
                "stability": options.stability,
                "profile": None if options.profile is None else options.profile.name,
                "provenance": options.provenance,
            },
            "limits": [options.max_pixels, options.max_bytes],
            "trust_list": None if trust_list is None else str(trust_list.absolute()),
            "same": _same(detector),
            "batch_size": batch_size,
            "workers": enough_workers(pool.cpus, bool(pool.gpus)) if workers is None else workers,
            "timeout": timeout,
            "threads": pool.cpus,
        }

    def __call__(self, paths: Iterable[str]) -> Iterator[tuple[int, PictureResult]]:
        """A result for each of ``paths`` with its position, in order but for those of lost actors, which come last.

        The list is read to its end first.  Raises what an actor raises, and `NsnetError` where Ray gives up.
        """
        asked = list(paths)
        done = bytearray(len(asked))
        enough_for_all = -(-len(asked) // (4 * self._pool.size.most))
        sizes = [max(1, min(size, enough_for_all)) for size in _BLOCKS]
        sizes[0] = max(sizes[0], len(asked) // _MANY_BLOCKS)
        passes = 0
        while sizes and (missing := [k for k, there in enumerate(done) if not there]):
            came, passes = 0, passes + 1
            try:
                for position, result in self._ask(asked, missing, sizes[0]):
                    if not done[position]:
                        done[position] = True
                        came += 1
                        yield position, result
                if 2 * came <= len(missing):  # a pass that brought most was broken by a node's death, not by a picture
                    sizes.pop(0)
            except NsnetError:
                raise
            except Exception as error:  # of many kinds: blocks that a lost node held, no progress, no resources
                if not came:
                    why = (str(error).splitlines() or [""])[0]
                    raise NsnetError(f"Ray gave up: {type(error).__name__}: {why}; Ray's logs say more") from error
        for position, there in enumerate(done):
            if not there:
                yield position, _lost(asked[position], passes)

    def _ask(self, asked: Sequence[str], positions: Sequence[int], size: int) -> Iterator[tuple[int, PictureResult]]:
        """One pass of Ray Data over ``positions`` in blocks of ``size``; blocks whose actor died are left out."""
        import pyarrow as pa
        import ray.data

        context = ray.data.DataContext.get_current()
        context.max_errored_blocks = -1
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        context.execution_no_progress_timeout_s = max(_NO_PROGRESS, size * self._timeout)
        blocks = [
            pa.table({"position": part, "path": [os.fsencode(_anywhere(asked[k])) for k in part]})
            for part in (positions[k : k + size] for k in range(0, len(positions), size))
        ]
        pool = ray.data.ActorPoolStrategy(
            min_size=min(self._pool.size.least, len(blocks)),
            max_size=min(self._pool.size.most, len(blocks)),
            # Asked for alone a picture shall take no other one's actor with it.
            max_tasks_in_flight_per_actor=1 if size == 1 else None,
        )
        with warnings.catch_warnings(action="ignore"):  # until Ray 2.64 there is no other way to say `max_task_retries`
            rows = ray.data.from_arrow(blocks).map_batches(
                _Scanner,
                fn_constructor_kwargs=self._actor,
                batch_size=size,
                batch_format="pyarrow",
                compute=pool,
                num_cpus=self._pool.cpus,
                num_gpus=self._pool.gpus or None,
                max_task_retries=0,
            )
        table: Any
        for table in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            for position, text in zip(table["position"].to_pylist(), table["row"].to_pylist(), strict=True):
                if position == _WRONG:
                    raise _raised(**json.loads(text))
                result = PictureResult.from_dict(json.loads(text))
                yield position, replace(result, path=asked[position])


class _Scanner:
    """An actor's life: load once, then a block of paths in, a block of rows as JSON out.

    What goes wrong without being a picture's fault is a row, too, and raised by the driver.
    """

    def __init__(
        self,
        load: dict[str, Any],
        limits: Sequence[int],
        trust_list: str | None,
        same: dict[str, str],
        batch_size: int,
        workers: int,
        timeout: float,
        threads: int,
    ) -> None:
        self._wrong: Exception | None = None
        self._batch_size, self._workers = batch_size, workers
        try:
            from nsnet_cli.detector import Detector
            from nsnet_cli.inputs.limits import DecodeLimits

            trusted = None if trust_list is None else Path(trust_list)
            self._detector = Detector.load(**load, limits=DecodeLimits(*limits), trust_list=trusted, threads=threads)
            for what, here in _same(self._detector).items():
                if here != same[what]:
                    raise UsageError(
                        f"{what} {here[:12]}, not {same[what][:12]} as where the scan began: "
                        "every node needs the same version and files"
                    )
            # Asked without an end, so that workers and the archives that they have open outlive a block.
            self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
            self._found = self._detector.scan_many(iter(self._asked.get, None), batch_size, workers, timeout)
        except Exception as error:
            self._wrong = error

    def __call__(self, block: pa.Table) -> pa.Table:
        import pyarrow as pa

        try:
            if self._wrong is not None:
                raise self._wrong
            paths = [os.fsdecode(path) for path in block["path"].to_pylist()]
            rows = [json.dumps(result.to_dict()) for result in self._scan(paths)]
            return pa.table({"position": block["position"], "row": rows})
        except Exception as error:
            if isinstance(error, NsnetError):
                code, said = error.exit_code, str(error)
            else:
                code, said = ExitCode.INTERNAL, f"internal error: {type(error).__name__}: {error}"
            row = json.dumps({"code": code, "message": f"on {socket.gethostname()}: {said}"})
            return pa.table({"position": [_WRONG], "row": [row]})

    def _scan(self, paths: Sequence[str]) -> Iterator[PictureResult]:
        if not self._workers:
            return self._detector.scan_many(paths, self._batch_size)
        for path in paths:
            self._asked.put(path)
        return itertools.islice(self._found, len(paths))


def _same(detector: Detector) -> dict[str, str]:
    """What must be alike on every node."""
    return {
        "nsnet": __version__,
        "weights": detector.weights.sha256,
        "options": detector.options.hash(),
    }


def _raised(code: int, message: str) -> NsnetError:
    """What an actor said, as what it was."""
    kinds: dict[int, type[NsnetError]] = {kind.exit_code: kind for kind in (UsageError, WeightsError)}
    return kinds.get(code, NsnetError)(message)


def _anywhere(path: str) -> str:
    """An address that means the same in another folder."""
    return path if is_url(path) else os.path.join(Path.cwd(), path)


def _lost(path: str, passes: int) -> PictureResult:
    why = f"{DIED_OF_IT}, or its node was lost: the Ray engine tried {passes} times"
    modified_at = nanoseconds_utc(modified(path))
    return PictureResult(path, now_utc(), 0.0, modified_at=modified_at, error=ErrorInfo("decode_failed", why))
