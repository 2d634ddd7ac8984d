"""Threads of the BLAS behind NumPy's products.

A scan runs views side by side and each product on one thread.  What is small (the judges' products) is slower on many,
and worse: OpenBLAS's threads go on spinning for a while when they have nothing left to do, on cores that are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
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


@contextmanager
def ending_at_once(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Ctrl-C within it leaves nothing for ``pool`` to do: Python would wait at its end for all that was asked."""
    try:
        yield
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
