from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_sprout.core.edits import MovePrompt
from napari_sprout.core.stages import Stage
from napari_sprout.napari_.roles import LayerRole


@pytest.fixture
def slow(open_session, later):
    """A session whose work is done when the test says so."""
    opened = open_session(run=False, submit=later)
    opened.control.run()
    later.finish()
    opened.check()
    opened.changes.clear()
    return opened


def positives(opened) -> list[int]:
    prompts = opened.control.correction.prompts.values()
    return [p.id for p in prompts if p.kind == "positive"]


def shift(opened, ident: int, by: float) -> None:
    moved = opened.points.data.copy()
    moved[opened.row(ident)] += by
    opened.points.data = moved


def test_busy_lasts_from_the_first_work_to_the_last(slow, later) -> None:
    slow.busy.clear()
    shift(slow, positives(slow)[0], 2)
    shift(slow, positives(slow)[1], 2)
    assert slow.control.is_busy
    later.finish()
    assert slow.busy == [True, False]
    slow.check()


def test_a_point_stays_where_it_was_dropped_while_its_edit_waits(slow, later) -> None:
    ident = positives(slow)[0]
    shift(slow, ident, 3)
    dropped = slow.points.data.copy()
    shift(slow, positives(slow)[1], 2)
    for tell in later.do():
        tell()
    assert np.array_equal(slow.points.data[slow.row(ident)], dropped[slow.row(ident)])
    later.finish()
    slow.check()
    assert len(slow.changes) == 2


def test_a_point_moved_twice_in_haste_is_two_edits(slow, later) -> None:
    ident = positives(slow)[0]
    shift(slow, ident, 1)
    shift(slow, ident, 1)
    later.finish()
    slow.check()
    assert [type(change.edit) for change in slow.changes] == [MovePrompt, MovePrompt]


def test_points_added_in_haste_get_different_numbers_without_waiting(slow, later) -> None:
    decoding, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        decoding.set()
        assert go_on.wait(10)

    slow.control.actions.choose_prompt_kind("positive")
    slow.fake.on_decode = wait
    slow.points.add([69.0, 46.0])
    told: list = []
    worker = threading.Thread(target=lambda: told.extend(later.do()))
    worker.start()
    assert decoding.wait(10)
    # The correction is at work in another thread: to ask it would mean to wait.
    for column in (51.0, 56.0, 61.0, 66.0):
        slow.points.add([69.0, column])
    go_on.set()
    worker.join(10)
    slow.fake.on_decode = None
    for tell in told:
        tell()
    later.finish()
    slow.check()
    assert len({change.edit.prompt.id for change in slow.changes}) == 5


def test_a_stroke_made_while_an_answer_is_on_its_way_survives_it(slow, later, mouse) -> None:
    ident = positives(slow)[0]
    shift(slow, ident, 2)
    told = later.do()
    slow.nuclei.mode = "paint"
    slow.nuclei.selected_label = 77_777
    place = tuple(np.round(slow.place(ident)).astype(int))
    mouse.drag(slow.nuclei, place)
    number = int(slow.nuclei.data[place])
    assert number != ident
    for tell in told:
        tell()
    assert slow.nuclei.data[place] == number
    later.finish()
    slow.check()
    assert slow.labels[place] == number


def test_two_strokes_in_haste_paint_one_new_nucleus(slow, later, mouse) -> None:
    slow.nuclei.mode = "paint"
    slow.nuclei.selected_label = 77_777
    mouse.drag(slow.nuclei, (69, 61))
    mouse.drag(slow.nuclei, (69, 67))
    later.finish()
    slow.check()
    assert slow.labels[69, 61] == slow.labels[69, 67] > 0
    assert len({change.edit.id for change in slow.changes}) == 1


def test_an_answer_waits_while_the_brush_is_down(slow, later, mouse) -> None:
    ident = positives(slow)[0]
    before = slow.nuclei.data.copy()
    slow.points.selected_data = {slow.row(ident)}
    slow.points.remove_selected()
    slow.nuclei.mode = "paint"
    slow.nuclei.selected_label = positives(slow)[1]
    mouse.press(slow.nuclei, (69, 61))
    later.finish()
    assert (slow.nuclei.data == ident).sum() == (before == ident).sum()
    mouse.move(slow.nuclei, (69, 64))
    mouse.release(slow.nuclei, (69, 64))
    later.finish()
    slow.check()
    assert ident not in slow.nuclei.data
    assert slow.labels[69, 61] == positives(slow)[0]


