"""Name every source of the training pictures, with its licence as stated, in the model card.

python benchmarks/training_data.py MANIFEST.csv
"""

from __future__ import annotations

import csv
import sys
from collections import Counter, defaultdict
from pathlib import Path

CARD = Path(__file__).resolve().parent.parent / "weights" / "MODEL_CARD.md"
BEGIN, END = "<!-- data: begin (benchmarks/training_data.py) -->", "<!-- data: end -->"


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit(f"{__doc__}\nThe manifest is not part of this repository.")
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        kind = "generated" if row["label"] == "1" else "real"
        found[row["source_repo"], row["source_licence"] or "none stated"][f"{kind}: {row['generator']}"] += 1
    lines = ["| repository | licence as stated | pictures |", "|---|---|---|"]
    for (repository, licence), groups in sorted(found.items(), key=lambda item: item[0][0].lower()):
        listed = ", ".join(f"{name} ({n})" for name, n in sorted(groups.items()))
        lines.append(f"| {repository} | {licence} | {listed} |".replace("\n", " "))
    before, rest = CARD.read_text("utf-8").split(BEGIN)
    table = "\n".join(lines)
    CARD.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
