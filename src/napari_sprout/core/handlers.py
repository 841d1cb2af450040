"""What each kind of edit does to prompts and masks; labels follow in :mod:`.resolve`.

A handler raises :class:`~napari_sprout.errors.SproutError` for an edit that is
impossible; the transaction that it was given is then rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import SproutError
from . import edits
from .crops import Mask, check_drawn, slices, subtract, tight, union_box, within
from .instances import Box, Candidate, Prompt
from .labels import on_full_grid
from .masks import ANSWERS
from .redecode import decode, serving, would_serve
from .state import hand_drawn
from .suppression import own_score
from .transaction import Transaction

LARGEST_ID = 2**31 - 1


def add_prompt(edit: Transaction, asked: edits.AddPrompt) -> None:
    """Place a point: a positive one grows a nucleus, a negative one changes those it serves."""
    state, prompt = edit.state, asked.prompt
    _check_new(edit, [prompt.id])
    _check_place(edit, prompt.y, prompt.x)
    edit.put(state.prompts, prompt.id, replace(prompt, source="hand"))
    if prompt.kind == "positive":
        decode(edit, [prompt.id])
    else:
        decode(edit, would_serve(state, prompt.y, prompt.x))


def move_prompt(edit: Transaction, asked: edits.MovePrompt) -> None:
    """Move a point; a positive one's nucleus is asked of SAM anew, even if drawn by hand."""
    state, ident = edit.state, asked.id
    prompt = _prompt(edit, ident)
    _check_unlocked(edit, [ident])
    _check_place(edit, asked.y, asked.x)
    _touch(edit, ident)
    served = serving(state, [ident]) if prompt.kind == "negative" else set()
    edit.put(state.prompts, ident, replace(prompt, y=asked.y, x=asked.x, source="hand"))
    if prompt.kind == "positive":
        edit.put(state.pins, ident, None)
        decode(edit, [ident])
    else:
        decode(edit, served | would_serve(state, asked.y, asked.x))


def delete_prompts(edit: Transaction, asked: edits.DeletePrompts) -> None:
    """Take points away, with the nuclei of positive ones."""
    state = edit.state
    _check_some(asked.ids, "points")
    negatives = [i for i in asked.ids if _prompt(edit, i).kind == "negative"]
    _check_unlocked(edit, asked.ids)
    concerned = serving(state, negatives) - set(asked.ids)
    for ident in dict.fromkeys(asked.ids):
        _drop(edit, ident)
    decode(edit, concerned)


def paint_nucleus(edit: Transaction, asked: edits.PaintNucleus) -> None:
    """Give a nucleus the mask that was drawn, less what others that are drawn or locked own."""
    state, ident = edit.state, asked.id
    prompt = state.prompts.get(ident)
    if prompt is not None and prompt.kind == "negative":
        raise SproutError(f"Number {ident} is a negative point: draw with another number.")
    if prompt is None and ident not in state.masks:
        _check_new(edit, [ident])
    _check_unlocked(edit, [ident])
    crop = _drawn(edit, asked.box, asked.mask)
    if crop is None:
        remove_nuclei(edit, edits.RemoveNuclei((ident,)))
    else:
        _pin(edit, ident, crop)


def merge_nuclei(edit: Transaction, asked: edits.MergeNuclei) -> None:
    """Give the pixels of several nuclei to one of them; the others' points go."""
    state = edit.state
    ids = sorted(set(asked.ids))
    if len(ids) < 2 or asked.into not in ids:
        raise SproutError("Choose at least two nuclei to merge, the one that stays among them.")
    _check_nuclei(edit, ids)
    _check_unlocked(edit, ids)
    box = union_box([state.full[ident].box for ident in ids])
    together = tight(box, np.isin(state.labels[slices(box)], ids))
    if together is None:
        raise SproutError("The nuclei to merge have no pixels: choose visible ones.")
    for ident in ids:
        if ident != asked.into:
            _drop(edit, ident)
    _pin(edit, asked.into, together)


def split_nucleus(edit: Transaction, asked: edits.SplitNucleus) -> None:
    """Give the pieces of a nucleus numbers of their own; pixels in two pieces go to the first."""
    _check_nuclei(edit, [asked.id])
    _check_unlocked(edit, [asked.id])
    if len(asked.pieces) < 2 or asked.pieces[0][0] != asked.id:
        raise SproutError(
            f"Nucleus {asked.id} must be split in two pieces at least, the first numbered as it."
        )
    _check_new(edit, [ident for ident, _, _ in asked.pieces[1:]])
    crops = [(ident, _drawn(edit, box, mask)) for ident, box, mask in asked.pieces]
    # The old pin would stand in the way of the pieces.
    edit.put(edit.state.pins, asked.id, None)
    for ident, crop in crops:
        if crop is None:
            raise SproutError(f"A piece of nucleus {asked.id} is empty: draw the cut across it.")
        _pin(edit, ident, crop)


