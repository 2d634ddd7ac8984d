"""How much each labelled picture counts, and who is on which side of a fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import labelled
from hypothesis import given
from hypothesis import strategies as st

from nsnet_cli.training.folds import evened_within, grouped_folds, lineage, picture_weights, split_fold
from nsnet_cli.training.run import _split


def test_weights_even_out_groups_and_classes() -> None:
    pictures = [labelled(f"{k}", 0, "big") for k in range(100)] + [labelled(f"s{k}", 0, "small") for k in range(25)]
    pictures += [labelled(f"g{k}", 1, f"tiny{k}") for k in range(7)]
    weights = picture_weights(pictures)
    assert sum(weights[:125]) == pytest.approx(0.5) and sum(weights[125:]) == pytest.approx(0.5)
    assert sum(weights[:100]) / sum(weights[100:125]) == pytest.approx(2.0)  # sqrt(100 / 25)
    assert len(set(weights[125:])) == 1
    # One of a group under ten counts as one of ten, not more: single pictures would rule.
    few = picture_weights(
        [labelled(f"{k}", 0, "ten") for k in range(10)] + [labelled("s", 0, "single"), labelled("g", 1, "g")]
    )
    assert few[0] == pytest.approx(few[10])


def test_folds_keep_lineages_together_and_cover_everything() -> None:
    names = ["sd-1.4", "sd-1.x-lora", "stylegan", "stylegan2-ada", "flux-1-dev", "dalle-2", "unknown-a", "unknown-b"]
    pictures = [labelled(f"{n}{k}", 1, n) for n in names for k in range(12)]
    pictures += [labelled(f"r{n}{k}", 0, f"camera-{n}") for n in range(9) for k in range(5 + n)]
    folds = grouped_folds(pictures, 3)
    assert set(folds) == {0, 1, 2}
    of = {}
    for picture, fold in zip(pictures, folds, strict=True):
        assert of.setdefault(lineage(picture.group, picture.label), fold) == fold
    assert lineage("sd-1.4", 1) == lineage("sd-1.x-lora", 1)
    assert lineage("stylegan", 1) == lineage("stylegan2-ada", 1)
    assert lineage("unknown-a", 1) != lineage("unknown-b", 1)


def test_a_fold_is_not_judged_by_pictures_of_its_own_repositories() -> None:
    pictures = [
        replace(labelled(f"{k}", k % 2, f"group{k}"), repository=f"repo{k // 3}" if k < 9 else "") for k in range(15)
    ]
    fold_of = [0, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1]
    inside, outside = split_fold(pictures, fold_of, 0)
    assert outside == [0, 7, 9, 12]
    # Of repositories 0 and 2 nothing is learnt; pictures that name none share none.
    assert inside == [3, 4, 5, 10, 11, 13, 14]


@given(st.lists(st.tuples(st.floats(0.01, 10), st.integers(0, 1), st.booleans()), min_size=1, max_size=30))
def test_both_labels_weigh_alike_within_each_kind(pictures: list[tuple[float, int, bool]]) -> None:
    weights, labels, kinds = (np.array(column) for column in zip(*pictures, strict=True))
    even = np.array(evened_within(weights.tolist(), labels.tolist(), kinds.tolist()))
    for kind in set(kinds.tolist()):
        real, generated = ((kinds == kind) & (labels == label) for label in (0, 1))
        assert even[kinds == kind].sum() == pytest.approx(weights[kinds == kind].sum())
        if real.any() and generated.any():
            assert even[real].sum() == pytest.approx(even[generated].sum())
        else:
            assert even[kinds == kind] == pytest.approx(weights[kinds == kind])


def test_whole_pictures_of_a_left_out_fold_and_of_its_repositories_are_not_learnt_from() -> None:
    groups = (("a", 0), ("b", 0), ("c", 1), ("d", 1))
    pictures = [
        replace(labelled(f"{group}{k}", label, group), repository=group) for group, label in groups for k in range(3)
    ]
    whole = [replace(p, name=f"whole {p.name}") for p in pictures]
    whole.append(replace(labelled("shares a repository", 0, "e"), repository="a"))
    fold_of = grouped_folds([*pictures, *whole], 2)
    for fold in (0, 1):
        parts = _split(pictures, whole, fold_of, fold)
        left_out = {pictures[i].group for i in parts.outside} | {whole[i].group for i in parts.whole_outside}
        repositories = {whole[i].repository for i in parts.whole_outside}
        assert parts.whole_inside and parts.whole_outside
        for i in parts.whole_inside:
            assert whole[i].group not in left_out and whole[i].repository not in repositories
