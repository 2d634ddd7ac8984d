"""Freed memory is kept where glibc can be told so, and nowhere against the user's own word."""

from __future__ import annotations

import platform
import sys

import pytest

from nsnet_cli.allocator import give_back_freed_memory, keep_freed_memory


def test_the_users_own_settings_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert keep_freed_memory() is False


@pytest.mark.skipif(not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc", reason="glibc's own")
def test_glibc_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    assert keep_freed_memory() is True


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False and give_back_freed_memory() is False


@pytest.mark.skipif(not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc", reason="glibc's own")
def test_what_is_free_is_given_back() -> None:
    blocks = [b"x" * 50_000 for _ in range(400)]
    last = b"y" * 50_000  # what lies below it cannot be given back but by being asked for
    del blocks
    assert give_back_freed_memory() is True and len(last) == 50_000
