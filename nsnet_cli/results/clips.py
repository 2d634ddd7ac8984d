"""The row of a clip: made of the rows of its frames, once they are all there."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nsnet_cli.disk import sha256_of
from nsnet_cli.inputs.sources import modified
from nsnet_cli.inputs.sources.address import Address, frame_of
from nsnet_cli.inputs.sources.video import VIDEO_FRAME, Clip, frame_name
from nsnet_cli.results.document import ClipResult, ErrorInfo, FrameInfo, PictureResult, nanoseconds_utc, now_utc


@dataclass(frozen=True)
class _Frame:
    verdict: str | None
    probability: float | None


@dataclass
class ClipRows:
    """Rows of frames as they come, and the clips that wait for theirs.

    Frames of earlier sittings are told by `remember`.
    """

    clips: Mapping[str, Clip]
    _frames: dict[str, _Frame] = field(default_factory=dict)
    _waiting: list[tuple[int, str]] = field(default_factory=list)

    def holds(self, index: int, path: str) -> bool:
        """Whether ``path`` is a clip that was looked through; its row then comes from `ready`."""
        if path not in self.clips:
            return False
        self._waiting.append((index, path))
        return True

    def remember(self, row: Mapping[str, Any]) -> None:
        """A frame of which there is a row already."""
        if frame_of(row["path"]) is not None:
            self._frames[row["path"]] = _Frame(row.get("verdict"), row.get("probability"))

    def add(self, result: PictureResult) -> PictureResult:
        """``result``, which says which frame it is, if it is one."""
        frame = frame_of(result.path)
        if frame is None:
            return result
        self._frames[result.path] = _Frame(result.verdict, result.probability)
        return replace(result, frame=FrameInfo(*frame))

    def ready(self) -> Iterator[tuple[int, PictureResult]]:
        """Rows of the clips whose frames are all there, each with its place among the inputs."""
        for index, path in list(self._waiting):
            clip = self.clips[path]
            names = [str(Address(path, frame_name(time))) for time in clip.times]
            if all(name in self._frames for name in names):
                self._waiting.remove((index, path))
                yield index, self._row(path, clip, [self._frames[name] for name in names])

    def _row(self, path: str, clip: Clip, frames: list[_Frame]) -> PictureResult:
        known = sorted(frame.probability for frame in frames if frame.probability is not None)
        verdicts = [frame.verdict for frame in frames if frame.verdict is not None]
        together = ClipResult(
            seconds=clip.seconds,
            codec=clip.codec,
            places=clip.places,
            frames=len(frames),
            generated=verdicts.count("generated"),
            real=verdicts.count("real"),
            uncertain=verdicts.count("uncertain"),
            errors=len(frames) - len(known),
            low=known[0] if known else None,
            median=statistics.median(known) if known else None,
            high=known[-1] if known else None,
        )
        row = PictureResult(
            path=path,
            scanned_at=now_utc(),
            elapsed_ms=0.0,
            modified_at=nanoseconds_utc(modified(path)),
            format="VIDEO",
            width=clip.width,
            height=clip.height,
            warnings=(VIDEO_FRAME,),
            clip=together,
        )
        try:
            row = replace(row, sha256=sha256_of(Path(path)), bytes=Path(path).stat().st_size)
        except OSError:
            return replace(row, error=ErrorInfo("changed_while_reading", "the clip went away while it was scanned"))
        if together.median is None:
            return replace(row, error=ErrorInfo("decode_failed", "none of its frames could be scanned; see their rows"))
        return replace(row, verdict=_verdict(verdicts), probability=together.median)


def _verdict(verdicts: list[str]) -> str:
    """What more than half of the frames got, where none got the opposite."""
    for verdict, opposite in (("generated", "real"), ("real", "generated")):
        if 2 * verdicts.count(verdict) > len(verdicts) and opposite not in verdicts:
            return verdict
    return "uncertain"
