"""What a person does to the selected nuclei, by key, button or drawn line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ..core.edits import (
    ChooseAnswer,
    Edit,
    LockNuclei,
    MergeNuclei,
    RefineNuclei,
    RemoveNuclei,
    RestoreCandidate,
)
from ..core.instances import Prompt, PromptKind
from ..core.masks import ANSWERS
from .camera import look_at
from .drawing import cuts, nuclei_inside
from .labels_sync import mask_of
from .points_sync import choose_kind
from .roles import LayerRole
from .scene import Scene
from .shape_tool import Tool
from .view import View, ghost_at

_SURROUNDINGS: Final = 8.0
"""How many times its own size is seen at least when a nucleus is gone to."""


class Owner(Protocol):
    """What the actions need of the controller."""

    scene: Scene

    @property
    def view(self) -> View | None:
        """What was shown last; None before the first result."""

    def new_id(self) -> int:
        """Return an identifier that was never used."""

    def refuse(self, reason: str) -> None:
        """Tell the person why nothing was done."""

    def apply_all(self, edits: tuple[Edit, ...]) -> None:
        """Apply edits that are one act."""

    def undo(self) -> None:
        """Take back the last act."""

    def redo(self) -> None:
        """Do again what was taken back last."""


class NucleusActions:
    """The selection of nuclei and what can be done to it.

    Parameters
    ----------
    owner
        The controller.
    """

    selection_changed = Signal(object)
    """The frozenset of the selected nuclei."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._selected: frozenset[int] = frozenset()

    @property
    def selected(self) -> frozenset[int]:
        """The selected nuclei, or prompts that have none."""
        return self._selected

    def select(self, ids: frozenset[int]) -> None:
        """Select nuclei, in the layers too; the brush takes on a single one's label."""
        self._take(ids)
        self._owner.scene.choose_points(ids)

    def points_chosen(self, ids: frozenset[int]) -> None:
        """Take on the selection that a person made in the points layer."""
        self._take(ids)

    def go_to(self, ident: int) -> None:
        """Move the camera to a nucleus, near enough to see it with its surroundings."""
        scene = self._owner.scene
        if scene.labels is None:
            return
        (y0, x0, y1, x1), mask = mask_of(scene.labels, ident)
        prompt = self._prompts().get(ident)
        if mask.any():
            centre, size = ((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2), max(y1 - y0, x1 - x0)
        elif prompt is not None:
            centre, size = (prompt.y, prompt.x), 20
        else:
            return
        half = _SURROUNDINGS * size / 2
        y, x = centre
        around = (y - half, x - half, y + half, x + half)
        look_at(scene.viewer, scene.store.image, around, keep_closer=True)

    def choose_prompt_kind(self, kind: PromptKind) -> None:
        """Choose whether the next added points are positive or negative."""
        layer = self._owner.scene.layer(LayerRole.PROMPTS)
        if layer is not None:
            choose_kind(layer, kind)

    def undo(self) -> None:
        """Take back the last act."""
        self._owner.undo()

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._owner.redo()

    def merge_selected(self) -> None:
        """Make the selected nuclei one, under the number of the largest."""
        ids = self._nuclei()
        labels = self._owner.scene.labels
        if len(ids) < 2 or labels is None:
            self._owner.refuse("Select two or more nuclei to merge them.")
            return
        areas = np.bincount(labels.ravel(), minlength=max(ids) + 1)
        into = max(ids, key=lambda ident: (areas[ident], -ident))
        self._do(MergeNuclei(ids, into))
        self.select(frozenset({into}))

    def remove_selected(self) -> None:
        """Remove the selected nuclei for good: later runs do not bring them back."""
        ids = self._nuclei()
        if not ids:
            self._owner.refuse("Select the nuclei to remove first.")
            return
        self.select(frozenset())
        self._do(RemoveNuclei(ids))

    def toggle_lock(self) -> None:
        """Lock the selected nuclei; if all of them are locked, unlock them."""
        ids = self._nuclei()
        view = self._owner.view
        if not ids or view is None:
            self._owner.refuse("Select the nuclei to lock first.")
            return
        self._do(LockNuclei(ids, not view.locked.issuperset(ids)))

    def cycle_answer(self) -> None:
        """Take SAM's next answer for the selected nucleus: the single one, the three, the mean."""
        prompts = self._prompts()
        ids = [i for i in self._selected if i in prompts and prompts[i].kind == "positive"]
        view = self._owner.view
        if len(ids) != 1 or view is None:
            self._owner.refuse("Select one nucleus to see SAM's other answers for it.")
            return
        now = view.answers.get(ids[0], view.usual_answer)
        self._do(ChooseAnswer(ids[0], (now + 1) % ANSWERS))

    def refine_selected(self) -> None:
        """Let SAM draw the selected nuclei again that were drawn by hand or made elsewhere."""
        ids = self._nuclei()
        if not ids:
            self._owner.refuse("Select the nuclei that SAM is to draw again first.")
            return
        self._do(RefineNuclei(ids))

    def start_cut(self) -> None:
        """Let the person draw the line along which nuclei are split."""
        self._start("cut")

    def start_region(self) -> None:
        """Let the person draw around the nuclei to select."""
        self._start("region")

    def drawn(self, tool: Tool, corners: NDArray[np.float64]) -> None:
        """Do what a line or region was drawn for.

        Parameters
        ----------
        tool
            "cut" splits the nuclei that the line crosses; "region" selects the
            nuclei inside.
        corners
            (N, 2), in full-resolution pixels.
        """
        labels, view = self._owner.scene.labels, self._owner.view
        if labels is None or view is None or len(corners) < 2:
            return
        if tool == "region":
            self.select(nuclei_inside(labels, corners))
            return
        found = cuts(
            labels,
            corners,
            new_id=self._owner.new_id,
            prompts=self._prompts(),
            locked=view.locked,
        )
        if found:
            self._owner.apply_all(found)
        else:
            self._owner.refuse(
                "The line divides no nucleus: draw it from one side of a nucleus to the other."
            )

    def clicked(
        self, role: LayerRole, place: tuple[float, float], modifiers: frozenset[str]
    ) -> None:
        """Select the nucleus under a click, or restore the suppressed one.

        Parameters
        ----------
        role
            The layer that was clicked on.
        place
            (y, x) in full-resolution pixels.
        modifiers
            With "Shift", the nucleus is added to the selection or taken from it.
        """
        if role is LayerRole.SUPPRESSED:
            ghost = ghost_at(self._owner.scene.ghosts, *place)
            if ghost is not None:
                self._do(RestoreCandidate(ghost.id))
            return
        ident = self._label_at(place)
        under = frozenset({ident}) if ident else frozenset()
        self.select(self._selected ^ under if "Shift" in modifiers else under)

    def _take(self, ids: frozenset[int]) -> None:
        if ids == self._selected:
            return
        self._selected = ids
        nuclei = self._owner.scene.layer(LayerRole.NUCLEI)
        if nuclei is not None and len(ids) == 1:
            (nuclei.selected_label,) = ids
        self.selection_changed.emit(ids)

    def _start(self, tool: Tool) -> None:
        if self._owner.view is None:
            self._owner.refuse("There are no nuclei yet: press Run first.")
        else:
            self._owner.scene.start_drawing(tool)

    def _do(self, edit: Edit) -> None:
        self._owner.apply_all((edit,))

    def _prompts(self) -> Mapping[int, Prompt]:
        return {prompt.id: prompt for prompt in self._owner.scene.prompts}

    def _nuclei(self) -> tuple[int, ...]:
        """Return those selected that have pixels."""
        labels = self._owner.scene.labels
        if labels is None or not self._selected:
            return ()
        present = np.flatnonzero(np.bincount(labels.ravel()))
        return tuple(sorted(self._selected.intersection(present.tolist())))

    def _label_at(self, place: tuple[float, float]) -> int:
        labels = self._owner.scene.labels
        y, x = round(place[0]), round(place[1])
        if labels is None or not (0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]):
            return 0
        return int(labels[y, x])
