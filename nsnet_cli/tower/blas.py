"""Threads of the BLAS behind NumPy's products.

A scan runs views side by side and each product on one thread.  What is small (the judges' products) is slower on many,
and worse: OpenBLAS's threads go on spinning for a while when they have nothing left to do, on cores that are needed.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _blas() -> Any:
    return ThreadpoolController().select(user_api="blas")


def one_thread_a_product() -> AbstractContextManager[object]:
    """Within it every product runs on the thread that asks for it; that holds for all of the process."""
    limit: AbstractContextManager[object] = _blas().limit(limits=1)
    return limit


@cache
def default_threads() -> int:
    """As many threads as BLAS takes by itself: the cores, unless ``OMP_NUM_THREADS`` or its like says otherwise."""
    return max((library["num_threads"] for library in _blas().info()), default=1)
