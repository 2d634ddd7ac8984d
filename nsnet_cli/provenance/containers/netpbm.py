"""PBM, PGM and PPM: comments in the header (netpbm's own documentation)."""

from __future__ import annotations

import re

from nsnet_cli.provenance.containers.carried import Carried, Part, text_of

_LARGEST_HEADER = 65_536


def walk_netpbm(data: bytes, carried: Carried) -> None:
    """Comments stand between the magic number and the fourth number."""
    at, numbers = 2, 0
    head = data[:_LARGEST_HEADER]
    while at < len(head) and numbers < 3:
        found = re.compile(rb"\s*(?:#([^\r\n]*)|(\d+))").match(head, at)
        if found is None:
            return
        if found.group(1) is not None:
            carried.part(carried.parts, Part("comment", found.start(1) - 1, found.end() - found.start(1) + 1))
            carried.text("PPM comment", "comment", text_of(found.group(1)))
        else:
            numbers += 1
        at = found.end()
