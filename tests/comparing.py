"""What tests compare of a session and its project."""

from __future__ import annotations

from typing import Any

from napari_sprout.io.project import Project


def kinds(project: Project) -> list[str]:
    """Return what was done, in order."""
    return [entry.get("edit", entry)["kind"] for entry in project.entries]


def seen(opened: Any) -> dict[str, Any]:
    """Return all of a session that a person could see changed."""
    correction = opened.control.correction
    return {
        "labels": correction.labels.tobytes(),
        "prompts": dict(correction.prompts),
        "locked": correction.locked,
        "settings": opened.control.settings,
    }
