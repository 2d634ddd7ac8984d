"""The compared engines in words: what docs/performance.md says between its markers."""

from __future__ import annotations

from typing import Any

from documents import RESULTS, ROOT, between_markers

OWNER = "benchmarks/engines.py"
DOCUMENT, RESULT = ROOT / "docs" / "performance.md", RESULTS / "engines.json"
Figures = dict[str, Any]


def with_figures(text: str, figures: Figures) -> str:
    """The document with its figures made new."""
    tables = [_of_processor(name, found) for name, found in figures["processors"].items()]
    return between_markers(text, OWNER, "\n\n".join(tables))


def _of_processor(name: str, found: Figures) -> str:
    """One processor's table."""
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    batches = list(next(iter(found["engines"].values()))["threads"]["2"]["batches"])
    lines = [
        f"**{name}**, {found['cores']} cores; {versions}; weights `{found['weights_sha256'][:12]}`.",
        "",
        f"| engine | import, s | first view, s | views a second, 1 thread, batch {', '.join(batches)} | 2 threads "
        "| processor's ms a view | peak MB | installed MB | scores drift, half | at most |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for engine, row in found["engines"].items():
        one, two = row["threads"]["1"], row["threads"]["2"]
        rates = [", ".join(f"{r['batches'][b]['views_a_second']:.1f}" for b in batches) for r in (one, two)]
        installed = "–" if row["installed_mb"] is None else f"{row['installed_mb']:,}"
        drift = [f"{row['drift'][part]:.4f}" for part in ("half", "most")]
        cells = [
            engine,
            f"{two['import_s']:.2f}",
            f"{two['first_s']:.2f}",
            *rates,
            f"{one['batches'][batches[-1]]['processor_ms_a_view']:.0f}",
            f"{two['peak_mb']:,}",
            installed,
            *drift,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
