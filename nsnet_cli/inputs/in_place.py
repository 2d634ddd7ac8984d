"""Pixels of a large picture where Pillow holds them: a hundred megapixels need not be there twice.

Pillow keeps a colour picture as four bytes a pixel, and gives them back only whole.  So a copy of it as three, which is
what views are made of, would stand beside it.  What is shared instead is what Pillow lends through Arrow's C data
interface (https://arrow.apache.org/docs/format/CDataInterface.html), read here by the standard library alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

    from nsnet_cli.arrays import Pixels

# Smaller ones are copied: three bytes side by side are sooner read than three of four, turned ones above all.
_LARGE = 1 << 26
_BANDS = 4


class _ArrowArray(ctypes.Structure):
    """``struct ArrowArray`` of the interface."""


_ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]


@contextmanager
def in_one_piece(size: tuple[int, int]) -> Iterator[None]:
    """What Pillow loads meanwhile lies in one piece of memory, if it is large: else it cannot be shared."""
    from PIL import Image

    core: Any = Image.core  # type: ignore[attr-defined]
    before = core.get_use_block_allocator()
    core.set_use_block_allocator(int(before or size[0] * size[1] >= _LARGE))
    try:
        yield
    finally:
        core.set_use_block_allocator(before)


def shared(image: PilImage) -> Pixels | None:
    """``(height, width, 3)`` of a large opaque RGB picture, in Pillow's own memory, which lives as long as the array.

    None of any other picture, and where it does not lie in one piece.  Nothing can be written to it.
    """
    import numpy as np

    if image.mode != "RGB" or "transparency" in image.info or image.width * image.height < _LARGE:
        return None
    try:
        _, lent = image.__arrow_c_array__()
    except ValueError:  # in several pieces
        return None
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    array: Any = _ArrowArray.from_address(get(lent, b"arrow_array"))
    length = image.width * image.height
    if (array.length, array.offset, array.n_children) != (length, 0, 1):
        return None
    values = array.children[0].contents
    address = values.buffers[1] if (values.length, values.offset, values.n_buffers) == (_BANDS * length, 0, 2) else None
    if address is None:
        return None
    held = (ctypes.c_uint8 * (_BANDS * length)).from_address(address)
    held.lent = lent  # type: ignore[attr-defined]  # which releases the memory when nobody holds it any more
    pixels = np.ctypeslib.as_array(held).reshape(image.height, image.width, _BANDS)
    pixels.flags.writeable = False
    return pixels[:, :, :3]


def turned(pixels: Pixels, orientation: object) -> Pixels:
    """``(height, width, 3)`` as EXIF's ``orientation`` wants it shown; nothing is copied."""
    import numpy as np

    ways: Mapping[object, Callable[[Pixels], Pixels]] = {
        2: np.fliplr,
        3: lambda x: np.rot90(x, 2),
        4: np.flipud,
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
        8: np.rot90,
    }
    return ways[orientation](pixels) if orientation in ways else pixels
