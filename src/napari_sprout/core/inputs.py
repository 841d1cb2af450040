"""Edits that change what the next run is given, not the result at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from ..errors import SproutError
from .crops import check_drawn
from .edits import ChangeSettings, Edit, OpenNuclei, PaintReference, ReferenceSide
from .given import GivenNuclei
from .history import Step
from .session import Session
from .settings import Settings


def input_step(session: Session, edit: Edit) -> Step | None:
    """Return what an edit does to a session's inputs; None for an edit of another kind.

    Raises
    ------
    SproutError
        If the edit is impossible.
    """
    if isinstance(edit, ChangeSettings):
        return Step(edit, settings=(session.settings, Settings.from_dict(edit.values)))
    if isinstance(edit, PaintReference):
        mask = check_drawn(edit.box, edit.mask, session.image.shape)
        if not mask.size or edit.which not in get_args(ReferenceSide):
            raise SproutError("Draw some pixels of the foreground or of the background.")
        stroke = replace(edit, mask=mask)
        return Step(edit, painted=(session.painted, (*session.painted, stroke)))
    if isinstance(edit, OpenNuclei):
        given = GivenNuclei.of(edit.pieces, session.image.shape)
        settings = session.settings.with_changes(prompts={"source": "given"})
        return Step(edit, settings=(session.settings, settings), given=(session.given, given))
    return None


def take_inputs(session: Session, step: Step, forward: bool) -> None:
    """Give a session the inputs after a step, or those before it."""
    if step.settings is not None:
        session.settings = step.settings[forward]
    if step.painted is not None:
        session.painted = step.painted[forward]
    if step.given is not None:
        session.given = step.given[forward]
