"""Which processors are fast at bfloat16, by what Linux says of them."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from nsnet_cli.tower import processor

INTEL, AMD = "GenuineIntel", "AuthenticAMD"


@pytest.mark.parametrize(
    ("vendor", "flags", "unit"),
    [
        pytest.param(INTEL, "avx2 avx512f avx512_bf16 amx_bf16 amx_tile amx_int8", "AMX", id="Sapphire Rapids"),
        pytest.param(INTEL, "avx2 avx512f avx512_bf16 avx512_vnni", None, id="the same, its tiles hidden"),
        pytest.param(INTEL, "avx2 avx512f avx512_vnni", None, id="Ice Lake"),
        pytest.param(AMD, "avx2 avx512f avx512_bf16 avx512_vnni", "AVX-512-BF16", id="Zen 4"),
        pytest.param(AMD, "avx2 fma", None, id="Zen 3"),
    ],
)
def test_a_processor_is_fast_at_bfloat16_by_tiles_or_by_amds_vectors(
    vendor: str, flags: str, unit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\nmodel name\t: one\nflags\t\t: fpu {flags}\n", "utf-8")
    says(monkeypatch, tmp_path / "cpuinfo")
    assert processor.bfloat16_unit() == unit
    assert processor.multiplies_bfloat16() == (unit is not None)
    assert processor.processor_name() == "one"


def test_where_nothing_is_said_nothing_is_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, tmp_path / "not there")
    assert processor.bfloat16_unit() is None
    assert processor.processor_name()


def test_only_linux_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("flags : amx_bf16 amx_tile\n", "utf-8")
    says(monkeypatch, tmp_path / "cpuinfo")
    monkeypatch.setattr(sys, "platform", "win32")
    assert not processor.multiplies_bfloat16()


def says(monkeypatch: pytest.MonkeyPatch, cpuinfo: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", cpuinfo)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
