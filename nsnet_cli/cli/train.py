"""``nsnet train``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsnet_cli.cli.nullspace import RuleOption, parse_rule
from nsnet_cli.cli.state import STATE, say, stderr_console
from nsnet_cli.errors import UsageError
from nsnet_cli.weights.store import DEFAULT_WEIGHTS, TOWER_NAME, find_weights

if TYPE_CHECKING:
    from nsnet_cli.training.fit import Progress
    from nsnet_cli.views.plan import ViewKind


def train(
    manifests: Annotated[
        list[Path],
        typer.Argument(metavar="MANIFEST.csv...", help="Labelled pictures: path, label, generator, maybe split."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Weights file to write.")],
    work: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Checkpoints, caches and the log; a killed run goes on from here."),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The semantics: a .npy matrix of label embeddings, a basis file of `nsnet nullspace build`, or "
            "a weights file [default: those of the shipped weights].",
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Train this one of `nsnet detectors` instead of NS-Net, whose own options then have no say.",
        ),
    ] = None,
    detector_samples: Annotated[
        int | None, typer.Option(min=64, help="Pictures drawn to train it [default: as it says itself].")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N", help="Another size of its network, as width=64 or depths=3,4,6,3; repeatable."),
    ] = None,
    whole: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="MANIFEST.csv",
            help="Whole pictures: calibrated on, and met by the kernel head beside the others; repeatable.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Train on rows of this split only; empty for all rows.")] = "train",
    tower: Annotated[str, typer.Option(metavar="NAME|PATH", help="CLIP image tower.")] = TOWER_NAME,
    rule: RuleOption = None,
    folds: Annotated[int, typer.Option(min=2, max=10, help="Grouped folds for calibration.")] = 10,
    views: Annotated[int, typer.Option(min=1, max=8, help="Views a picture: mosaics and windows in turn.")] = 2,
    window: Annotated[
        int, typer.Option(min=0, help="Largest side in pixels of a window; 0 for mosaics alone, as in the paper.")
    ] = 384,
    dc: Annotated[bool, typer.Option("--dc/--no-dc", help="Entropy with the DC term, as in the paper.")] = True,
    augment: Annotated[bool, typer.Option("--augment/--no-augment", help="Random deliveries while training.")] = True,
    renderings: Annotated[
        int, typer.Option(min=0, max=20, help="Random deliveries of each picture and kind of view with a head.")
    ] = 2,
    blocks: Annotated[
        str,
        typer.Option(metavar="A-B", help="Blocks whose class tokens join the spine; 'none' is the paper."),
    ] = "5-10",
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Dropout in the head.")] = 0.3,
    kernel: Annotated[
        bool, typer.Option("--kernel/--no-kernel", help="A kernel head beside the contrastive ones; none in the paper.")
    ] = True,
    kernel_views: Annotated[
        str, typer.Option(metavar="A,B", help="Kinds of view that the kernel head looks at.")
    ] = "mosaic,window",
    head_views: Annotated[
        str, typer.Option(metavar="A,B", help="Kinds of view that have a contrastive head.")
    ] = "window",
    bce_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Lambda: share of BCE beside contrastive.")] = 0.5,
    temperature: Annotated[float, typer.Option(min=0.001, help="Temperature of the contrastive loss.")] = 0.1,
    samples: Annotated[
        int, typer.Option(min=64, help="Pictures drawn to fit the head to the frozen tower, with repetition.")
    ] = 192_000,
    batch: Annotated[int, typer.Option(min=4, help="Pictures a step of that.")] = 128,
    lr_head: Annotated[float, typer.Option(help="Peak learning rate of that.")] = 1e-3,
    probe_first: Annotated[
        bool, typer.Option("--probe-first/--no-probe-first", help="Fit the head before the tower is tuned.")
    ] = True,
    lora_rank: Annotated[int, typer.Option(min=0, help="Rank of LoRA; 0 for none.")] = 0,
    lora_alpha: Annotated[float, typer.Option(help="Scale of LoRA.")] = 16.0,
    lora_dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Dropout before LoRA.")] = 0.0,
    lora_targets: Annotated[
        str, typer.Option(metavar="A,B,...", help="Maps that LoRA adapts: q, k, v, out, fc, proj.")
    ] = "q,k,v,out",
    norms: Annotated[bool, typer.Option("--norms/--no-norms", help="Tune the LayerNorms too.")] = False,
    tuned_blocks: Annotated[
        str, typer.Option(metavar="A-B", help="Blocks that LoRA and norms are tuned in; what lies below is kept.")
    ] = "1-12",
    tuned_views: Annotated[
        str,
        typer.Option(metavar="A,B", help="Kinds of view that the tuned tower sees; others see CLIP as it came."),
    ] = "mosaic,window",
    tune_samples: Annotated[int, typer.Option(min=4, help="Pictures drawn to tune tower and head.")] = 4_096,
    tune_batch: Annotated[int, typer.Option(min=4, help="Pictures a step of that.")] = 32,
    lr_tower: Annotated[float, typer.Option(help="Peak learning rate of the tower in that.")] = 1e-4,
    lr_tuned_head: Annotated[float, typer.Option(help="Peak learning rate of the head in that.")] = 1e-4,
    keep: Annotated[float, typer.Option(min=0.05, max=1.0, help="Share of patches that a step of it sees.")] = 1.0,
    fresh: Annotated[
        bool, typer.Option("--fresh/--kept", help="Tune on new deliveries at every step, not on those kept.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16; auto asks the processor.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the weights file.")] = False,
) -> None:
    """Train NS-Net on labelled pictures: folds, calibration, final fit, weights.

    The defaults are the recipe of the shipped weights.
    """
    if output.exists() and not force:
        raise UsageError(f"{output} exists; choose another name, or overwrite it with --force")
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: weights are safetensors; end the name with .safetensors")
    if work.exists() and not work.is_dir():
        raise UsageError(f"--work {work} is a file; name a folder")

    if detector is not None:
        _train_detector(
            detector,
            detector_samples,
            _shape(shape or []),
            tuple(manifests),
            output,
            work,
            split,
            tower,
            min(folds, 5),
            seed,
            precision,
            device,
        )
        return
    from nsnet_cli.training import run
    from nsnet_cli.training.recipe import FitConfig, Phase
    from nsnet_cli.views.selection import SelectionRecipe
    from nsnet_cli.weights.shapes import Adaptation, HeadConfig, KernelConfig

    used_device, used_precision = _where(device, precision)
    tuned = _blocks(tuned_blocks)
    if not tuned:
        raise UsageError(f"--tuned-blocks {tuned_blocks}: expected A-B; leave the tower frozen with --lora-rank 0")
    request = run.TrainRequest(
        manifests=tuple(manifests),
        labels=labels or find_weights(DEFAULT_WEIGHTS),
        tower=find_weights(tower),
        output=output,
        work=work,
        split=split or None,
        rule=parse_rule(rule),
        fit=FitConfig(
            probe=Phase(samples, batch, lr_head),
            tune=Phase(tune_samples, tune_batch, lr_tuned_head, lr_tower, warmup=0.1, keep=keep),
            probe_first=probe_first,
            adaptation=Adaptation(
                lora_rank,
                lora_alpha,
                tuned[0],
                tuned[-1],
                _targets(lora_targets),
                norms,
                _kinds("--tuned-views", tuned_views),
            ),
            lora_dropout=lora_dropout,
            bce_share=bce_share,
            temperature=temperature,
            augment=augment,
            renderings=renderings,
            fresh=fresh,
            seed=seed,
            head=HeadConfig(blocks=_blocks(blocks), dropout=dropout, kinds=_kinds("--head-views", head_views)),
            kernel=KernelConfig(kinds=_kinds("--kernel-views", kernel_views)) if kernel else None,
            selection=SelectionRecipe(dc=dc, window=window),
        ),
        folds=folds,
        views=views,
        precision=used_precision,
        device=used_device,
        command=_command(),
        whole=tuple(whole or ()),
    )
    say(f"training in {used_precision} on {used_device}; progress is kept in {work}")
    with _Shown() as shown:
        info = run.train(request, shown)
    c = info.calibration
    say(f"written {output}: real below {c.t_low:.3f}, generated from {c.t_high:.3f} ({c.fitted_on})")


def _train_detector(
    name: str,
    samples: int | None,
    shape: dict[str, Any],
    manifests: tuple[Path, ...],
    output: Path,
    work: Path,
    split: str,
    tower: str,
    folds: int,
    seed: int,
    precision: str,
    device: str,
) -> None:
    """A published detector, by its own recipe."""
    from dataclasses import replace

    from nsnet_cli.detectors.registry import find_detector
    from nsnet_cli.detectors.training import DetectorRequest, train_detector

    recipe, said = find_detector(name).recipe, -1.0
    used_device, used_precision = _where(device, precision)

    def report(what: str, step: object, done: int, total: int) -> None:
        nonlocal said
        share = done / max(1, total)
        if share < said or share >= said + 0.1 or done == total:
            said = share
            say(f"{what}: {done:,} of {total:,}")

    request = DetectorRequest(
        detector=name,
        manifests=manifests,
        output=output,
        work=work,
        split=split or None,
        tower=find_weights(tower),
        recipe=recipe if samples is None else replace(recipe, samples=samples),
        shape=shape,
        folds=folds,
        seed=seed,
        precision=used_precision,
        device=used_device,
        command=_command(),
    )
    info = train_detector(request, report)
    say(f"written {output}: held-out {', '.join(f'{key} {value:g}' for key, value in info.held_out.items())}")


class _Shown:
    """Progress on stderr: a bar at a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._status = self._console.status("starting")

    def __enter__(self) -> _Shown:
        if self._console.is_terminal and not STATE.quiet:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, name: str, progress: Progress) -> None:
        line = f"{name}: {progress.step}/{progress.steps}"
        if progress.loss is not None:
            line += f", loss {progress.loss:.3f}, {progress.seconds:.0f} s"
        if self._console.is_terminal:
            self._status.update(line)
        elif progress.loss is None or progress.step % 50 == 0 or progress.step == progress.steps:
            say(line)


