"""Profiles: a threshold that holds a wanted false-positive rate on a person's own kind of real pictures.

The threshold is an order statistic of the real pictures' probabilities.  Of ``n`` pictures the
``k = floor(rate * (n + 1)) - 1`` highest lie above it, so that the next picture of the same kind does so with
probability ``(k + 1) / (n + 1)``, at most the wanted rate, whatever the distribution (split conformal
prediction; Vovk et al. 2005).  The rate behind one such threshold is distributed as Beta(k + 1, n - k), which
gives its interval.  All this holds for pictures of the *same kind*; of other pictures it says nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from nsnet_cli import __version__
from nsnet_cli.disk import write_whole
from nsnet_cli.errors import UsageError
from nsnet_cli.results.document import WEAKENING_WARNINGS
from nsnet_cli.verdict.rates import wilson

if TYPE_CHECKING:
    from nsnet_cli.verdict.calibration import Calibration

PROFILE_SCHEMA = "nsnet.profile/1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CONFIDENCE = 0.95
# The same picture's probability may be this much off in another batch or on another machine (1e-6 seen).
_PROBABILITY_ERROR = 1e-4


@dataclass(frozen=True)
class MadeBy:
    """The detector behind a probability: only of the same one are probabilities comparable."""

    weights_sha256: str
    views: int
    precision: str

    def difference(self, other: MadeBy) -> str | None:
        """The first thing in which two detectors differ, in words; None where they are the same."""
        for what, mine, theirs in (
            ("weights", self.weights_sha256[:12], other.weights_sha256[:12]),
            ("views", self.views, other.views),
            ("precision", self.precision, other.precision),
        ):
            if mine != theirs:
                return f"{what} {mine}, not {theirs}"
        return None


@dataclass(frozen=True)
class Population:
    """Pictures of one kind: their probabilities and SHA-256; ``left_out`` counts those that say nothing.

    Left out are pictures that could not be read, that are too small to be judged, and that came before.
    """

    probabilities: tuple[float, ...]
    digests: tuple[str, ...]
    left_out: int
    made_by: MadeBy


@dataclass(frozen=True)
class Missed:
    """What is missed at the threshold: of ``pictures`` generated ones ``missed`` lie below it (95 % interval)."""

    pictures: int
    missed: int
    low: float
    high: float


@dataclass(frozen=True)
class Profile:
    """A threshold and what it rests on.

    ``expected_fpr`` is the false-positive rate to expect of further pictures of the same kind, ``fpr_low`` to
    ``fpr_high`` the 95 % interval of the rate behind this very threshold.  ``left_out`` counts pictures that
    could not be read, are too small to be judged, or came twice.  Bound to weights, views and precision.
    """

    name: str
    created_at: str
    tool_version: str
    weights_sha256: str
    views: int
    precision: str
    wanted_fpr: float
    threshold: float
    expected_fpr: float
    fpr_low: float
    fpr_high: float
    pictures: int
    above: int
    left_out: int
    pictures_sha256: str
    missed: Missed | None = None

    def check(self, made_by: MadeBy) -> None:
        """Raises `UsageError` where the detector is not the one that the profile was made with."""
        difference = MadeBy(self.weights_sha256, self.views, self.precision).difference(made_by)
        if difference is not None:
            raise UsageError(
                f"profile {self.name!r} was made with {difference}: its threshold means nothing here; make one anew "
                "with nsnet calibrate, or scan with the same options"
            )

    def apply(self, calibration: Calibration) -> Calibration:
        """``calibration`` with this profile's threshold for ``generated``; a lower one takes ``t_low`` down with it."""
        return replace(
            calibration,
            t_high=self.threshold,
            t_low=min(calibration.t_low, self.threshold),
            fpr_at_t_high=self.expected_fpr,
        )


@dataclass(frozen=True)
class HeldRate:
    """A threshold for probabilities, the ``above`` pictures at or above it, and the rate behind it."""

    threshold: float
    above: int
    expected: float
    low: float
    high: float


def needed_pictures(rate: float) -> int:
    """How many real pictures a rate needs: with fewer, not even no false alarm would show (95 %) that it holds.

    Raises `UsageError` for a rate outside (0, 0.5].
    """
    if not 0.0 < rate <= 0.5:
        raise UsageError(f"a false-positive rate must lie above 0 and not above 0.5, found {rate:g}")
    return math.ceil(math.log(1.0 - _CONFIDENCE) / math.log1p(-rate))


def hold_rate(probabilities: Sequence[float], rate: float) -> HeldRate:
    """The lowest threshold that holds a false-positive ``rate`` on pictures like those behind ``probabilities``.

    It keeps off the pictures on either side of it, at most by 1e-4, so that a scan of them finds what was counted.
    Raises `UsageError` for a rate outside (0, 0.5] and for too few pictures, saying how many are needed.
    """
    from scipy.stats import beta

    n, needed = len(probabilities), needed_pictures(rate)
    if n < needed:
        raise UsageError(
            f"{n} real pictures are too few for a false-positive rate of {100 * rate:g} %: at least {needed} are "
            f"needed (with {n}, nothing under {100 * _lowest_rate(n):.3g} % could be shown)"
        )
    k = math.floor(rate * (n + 1) * (1 + 1e-12)) - 1
    ordered = sorted(probabilities, reverse=True)
    gap = (ordered[k - 1] if k else 1.0) - ordered[k]
    threshold = max(ordered[k] + min(gap / 2, _PROBABILITY_ERROR), math.nextafter(ordered[k], 2.0))
    if threshold > 1.0:
        raise UsageError("too many of these pictures have a probability of 1: no threshold holds that rate on them")
    tail = (1.0 - _CONFIDENCE) / 2
    low, high = (float(beta.ppf(q, k + 1, n - k)) for q in (tail, 1.0 - tail))
    return HeldRate(threshold, sum(p >= threshold for p in ordered), (k + 1) / (n + 1), low, high)


