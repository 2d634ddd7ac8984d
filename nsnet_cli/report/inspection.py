"""What `nsnet inspect` shows on a terminal: parts as a tree, then what they say."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from nsnet_cli.report.statements import statements_of
from nsnet_cli.results.escaping import printable

_LONGEST, _INDENT = 300, 2


def print_inspection(console: Console, document: dict[str, Any]) -> None:
    """The tree, texts and packets cut short, and what was made of them."""
    head = f"{document['path']}: {document['container']}, {document['bytes']:,} bytes"
    tree = Tree(Text(printable(head), overflow="fold"))
    for part in document["parts"]:
        _add(tree, part)
    console.print(tree)
    for text in document["texts"]:
        _say(console, f"{text['where']} {text['key']}", text["value"])
    for packet in document["xmp"]:
        _say(console, f"XMP of {packet['where']}, {packet['bytes']:,} bytes", packet["packet"])
    for block in document["iptc"]:
        for dataset in block["datasets"]:
            _say(console, f"IPTC {dataset['record']}:{dataset['dataset']}", dataset["value"])
    if document["manifests"] is not None:
        manifests = document["manifests"]
        said = manifests if isinstance(manifests, str) else "content credentials: --json has every manifest whole"
        _say(console, "C2PA", said)
    for thumbnail in document["thumbnails"]:
        _say(console, f"thumbnail in {thumbnail['where']}", f"{thumbnail['bytes']:,} bytes; --thumbnails DIR writes it")
    if document["provenance"] is not None:
        for line in statements_of(document["provenance"]):
            _say(console, "says", line.line)
    for error in document["errors"]:
        _say(console, f"{error['source']} not read", error["message"])


def _add(tree: Tree, part: dict[str, Any]) -> None:
    place = "" if part["offset"] is None else f" at {part['offset']:,}"
    note = f"  {part['note']}" if part.get("note") else ""
    branch = tree.add(Text(printable(f"{part['name']}{place}, {part['bytes']:,} bytes{note}"), overflow="fold"))
    for inner in part.get("parts", ()):
        _add(branch, inner)


def _say(console: Console, name: str, value: str) -> None:
    """One statement, its further lines indented."""
    text = " ".join(value.split())
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… (--json has all of it)"
    line = Text(f"{printable(name)}: ", style="dim") + Text(printable(shown))
    for number, part in enumerate(line.wrap(console, max(1, console.width - _INDENT), overflow="fold")):
        part.rstrip()
        console.print(Text(" " * _INDENT * bool(number)) + part)
