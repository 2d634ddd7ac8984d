"""What the streams of this package share."""

from __future__ import annotations

import io


class Positioned(io.RawIOBase):
    """A readable and seekable raw stream that keeps its position in ``at``."""

    at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at
