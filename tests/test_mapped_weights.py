"""Weights files are mapped, not copied, and what is held as int8 is the matrix that it stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from nsnet_cli.errors import WeightsError
from nsnet_cli.weights.quantised import Int8Rows, held, int8_rows
from nsnet_cli.weights.safefile import mapped, write_safetensors
from nsnet_cli.weights.store import DEFAULT_WEIGHTS, TOWER_NAME, find_weights

TENSORS = {
    "scalar": torch.tensor(0.5),
    "matrix": torch.arange(-6, 6, dtype=torch.int8).reshape(3, 4),
    "odd": torch.arange(5, dtype=torch.uint8),
    "floats": torch.linspace(-1, 1, 7),
    "none": torch.zeros(0, 3),
    "long": torch.tensor([2**40, -1]),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.safetensors"
    write_safetensors(path, TENSORS, {"format": "a test", "of": "ü"})
    return path


def test_what_is_mapped_is_what_the_file_holds_and_cannot_be_written_to(path: Path) -> None:
    found = mapped(path)
    found.let_go()  # it is read again
    assert found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        one = found.tensors[name]
        assert (one.dtype, one.shape) == (tensor.numpy().dtype, tuple(tensor.shape))
        assert np.array_equal(one, tensor.numpy())
        assert not one.flags.writeable


@pytest.mark.parametrize("name", [DEFAULT_WEIGHTS, TOWER_NAME])
def test_shipped_files_map_to_what_safetensors_reads(name: str) -> None:
    found, read = mapped(find_weights(name)).tensors, load_file(find_weights(name))
    assert found.keys() == read.keys()
    assert all(np.array_equal(found[name], value) for name, value in read.items())


def test_a_type_that_numpy_has_not_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    write_safetensors(path, {"a": torch.zeros(3, dtype=torch.bfloat16)}, {})
    with pytest.raises(WeightsError, match="a is of type BF16"):
        mapped(path)


@pytest.mark.parametrize("kept", [3, 40, -1])
def test_half_a_file_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="cut short"):
        mapped(path)


@given(st.integers(1, 150), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_rows_columns_and_arrays_are_the_same_matrix(rows: int, width: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    one = Int8Rows(*int8_rows(matrix))
    whole = one.q.astype(np.float32) * one.scale[:, None]
    few = slice(rows // 3, rows // 2 + 1)
    assert np.array_equal(one.whole(), whole) and np.array_equal(np.asarray(one), whole)
    assert np.array_equal(one.rows(few), whole[few])
    columns = one.by_column()
    assert np.array_equal(columns, whole) and columns.flags.f_contiguous
    # Half a step of the row's largest value is what rounding may take.
    assert (np.abs(whole - matrix) <= 0.5001 * one.scale[:, None] + 1e-7).all()


def test_what_has_a_scale_is_held_and_all_else_is_copied() -> None:
    q, scale = int8_rows(np.eye(4, 3, dtype=np.float32))
    given = {"a": q, "a.scale": scale, "b": scale, "c.scale": scale}
    found = held(given)
    assert found.keys() == {"a", "b", "c.scale"}
    assert isinstance(found["a"], Int8Rows) and found["a"].q is q
    assert found["b"] is not scale and np.array_equal(np.asarray(found["b"]), scale)
    assert {name: np.asarray(x).dtype for name, x in found.items()} == dict.fromkeys(found, np.dtype(np.float32))
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(found["a"], copy=False)


def test_what_is_stored_column_by_column_is_held_as_the_matrix_that_it_is_of() -> None:
    q, scale = int8_rows(np.random.default_rng(3).standard_normal((7, 4)).astype(np.float32))
    found = held({"a.columns": q.T.copy(), "a.scale": scale, "b.columns": scale})
    assert found.keys() == {"a", "b.columns"}
    held_rows, few = found["a"], slice(2, 5)
    assert isinstance(held_rows, Int8Rows) and held_rows.shape == (7, 4)
    assert np.array_equal(held_rows.rows(few), Int8Rows(q, scale).rows(few))
