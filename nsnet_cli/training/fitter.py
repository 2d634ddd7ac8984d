"""A fit on some of the pictures, and the scores of others: what every fold and the final run do."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from nsnet_cli.disk import sha256_of, write_whole
from nsnet_cli.errors import WeightsError
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash, order_hash
from nsnet_cli.judges.head import ViewHeads
from nsnet_cli.judges.kernel import KernelHead
from nsnet_cli.tower.file import TowerInfo, load_tower, tower_info
from nsnet_cli.tower.preprocess import Normaliser
from nsnet_cli.tower.vit import VisionTransformer, VitFeatures
from nsnet_cli.training.batches import Batches, FreshBatches, KeptBatches
from nsnet_cli.training.features import KeptFeatures, frozen_features
from nsnet_cli.training.fit import Progress, fit_head, score_features, tune
from nsnet_cli.training.folds import evened_within, picture_weights
from nsnet_cli.training.kernel import Beside, fit_kernel, smoothing
from nsnet_cli.training.recipe import FitConfig, kept_renderings
from nsnet_cli.training.whole import WHOLE_KINDS, WholeFeatures, whole_features
from nsnet_cli.views.plan import KERNEL, WINDOW, ViewKind, kinds_of, plan_views

# More pictures of one group say little new about its scores, and on a CPU an adapted tower must look at each again.
_HELD_OUT_PER_GROUP = 40
_FORWARD_BATCH = 16
# Of kept scores; another name for other ones, which the code of a fit makes of the same data.
_SCORES_FORMAT = "nsnet.fold-scores/2"

# By picture and by judge: a kind of view (its contrastive head), or the kernel head.
Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Fitted:
    """What one fit gives: the tower, adapted or not, the contrastive heads, and the kernel head if there is one.

    Where the tower is adapted, only views of the kinds that it is adapted for go through it.
    """

    tower: VisionTransformer
    heads: ViewHeads
    kernel: KernelHead | None


@dataclass(frozen=True)
class Parts:
    """Who is learnt from and who is left out, by position, among pictures and among ``whole`` ones."""

    inside: Sequence[int]
    outside: Sequence[int]
    whole_inside: Sequence[int] = ()
    whole_outside: Sequence[int] = ()


@dataclass
class Fitter:
    """Fits one recipe to parts of ``pictures``; what takes long is kept below ``work`` and not repeated.

    ``note`` is told of every step of the run that it names.  ``whole`` pictures are scored as a scan scores them, and
    the kernel head of a frozen tower has to meet those that it is given; they are never its anchors.
    """

    tower_path: Path
    pictures: Sequence[LabelledPicture]
    semantic: Tensor
    config: FitConfig
    views: int
    precision: str
    device: str
    work: Path
    note: Callable[[str, Progress], None]
    whole: Sequence[LabelledPicture] = ()

    @cached_property
    def kinds(self) -> list[ViewKind]:
        return kinds_of(plan_views(self.config.selection, self.views))

    @property
    def judges(self) -> list[str]:
        """All that have a score of their own, which are then fused."""
        return [*self.headed, *([KERNEL] if self.config.kernel is not None else [])]

    @property
    def headed(self) -> list[ViewKind]:
        """The kinds of view that have a contrastive head."""
        return self.config.head.of(self.kinds)

    def held_out(self, name: str, parts: Parts) -> Scores:
        """Fit on the pictures inside, whole ones too; scores by name and judge of (some of) those outside.

        A frozen tower scores all of them, whole ones too.  An adapted one takes long, so on a CPU it scores some of
        every group.  Scores are kept.  Those of another recipe or other data are made anew with a frozen tower, where
        that is soon done; else they raise `WeightsError`.
        """
        frozen = self.config.adaptation.frozen
        path = self.work / f"{name}.{'frozen-scores' if frozen else 'scores'}.json"
        made_by = self._made_by(parts) if frozen else self._fingerprint(parts.inside)
        if path.exists():
            stored = json.loads(path.read_text("utf-8"))
            if stored.get("made_by") == made_by:
                kept: Scores = stored["scores"]
                return kept
            if not frozen:
                raise WeightsError(f"{path}: scores of another recipe or other data; use another --work folder")
        fitted = self.fit(name, parts.inside, parts.whole_inside)
        scores = self._scores(fitted, self.some_of(parts.outside)) | self._whole_scores(fitted, parts.whole_outside)
        write_whole(path, json.dumps({"made_by": made_by, "scores": scores}))
        return scores

    def _made_by(self, parts: Parts) -> str:
        """Hash of all that the scores of a fold depend on with a frozen tower, whole pictures too."""
        others = [[self.pictures[i] for i in parts.outside]]
        others += [[self.whole[i] for i in those] for those in (parts.whole_inside, parts.whole_outside)]
        hashes = [f"{manifest_hash(those)}:{order_hash(those)}" for those in others]
        text = ":".join([_SCORES_FORMAT, self._fingerprint(parts.inside), *hashes])
        return hashlib.sha256(text.encode()).hexdigest()

    def of_several_looks(self) -> set[str]:
        """Names of the ``whole`` pictures that are looked at in more than one place."""
        if not self.whole:
            return set()
        windows = Counter(self._whole_features.owner[self._whole_features.kind == WHOLE_KINDS.index(WINDOW)].tolist())
        planned = sum(view.kind == WINDOW for view in plan_views(self.config.selection, self.views))
        return {picture.name for n, picture in enumerate(self.whole) if windows[n] > planned}

    def fit(self, name: str, indices: Sequence[int], whole: Sequence[int] = ()) -> Fitted:
        """Tower and heads fitted to ``pictures[i]`` for ``i`` in ``indices``.

        The kernel head meets the ``whole`` ones that are named, too, where the tower is frozen.
        """
        config = self.config
        torch.manual_seed(config.seed)
        heads = ViewHeads(self._tower_info.config, config.head, self.semantic, self.headed).to(self.device)
        for kind in self.headed:
            if config.probe_first or not config.adaptation.of(kind):
                kept = [rendering.features for rendering in self._kept[kind]]
                fit_head(heads.of(kind), kept, self.pictures, indices, config, partial(self.note, f"{name} {kind}"))
        tower = self._new_tower() if config.adaptation.frozen else self._tuned(name, heads, indices)
        return Fitted(tower, heads, self._fit_kernel(tower, indices, whole))

    def _tuned(self, name: str, heads: ViewHeads, indices: Sequence[int]) -> VisionTransformer:
        """The adapted tower, in the precision that features are computed in; ``heads`` are tuned in place."""
        config, tower = self.config, self._new_tower(self.precision)
        kinds = [kind for kind in self.headed if config.adaptation.of(kind)]
        batches: Batches
        if config.fresh:
            batches = FreshBatches(kinds, [self.pictures[i] for i in indices], config, self._normalise)
        else:
            batches = KeptBatches({kind: self._kept[kind] for kind in kinds}, self.pictures, indices, config)
        checkpoint = self.work / f"{name}.checkpoint.safetensors"
        mark = self._fingerprint(indices)
        every = 10 if self.device == "cpu" else 100  # steps; to write so often would take a GPU as long as they do
        tune(tower, heads, batches, config, checkpoint, mark, partial(self.note, f"{name} tuning"), every)
        if self.precision == self._seeing_precision:
            return tower
        seeing = self._new_tower()
        seeing.adapt(config.adaptation)
        unknown = seeing.load_state_dict(tower.adapted_state(), strict=False).unexpected_keys
        assert not unknown, unknown
        return seeing.to(self.device).eval()

    def _fit_kernel(self, tower: VisionTransformer, indices: Sequence[int], whole: Sequence[int]) -> KernelHead | None:
        """The kernel head on what ``tower`` shows of the views that a scan makes: deliveries blur what it knows."""
        config = self.config
        if config.kernel is None:
            return None
        shown = self.some_of(indices)
        features = self._seen(tower, shown, config.kernel.looked_at(self.kinds))
        if self.device != "cpu":
            device = torch.device(self.device)
            features = {kind: [view.floats_on(device) for view in views] for kind, views in features.items()}
        labels, weights = [self.pictures[i].label for i in shown], picture_weights([self.pictures[i] for i in shown])
        beside = [*self._delivered(shown), *self._met_whole(whole)] if config.adaptation.frozen else []
        return fit_kernel(tower.config, config.kernel, self.semantic, features, labels, config.seed, weights, beside)

    def _delivered(self, indices: Sequence[int]) -> list[Beside]:
        """Pictures after each random delivery that was kept of all kinds that the kernel head looks at."""
        config, rows = self.config, torch.tensor(list(indices))
        if config.kernel is None or not config.kernel.delivered_share:
            return []
        looked_at = config.kernel.looked_at(self.kinds)
        # The k-th rendering of each kind is of the same delivered picture (`Rendered`).
        random = {kind: self._kept[kind][len(self._scanned[kind]) :] for kind in looked_at}
        pictures = [self.pictures[i] for i in indices]
        smoothed = smoothing(picture_weights(pictures), config.kernel.delivered_share)
        return [
            Beside(
                {kind: [random[kind][k].features.rows(rows)] for kind in looked_at},
                [picture.label for picture in pictures],
                smoothed,
            )
            for k in range(min(map(len, random.values())))
        ]

    def _met_whole(self, indices: Sequence[int]) -> list[Beside]:
        """Whole pictures at all their looks, together those that have as many views.

        Both labels weigh alike among lossless files and among others: the container is nothing to learn from.
        """
        config = self.config
        if config.kernel is None or not config.kernel.whole_share or not indices:
            return []
        pictures, lossless = [self.whole[i] for i in indices], [self._whole_features.is_lossless(i) for i in indices]
        weights = evened_within(picture_weights(pictures), [p.label for p in pictures], lossless)
        smoothed = dict(zip(indices, smoothing(weights, config.kernel.whole_share), strict=True))
        return [
            Beside(views, [self.whole[i].label for i in those], [smoothed[i] for i in those])
            for those, views in self._whole_features.alike(indices)
        ]

    def embeddings(self, tower: VisionTransformer, indices: Sequence[int]) -> Tensor:
        """Embeddings ``(len(indices), embed_dim)`` of the first view as a scan makes it, before any projection."""
        return self._finished(tower, self.kinds[0], self._scanned[self.kinds[0]][0], indices).embedding

    def some_of(self, indices: Sequence[int]) -> list[int]:
        """All of them for a frozen tower or on a GPU, else the first so many of each group, in an order by hash."""
        if self.config.adaptation.frozen or self.device != "cpu":
            return list(indices)
        taken: Counter[tuple[int, str]] = Counter()
        chosen = []
        for i in sorted(indices, key=lambda i: hashlib.sha256(self.pictures[i].name.encode()).digest()):
            key = (self.pictures[i].label, self.pictures[i].group)
            taken[key] += 1
            if taken[key] <= _HELD_OUT_PER_GROUP:
                chosen.append(i)
        return chosen

    @cached_property
    def _tower_info(self) -> TowerInfo:
        return tower_info(self.tower_path)

    @property
    def _normalise(self) -> Normaliser:
        return Normaliser(self._tower_info.mean, self._tower_info.std)

    @cached_property
    def _tower_sha256(self) -> str:
        return sha256_of(self.tower_path)

    @cached_property
    def _kept(self) -> dict[ViewKind, list[KeptFeatures]]:
        adaptation = self.config.adaptation
        tower = self._new_tower()
        kept: dict[ViewKind, list[KeptFeatures]] = {}
        for kind in self.kinds:
            tuned, fresh = adaptation.of(kind), self.config.fresh
            renderings = kept_renderings(self.config, self.views, kind)
            if tuned and fresh and not self.config.probe_first:
                renderings = [rendering for rendering in renderings if rendering.seed is None]
            kept[kind] = [
                frozen_features(
                    tower,
                    self.pictures,
                    self.config.selection,
                    self._normalise,
                    self.work / "features",
                    rendering,
                    self._tower_sha256,
                    # What a scan sees is scored by the tuned tower, and what is drawn from enters it.
                    adaptation.first_block - 1 if tuned and (rendering.seed is None or not fresh) else None,
                    self._counting(rendering.name),
                )
                for rendering in renderings
            ]
        return kept

    @property
    def _scanned(self) -> dict[ViewKind, list[KeptFeatures]]:
        plan = plan_views(self.config.selection, self.views)
        return {kind: self._kept[kind][: sum(view.kind == kind for view in plan)] for kind in self.kinds}

    @property
    def _seeing_precision(self) -> str:
        """The precision that features are computed in: a GPU has time for float32, which is what a scan computes in."""
        return self.precision if self.device == "cpu" else "fp32"

    def _new_tower(self, precision: str | None = None) -> VisionTransformer:
        """The frozen tower, in the precision that features are computed in unless another is named."""
        dtype = torch.bfloat16 if (precision or self._seeing_precision) == "bf16" else torch.float32
        return load_tower(self.tower_path).matrices_to(dtype).to(self.device)

    def _fingerprint(self, indices: Sequence[int]) -> str:
        """Hash of all that a fit depends on: recipe, data in order, semantics, tower, views, precision and device."""
        pictures = [self.pictures[i] for i in indices]
        recipe = f"{self.config.fingerprint(pictures)}:{order_hash(pictures)}"
        semantic = hashlib.sha256(self.semantic.double().numpy().tobytes()).hexdigest()
        text = f"{recipe}:{semantic}:{self._tower_sha256}:{self.views}:{self.precision}"
        if self.device != "cpu":
            text += ":GPU"  # other products, and more pictures scored and anchored (`some_of`)
        return hashlib.sha256(text.encode()).hexdigest()

    def _finished(
        self, tower: VisionTransformer, kind: ViewKind, kept: KeptFeatures, indices: Sequence[int]
    ) -> VitFeatures:
        """Features of a view: those that were kept where the tower is as it came, else finished by the adapted one."""
        if not self.config.adaptation.of(kind):
            return kept.features.rows(torch.tensor(list(indices)))
        return finish(tower, kept, indices)

    def _seen(
        self, tower: VisionTransformer, indices: Sequence[int], kinds: Sequence[ViewKind]
    ) -> dict[ViewKind, list[VitFeatures]]:
        """Features of all views of some ``kinds`` that a scan makes."""
        return {kind: [self._finished(tower, kind, kept, indices) for kept in self._scanned[kind]] for kind in kinds}

    def _scores(self, fitted: Fitted, indices: Sequence[int]) -> Scores:
        return self._said(fitted, self._seen(fitted.tower, indices, self.kinds), [self.pictures[i] for i in indices])

    def _whole_scores(self, fitted: Fitted, whole: Sequence[int]) -> Scores:
        """Of ``whole[i]``, by name and judge: what all its views say, a judge of many views by their mean."""
        scores: Scores = {}
        for those, seen in self._whole_features.alike(whole) if whole else []:
            scores |= self._said(fitted, seen, [self.whole[i] for i in those])
        return scores

    def _said(
        self, fitted: Fitted, features: dict[ViewKind, list[VitFeatures]], pictures: Sequence[LabelledPicture]
    ) -> Scores:
        """What each judge says of ``pictures``, from the features of each of their views, a row a picture."""
        said: dict[str, list[float]] = {
            kind: score_features(fitted.heads.of(kind), features[kind]) for kind in self.headed
        }
        if fitted.kernel is not None:
            said[KERNEL] = fitted.kernel.score(features).tolist()
        return {p.name: {judge: values[k] for judge, values in said.items()} for k, p in enumerate(pictures)}

    @cached_property
    def _whole_features(self) -> WholeFeatures:
        tower = self._new_tower()
        mark = f"{self._tower_sha256}:{self.config.selection}:{self.views}:{tower.conv1.weight.dtype}"
        return whole_features(
            tower,
            self.whole,
            self.config.selection,
            self.views,
            self._normalise,
            self.work / "features" / "whole",
            mark,
            self._counting("whole pictures"),
        )

    def _counting(self, name: str) -> Callable[[int, int], None]:
        def count(done: int, total: int) -> None:
            self.note(f"features {name}", Progress(done, total))

        return count


@torch.inference_mode()
def finish(tower: VisionTransformer, kept: KeptFeatures, indices: Sequence[int]) -> VitFeatures:
    """Features of an adapted tower, from what was kept below its lowest adapted block."""
    few = [list(indices[first : first + _FORWARD_BATCH]) for first in range(0, len(indices), _FORWARD_BATCH)]
    return VitFeatures.join([tower.finish(*kept.enter(tower, rows)).floats_on(torch.device("cpu")) for rows in few])
