"""The result document: what a scan says, as plain data.  Every renderer reads this and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nsnet_cli.results import NS_NET

SCHEMA = "nsnet.scan/1"
_VERSIONS = ("torch", "numpy", "pillow", "scikit-learn")
EVALUATION_SCHEMA = "nsnet.evaluation/1"
ROBUSTNESS_SCHEMA = "nsnet.robustness/1"
EXPLANATION_SCHEMA = "nsnet.explanation/1"
# Stands in the error of a file whose worker process did not survive it.
DIED_OF_IT = "the decoder's process died of this file"
# With one of these a picture holds too little to be more than uncertain about.
WEAKENING_WARNINGS = frozenset({"few_patches", "too_small"})


@dataclass(frozen=True)
class PatchResult:
    """A selected patch: its place in pixels of the oriented picture, and why it was chosen."""

    x: int
    y: int
    width: int
    height: int
    entropy: float
    rank: str
    view: int
    score: float | None = None


@dataclass(frozen=True)
class WindowResult:
    """A contiguous square that was looked at, in pixels of the oriented picture."""

    x: int
    y: int
    width: int
    height: int
    view: int


@dataclass(frozen=True)
class DeliveredResult:
    """What a picture scores after one of `nsnet_cli.views.deliveries`; nothing where it cannot be delivered so."""

    delivery: str
    probability: float | None = None
    score: float | None = None
    verdict: str | None = None
    score_precision: str | None = None


@dataclass(frozen=True)
class StabilityResult:
    """How far the probability moves under mild deliveries.

    ``spread`` is the standard deviation of the probabilities, ``low`` and ``high`` their range, all with the
    picture as it is among them.
    """

    spread: float
    low: float
    high: float
    deliveries: tuple[DeliveredResult, ...]


@dataclass(frozen=True)
class ErrorInfo:
    code: str
    message: str


@dataclass(frozen=True)
class FrameInfo:
    """Which frame of which clip a picture is."""

    clip: str
    time_s: float


@dataclass(frozen=True)
class ClipResult:
    """What the frames of a clip say together: how many got which verdict, and the spread of their probabilities.

    ``places`` is how many key frames were compared to choose ``frames``; nothing is known of sound or motion.
    """

    seconds: float | None
    codec: str
    places: int
    frames: int
    generated: int
    real: int
    uncertain: int
    errors: int
    low: float | None
    median: float | None
    high: float | None


@dataclass(frozen=True)
class PictureResult:
    """One row: everything that is known of one picture.  ``verdict`` is None when there is an ``error``.

    ``frame`` says which frame of a video it is; a row with ``clip`` sums up the frames of one.
    """

    path: str
    scanned_at: str
    elapsed_ms: float
    sha256: str | None = None
    bytes: int | None = None
    modified_at: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    verdict: str | None = None
    probability: float | None = None
    score: float | None = None
    patches: tuple[PatchResult, ...] | None = None
    patch_score_kind: str | None = None
    windows: tuple[WindowResult, ...] | None = None
    warnings: tuple[str, ...] = ()
    provenance: dict[str, Any] | None = None
    stability: StabilityResult | None = None
    error: ErrorInfo | None = None
    frame: FrameInfo | None = None
    clip: ClipResult | None = None
    score_precision: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON data.  A path that is not UTF-8 also stands in ``path_bytes``, in base64."""
        data = asdict(self)
        data["warnings"] = list(self.warnings)
        data["patches"] = None if self.patches is None else [asdict(p) for p in self.patches]
        data["windows"] = None if self.windows is None else [asdict(w) for w in self.windows]
        if self.stability is not None:
            data["stability"]["deliveries"] = [asdict(d) for d in self.stability.deliveries]
        try:
            self.path.encode("utf-8")
        except UnicodeEncodeError:
            raw = self.path.encode("utf-8", "surrogateescape")
            data["path_bytes"] = base64.b64encode(raw).decode("ascii")
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PictureResult:
        """The result behind `to_dict`, by way of JSON or not."""
        found = {k: v for k, v in data.items() if k != "path_bytes"}
        for name, kind in (("patches", PatchResult), ("windows", WindowResult)):
            found[name] = None if found[name] is None else tuple(kind(**item) for item in found[name])
        if found["stability"] is not None:
            deliveries = tuple(DeliveredResult(**item) for item in found["stability"]["deliveries"])
            found["stability"] = StabilityResult(**{**found["stability"], "deliveries": deliveries})
        for key, of in (("error", ErrorInfo), ("frame", FrameInfo), ("clip", ClipResult)):
            found[key] = None if found.get(key) is None else of(**found[key])
        return cls(**{**found, "warnings": tuple(found["warnings"])})


