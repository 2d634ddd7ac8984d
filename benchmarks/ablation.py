"""What is each part of NS-Net worth, here?  Projection, patch selection, contrastive loss, depth: each apart.

    python benchmarks/ablation.py --work DIR     two and a half hours on two cores; goes on after a kill from DIR
    python benchmarks/ablation.py --write-only   writes docs/ablation.md from the kept figures

An even subset of the training pictures, as many of every generator and of every source, in five grouped folds that
keep whole lineages on one side; then, once, arms fitted on all of it are tried on an even subset of ``val``.  Figures
are kept in ``benchmarks/results/ablation.json``; a test fails where the document differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from ablating import angles, frozen
from ablating.document import DOCUMENT, plots, render
from ablating.judging import Study, probe_elsewhere
from ablating.kept import Keeper, even_subset
from ablating.tuned import ARMS, FOLDS, tuned_scores
from ablating.ways import FURTHER, WAYS, has_room
from documents import MANIFEST, RESULTS, need_manifest, save_plot
from options import parser_with
from sklearn.metrics import roc_auc_score
from torch import Tensor

from nsnet_cli.disk import sha256_of, write_whole
from nsnet_cli.evaluation.labelled import LabelledPicture, manifest_hash, read_manifest
from nsnet_cli.judges.nullspace import BasisRule, semantic_basis
from nsnet_cli.tower.vit import VitFeatures
from nsnet_cli.training.views import read_picture
from nsnet_cli.weights.store import TOWER_NAME, find_weights

RESULT = RESULTS / "ablation.json"
_SEMANTICS = MANIFEST.parent.parent / "semantics"
_LABELS = {
    frozen.LABELS: "coco_stuff_171_single_prompt.npy",
    "prompt ensemble": "coco_stuff_171_prompt_ensemble.npy",
    "133 panoptic labels": "coco_panoptic_133.npy",
}
_PICTURES, _VAL_PICTURES, _FOLDS, _TUNE_SAMPLES = 1_200, 600, 5, 800
_THREE_WAYS, _VAL_WAYS = ("mosaic", "crop", "resized"), ("mosaic", "resized")
# Of pictures with room for several mosaics: each takes three more.
_LARGE_PICTURES = 400


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--work", "--write-only")
    parser.add_argument("--semantics", type=Path, default=_SEMANTICS, help="folder of the label embeddings")
    parser.add_argument("--pictures", type=int, default=_PICTURES, help="of train, at most")
    parser.add_argument("--val-pictures", type=int, default=_VAL_PICTURES)
    parser.add_argument("--tune-samples", type=int, default=_TUNE_SAMPLES, help="pictures that an adapted tower sees")
    args = parser.parse_args()
    if not args.write_only:
        need_manifest(args.manifest)
        if args.work is None:
            parser.error("--work DIR is needed: the features take hours")
        RESULT.write_text(json.dumps(_Ablation(args).run(), indent=2) + "\n", "utf-8")
    document = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(render(document), "utf-8")
    for name, svg in plots(document).items():
        save_plot(name, svg)


class _Ablation:
    """One run: features first, then a section after the other, each kept when it is done."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._work, self._samples = args.work, args.tune_samples
        self._pictures = even_subset(read_manifest(args.manifest, "train"), args.pictures)
        self._val = even_subset(read_manifest(args.manifest, "val"), args.val_pictures)
        self._labels = {
            name: torch.from_numpy(np.load(args.semantics / file, allow_pickle=False).astype(np.float64))
            for name, file in _LABELS.items()
        }
        self._keeper = Keeper(args.work / "features")
        self._study = Study.grouped(self._pictures, _FOLDS)
        self._semantic = frozen.subspace(self._labels[frozen.LABELS], frozen.RANK)
        self._mark = f"{manifest_hash(self._pictures)}:{manifest_hash(self._val)}"

    def run(self) -> dict[str, Any]:
        study, labels, semantic = self._study, self._labels, self._semantic
        seen = {name: self._keeper.features(name, way, self._pictures) for name, way in WAYS.items()}
        mosaic = seen["mosaic"]
        sections: dict[str, Callable[[], Any]] = {
            "depth": lambda: {way: frozen.depth(study, seen[way]) for way in _THREE_WAYS},
            "projection": lambda: frozen.projection(study, mosaic, labels),
            "projection of whole pictures": lambda: frozen.projection(study, seen["resized"], labels),
            "selection, last block": lambda: frozen.selection(study, seen, semantic, frozen.projected),
            "selection, middle blocks": lambda: frozen.selection(study, seen, semantic, frozen.spine),
            "beside the whole picture": lambda: frozen.beside_resized(study, seen, semantic),
            "several mosaics": self._several_mosaics,
            "separability": lambda: {way: angles.separability(study, seen[way], semantic) for way in _THREE_WAYS},
            "projection, trained heads": lambda: frozen.projection_with_heads(study, mosaic, labels),
            "objective": lambda: frozen.objective(study, mosaic, semantic),
            "val": lambda: self._elsewhere(seen),
            "adapted tower": lambda: self._adapted(mosaic),
        }
        return {
            "tower_sha256": sha256_of(find_weights(TOWER_NAME)),
            "pictures": self._counted(self._pictures),
            "val_pictures": self._counted(self._val),
            "folds": _FOLDS,
            "tuned_folds": FOLDS,
            "tune_samples": self._samples,
            "sections": {name: self._section(name, make) for name, make in sections.items()},
        }

    def _section(self, name: str, make: Callable[[], Any]) -> Any:
        path = self._work / "sections" / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if path.exists():
            kept = json.loads(path.read_text("utf-8"))
            if kept["mark"] == self._mark:
                return kept["found"]
        print(f"section: {name}", file=sys.stderr, flush=True)
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"mark": self._mark, "found": found}))
        return found

    def _several_mosaics(self) -> dict[str, Any]:
        """Of pictures that have patches for more than one; a view beyond the third repeats some."""
        with_room = [p for p in self._pictures if has_room(min(read_picture(p.path).size))]
        pictures = even_subset(with_room, _LARGE_PICTURES)
        large = np.isin([p.name for p in self._pictures], [p.name for p in pictures])
        first = self._keeper.features("mosaic", WAYS["mosaic"], self._pictures).rows(torch.from_numpy(large))
        later = [self._keeper.features(name, way, pictures) for name, way in FURTHER.items()]
        arms = frozen.several_views(self._study.only(large), [first, *later], self._semantic)
        return {"pictures": self._counted(pictures), "arms": arms}

    def _adapted(self, mosaic: VitFeatures) -> dict[str, Any]:
        strict = semantic_basis(self._labels[frozen.LABELS], BasisRule("tolerance", 1e-6)).vectors
        semantics = {"none": self._semantic[:0], "rank 100": self._semantic, "strict": strict}
        study = Study.grouped(self._pictures, FOLDS)
        scores = {}
        for name, arm in ARMS.items():
            print(f"arm: {name}", file=sys.stderr, flush=True)
            work = self._work / "checkpoints"
            scores[name] = tuned_scores(arm, study, mosaic, semantics[arm.semantic], self._samples, work)
        tried = study.fold_of == 0
        found = study.only(tried).compare({name: [s[tried]] for name, s in scores.items()}, next(iter(ARMS)))
        return {"pictures": self._counted(study.only(tried).pictures), "arms": frozen.table(found)}

    def _elsewhere(self, seen: Mapping[str, VitFeatures]) -> dict[str, Any]:
        """Probes fitted on all of the subset, tried once on generators and sources of ``val``."""
        labels = np.array([p.label for p in self._val])
        looks: dict[str, Callable[[VitFeatures], Tensor]] = {
            "last block, as it is": frozen.last_block,
            "last block, projected": lambda f: frozen.projected(f, self._semantic),
            "semantic part alone": lambda f: frozen.semantic_part(f, self._semantic),
            "projected, with blocks 5-10": lambda f: frozen.spine(f, self._semantic),
        }
        found: dict[str, Any] = {}
        for way in _VAL_WAYS:
            there = self._keeper.features(f"val {way}", WAYS[way], self._val)
            said = {name: probe_elsewhere(self._study, look(seen[way]), look(there)) for name, look in looks.items()}
            found[way] = {name: {"auc": round(float(roc_auc_score(labels, s)), 4)} for name, s in said.items()}
        return found

    @staticmethod
    def _counted(pictures: list[LabelledPicture]) -> dict[str, int]:
        groups = {(p.label, p.group) for p in pictures}
        return {
            "real": sum(p.label == 0 for p in pictures),
            "generated": sum(p.label == 1 for p in pictures),
            "sources": sum(label == 0 for label, _ in groups),
            "generators": sum(label == 1 for label, _ in groups),
        }


if __name__ == "__main__":
    main()
