"""Keep freed memory: activations of some megabytes come and go by the hundred in a scan.

glibc gives the top of its heap back to the kernel whenever some of it is free, and the kernel hands out the same pages
anew, zeroed, one fault for each: a tenth of the time of a scan on a CPU.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Bytes: free memory that is kept; and blocks up to which size come from the heap, the most that glibc allows.
_KEPT, _LARGEST = 256 << 20, 32 << 20
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


# What stands in the way of loading the C library's own, or is not there in another's.
_ABSENT = (OSError, AttributeError)


def keep_freed_memory() -> bool:
    """Whether glibc was told to; it is not where another allocator is in use, or the user has told it something."""
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _SETTINGS):
        return False
    import ctypes

    with suppress(*_ABSENT):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT))
    return False


def give_back_freed_memory() -> bool:
    """Give the kernel what is free now; whether there was any.  What is freed later is kept as before.

    For once, when something large was made: a packed matrix lies between the temporary ones that it was made from.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    with suppress(*_ABSENT):
        return bool(ctypes.CDLL(None).malloc_trim(0))
    return False
