"""Worker processes that read and decode: one file may crash, hang or eat memory, and costs one row.

Pictures come out in the order in which paths went in.  At most ``window`` of them are on the way, so memory is
bounded whatever the number of files; a picture of many megapixels waits until no other such one is being decoded.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from nsnet_cli.engines.preparing import Prepared, Preparer, prepare_safely
from nsnet_cli.engines.wire import from_bytes, to_bytes
from nsnet_cli.errors import UsageError
from nsnet_cli.inputs.decode import pixel_count
from nsnet_cli.inputs.limits import STDIN, limit_memory
from nsnet_cli.inputs.remarks import without_native_remarks
from nsnet_cli.inputs.sources import modified
from nsnet_cli.provenance.read import unread
from nsnet_cli.results.document import DIED_OF_IT, ErrorInfo

_POLL_SECONDS = 0.5
_LONGEST_SOCKET_FOLDER = 60
_SIGKILL = 9
_SAFE_PATH = "PYTHONSAFEPATH"
# From so many pixels on a picture is decoded while no other such one is.
_LARGE = 24_000_000
_WAITING = b"waiting"
_STARTED = b"started"
# Before a path, which holds no NUL: read it without provenance, of which a worker has died before.
_PLAINLY = b"\0"
_READY = b"ready"


def enough_workers(cores: int, accelerated: bool) -> int:
    """Processes that feed a network which has so many ``cores`` too, or an accelerator of its own."""
    return min(16, max(2, cores - 1 if accelerated else cores // 4))


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    index: int | None = None
    path: str = ""
    deadline: float | None = None
    ready: bool = False
    plainly: bool = False


class PreparePool:
    """Prepares files in worker processes.  Use as a context manager: leaving it ends the workers at once."""

    def __init__(self, preparer: Preparer, workers: int, timeout: float | None, window: int) -> None:
        self._preparer, self._count, self._timeout = preparer, workers, timeout
        self._room = threading.Semaphore(window)
        self._stop = threading.Event()
        self._in: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._out: queue.SimpleQueue[Prepared | BaseException | None] = queue.SimpleQueue()
        self._folder = tempfile.TemporaryDirectory(prefix="nsnet-")
        self._woken, self._wake = multiprocessing.Pipe(duplex=False)
        self._scheduler: threading.Thread | None = None

    def __enter__(self) -> PreparePool:
        return self

    def __exit__(self, *ended: object) -> None:
        self._stop.set()
        self._room.release()
        self._nudge()
        if self._scheduler is not None:
            self._scheduler.join()
        self._folder.cleanup()

    def batches(self, paths: Iterable[str], size: int) -> Iterator[list[Prepared]]:
        """Prepared files in order, in batches of up to ``size``: fewer where no more are ready, so nobody waits.

        ``paths`` are taken as they come; results do not wait for the next one.
        """
        self._scheduler = threading.Thread(target=self._run, name="nsnet-scheduler", daemon=True)
        self._scheduler.start()
        # Whoever lists the paths may block for ever, so nobody waits for this thread.
        threading.Thread(target=self._feed, args=(iter(paths),), name="nsnet-paths", daemon=True).start()
        ended = False
        while not ended:
            batch: list[Prepared] = []
            while len(batch) < size:
                try:
                    item = self._out.get(block=not batch)
                except queue.Empty:
                    break
                if item is None:
                    ended = True
                    break
                if isinstance(item, BaseException):
                    raise item
                batch.append(item)
            if batch:
                yield batch
                self._room.release(len(batch))

    def _feed(self, paths: Iterator[str]) -> None:
        """Take a path whenever there is room for one more picture on the way."""
        try:
            while self._room.acquire() and not self._stop.is_set():
                path = next(paths, None)
                if path == STDIN:
                    raise UsageError("standard input cannot be decoded in worker processes; scan it by itself")
                self._in.put(path)
                self._nudge()
                if path is None:
                    return
        except BaseException as error:  # whatever it is, the scan must hear of it
            self._out.put(error)

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send_bytes(b"")

    def _run(self) -> None:
        """The scheduler's thread."""
        workers: list[_Worker] = []
        try:
            self._schedule(workers)
            self._out.put(None)
        except BaseException as error:  # whatever it is, the scan must hear of it
            self._out.put(error)
        finally:
            for worker in workers:
                worker.process.kill()
            for worker in workers:
                worker.process.join()
                worker.pipe.close()

    def _schedule(self, workers: list[_Worker]) -> None:
        context = _context()
        waiting: deque[str] = deque()
        done: dict[int, Prepared] = {}
        given = emitted = 0
        exhausted = False
        while not self._stop.is_set():
            while not self._in.empty():
                path = self._in.get()
                if path is None:
                    exhausted = True
                else:
                    waiting.append(path)
            while waiting:
                worker = next((w for w in workers if w.ready and w.index is None), None)
                if worker is None:
                    if len(workers) < self._count:
                        workers.append(self._start(context))
                    break
                self._give(worker, given, waiting.popleft())
                given += 1
            while emitted in done:
                self._out.put(done.pop(emitted))
                emitted += 1
            if exhausted and not waiting and emitted == given:
                return
            self._listen(context, workers, done)

    def _listen(self, context: BaseContext, workers: list[_Worker], done: dict[int, Prepared]) -> None:
        """Wait for whatever comes first: a result, a death, a deadline, or somebody who took results."""
        now = time.monotonic()
        deadlines = [w.deadline for w in workers if w.deadline is not None]
        patience = min([_POLL_SECONDS, *(max(0.0, d - now) for d in deadlines)])
        came = wait([self._woken, *(w.pipe for w in workers), *(w.process.sentinel for w in workers)], patience)
        if self._woken in came:
            self._woken.recv_bytes()
        for k, worker in enumerate(workers):
            if worker.pipe in came or worker.process.sentinel in came:
                found = self._receive(worker)
            elif worker.deadline is not None and time.monotonic() >= worker.deadline:
                worker.process.kill()
                found = _failed(worker.path, "timeout", f"not decoded within {self._timeout:g} s (--timeout)")
                worker.process.join()
            else:
                continue
            alive = worker.process.is_alive()
            if not alive:
                worker.pipe.close()
                workers[k] = self._start(context)
                if found is not None and worker.index is not None and self._retry_plainly(worker, workers[k]):
                    continue
            if found is not None and worker.index is not None:
                done[worker.index] = found
                worker.index = worker.deadline = None

    def _retry_plainly(self, died: _Worker, fresh: _Worker) -> bool:
        """What a file says about itself must not cost its verdict: try once more without reading that."""
        if self._preparer.provenance is None or died.plainly:
            return False
        fresh.index, fresh.path, fresh.plainly = died.index, died.path, True
        return True

    def _receive(self, worker: _Worker) -> Prepared | None:
        """What a worker has to say: a result, or by its death that the file killed it; None for remarks."""
        try:
            while worker.pipe.poll():
                message = worker.pipe.recv_bytes()
                if message == _READY:
                    worker.ready = True
                    if worker.plainly:
                        self._send(worker)
                elif message == _WAITING:
                    worker.deadline = None  # until it may start: time spent waiting is not the file's fault
                elif message == _STARTED:
                    self._begin(worker)
                else:
                    return from_bytes(message)
        except (EOFError, OSError):
            worker.process.join(_POLL_SECONDS)
        if worker.process.is_alive():
            return None
        code = worker.process.exitcode or 0
        if not worker.ready:
            raise RuntimeError(f"a worker process ended before it began (exit code {code}); try --workers 0")
        hint = ", most likely for want of memory" if code == -_SIGKILL else ""
        return _failed(worker.path, "decode_failed", f"{DIED_OF_IT} ({_how(code)}{hint})")

    def _start(self, context: BaseContext) -> _Worker:
        ours, theirs = context.Pipe()
        lock = str(Path(self._folder.name) / "large")
        process = context.Process(target=_work, args=(theirs, self._preparer, lock), daemon=True)  # type: ignore[attr-defined]
        with _no_modules_of_this_folder():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _give(self, worker: _Worker, index: int, path: str) -> None:
        worker.index, worker.path, worker.plainly = index, path, False
        self._send(worker)

    def _send(self, worker: _Worker) -> None:
        self._begin(worker)
        # A worker that has just died is found by its sentinel, with this file as the last that it had.
        with contextlib.suppress(OSError):
            worker.pipe.send_bytes((_PLAINLY if worker.plainly else b"") + os.fsencode(worker.path))

    def _begin(self, worker: _Worker) -> None:
        worker.deadline = None if self._timeout is None else time.monotonic() + self._timeout


