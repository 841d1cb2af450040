"""What a run came to, in a few letters, so that edits are never done to other nuclei.

Edits name nuclei by number. Another version of the method may give the numbers to other
nuclei; then nothing that followed the run can be done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..core.correction import Correction
from ..core.instances import Prompt
from ..errors import ProjectError
from .project import Project

PROGRAM: Final = "napari-sprout"
SOFTWARE: Final = f"{PROGRAM} {__version__}"
_DIGITS: Final = 16
_PER_PX: Final = 1000


def outcome_of(correction: Correction) -> dict[str, str]:
    """Return digests of a correction's present result.

    Parameters
    ----------
    correction
        Just run, with the hand work that was carried over.

    Returns
    -------
    dict of str to str
        "prompts": of the number, kind and place (to 0.001 px) of every prompt. "labels":
        of the label image.

    Raises
    ------
    SproutError
        If no run has finished.
    """
    return {
        "prompts": _digest_of_prompts(correction.prompts.values()),
        "labels": _digest_of_labels(correction.labels),
    }


def check_outcome(project: Project, entry: Mapping[str, Any], correction: Correction) -> str | None:
    """Compare a run that was done again with what it came to when it was written down.

    Parameters
    ----------
    project
        Where it is written down.
    entry
        The run, of the journal; one without digests passes.
    correction
        Just run.

    Returns
    -------
    str or None
        What a person should know of outlines that differ; None if nothing does. This
        version makes the same points everywhere, but not every processor rounds alike.

    Raises
    ------
    ProjectError
        If the prompts are others, or another version made other labels.
    """
    before = entry.get("outcome")
    if before is None or before == (now := outcome_of(correction)):
        return None
    made_by = str(entry.get("software"))
    same_prompts = isinstance(before, Mapping) and before.get("prompts") == now["prompts"]
    if same_prompts and made_by == SOFTWARE:
        return (
            f"Here some outlines in '{project.folder}' differ from those that were drawn when it "
            "was made, as happens on another computer or processor; all nuclei have kept their "
            "numbers, and your corrections are where they were."
        )
    raise ProjectError(_refusal(project, made_by))


def _refusal(project: Project, made_by: str) -> str:
    anew = "open its image in napari and press Start anew"
    name, _, version = made_by.partition(" ")
    if made_by == SOFTWARE or name != PROGRAM or not version:
        return (
            f"The work in '{project.folder}' was made on another computer or by a changed program, "
            "and this one draws its nuclei otherwise, so your corrections would go to other "
            f"nuclei; nothing in the folder was changed: open it where it was made, or {anew}."
        )
    return (
        f"The work in '{project.folder}' was made by {made_by}, and this version, {__version__}, "
        "draws its nuclei otherwise, so your corrections would go to other nuclei; nothing in the "
        f'folder was changed: open it with that version (pip install "{PROGRAM}=={version}"), or '
        f"{anew}."
    )


def _digest_of_prompts(prompts: Iterable[Prompt]) -> str:
    rows = sorted((p.id, p.kind, round(p.y * _PER_PX), round(p.x * _PER_PX)) for p in prompts)
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:_DIGITS]


def _digest_of_labels(labels: NDArray[np.int32]) -> str:
    digest = hashlib.sha256(repr(labels.shape).encode())
    digest.update(np.ascontiguousarray(labels, dtype="<i4").data)
    return digest.hexdigest()[:_DIGITS]