def _blocks(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise UsageError(f"blocks {text}: expected A-B, one number, or none")
    found = tuple(range(int(first), int(last or first) + 1))
    if not found:
        raise UsageError(f"blocks {text}: A-B runs upwards")
    return found


def _targets(text: str) -> tuple[str, ...]:
    from nsnet_cli.weights.shapes import LORA_TARGETS

    found = tuple(text.split(","))
    if not set(found) <= set(LORA_TARGETS):
        raise UsageError(f"--lora-targets {text}: expected some of {','.join(LORA_TARGETS)}")
    return found


def _kinds(option: str, text: str) -> tuple[ViewKind, ...]:
    from nsnet_cli.views.plan import MOSAIC, WINDOW

    found = tuple(kind for kind in (MOSAIC, WINDOW) if kind in text.split(","))
    if len(found) != len(text.split(",")):
        raise UsageError(f"{option} {text}: expected mosaic, window, or both with a comma")
    return found


def _shape(given: list[str]) -> dict[str, Any]:
    """``width=64`` and ``depths=3,4`` as numbers and tuples of them.  Raises `UsageError`."""
    found: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            numbers = tuple(int(number) if number.isdigit() else float(number) for number in value.split(","))
        except ValueError as error:
            raise UsageError(f"--shape {text}: expected NAME=NUMBER, or NAME=NUMBER,NUMBER,...") from error
        found[name] = numbers if len(numbers) > 1 else numbers[0]
    return found


def _where(device: str, precision: str) -> tuple[str, str]:
    """The device and the precision to train in.  Raises `UsageError`."""
    import torch

    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"precision must be auto, fp32 or bf16, not {precision!r}")
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"--device {device}: expected auto or cpu, or cuda where PyTorch finds one")
    used = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return used, ("bf16" if _has_fast_bf16(used) else "fp32") if precision == "auto" else precision


def _has_fast_bf16(device: str) -> bool:
    """Where bfloat16 is emulated it is many times slower than float32, so the processor is asked."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported())


def _command() -> str:
    """The command as it was given, with paths cut to their names: a record, not a map of someone's disk."""
    words = ["nsnet", *(word if word.startswith("-") else Path(word).name for word in sys.argv[1:])]
    return shlex.join(words)
