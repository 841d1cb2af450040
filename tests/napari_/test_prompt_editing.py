from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.edits import AddPrompt, DeletePrompts, MovePrompt
from napari_sprout.napari_.roles import LayerRole

FREE = (69.0, 61.0)
SHIFT = np.array([3.0, 1.0])


def differing(before, after) -> set[int]:
    """Nuclei whose pixels differ."""
    different = before != after
    return (set(before[different].tolist()) | set(after[different].tolist())) - {0}


def lone(opened) -> int:
    """A nucleus that no other one is near, so that moving it changes no neighbour."""
    prompts = [p for p in opened.control.correction.prompts.values() if p.kind == "positive"]
    places = np.array([(p.y, p.x) for p in prompts])
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    found = prompts[int(apart.min(axis=1).argmax())].id
    assert apart.min(axis=1).max() > 32
    return found


def test_dragging_a_point_changes_exactly_its_nucleus(opened, mouse) -> None:
    ident = lone(opened)
    before = opened.labels.copy()
    start = opened.points.data[opened.row(ident)].copy()
    decoded = opened.fake.decoded
    opened.points.mode = "select"
    mouse.drag(opened.points, start, start + 1, start + 2, start + SHIFT)
    opened.check()
    assert differing(before, opened.nuclei.data) == {ident}
    others = ~np.isin(before, [0, ident])
    assert np.array_equal(before[others], opened.nuclei.data[others])
    assert opened.fake.decoded == decoded + 1
    (change,) = opened.changes
    assert change.edit == MovePrompt(ident, *(start + SHIFT))
    assert opened.place(ident) == pytest.approx(start + SHIFT, abs=0.6)


def test_nothing_is_sent_before_the_mouse_is_released(opened, mouse) -> None:
    points, ident = opened.points, lone(opened)
    start = points.data[opened.row(ident)].copy()
    before = opened.labels.copy()
    points.mode = "select"
    mouse.press(points, start)
    for step in range(1, 6):
        mouse.move(points, start + step)
    assert np.array_equal(points.data[opened.row(ident)], start + 5)
    assert opened.changes == []
    assert np.array_equal(opened.nuclei.data, before)
    mouse.release(points, start + 5)
    assert len(opened.changes) == 1
    opened.check()


def test_several_points_dragged_together_are_one_act(opened, mouse) -> None:
    points = opened.points
    before = opened.labels.copy()
    ids = [p.id for p in opened.control.correction.prompts.values() if p.kind == "positive"][:3]
    rows = [opened.row(ident) for ident in ids]
    points.mode = "select"
    points.selected_data = set(rows)
    start = points.data[rows[0]].copy()
    mouse.drag(points, start, start + 2)
    opened.check()
    assert {change.edit.id for change in opened.changes} == set(ids)
    opened.control.undo()
    opened.check()
    assert np.array_equal(opened.labels, before)
    opened.control.redo()
    opened.check()
    assert not np.array_equal(opened.labels, before)


def test_a_clicked_point_grows_a_nucleus_of_its_own(opened, mouse) -> None:
    points = opened.points
    known = set(points.features["id"])
    opened.control.actions.choose_prompt_kind("positive")
    points.mode = "add"
    mouse.click(points, FREE)
    opened.check()
    (edit,) = (change.edit for change in opened.changes)
    assert isinstance(edit, AddPrompt)
    assert edit.prompt.id not in known
    assert (edit.prompt.y, edit.prompt.x) == FREE
    assert opened.labels[69, 61] == edit.prompt.id


@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_the_chosen_kind_is_added_until_another_is_chosen(opened, kind) -> None:
    points = opened.points
    opened.control.actions.choose_prompt_kind(kind)
    points.mode = "add"
    points.add([5.0, 5.0])
    points.add([5.0, 9.0])
    assert list(points.features["kind"][-2:]) == [kind, kind]
    assert [change.edit.prompt.kind for change in opened.changes] == [kind, kind]
    opened.check()


def test_deleting_points_takes_their_nuclei_and_no_others(opened) -> None:
    ids = sorted(opened.control.correction.areas)[:2]
    before = opened.labels.copy()
    opened.points.selected_data = {opened.row(ident) for ident in ids}
    opened.points.remove_selected()
    opened.check()
    assert [change.edit for change in opened.changes] == [DeletePrompts(tuple(ids))]
    assert not np.isin(opened.labels, ids).any()
    kept = ~np.isin(before, [0, *ids])
    assert np.array_equal(opened.labels[kept], before[kept])


def test_pasted_points_are_new_prompts_and_undo_takes_them_back(opened) -> None:
    points = opened.points
    before = opened.labels.copy()
    count = len(points.data)
    ids = [p.id for p in opened.control.correction.prompts.values() if p.kind == "positive"][:2]
    points.selected_data = {opened.row(ident) for ident in ids}
    points._copy_data()
    points._paste_data()
    opened.check()
    assert len(points.data) == count + 2
    assert len(set(points.features["id"])) == count + 2
    assert [type(change.edit) for change in opened.changes] == [AddPrompt, AddPrompt]
    opened.control.undo()
    opened.check()
    assert len(points.data) == count
    assert np.array_equal(opened.labels, before)


def test_a_cut_and_pasted_point_gets_a_new_number(opened) -> None:
    points, ident = opened.points, lone(opened)
    points.selected_data = {opened.row(ident)}
    points._copy_data()
    points.remove_selected()
    points._paste_data()
    opened.check()
    assert ident not in set(points.features["id"])
    assert [type(change.edit) for change in opened.changes] == [DeletePrompts, AddPrompt]


