"""Does ``--precision auto`` say what float32 says?  Held-out pictures, scanned both ways.

    python benchmarks/same_verdicts.py --work DIR [--whole ORIGINALS.csv]    goes on after a kill from DIR
    python benchmarks/same_verdicts.py --write-only          writes docs/performance.md from the kept figures

Crops of ``val``, and with ``--whole`` its originals, all or a ``--sample``, go through ``nsnet scan`` with the shipped
weights: once in float32, once as a scan does it by itself.  A verdict that differs, or a picture that one way can score
and the other cannot, is a failure of ``auto``: the script then ends with 1.  So it does where the processor is not fast
at bfloat16: ``auto`` is float32 there, and nothing would be shown.  Figures of each kind of processor are kept in
``benchmarks/results/same_verdicts.json``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from documents import RESULTS, ROOT, between_markers, need_manifest
from options import parser_with

from nsnet_cli.disk import sha256_of
from nsnet_cli.evaluation.labelled import LabelledPicture, read_manifest
from nsnet_cli.evaluation.robustness import take_sample
from nsnet_cli.tower.processor import bfloat16_unit, processor_name
from nsnet_cli.weights.store import DEFAULT_WEIGHTS, find_weights

OWNER, DOCUMENT = "benchmarks/same_verdicts.py", ROOT / "docs" / "performance.md"
RESULT = RESULTS / "same_verdicts.json"
_WAYS = ("fp32", "auto")
Row = dict[str, Any]


def main() -> None:
    parser = parser_with(__doc__, "--manifest", "--whole", "--work", "--write-only")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="of each set only so many; all of val unless it is given"
    )
    asked = parser.parse_args()
    if not asked.write_only:
        need_manifest(asked.manifest)
        if asked.work is None:
            parser.error("--work is needed")
        if bfloat16_unit() is None:
            sys.exit("this processor is not fast at bfloat16: auto is float32 here, and there is nothing to compare")
        manifests = {"crops": asked.manifest, "originals": asked.whole}
        sets = {
            of: take_sample(read_manifest(path, "val"), asked.sample)
            for of, path in manifests.items()
            if path is not None
        }
        document = json.loads(RESULT.read_text("utf-8"))
        document["processors"][f"{processor_name()}, {bfloat16_unit()}"] = {
            "weights_sha256": sha256_of(find_weights(DEFAULT_WEIGHTS)),
            "sampled": asked.sample is not None,
            "sets": {
                of: _compared(*(_scanned(pictures, asked.work, of, way) for way in _WAYS))
                for of, pictures in sets.items()
            },
        }
        RESULT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    document = json.loads(RESULT.read_text("utf-8"))
    DOCUMENT.write_text(with_figures(DOCUMENT.read_text("utf-8"), document), "utf-8")
    sys.exit(any(row["verdicts"] for one in document["processors"].values() for row in one["sets"].values()))


def _scanned(pictures: Sequence[LabelledPicture], work: Path, of: str, way: str) -> dict[str, Row]:
    """What a scan says of each picture, by path."""
    work.mkdir(parents=True, exist_ok=True)
    listed, out = work / f"{of}.txt", work / f"{of}-{way}.jsonl"
    listed.write_text("".join(f"{picture.path.resolve()}\n" for picture in pictures), "utf-8")
    options = ["--precision", way, "--device", "cpu", "--resume", "--no-provenance", "--no-patches"]
    command = [sys.executable, "-m", "nsnet_cli", "scan", "--from-file", str(listed), "-o", str(out), *options]
    run = subprocess.run(command, check=False)
    if run.returncode not in (0, 3):  # 3: some pictures have no score
        sys.exit(run.returncode)
    rows = (json.loads(line) for line in out.read_text("utf-8").splitlines())
    return {row["path"]: row for row in rows}


def _compared(exact: dict[str, Row], fast: dict[str, Row]) -> Row:
    assert exact.keys() == fast.keys()
    pairs = [(exact[path], fast[path]) for path in exact]
    scored = [pair for pair in pairs if None not in (pair[0]["score"], pair[1]["score"])]
    drift = np.abs([one["score"] - other["score"] for one, other in scored])
    return {
        "pictures": len(pairs),
        "in_bfloat16": sum(other["score_precision"] == "bf16" for _, other in pairs),
        "verdicts": sum(one["verdict"] != other["verdict"] for one, other in pairs),
        "half": round(float(np.median(drift)), 5),
        "largest": round(float(drift.max()), 5),
        "probability": round(max(abs(one["probability"] - other["probability"]) for one, other in scored), 5),
    }


def with_figures(text: str, document: Row) -> str:
    """The document with its table made new."""
    lines = [
        "`nsnet scan` of pictures of `val`, `--precision auto` against `fp32`:",
        "",
        "| processor, weights | | pictures | reported from bfloat16 | other verdict | scores apart: half, most "
        "| probabilities, most |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {processor}, `{one['weights_sha256'][:12]}` | {'a sample of ' if one['sampled'] else 'all '}{of} "
            f"| {row['pictures']:,} | {row['in_bfloat16']:,} | {row['verdicts']} | {row['half']:.3f}, "
            f"{row['largest']:.3f} | {row['probability']:.3f} |"
            for processor, one in document["processors"].items()
            for of, row in one["sets"].items()
        ),
    ]
    return between_markers(text, OWNER, "\n".join(lines))


if __name__ == "__main__":
    main()
