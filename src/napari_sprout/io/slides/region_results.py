"""What was done in the regions of a slide: how far each has come, and its nuclei.

A region's project says by its journal what was done. Its nuclei are kept beside it when
the region is left, so that regions can be added up without doing everything again; what
is kept names the project and the number of entries that it is the result of, so that one
that is out of date is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...core.region_union import RegionNuclei
from ...core.seams import TileNuclei, from_labels
from ...errors import ProjectError, SproutError
from ..atomic import replacing
from ..journal import Journal
from ..nuclei_arrays import pack, unpack
from ..project import FACTS_NAME, JOURNAL_NAME, Project
from ..project_file import read_facts
from .regions import Region, region_of_image

if TYPE_CHECKING:
    from ...core.correction import Correction
    from ...core.loaded import SegmenterSource

_PREPARING: Final = ("ChangeSettings", "PaintReference")
"""Edits that are for the next run alone."""
_OPENING: Final = "OpenNuclei"


class RegionState(StrEnum):
    """How far the work on a region has come."""

    NEW = "new"
    SEGMENTED = "segmented"
    CORRECTED = "corrected"
    DAMAGED = "damaged"

    @property
    def done(self) -> bool:
        """Whether there are nuclei."""
        return self in (RegionState.SEGMENTED, RegionState.CORRECTED)


@dataclass(frozen=True)
class RegionWork:
    """What a region's journal says.

    Attributes
    ----------
    state
        How far it has come.
    identity
        Of the project; empty if nothing has been begun.
    entries
        How many the journal has.
    """

    state: RegionState = RegionState.NEW
    identity: str = ""
    entries: int = 0


def work_of(region: Region) -> RegionWork:
    """Read how far the work on a region has come.

    Raises
    ------
    ProjectError
        If its project is damaged.
    """
    folder = region.project
    if folder is None:
        return RegionWork()
    identity = read_facts(folder / FACTS_NAME).identity
    journal = Journal(folder / JOURNAL_NAME, identity, read_only=True, tell=lambda _: None)
    return RegionWork(state_after(journal.entries), identity, len(journal))


def state_of(region: Region) -> RegionState:
    """Return how far the work on a region has come, whatever has become of its files."""
    try:
        return work_of(region).state
    except SproutError:
        return RegionState.DAMAGED


def state_after(entries: Sequence[Mapping[str, Any]]) -> RegionState:
    """Return how far work has come that a journal's entries tell of."""
    failed = {entry.get("entry") for entry in entries if entry.get("kind") == "failed"}
    state = RegionState.NEW
    for number, entry in enumerate(entries, 1):
        if number in failed:
            continue
        edit = entry.get("edit")
        what = edit.get("kind") if isinstance(edit, Mapping) else None
        if entry.get("kind") == "run" or what == _OPENING:
            state = max(state, RegionState.SEGMENTED, key=list(RegionState).index)
        elif what is not None and what not in _PREPARING:
            state = RegionState.CORRECTED
    return state


def keep_result(project: Project | None, correction: Correction) -> None:
    """Keep the nuclei of a region as they are now; of any other image nothing is kept.

    To be called when nothing else is done to the correction.

    Parameters
    ----------
    project
        The project, open, of which the correction is what everything in it makes.
    correction
        The region's nuclei.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    region = None if project is None else region_of_image(project.image.path)
    if project is None or region is None or project.folder.parent != region.image.parent:
        return
    entries = project.entries
    work = RegionWork(state_after(entries), project.facts.identity, len(entries))
    if not correction.ready or not project.keeps(correction) or project.owes:
        return
    if _is_current(region.result, work):
        return
    y0, x0, _, _ = region.box
    rows = from_labels(correction.labels, correction.measure(), (y0, x0), region.box)
    found = TileNuclei.of((0, 0), rows)
    arrays: dict[str, Any] = pack(found.nuclei, found.boxes, found.masks)
    stamp = np.array([work.identity, str(work.entries), work.state], np.str_)
    with replacing(region.result) as temporary, temporary.open("wb") as file:
        np.savez(file, stamp=stamp, **arrays)


def result_of(region: Region) -> RegionNuclei | None:
    """Return a region's nuclei, in pixels of the slide.

    Returns
    -------
    RegionNuclei or None
        None if nothing has been segmented, or what is kept is not what was done last.

    Raises
    ------
    ProjectError
        If the region's project is damaged.
    """
    work = work_of(region)
    if not work.state.done or not _is_current(region.result, work):
        return None
    try:
        with np.load(region.result, allow_pickle=False) as stored:
            nuclei, boxes, masks = unpack(stored)
    except Exception:
        # The bytes may be anything by now; it can be made again.
        return None
    return RegionNuclei(region.box, work.state is RegionState.CORRECTED, nuclei, boxes, masks)


def bring_up_to_date(
    region: Region,
    progress: Callable[[float, str], None] = lambda fraction, what: None,
    *,
    device: str = "auto",
    segmenter: SegmenterSource | None = None,
) -> bool:
    """Do again what was done in a region, if the nuclei that are kept are not the last.

    That is so when the program died while the region was open.

    Parameters
    ----------
    region
        The region.
    progress
        As of :func:`~napari_sprout.io.history.replay`; it may raise to stop.
    device, segmenter
        As for :class:`~napari_sprout.core.session.Session`.

    Returns
    -------
    bool
        Whether there are nuclei of the region now.

    Raises
    ------
    ProjectError
        If the project is damaged, or cannot be done again.
    OutputError
        If the nuclei cannot be written.
    """
    from ..history import replay

    folder = region.project
    if folder is None or not work_of(region).state.done:
        return False
    if result_of(region) is not None:
        return True
    with Project.open(folder, region.image, read_only=True, tell=lambda _: None) as project:
        correction = replay(project, progress, device=device, segmenter=segmenter)
        if correction.ready:
            keep_result(project, correction)
    if correction.ready and result_of(region) is None:
        raise ProjectError(
            f"The project '{folder}' is being worked on elsewhere; close it there first."
        )
    return correction.ready


def _is_current(path: Path, work: RegionWork) -> bool:
    """Whether a file of nuclei is the result of all that was done."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            identity, entries, _ = stored["stamp"].tolist()
    except Exception:
        return False
    return bool(identity == work.identity and entries == str(work.entries))
