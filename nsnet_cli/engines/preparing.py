"""From a path to the views that the network sees: read, decode, select.  No weights are needed for it.

This is the part that meets hostile files, so it can run in worker processes (`nsnet_cli.engines.workers`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nsnet_cli.arrays import Pixels
from nsnet_cli.errors import InputError
from nsnet_cli.inputs.decode import FileFacts, Picture, channels_first, decode, facts_of, thumbnail_of
from nsnet_cli.inputs.limits import STDIN, DecodeLimits
from nsnet_cli.inputs.sources import modified, read_source
from nsnet_cli.inputs.sources.address import frame_of
from nsnet_cli.inputs.sources.video import VIDEO_FRAME
from nsnet_cli.provenance import ProvenanceReader
from nsnet_cli.results.document import WEAKENING_WARNINGS, ErrorInfo
from nsnet_cli.tower.blas import one_thread_a_product
from nsnet_cli.views.plan import Look, View
from nsnet_cli.views.selection import Selection

if TYPE_CHECKING:
    from nsnet_cli.views.deliveries import Delivery

# Below this side a picture is too small to be judged, whatever its patches say.
_LEAST_SIDE = 64
_TOO_SMALL = "too_small"


@dataclass(frozen=True)
class DeliveredViews:
    """What is seen of a delivered picture, as in `Prepared`; nothing where it cannot be delivered so.

    ``weak``: too little to judge.
    """

    delivery: str
    views: Pixels | None = None
    plan: tuple[View, ...] = ()
    weak: bool = False
    beside: Pixels | None = None


@dataclass(frozen=True)
class Prepared:
    """A picture on its way to the network: its ``views`` in the order of ``plan``, or the error that stopped it.

    ``beside`` is what a second eye sees, where a detector has one (`Views`).
    """

    path: str
    facts: FileFacts | None = None
    mtime_ns: int | None = None
    picture: Picture | None = None
    views: Pixels | None = None
    plan: tuple[View, ...] = ()
    selections: dict[int, Selection] = field(default_factory=dict)
    windows: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    thumbnail: NDArray[np.uint8] | None = None
    provenance: dict[str, Any] | None = None
    delivered: tuple[DeliveredViews, ...] = ()
    error: ErrorInfo | None = None
    seconds: float = 0.0
    beside: Pixels | None = None


@dataclass(frozen=True)
class Preparer:
    """What is done to every file alike.  Plain data, so that it can be sent to another process."""

    look: Look
    limits: DecodeLimits
    deliveries: tuple[Delivery, ...] = ()
    thumbnails: bool = False
    provenance: ProvenanceReader | None = None

    def __call__(
        self, path: str, room_for: Callable[[bytes], AbstractContextManager[object]] = lambda data: nullcontext()
    ) -> Prepared:
        """Read, decode and select; never raises for a bad picture.

        ``room_for`` is entered with the bytes of the file before it is decoded, for whoever must wait for memory.
        """
        started = time.perf_counter()
        prepared = Prepared(path, mtime_ns=modified(path))
        try:
            data = _read_stdin(self.limits) if path == STDIN else read_source(path, self.limits)
            prepared = replace(prepared, facts=facts_of(data))
            with room_for(data), one_thread_a_product():
                prepared = self._decoded(prepared, data)
        except InputError as error:
            prepared = replace(prepared, error=ErrorInfo(error.code, str(error)))
        return replace(prepared, seconds=time.perf_counter() - started)

    def _decoded(self, prepared: Prepared, data: bytes) -> Prepared:
        picture = decode(data, self.limits)
        is_frame = frame_of(prepared.path) is not None
        if is_frame:
            picture = replace(picture, format="VIDEO", warnings=(*picture.warnings, VIDEO_FRAME))
        assert picture.pixels is not None
        views = self.look(channels_first(picture.pixels))
        return replace(
            prepared,
            # The pixels have done their work; keeping them would make a batch as large as its pictures.
            picture=replace(picture, pixels=None),
            views=views.pixels,
            plan=views.plan,
            selections=views.selections,
            windows=views.windows,
            warnings=(*picture.warnings, *((_TOO_SMALL,) if _is_small(picture.size) else ()), *views.warnings),
            beside=views.beside,
            thumbnail=thumbnail_of(picture.pixels) if self.thumbnails else None,
            # A frame is pixels alone: what the clip says of itself is nothing of its.
            provenance=None if self.provenance is None or is_frame else self.provenance(data, picture.format),
            delivered=tuple(self._delivered(picture.pixels, d, prepared.facts) for d in self.deliveries),
        )

    def _delivered(self, pixels: NDArray[np.uint8], delivery: Delivery, facts: FileFacts | None) -> DeliveredViews:
        """Views of the delivered picture; what is random in it hangs on the file's bytes, never on its name."""
        try:
            image = delivery(Image.fromarray(pixels), facts.sha256 if facts else "")
            return seen(self.look, channels_first(np.array(image)), delivery.spec)
        except (OSError, ValueError, MemoryError):
            # Larger than a format allows, or than memory: this delivery does not exist for this picture.
            return DeliveredViews(delivery.spec)


def seen(look: Look, pixels: Pixels, delivery: str) -> DeliveredViews:
    """What a detector sees of the pixels ``(3, H, W)`` uint8 of a picture that was delivered so."""
    views = look(pixels)
    height, width = pixels.shape[1:]
    weak = _is_small((width, height)) or bool(WEAKENING_WARNINGS & set(views.warnings))
    return DeliveredViews(delivery, views.pixels, views.plan, weak, views.beside)


def prepare_safely(
    preparer: Preparer, path: str, room_for: Callable[[bytes], AbstractContextManager[object]] | None = None
) -> Prepared:
    """What ``preparer`` makes of a file; whatever it raises, our own mistakes too, costs that file's row alone."""
    try:
        return preparer(path) if room_for is None else preparer(path, room_for)
    except MemoryError:
        error = ErrorInfo("too_large", "not enough memory; lower --max-pixels")
    except Exception as wrong:
        error = ErrorInfo("decode_failed", f"internal error, please report it: {type(wrong).__name__}: {wrong}")
    return Prepared(path, mtime_ns=modified(path), error=error)


def _is_small(size: tuple[int, int]) -> bool:
    return min(size) < _LEAST_SIDE


def _read_stdin(limits: DecodeLimits) -> bytes:
    if sys.stdin is None:
        raise InputError("empty", "standard input is closed")
    data = sys.stdin.buffer.read(limits.max_bytes + 1)
    if len(data) > limits.max_bytes:
        raise InputError("too_large", f"more than --max-bytes {limits.max_bytes:,} on standard input")
    if not data:
        raise InputError("empty", "nothing on standard input")
    return data
