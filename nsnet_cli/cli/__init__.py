"""The command line: parse, call one library function, hand the result to a renderer."""

from __future__ import annotations

from nsnet_cli.cli.app import main

__all__ = ["main"]
