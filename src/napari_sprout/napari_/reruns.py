"""Which runs follow what a person does: some edits show only once it has been run."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.edits import ChangeSettings, Edit, OpenNuclei, PaintReference
from ..core.stages import Stage
from .work import Shown


def outdates_run(edits: Iterable[Edit]) -> bool:
    """Whether a run that is under way need not be finished, as its inputs change."""
    return any(isinstance(edit, PaintReference | OpenNuclei) for edit in edits)


def run_after(shown: Shown) -> Stage | None:
    """Return how far to run after a change; None if all that can be seen is."""
    match shown.change.edit:
        case PaintReference():
            # What was undone is in the labels again already; only its picture is not.
            return Stage.REFERENCE if shown.undone else Stage.NUCLEI
        case OpenNuclei():
            return None if shown.undone else Stage.NUCLEI
    return None


def advice(shown: Shown) -> str:
    """Return what a person should know of a change; empty if there is nothing to say."""
    change = shown.change
    brought_back = change.prompts_changed or change.rerun_from is None
    if isinstance(change.edit, OpenNuclei) and shown.undone and not brought_back:
        return "There is no earlier result to go back to: press Run to make the nuclei anew."
    return ""


def may_change_step(shown: Shown) -> bool:
    """Whether another step of the scan may be the one to be seen after a change."""
    return shown.undone and isinstance(shown.change.edit, ChangeSettings | OpenNuclei)


def later(first: Stage | None, second: Stage | None) -> Stage | None:
    """Return the later of two stages, either of which may be missing."""
    found = [stage for stage in (first, second) if stage is not None]
    return max(found, key=list(Stage).index, default=None)