def now_utc() -> str:
    """This moment, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def nanoseconds_utc(nanoseconds: int | None) -> str | None:
    """A file's time as text, to the nanosecond: JSON's numbers are not that fine everywhere."""
    if nanoseconds is None:
        return None
    whole, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (OverflowError, ValueError, OSError):  # file systems hold years that calendars do not
        return f"{nanoseconds} ns"


@dataclass(frozen=True)
class ModelInfo:
    """The model behind the verdicts, and the error rates behind the thresholds.

    Verdicts are those of ``precision``; a score that says another of itself lies within ``fast_bound`` of that in it.
    ``tower`` names the CLIP that it looks through, None where ``detector`` looks through none.
    With a ``profile`` (`nsnet_cli.verdict.profiles`) ``t_high`` and ``fpr_at_t_high`` are the profile's; where it takes
    ``t_low`` down with it, ``miss_rate_at_t_low`` is that of the calibration's own, which is more than the share below.
    """

    name: str
    weights_sha256: str
    tower: str | None
    prior: float
    t_low: float
    t_high: float
    fpr_at_t_high: float
    miss_rate_at_t_low: float
    precision: str
    device: str
    views: int
    profile: str | None = None
    fast_bound: float | None = None
    detector: str = NS_NET


@dataclass(frozen=True)
class AppliedProfile:
    """The profile behind the verdicts, and its threshold: a profile made anew is another option."""

    name: str
    t_high: float


@dataclass(frozen=True)
class ScanOptions:
    """What can change a result: a resumed or merged file must agree in all of it."""

    views: int
    precision: str
    threshold: float | None
    patches: bool
    max_pixels: int
    max_bytes: int
    stability: bool = False
    profile: AppliedProfile | None = None
    provenance: bool = True
    trust_list: str | None = None

    def hash(self) -> str:
        """Short hash of the options; stands in every row."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Summary:
    """Counts over a scan, kept while it runs."""

    total: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    skipped: int = 0
    precisions: Counter[str] = field(default_factory=Counter)
    said_generated: int = 0  # by the files themselves, in part or as a whole

    def add(self, result: PictureResult) -> None:
        self.total += 1
        self.said_generated += _says_generated(result.provenance)
        if result.error is not None:
            self.errors += 1
        elif result.verdict is not None:
            self.verdicts[result.verdict] += 1
            if result.score_precision is not None:
                self.precisions[result.score_precision] += 1

    def add_row(self, row: dict[str, Any]) -> None:
        """Count a row of an earlier sitting (`RowContext.row`)."""
        self.total += 1
        self.said_generated += _says_generated(row.get("provenance"))
        if row.get("error") is not None:
            self.errors += 1
        elif row.get("verdict") is not None:
            self.verdicts[row["verdict"]] += 1
            if row.get("score_precision") is not None:
                self.precisions[row["score_precision"]] += 1

    def to_dict(self) -> dict[str, int]:
        counts = {name: self.verdicts[name] for name in ("generated", "real", "uncertain")}
        return {"total": self.total, **counts, "errors": self.errors, "skipped": self.skipped}


def _says_generated(provenance: dict[str, Any] | None) -> bool:
    return provenance is not None and not {"generated", "partly_generated"}.isdisjoint(provenance.get("claims") or ())


@dataclass(frozen=True)
class RowContext:
    """What every row of a JSONL or CSV file carries, so that files can be merged, resumed and calibrated on."""

    weights_sha256: str
    views: int
    precision: str
    options_hash: str
    shard: str | None = None

    @classmethod
    def of(cls, model: ModelInfo, options: ScanOptions, shard: str | None = None) -> RowContext:
        return cls(model.weights_sha256, model.views, model.precision, options.hash(), shard)

    def result_of(self, row: dict[str, Any]) -> dict[str, Any]:
        """What of a row is the result: a whole document says the rest once."""
        return {k: v for k, v in row.items() if k not in ("schema", "input_index", *asdict(self))}

    def row(self, result: PictureResult, index: int) -> dict[str, Any]:
        """A row as JSON data; ``index`` is the place of the picture among all inputs, before any sharding."""
        return {"schema": SCHEMA, **result.to_dict(), "input_index": index, **asdict(self)}


def scan_document(
    tool_version: str, model: ModelInfo, options: ScanOptions, results: Iterable[dict[str, Any]], summary: Summary
) -> dict[str, Any]:
    """The whole document of a scan as JSON data."""
    return {
        "schema": SCHEMA,
        "tool": {"name": "nsnet", "version": tool_version},
        "versions": versions(),
        "model": asdict(model),
        "options": {**asdict(options), "options_hash": options.hash()},
        "results": list(results),
        "summary": summary.to_dict(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that scores and figures hang on."""
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the result document, as shipped in the package."""
    text = resources.files("nsnet_cli.results").joinpath("nsnet.scan-1.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
