"""Writing a benchmark's results under the introduction that a docs page already has."""

from __future__ import annotations

from pathlib import Path

MARKER = "<!-- results -->"


def replace_results(path: Path, title: str, text: str) -> None:
    """Replace what stands below the marker in `path`; make the page if it is missing."""
    before = path.read_text() if path.exists() else f"# {title}\n\n{MARKER}"
    introduction = before.partition(MARKER)[0]
    path.write_text(f"{introduction}{MARKER}\n{text}\n")