def remove_nuclei(edit: Transaction, asked: edits.RemoveNuclei) -> None:
    """Take nuclei away for good, with their points."""
    state = edit.state
    _check_some(asked.ids, "nuclei")
    _check_nuclei(edit, asked.ids)
    _check_unlocked(edit, asked.ids)
    for ident in dict.fromkeys(asked.ids):
        edit.put(state.removed, ident, state.full[ident])
        _drop(edit, ident)


def lock_nuclei(edit: Transaction, asked: edits.LockNuclei) -> None:
    """Lock nuclei as they are to be seen, or unlock them; either changes no pixel."""
    state = edit.state
    _check_some(asked.ids, "nuclei")
    _check_nuclei(edit, asked.ids)
    for ident in dict.fromkeys(asked.ids):
        if asked.locked == (ident in state.locks):
            continue
        if asked.locked:
            _touch(edit, ident)
            edit.put(state.locks, ident, _visible(edit, ident))
        else:
            _unlock(edit, ident)
        edit.refresh(ident)
    # Another mask competes from now on, but nothing is settled anew until something changes.
    edit.changed.clear()


def restore_candidate(edit: Transaction, asked: edits.RestoreCandidate) -> None:
    """Make a suppressed or hidden mask a nucleus."""
    state, ident = edit.state, asked.id
    if ident not in state.full or ident in state.areas:
        raise SproutError(f"There is no suppressed mask number {ident}: choose another.")
    _pin(edit, ident, (state.full[ident].box, state.full[ident].mask))


def choose_answer(edit: Transaction, asked: edits.ChooseAnswer) -> None:
    """Take another of SAM's answers for a nucleus."""
    state, ident = edit.state, asked.id
    if _prompt(edit, ident).kind == "negative":
        raise SproutError(f"Number {ident} is a negative point, which grows no nucleus.")
    if asked.answer not in range(ANSWERS):
        last = ANSWERS - 1
        raise SproutError(f"SAM's answers are numbered 0 to {last}: there is no {asked.answer!r}.")
    _check_unlocked(edit, [ident])
    _touch(edit, ident)
    edit.put(state.answers, ident, asked.answer)
    edit.put(state.pins, ident, None)
    decode(edit, [ident])
    if ident not in state.decoded:
        raise SproutError(f"SAM's answer {asked.answer} for nucleus {ident} is empty: try another.")


def refine_nuclei(edit: Transaction, asked: edits.RefineNuclei) -> None:
    """Give nuclei SAM's outlines in the place of those drawn by hand or made elsewhere.

    A nucleus of which SAM's outline would leave too little beside its neighbours
    keeps its own, as does one that SAM has no outline for.
    """
    state = edit.state
    _check_some(asked.ids, "nuclei")
    _check_nuclei(edit, asked.ids)
    _check_unlocked(edit, asked.ids)
    drawn = [i for i in sorted(set(asked.ids)) if i in state.pins and i in state.prompts]
    if not drawn:
        raise SproutError(
            "These nuclei are SAM's outlines already, or have no point: there is nothing to refine."
        )
    outlines = [state.decoded[i] for i in drawn if i in state.decoded]
    score = state.ground.settings.suppression.score
    # In the order in which they will be painted, so that each finds what is left for it.
    outlines.sort(key=lambda one: (-own_score(one, score), one.id))
    if not any([_release(edit, one) for one in outlines]):
        raise SproutError("SAM has no other outline that fits for these nuclei: they stay.")


def _release(edit: Transaction, outline: Candidate) -> bool:
    """Let SAM's outline take the place of a nucleus's own, if it leaves enough of it."""
    state, ident = edit.state, outline.id
    full = on_full_grid([outline], state.ground.scale).get(ident)
    if full is None:
        return False
    near = [i for i in state.full.near(full.box) if i != ident and i not in state.rejected]
    others = [(state.full[i].box, state.full[i].mask) for i in near]
    free = np.count_nonzero(subtract(full.box, full.mask, others))
    if free < max(1, state.ground.settings.suppression.min_visible * full.area):
        return False
    _touch(edit, ident)
    edit.put(state.pins, ident, None)
    edit.put(state.kept, ident, True)
    edit.refresh(ident)
    return True


def _touch(edit: Transaction, ident: int) -> None:
    """Remember an automatic prompt as it was placed: a person has a say in it from now on."""
    prompt = edit.state.prompts.get(ident)
    if prompt is not None and prompt.source != "hand" and ident not in edit.state.origins:
        edit.put(edit.state.origins, ident, prompt)