def test_replacing_all_positions_by_a_script_moves_the_prompts(opened) -> None:
    moved = opened.points.data.copy()
    moved[:2] += 1.5
    opened.points.data = moved
    opened.check()
    assert [type(change.edit) for change in opened.changes] == [MovePrompt, MovePrompt]


def test_undo_and_redo_of_every_kind_of_act_are_exact(opened) -> None:
    points, ident = opened.points, lone(opened)
    states = [(opened.labels.copy(), dict(opened.control.correction.prompts))]

    def remember() -> None:
        opened.check()
        states.append((opened.labels.copy(), dict(opened.control.correction.prompts)))

    points.add(np.array(FREE))
    remember()
    points.selected_data = {opened.row(ident)}
    points.remove_selected()
    remember()
    points.data = points.data + np.eye(1, 2) * 0.5
    remember()
    for labels, prompts in reversed(states[:-1]):
        opened.control.undo()
        opened.check()
        assert np.array_equal(opened.labels, labels)
        assert dict(opened.control.correction.prompts) == prompts
    assert not opened.control.can_undo
    for labels, prompts in states[1:]:
        opened.control.redo()
        opened.check()
        assert np.array_equal(opened.labels, labels)
        assert dict(opened.control.correction.prompts) == prompts
    assert not opened.control.can_redo


def test_a_moved_negative_decodes_the_positives_it_serves(opened) -> None:
    correction = opened.control.correction
    served = correction.state.served
    negative = correction.prompts[next(iter(served.values())).negatives[0]]
    serving = [i for i, s in served.items() if negative.id in s.negatives]
    asked = []
    decode = opened.fake.decode

    def listen(embedding, prompts, side):
        asked.append(prompts.points.numpy().copy())
        return decode(embedding, prompts, side)

    opened.fake.decode = listen
    row = opened.row(negative.id)
    moved = opened.points.data.copy()
    moved[row] += (0.5, 0.0)
    opened.points.data = moved
    opened.check()
    places = {tuple(np.round(point, 3)) for batch in asked for point in batch[:, 0]}
    expected = {(p.y, p.x) for i, p in correction.prompts.items() if i in serving}
    assert {tuple(np.round(place, 3)) for place in expected} <= places
    assert all(tuple(moved[row]) in {tuple(p) for p in batch[:, 1]} for batch in asked)


def test_an_impossible_move_is_said_and_the_point_goes_back(opened, mouse) -> None:
    points, ident = opened.points, lone(opened)
    start = points.data[opened.row(ident)].copy()
    before = opened.labels.copy()
    points.mode = "select"
    mouse.drag(points, start, (-40.0, -40.0))
    assert len(opened.failures) == 1
    assert "outside the image" in opened.failures[0]
    assert np.array_equal(points.data[opened.row(ident)], start)
    assert np.array_equal(opened.labels, before)
    opened.check()


def test_points_added_outside_the_image_disappear_again(opened) -> None:
    count = len(opened.points.data)
    opened.points.add([[-50.0, 3.0], [*FREE]])
    opened.check()
    assert len(opened.points.data) == count + 1
    assert len(opened.failures) == 1


def test_a_model_that_breaks_leaves_everything_as_it_was(opened, caplog) -> None:
    def fail() -> None:
        raise RuntimeError("broken model")

    before, count = opened.labels.copy(), len(opened.points.data)
    opened.fake.on_decode = fail
    opened.points.add(np.array(FREE))
    opened.fake.on_decode = None
    opened.check()
    assert len(opened.points.data) == count
    assert np.array_equal(opened.labels, before)
    assert "broken model" in opened.failures[0]
    assert "Traceback" in caplog.text
    assert opened.busy[-1] is False


def test_positions_are_pixels_whatever_the_scale_of_the_image(open_session, image_layer, mouse):
    image_layer.scale, image_layer.translate = (0.5, 0.5), (10, 20)
    opened = open_session()
    points, ident = opened.points, lone(opened)
    start = points.data[opened.row(ident)].copy()
    points.mode = "select"
    mouse.drag(points, start / 2 + (10, 20), (start + SHIFT) / 2 + (10, 20))
    opened.check()
    assert points.data[opened.row(ident)] == pytest.approx(start + SHIFT)
    assert opened.place(ident) == pytest.approx(start + SHIFT, abs=0.6)
    image_layer.scale = (2, 2)
    for role in (LayerRole.PROMPTS, LayerRole.NUCLEI, LayerRole.TISSUE):
        layer = opened.control.layer(role)
        assert layer.data_to_world((7, 9)) == pytest.approx(image_layer.data_to_world((7, 9)))


def test_hidden_negatives_survive_deleting_all_that_is_seen(opened) -> None:
    scene, points = opened.control.scene, opened.points
    prompts = opened.control.correction.prompts
    negatives = {ident for ident, prompt in prompts.items() if prompt.kind == "negative"}
    assert negatives
    scene.show_negatives(False)
    assert negatives.isdisjoint(points.features["id"])
    points.selected_data = set(range(len(points.data)))
    points.remove_selected()
    assert set(opened.control.correction.prompts) == negatives
    scene.show_negatives(True)
    assert set(points.features["id"]) == negatives
    opened.control.undo()
    opened.check()