def _failed(path: str, code: str, message: str) -> Prepared:
    return Prepared(path, mtime_ns=modified(path), error=ErrorInfo(code, message))


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _context() -> BaseContext:
    """Processes forked from a server that has imported what takes long, where there is such a thing."""
    # The server listens at a socket in the folder for temporary files, and sockets' names are short.
    too_long = len(os.fsencode(tempfile.gettempdir())) > _LONGEST_SOCKET_FOLDER
    if too_long or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nsnet_cli.engines.preparing"])
    return context


@contextlib.contextmanager
def _no_modules_of_this_folder() -> Iterator[None]:
    """Python looks for no module in the folder that a process is started in: it may be a stranger's.

    Servers of processes are begun as ``python -c``, which looks there first.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


@without_native_remarks()
def _work(pipe: Connection, preparer: Preparer, lock: str) -> None:
    """A worker's life: a path in, a prepared picture out, until the pipe closes or somebody kills it."""
    # Ctrl-C and a scheduler's SIGTERM, which go to the whole group, are for the process that began the scan.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    limit_memory()
    pipe.send_bytes(_READY)

    @contextlib.contextmanager
    def room_for(data: bytes) -> Iterator[None]:
        if pixel_count(data) < _LARGE:
            yield
            return
        pipe.send_bytes(_WAITING)
        with _alone(lock):
            pipe.send_bytes(_STARTED)
            yield

    while True:
        try:
            message = pipe.recv_bytes()
        except EOFError:
            return
        path = os.fsdecode(message.removeprefix(_PLAINLY))
        if message.startswith(_PLAINLY):
            prepared = prepare_safely(replace(preparer, provenance=None), path, room_for)
            prepared = replace(prepared, provenance=unread("reading it ended the process that did so"))
        else:
            prepared = prepare_safely(preparer, path, room_for)
        pipe.send_bytes(to_bytes(prepared))


@contextlib.contextmanager
def _alone(lock: str) -> Iterator[None]:
    """Held by one process at a time, and let go by the system when that process dies."""
    from filelock import FileLock

    with FileLock(lock):
        yield