def _lowest_rate(n: int) -> float:
    return 1.0 - (1.0 - _CONFIDENCE) ** (1.0 / n) if n else 1.0


def population(rows: Iterable[Mapping[str, Any]], made_by: MadeBy) -> Population:
    """The pictures in rows of scans (``probability``, ``sha256``, ``warnings``)."""
    by_digest: dict[str, float] = {}
    left_out = 0
    for row in rows:
        digest, probability = row.get("sha256"), row.get("probability")
        weak = not WEAKENING_WARNINGS.isdisjoint(row.get("warnings") or ())
        if probability is None or digest is None or weak or digest in by_digest:
            left_out += 1
        else:
            by_digest[digest] = float(probability)
    return Population(tuple(by_digest.values()), tuple(by_digest), left_out, made_by)


def make_profile(name: str, rate: float, reals: Population, fakes: Population | None = None) -> Profile:
    """A profile that holds ``rate`` on pictures like ``reals``, and what it misses of ``fakes``.

    Raises `UsageError` for too few pictures, and for populations of different detectors.
    """
    held = hold_rate(reals.probabilities, rate)
    missed = None
    if fakes is not None:
        difference = reals.made_by.difference(fakes.made_by)
        if difference is not None:
            raise UsageError(f"real pictures were scanned with {difference}, as the generated ones were")
        if not fakes.probabilities:
            raise UsageError("none of the generated pictures could be judged")
        below, n = sum(p < held.threshold for p in fakes.probabilities), len(fakes.probabilities)
        span = wilson(below, n)
        missed = Missed(n, below, span.low, span.high)
    return Profile(
        name=check_name(name),
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        tool_version=__version__,
        **asdict(reals.made_by),
        wanted_fpr=rate,
        threshold=held.threshold,
        expected_fpr=held.expected,
        fpr_low=held.low,
        fpr_high=held.high,
        pictures=len(reals.probabilities),
        above=held.above,
        left_out=reals.left_out,
        pictures_sha256=_joint_hash(reals.digests),
        missed=missed,
    )


def _joint_hash(digests: Sequence[str]) -> str:
    """One hash over the SHA-256 of all pictures, in any order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def profiles_folder() -> Path:
    """Where profiles live: the user's configuration folder."""
    try:
        return Path(platformdirs.user_config_dir("nsnet", appauthor=False)) / "profiles"
    except RuntimeError as error:
        raise UsageError(
            f"profiles live in a home, and there is none ({error}); set HOME or XDG_CONFIG_HOME"
        ) from error


def check_name(name: str) -> str:
    """``name`` if it can be a profile's.  Raises `UsageError`."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a profile: letters, digits, dots, dashes and underscores, 64 at most")
    return name


def save_profile(profile: Profile, overwrite: bool) -> Path:
    """Write a profile whole or not at all.  Raises `UsageError` where the name is taken."""
    path = profile_path(profile.name)
    if path.exists() and not overwrite:
        raise UsageError(
            f"there is a profile {profile.name!r} already; choose another name, or replace it with --force"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(to_json_data(profile), indent=2) + "\n")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    return path


def to_json_data(profile: Profile) -> dict[str, Any]:
    """``nsnet.profile/1``."""
    return {"schema": PROFILE_SCHEMA, **asdict(profile)}


def profile_path(name: str) -> Path:
    return profiles_folder() / f"{check_name(name)}.json"


def load_profile(name: str) -> Profile:
    """A profile by name.  Raises `UsageError` where there is none, or what is there is none."""
    path = profile_path(name)
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(profile_names()) or "none yet; nsnet calibrate makes one"
        raise UsageError(f"no profile {name!r} in {path.parent}; there are: {known}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path}: not a profile ({error})") from error
    if not isinstance(data, dict) or data.pop("schema", None) != PROFILE_SCHEMA:
        raise UsageError(f"{path}: not a profile of {PROFILE_SCHEMA}")
    try:
        missed = data.pop("missed")
        profile = Profile(**data, missed=None if missed is None else Missed(**missed))
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a whole profile ({error})") from error
    if not isinstance(profile.threshold, float) or not 0.0 <= profile.threshold <= 1.0 or profile.name != name:
        raise UsageError(f"{path}: a damaged profile; make it anew with nsnet calibrate")
    return profile


def profile_names() -> list[str]:
    """Names of all profiles, sorted."""
    folder = profiles_folder()
    return sorted(p.stem for p in folder.glob("*.json") if _NAME.fullmatch(p.stem)) if folder.is_dir() else []


def delete_profile(name: str) -> None:
    """Raises `UsageError` where there is none."""
    try:
        profile_path(name).unlink()
    except FileNotFoundError as error:
        raise UsageError(f"no profile {name!r} in {profiles_folder()}") from error
