from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.edits import AddPrompt, OpenNuclei, PaintNucleus, RefineNuclei
from napari_sprout.core.instances import Prompt
from napari_sprout.core.pieces import pieces_of
from napari_sprout.core.stages import Stage
from napari_sprout.napari_.roles import LayerRole


@pytest.fixture
def blocks(synthetic):
    """Nuclei of another program, numbered as it likes."""
    labels = np.zeros(synthetic.rgb.shape[:2], np.int32)
    for ident, (y, x) in {3: (20, 20), 30: (20, 60), 31: (100, 40), 200: (120, 150)}.items():
        labels[y : y + 22, x : x + 18] = ident
    return labels


def test_opened_nuclei_are_shown_without_pressing_run(opened, blocks) -> None:
    opened.control.open_nuclei(pieces_of(blocks))
    opened.check()
    assert np.array_equal(opened.labels, blocks)
    assert opened.changes[-1].edit.pieces
    assert opened.failures == []


def test_they_can_be_opened_before_any_run(open_session, blocks) -> None:
    opened = open_session(run=False)
    opened.control.open_nuclei(pieces_of(blocks))
    opened.check()
    assert np.array_equal(opened.labels, blocks)
    assert Stage.ACTIVATION not in opened.stages
    # There is no earlier result to go back to.
    opened.control.undo()
    opened.check()
    assert "press Run" in opened.warnings.pop()
    assert opened.control.settings.prompts.source == "stain"
    opened.control.redo()
    opened.check()
    assert np.array_equal(opened.labels, blocks)
    opened.control.undo()
    opened.control.run()
    opened.check()
    assert not np.array_equal(opened.labels, blocks)
    assert opened.labels.any()


def test_undo_brings_back_what_was_there_and_redo_the_opened_ones(opened, blocks) -> None:
    opened.points.add([69.0, 61.0])
    before, fake = opened.labels.copy(), opened.fake
    opened.control.open_nuclei(pieces_of(blocks))
    decoded = fake.decoded
    opened.control.undo()
    opened.check()
    assert np.array_equal(opened.labels, before)
    opened.control.redo()
    opened.check()
    assert np.array_equal(opened.labels, blocks)
    assert fake.decoded == decoded
    assert opened.warnings == []


def test_what_cannot_be_opened_is_told_and_nothing_is_run(opened) -> None:
    before = opened.labels.copy()
    opened.stages.clear()
    opened.control.open_nuclei(())
    assert len(opened.failures) == 1
    assert opened.stages == []
    assert np.array_equal(opened.labels, before)


def test_opening_cancels_the_run_that_it_makes_needless(open_session, later, blocks) -> None:
    opened = open_session(run=False, submit=later)
    opened.control.run()
    opened.control.open_nuclei(pieces_of(blocks))
    later.finish()
    opened.check()
    assert np.array_equal(opened.labels, blocks)
    assert opened.failures == []


def test_what_a_person_adds_never_gets_the_number_of_an_opened_nucleus(opened, blocks) -> None:
    first = opened.control.new_id()
    labels = np.where(blocks == 3, first + 1, blocks)
    labels[labels == 30] = first + 2
    opened.control.open_nuclei(pieces_of(labels))
    handed = {opened.control.new_id() for _ in range(200)}
    assert handed.isdisjoint(set(labels.ravel().tolist()))
    opened.points.add([69.0, 61.0])
    opened.check()
    assert opened.failures == []
    assert isinstance(opened.changes[-1].edit, AddPrompt)


def test_opened_nuclei_are_corrected_like_any_others(opened, blocks) -> None:
    opened.control.open_nuclei(pieces_of(blocks))
    row = opened.row(31)
    opened.points.selected_data = {row}
    data = opened.points.data.copy()
    data[row] += 3
    opened.points.data = data
    opened.check()
    others = np.isin(blocks, [3, 30, 200])
    assert np.array_equal(opened.labels[others], blocks[others])
    opened.nuclei.selected_label = 30
    opened.nuclei.data_setitem((np.array([20, 21]), np.array([37, 37])), 30)
    opened.check()
    assert opened.labels[20, 37] == 30


def test_refining_lets_sam_draw_the_selected_nuclei(opened, blocks) -> None:
    opened.control.open_nuclei(pieces_of(blocks))
    actions = opened.control.actions
    actions.refine_selected()
    assert "Select" in opened.failures.pop()
    actions.select(frozenset({200, 31}))
    actions.refine_selected()
    opened.check()
    assert opened.changes[-1].edit == RefineNuclei((31, 200))
    assert opened.control.view.pinned == {3, 30}
    assert not np.array_equal(opened.labels == 200, blocks == 200)
    opened.control.undo()
    opened.check()
    assert np.array_equal(opened.labels, blocks)


def test_painting_over_an_opened_neighbour_takes_its_pixels(opened, blocks) -> None:
    opened.control.open_nuclei(pieces_of(blocks))
    rows, columns = np.nonzero(blocks == 30)
    part = columns < 66
    opened.nuclei.data_setitem((rows[part], columns[part]), 3)
    opened.check()
    assert np.array_equal(opened.labels == 30, (blocks == 30) & (np.indices(blocks.shape)[1] >= 66))
    assert (opened.labels[blocks == 3] == 3).all()
    assert {type(change.edit) for change in opened.changes[-2:]} == {PaintNucleus}


def test_the_prompt_of_an_opened_nucleus_says_where_it_is_from(opened, blocks) -> None:
    opened.control.open_nuclei(pieces_of(blocks))
    prompts = opened.control.correction.prompts
    assert prompts[200] == Prompt(200, "positive", 131.0, 159.0, "given")
    assert opened.control.chosen_step is None
    assert opened.control.layer(LayerRole.ACTIVATION) is None
    assert isinstance(opened.changes[-1].edit, OpenNuclei)
