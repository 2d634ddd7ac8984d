"""Name every source of the training pictures, with its licence as stated, in the model card.

python benchmarks/training_data.py MANIFEST.csv...
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path

from documents import MODEL_CARD
from options import parser_with

BEGIN, END = "<!-- data: begin (benchmarks/training_data.py) -->", "<!-- data: end -->"


def main() -> None:
    parser = parser_with(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+", metavar="CSV", help="crops that were learnt from")
    rows = []
    for manifest in parser.parse_args().manifests:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows += [row for row in csv.DictReader(file) if row["split"] == "train"]
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        kind = "generated" if row["label"] == "1" else "real"
        found[row["source_repo"], row["source_licence"] or "none stated"][f"{kind}: {row['generator']}"] += 1
    lines = ["| repository | licence as stated | pictures |", "|---|---|---|"]
    for (repository, licence), groups in sorted(found.items(), key=lambda item: item[0][0].lower()):
        listed = ", ".join(f"{name} ({n})" for name, n in sorted(groups.items()))
        lines.append(f"| {repository} | {licence} | {listed} |".replace("\n", " "))
    before, rest = MODEL_CARD.read_text("utf-8").split(BEGIN)
    table = "\n".join(lines)
    MODEL_CARD.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
