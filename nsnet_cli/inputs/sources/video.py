"""Key frames of a video file through FFmpeg (the ``video`` extra), each a picture with an address of its own.

A clip is looked through in a process of its own, because FFmpeg meets the whole of a file that may be hostile there;
single frames are read where other pictures are.  The container's format is that which its first bytes say, so that
nothing that opens other files or addresses, as playlists do, is ever tried; sound is not looked at.
"""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.kinds import HEAD, Kind, Sort, foreign_kind
from nsnet_cli.inputs.limits import DecodeLimits, limit_memory

# The warning of a picture that is a frame.
VIDEO_FRAME = "video_frame"
# FFmpeg's demuxers by what is between brackets in the name of a kind.
_DEMUXERS = (
    ("recording", "wtv"), ("MP4", "mov"), ("QuickTime", "mov"), ("AVI", "avi"), ("Matroska", "matroska"),
    ("transport", "mpegts"), ("MPEG", "mpeg"), ("Flash", "flv"), ("Windows", "asf"), ("Ogg", "ogg"), ("MXF", "mxf"),
    ("Redcode", "r3d"), ("RealMedia", "rm"), ("DV", "dv"),
)  # fmt: skip
# So many places are looked at for each frame that is wanted, because some show the same.
_PLACES_A_FRAME = 3
# Frames whose thumbnails differ by less than this, of 255 on average, show the same.
_ALIKE, _THUMBNAIL = 2.0, 32
_SECONDS = 120.0
# Seconds to begin before the place that is asked for; times in names are rounded to milliseconds.
_BACK, _SAME_TIME = (0.0, 2.0, 10.0), 0.001
# Where the length is not known, so many packets are looked at.
_MOST_PACKETS = 200_000


@dataclass(frozen=True)
class Clip:
    """What is known of a clip, and the times in seconds of the frames that stand for it.

    ``width`` and ``height`` are those of its frames, upright; ``places`` is how many key frames were compared.
    """

    seconds: float | None
    codec: str
    width: int
    height: int
    places: int
    times: tuple[float, ...]


def video_kind(path: str) -> Kind | None:
    """The kind of video that a local file is, by its first bytes; None for any other file."""
    try:
        with open(path, "rb") as file:
            kind = foreign_kind(file.read(HEAD))
    except (OSError, ValueError):
        return None
    return kind if kind is not None and kind.sort == Sort.VIDEO else None


def can_read_video() -> bool:
    """Whether the extra is installed."""
    from importlib.util import find_spec

    return sys.modules.get("av", True) is not None and find_spec("av") is not None