def _drop(edit: Transaction, ident: int) -> None:
    """Take away a prompt and its mask, or a mask alone."""
    state = edit.state
    _touch(edit, ident)
    edit.put(state.prompts, ident, None)
    edit.put(state.served, ident, None)
    edit.put(state.answers, ident, None)
    edit.put(state.decoded, ident, None)
    edit.put(state.kept, ident, None)
    edit.put(state.pins, ident, None)
    edit.refresh(ident)


def _pin(edit: Transaction, ident: int, crop: tuple[Box, Mask]) -> None:
    """Fix a nucleus's mask, less the pixels of others that are fixed."""
    state = edit.state
    fixed = [state.fixed(other) for other in state.full.near(crop[0]) if other != ident]
    others = [(one.box, one.mask) for one in fixed if one is not None]
    free = tight(crop[0], subtract(*crop, others))
    if free is None:
        raise SproutError(
            f"Nucleus {ident} has no place: all of its pixels belong to nuclei that are locked "
            "or drawn by hand."
        )
    _touch(edit, ident)
    edit.put(state.pins, ident, hand_drawn(ident, *free))
    edit.refresh(ident)


def _visible(edit: Transaction, ident: int) -> Candidate:
    """Return a nucleus's pixels."""
    box = edit.state.full[ident].box
    crop = tight(box, edit.state.labels[slices(box)] == ident)
    if crop is None:
        raise SproutError(f"Nucleus {ident} has no pixels: choose a visible one.")
    return hand_drawn(ident, *crop)


def _unlock(edit: Transaction, ident: int) -> None:
    """Unlock a nucleus; where SAM's mask no longer covers it, it stays as if drawn by hand."""
    state = edit.state
    locked = state.locks[ident]
    edit.put(state.locks, ident, None)
    if ident in state.pins:
        return
    decoded = state.decoded.get(ident)
    full = decoded and on_full_grid([decoded], state.ground.scale).get(ident)
    if full is None or not _covers(full, locked):
        edit.put(state.pins, ident, locked)


def _covers(mask: Candidate, part: Candidate) -> bool:
    y0, x0, y1, x1 = within(part.box, mask.box)
    if y0 < 0 or x0 < 0 or y1 > mask.mask.shape[0] or x1 > mask.mask.shape[1]:
        return False
    return not bool((part.mask & ~mask.mask[y0:y1, x0:x1]).any())


def _drawn(edit: Transaction, box: Box, mask: Mask) -> tuple[Box, Mask] | None:
    """Check a mask drawn by hand and shrink it; None if it is empty."""
    return tight(box, check_drawn(box, mask, edit.state.labels.shape))


def _prompt(edit: Transaction, ident: int) -> Prompt:
    prompt = edit.state.prompts.get(ident)
    if prompt is None:
        raise SproutError(f"There is no point number {ident}: it may have been deleted.")
    return prompt


def _check_some(ids: Iterable[int], what: str) -> None:
    if not tuple(ids):
        raise SproutError(f"No {what} were chosen.")


def _check_nuclei(edit: Transaction, ids: Iterable[int]) -> None:
    for ident in ids:
        if ident not in edit.state.areas:
            raise SproutError(f"There is no nucleus number {ident}: it may have been removed.")


def _check_unlocked(edit: Transaction, ids: Iterable[int]) -> None:
    for ident in ids:
        if ident in edit.state.locks:
            raise SproutError(f"Nucleus {ident} is locked: unlock it to change it.")


def _check_new(edit: Transaction, ids: list[int]) -> None:
    for ident in ids:
        if not 0 < ident <= LARGEST_ID or edit.state.knows(ident) or ids.count(ident) > 1:
            raise SproutError(f"Number {ident} cannot be given to something new: it is in use.")


def _check_place(edit: Transaction, y: float, x: float) -> None:
    height, width = edit.state.labels.shape
    if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
        raise SproutError(f"The point ({y:g}, {x:g}) lies outside the image: put it inside.")


HANDLERS: dict[type[Any], Callable[[Transaction, Any], None]] = {
    edits.AddPrompt: add_prompt,
    edits.MovePrompt: move_prompt,
    edits.DeletePrompts: delete_prompts,
    edits.PaintNucleus: paint_nucleus,
    edits.MergeNuclei: merge_nuclei,
    edits.SplitNucleus: split_nucleus,
    edits.RemoveNuclei: remove_nuclei,
    edits.LockNuclei: lock_nuclei,
    edits.RestoreCandidate: restore_candidate,
    edits.ChooseAnswer: choose_answer,
    edits.RefineNuclei: refine_nuclei,
}
