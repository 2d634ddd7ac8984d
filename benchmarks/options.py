"""Options that several benchmarks have: one name and one wording for each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from documents import MANIFEST

_SHARED: dict[str, dict[str, Any]] = {
    "--manifest": {
        "type": Path,
        "default": MANIFEST,
        "metavar": "CSV",
        "help": "labelled pictures (docs/evaluation.md) [default: the corpus, where it lies beside this repository]",
    },
    "--whole": {"type": Path, "metavar": "CSV", "help": "a manifest of whole originals (docs/evaluation.md)"},
    "--labels": {"type": Path, "metavar": "NPY", "help": "text embeddings of labels (docs/training.md)"},
    "--work": {"type": Path, "metavar": "DIR", "help": "where what takes long is kept; a run that was killed goes on"},
    "--rows": {"type": Path, "metavar": "JSONL", "help": "where what is said of each picture is kept; a run goes on"},
    "--precision": {"default": "auto", "help": "as of nsnet scan; stands in the documents"},
    "--write-only": {"action": "store_true", "help": "write the documents from the kept figures"},
}


def parser_with(doc: str | None, *shared: str) -> argparse.ArgumentParser:
    """A parser that shows a script's ``doc`` as help, with those options that it ``shared`` with others.

    Of a name that ends in ``!`` nothing can be left out.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in shared:
        bare = name.removesuffix("!")
        parser.add_argument(bare, required=bare != name, **_SHARED[bare])
    return parser