def look_through(path: str, frames: int, limits: DecodeLimits) -> Clip:
    """Choose up to so many ``frames`` of a clip, in a process of its own.  Raises `InputError`."""
    # -P: no module of the folder that the scan runs in, which may be a stranger's.
    module = "nsnet_cli.inputs.sources.video"
    command = [sys.executable, "-P", "-m", module, path, str(frames), str(limits.max_pixels)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise InputError("timeout", f"its key frames were not found within {_SECONDS:g} s") from error
    try:
        said = json.loads(done.stdout)
    except ValueError as error:
        message = f"the decoder's process died of this video (exit code {done.returncode})"
        raise InputError("decode_failed", message) from error
    if "error" in said:
        raise InputError(*said["error"])
    return Clip(**{**said, "times": tuple(said["times"])})


class VideoFrames:
    """Frames of a clip by their names, ``frame/SECONDS``."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, name: str, max_bytes: int) -> bytes:
        """A frame as a PPM file.  Raises `InputError`."""
        try:
            wanted = float(name.removeprefix("frame/").removesuffix("s"))
        except ValueError:
            raise InputError(
                "not_found", f"no frame {name!r}: expected frame/SECONDSs, such as frame/12.480s"
            ) from None
        for keys_alone in (True, False):
            with _opened(self._path, max_bytes // 3, keys_alone) as (container, stream):
                for frame in _from(container, stream, wanted) if keys_alone else _first_shown(container, stream):
                    if frame.time is not None and frame.time >= wanted - _SAME_TIME:
                        pixels = _pixels(frame, max_bytes // 3)
                        return b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()
        raise InputError("not_found", f"the video has no frame at {wanted:.3f} s")


def why_not_scanned(path: str, kind: Kind, limits: DecodeLimits) -> InputError:
    """What to say of a clip that was asked for as if it were one picture."""
    if not can_read_video():
        return InputError("unsupported_format", kind.refusal)
    try:
        found = look_through(path, 1, limits)
    except InputError as error:
        return error
    example = f"{path}!{frame_name(found.times[0])}"
    return InputError("unsupported_format", f"{kind.name}: nsnet scan scans its frames; one of them is {example}")


def frame_name(seconds: float) -> str:
    """The name of a frame within its clip."""
    return f"frame/{seconds:.3f}s"


@contextmanager
def _opened(path: str, max_pixels: int, keys_alone: bool) -> Iterator[tuple[Any, Any]]:
    """A clip and its first stream of pictures, of which key frames alone are decoded, or all.  Raises `InputError`."""
    kind = video_kind(path)
    if kind is None:
        raise InputError("unsupported_format", "this is no video that is known here")
    try:
        import av
    except ImportError as error:
        raise InputError("unsupported_format", kind.refusal) from error
    av.logging.set_level(None)
    demuxer = next(name for mark, name in _DEMUXERS if mark in kind.name)
    try:
        with open(path, "rb") as file, av.open(file, format=demuxer, options={"enable_drefs": "0"}) as container:
            if not container.streams.video:
                raise InputError("not_an_image", "there is sound alone in it, nothing to see")
            stream: Any = container.streams.video[0]
            codec = stream.codec_context
            if codec.width * codec.height > max_pixels:
                raise InputError(
                    "too_large", f"frames of {codec.width} x {codec.height} pixels, more than --max-pixels allows"
                )
            codec.options = {"max_pixels": str(min(max_pixels, 2**31 - 1))}
            codec.thread_type, codec.skip_frame = "SLICE", "NONKEY" if keys_alone else "DEFAULT"
            yield container, stream
    except InputError:
        raise
    except MemoryError as error:
        raise InputError("too_large", "not enough memory to decode it") from error
    except Exception as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        if _is_cut(path):
            raise InputError(
                "truncated", "cut short: the video goes on behind the file's end; get a whole copy"
            ) from error
        raise InputError("decode_failed", f"damaged or cut short: FFmpeg says {text}") from error


def _is_cut(path: str) -> bool:
    """Whether the outermost boxes of an MP4, or the size of a RIFF file, go beyond the file's end."""
    end, at = Path(path).stat().st_size, 0
    with open(path, "rb") as file:
        head = file.read(16)
        if head.startswith(b"RIFF"):
            return int.from_bytes(head[4:8], "little") + 8 > end
        while head[4:8].isalnum() and at < end:
            size = int.from_bytes(head[:4], "big")
            size = int.from_bytes(head[8:16], "big") if size == 1 else size or end - at
            if size < 8:
                return False
            at += size
            file.seek(at)
            head = file.read(16)
    return at > end


def _from(container: Any, stream: Any, seconds: float) -> Iterator[Any]:
    """Key frames from the one at or before ``seconds`` on.

    Containers without an index may lead to a later one; then the way begins further back, in the end at the start.
    """
    start = stream.start_time or 0
    for back in _BACK:
        place = int(Fraction(seconds - back).limit_denominator(1_000_000) / stream.time_base)
        container.seek(max(start, place), stream=stream, backward=True)
        frames = container.decode(stream)
        first = next(frames, None)
        if first is not None and first.time is not None and first.time <= seconds + _SAME_TIME:
            yield from _closest(first, frames, seconds) if back else itertools.chain((first,), frames)
            return
    container.seek(0, backward=True)
    yield from container.decode(stream)


def _closest(frame: Any, frames: Iterator[Any], seconds: float) -> Iterator[Any]:
    """``frame`` and those behind it, from the last one at or before ``seconds`` on."""
    for later in frames:
        if later.time is not None and later.time > seconds + _SAME_TIME:
            yield from (frame, later)
            break
        frame = later
    else:
        yield frame
    yield from frames


def _pixels(frame: Any, max_pixels: int) -> NDArray[np.uint8]:
    """``(height, width, 3)`` uint8, upright."""
    if frame.width * frame.height > max_pixels:
        raise InputError("too_large", f"a frame of {frame.width} x {frame.height} pixels, more than the limits allow")
    return _upright(frame.to_ndarray(format="rgb24"), _display_matrix(frame))


def _upright(pixels: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """``(height, width, 3)`` as it is shown, by the ``(a, b, c, d)`` of a display matrix: ``x' = a x + c y`` and
    ``y' = b x + d y`` (ISO 14496-12, 6.2.2), of which quarter turns and mirror images are carried out."""
    a, b, c, d = matrix
    if _swaps_sides(matrix):
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _swaps_sides(matrix: tuple[int, int, int, int]) -> bool:
    a, b, _, _ = matrix
    return abs(b) > abs(a)


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """The part of a frame's display matrix that turns and mirrors; that which does neither where it has none."""
    from av.sidedata.sidedata import Type

    held = frame.side_data.get(Type.DISPLAYMATRIX)
    if held is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(held)[:36])
    return a, b, c, d


def choose(path: str, frames: int, max_pixels: int) -> Clip:
    """Key frames that are spread evenly and differ from each other; the first frame where no key frame is shown, as in
    a clip that was trimmed without being compressed anew.  Raises `InputError`."""
    clip = _chosen(path, frames, max_pixels, keys_alone=True) or _chosen(path, 1, max_pixels, keys_alone=False)
    if clip is None:
        raise InputError("truncated", "no frame of it could be decoded: it is damaged or cut short")
    return clip


def _chosen(path: str, frames: int, max_pixels: int, keys_alone: bool) -> Clip | None:
    with _opened(path, max_pixels, keys_alone) as (container, stream):
        seconds = _length(container, stream)
        kept: list[tuple[float, NDArray[np.float32]]] = []
        places, size = 0, (0, 0)
        spread = _at_places(container, stream, seconds, _PLACES_A_FRAME * frames)
        for frame in spread if keys_alone else _first_shown(container, stream):
            places += 1
            if not any(size):
                swapped = _swaps_sides(_display_matrix(frame))
                size = (frame.height, frame.width) if swapped else (frame.width, frame.height)
            small = frame.reformat(width=_THUMBNAIL, height=_THUMBNAIL, format="rgb24").to_ndarray().astype(np.float32)
            if all(np.abs(small - other).mean() >= _ALIKE for _, other in kept):
                kept.append((round(float(frame.time), 3), small))
    if not kept:
        return None
    times = [time for time, _ in kept]
    if len(times) > frames:
        times = [times[(2 * k + 1) * len(times) // (2 * frames)] for k in range(frames)]
    codec = str(stream.codec_context.name)
    return Clip(seconds, codec, size[0], size[1], places, tuple(times))


def _length(container: Any, stream: Any) -> float | None:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1_000_000


def _at_places(container: Any, stream: Any, seconds: float | None, places: int) -> Iterator[Any]:
    """Key frames at evenly spread places; all, thinned out, of what has no known length or few of them.

    A frame that cannot be decoded is passed over: the others can still be looked at.
    """
    last = -1.0
    if seconds is None or seconds <= 0.0:
        yield from _forward(container, stream, places)
        return
    begin = float((stream.start_time or 0) * stream.time_base)
    for k in range(places):
        wanted = begin + (k + 0.5) * seconds / places
        if wanted < last:
            continue
        try:
            frame = next(_from(container, stream, wanted), None)
        except InputError:
            raise
        except Exception:
            continue
        if frame is not None and frame.time is not None and frame.time > last:
            last = float(frame.time)
            yield frame


def _first_shown(container: Any, stream: Any) -> Iterator[Any]:
    """The first frame that can be decoded and is shown."""
    try:
        yield from itertools.islice((f for f in container.decode(stream) if f.time is not None and f.time >= 0), 1)
    except InputError:
        raise
    except Exception:
        return


def _forward(container: Any, stream: Any, places: int) -> Iterator[Any]:
    """Key frames as they come, always twice as far apart when there are too many."""
    every, count, packets = 1, 0, 0
    for packet in container.demux(stream):
        packets += 1
        if packets > _MOST_PACKETS:
            return
        last = packet.dts is None and not packet.size  # with it a decoder gives what it still holds
        if not (packet.is_keyframe or last):
            continue
        count += not last
        if last or (count - 1) % every == 0:
            try:
                yield from (frame for frame in packet.decode() if frame.time is not None)
            except Exception:
                continue
        if count >= 2 * places * every:
            every *= 2


def main() -> None:
    """For `look_through`: what was found, or what was wrong, as JSON."""
    limit_memory()
    path, frames, max_pixels = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    try:
        said: dict[str, Any] = asdict(choose(path, frames, max_pixels))
    except InputError as error:
        said = {"error": [error.code, str(error)]}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
