"""``nsnet calibrate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsnet_cli.cli import options
from nsnet_cli.cli.progress import counting
from nsnet_cli.cli.state import say
from nsnet_cli.errors import UsageError
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.weights.store import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from nsnet_cli.scanner import Scanner
    from nsnet_cli.verdict.profiles import Population

_RESULTS = (".json", ".jsonl", ".ndjson", ".csv")


def calibrate(
    reals: Annotated[
        Path,
        typer.Argument(metavar="REALS", help="A directory of your own real pictures, or a results file."),
    ],
    fpr: Annotated[float, typer.Option("--fpr", help="Wanted false-positive rate, such as 0.02.")],
    name: Annotated[str, typer.Option("--name", help="What to call the profile.")],
    fakes: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE", help="Generated pictures, or a results file: also say what is missed."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a profile of this name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
    detector: options.Detector = None,
    weights: options.Weights = DEFAULT_WEIGHTS,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = 8,
    views: options.Views = None,
    max_pixels: options.MaxPixels = DecodeLimits.max_pixels,
    max_bytes: options.MaxBytes = DecodeLimits.max_bytes,
) -> None:
    """Set the threshold for `generated` by your own real pictures, and keep it as a named profile.

    nsnet scan --profile NAME then accuses about the wanted share of real pictures of the same kind. The
    pictures must be real beyond doubt, and like those that you will scan.

    Exit codes: 0 done, 2 wrong usage (too few pictures, too), 4 bad weights, 130 interrupted.
    """
    from nsnet_cli.verdict.profiles import check_name, make_profile, needed_pictures, profile_path, save_profile

    if profile_path(check_name(name)).exists() and not force:
        raise UsageError(f"there is a profile {name!r} already; choose another name, or give --force")
    needed = needed_pictures(fpr)
    loaded: list[Scanner] = []

    def scanner() -> Scanner:
        if not loaded:
            from nsnet_cli.cli.scanners import load_scanner

            limits = DecodeLimits(max_pixels, max_bytes)
            loaded.append(
                load_scanner(
                    detector,
                    weights,
                    views,
                    device=device,
                    # The threshold is made of scores, not of verdicts: they have to be exact.
                    precision="fp32" if precision == "auto" else precision,
                    limits=limits,
                    patches=False,
                    provenance=False,
                )
            )
        return loaded[0]

    scanned_as = (
        detector is not None,
        weights != DEFAULT_WEIGHTS,
        device != "auto",
        precision != "auto",
        views is not None,
    )
    if any(scanned_as) and all(p is None or _is_results(p) for p in (reals, fakes)):
        raise UsageError(
            f"{reals} was scanned already: --detector, --weights, --device, --precision and --views change nothing"
        )
    real = _population(reals, scanner, batch_size, needed)
    fake = None if fakes is None else _population(fakes, scanner, batch_size)
    profile = make_profile(name, fpr, real, fake)
    path = save_profile(profile, force)
    from nsnet_cli.cli.profiles import show_profile

    show_profile(profile, as_json)
    say(f"written to {path}; use it with: nsnet scan --profile {name} ...")
    usual = loaded[0].calibration.t_high if loaded else None
    if usual is not None and profile.threshold < usual:
        say(
            f"this is lower than {usual:.2f}, from which pictures are called generated without it: more are found and "
            "more real ones accused; give a lower --fpr to go the other way"
        )


def _population(path: Path, load: Callable[[], Scanner], batch_size: int, needed: int = 0) -> Population:
    """Scores of all pictures of one kind; fewer than are ``needed`` are refused before any is scanned."""
    from nsnet_cli.verdict.profiles import MadeBy, population

    if _is_results(path):
        return _from_results(path)
    from nsnet_cli.inputs.discover import WalkCount, WalkOptions, find_pictures

    if not path.is_dir():
        raise UsageError(f"{path}: neither a directory of pictures nor a results file ({', '.join(_RESULTS)})")
    paths = list(find_pictures([str(path)], WalkOptions(), WalkCount()))
    if len(paths) < needed:
        raise UsageError(f"{path}: {len(paths)} pictures are too few for this rate: at least {needed} are needed")
    scanner = load()
    rows: list[dict[str, Any]] = []
    with counting("scanning", len(paths)) as advance:
        for result in scanner.scan_many(paths, batch_size):
            rows.append(result.to_dict())
            advance()
    model = scanner.model
    return population(rows, MadeBy(model.weights_sha256, model.views, model.precision))


def _is_results(path: Path) -> bool:
    return path.suffix.lower() in _RESULTS and not path.is_dir()


def _from_results(path: Path) -> Population:
    from nsnet_cli.evaluation.predictions import read_rows
    from nsnet_cli.verdict.profiles import MadeBy, population

    rows, model = read_rows(path)
    found = set()
    for row in rows:
        whole: dict[str, Any] = {**row, **model}
        if not all(whole.get(key) for key in ("weights_sha256", "views", "precision")):
            raise UsageError(
                f"{path}: its rows do not say which weights, views and precision they are of; calibrate on a results "
                "file of this version's nsnet scan"
            )
        if row.get("score_precision") not in (None, "", whole["precision"]):
            raise UsageError(
                f"{path}: some of its scores are in {row['score_precision']}, which settles verdicts but no threshold; "
                "scan with --precision fp32, or give the directory of pictures"
            )
        found.add(MadeBy(str(whole["weights_sha256"]), int(whole["views"]), str(whole["precision"])))
    if len(found) != 1:
        raise UsageError(f"{path}: " + ("no rows" if not found else "rows of different detectors; give one at a time"))
    return population(({**row, "probability": _probability(row, path)} for row in rows), found.pop())


def _probability(row: dict[str, Any], path: Path) -> float | None:
    value = row.get("probability")
    if value is None:
        return None
    try:
        probability = float(value)
    except (TypeError, ValueError):
        probability = -1.0
    if not 0.0 <= probability <= 1.0:
        raise UsageError(f"{path}: {value!r} is no probability")
    return probability