def test_an_answer_appears_when_a_brush_that_painted_nothing_is_lifted(slow, later, mouse) -> None:
    first, second = positives(slow)[:2]
    slow.points.selected_data = {slow.row(first)}
    slow.points.remove_selected()
    slow.nuclei.mode = "paint"
    slow.nuclei.selected_label = second
    slow.nuclei.brush_size = 1
    place = np.round(slow.place(second))
    mouse.press(slow.nuclei, place)
    later.finish()
    assert first in slow.nuclei.data
    mouse.release(slow.nuclei, place)
    slow.check()
    assert len(slow.changes) == 1


def test_a_dragged_point_is_not_pulled_away_by_an_answer(slow, later, mouse) -> None:
    first, second = positives(slow)[:2]
    slow.points.selected_data = {slow.row(first)}
    slow.points.remove_selected()
    start = slow.points.data[slow.row(second)].copy()
    slow.points.mode = "select"
    mouse.press(slow.points, start)
    mouse.move(slow.points, start + 4)
    later.finish()
    assert np.array_equal(slow.points.data[slow.row(second)], start + 4)
    mouse.release(slow.points, start + 4)
    later.finish()
    slow.check()


def test_an_overtaken_answer_does_not_bring_old_labels_back(slow, later) -> None:
    ident = positives(slow)[0]
    shift(slow, ident, 2)
    shift(slow, ident, 3)
    early, late = later.do(), later.do()
    late[0]()
    newest = slow.nuclei.data.copy()
    early[0]()
    assert np.array_equal(slow.nuclei.data, newest)
    for tell in (early[-1], late[-1]):
        tell()
    slow.check()


def test_an_overtaken_answer_elsewhere_is_not_lost(slow, later) -> None:
    first, *_, last = positives(slow)
    shift(slow, first, 2)
    shift(slow, last, 2)
    early, late = later.do(), later.do()
    for tell in (*late, *early):
        tell()
    slow.check()


def test_answers_after_closing_are_dropped(slow, later) -> None:
    ident = positives(slow)[0]
    nuclei, before = slow.nuclei, slow.nuclei.data.copy()
    shift(slow, ident, 4)
    told = later.do()
    slow.control.close()
    for tell in told:
        tell()
    assert np.array_equal(nuclei.data, before)
    assert slow.changes == []


def test_a_cancelled_run_that_waits_never_begins(slow, later) -> None:
    encoded = slow.fake.encoded
    slow.control.change_settings(slow.control.settings.with_changes(features={"tile": 128}))
    slow.control.run()
    for tell in later.do():
        tell()
    assert slow.control.is_running
    slow.control.cancel()
    later.finish()
    assert not slow.control.is_running
    assert slow.fake.encoded == encoded
    assert slow.failures == []
    slow.check()


def test_a_run_cancelled_when_it_is_through_is_shown(open_session, quick) -> None:
    opened = open_session()
    opened.control.run()
    before = opened.labels.copy()
    opened.control.change_settings(quick.with_changes(prompts={"min_area": 60.0}))
    opened.control.stage_finished.connect(
        lambda stage: opened.control.cancel() if stage is Stage.NUCLEI else None
    )
    opened.control.run()
    assert not np.array_equal(opened.control.correction.labels, before)
    opened.check()


def test_an_edit_made_during_a_run_comes_after_it(open_session, later, quick) -> None:
    opened = open_session(run=False, submit=later)
    opened.control.run()
    later.finish()
    opened.control.change_settings(quick.with_changes(decoding={"multimask": "best"}))
    opened.control.run()
    opened.points.add([69.0, 61.0])
    later.finish()
    opened.check()
    assert opened.labels[69, 61] > 0
    assert opened.control.session.is_current(Stage.NUCLEI)


def test_painting_the_reference_stops_a_run_that_it_makes_useless(slow, later, mouse) -> None:
    reference = slow.control.layer(LayerRole.REFERENCE)
    reference.visible = True
    reference.mode = "paint"
    reference.selected_label = 1
    slow.stages.clear()
    for column in (100, 120, 140):
        mouse.drag(reference, (60, column), (60, column + 5))
    later.finish()
    slow.check()
    assert slow.stages.count(Stage.NUCLEI) == 1
    assert slow.failures == []
