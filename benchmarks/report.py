"""Writing a benchmark's results under the introduction that a docs page already has."""

from __future__ import annotations

import platform
from pathlib import Path

MARKER = "<!-- results -->"


def replace_results(path: Path, title: str, text: str) -> None:
    """Replace what stands below the marker in `path`; make the page if it is missing."""
    before = path.read_text() if path.exists() else f"# {title}\n\n{MARKER}"
    introduction = before.partition(MARKER)[0]
    path.write_text(f"{introduction}{MARKER}\n{text}\n")


def processor() -> str:
    """Return the name of the machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
