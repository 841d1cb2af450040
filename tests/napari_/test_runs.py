from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image

from napari_sprout.core.edits import ChangeSettings
from napari_sprout.core.stages import Stage
from napari_sprout.errors import ImageError
from napari_sprout.napari_.registry import SessionRegistry
from napari_sprout.napari_.roles import LayerRole, Slot, read_tag, tagged

HIDDEN = {LayerRole.TISSUE, LayerRole.HAEMATOXYLIN, LayerRole.EOSIN, LayerRole.REFERENCE}
SEEN = {LayerRole.NUCLEI, LayerRole.PROMPTS}


def shown(opened) -> dict[Slot, object]:
    return tagged(opened.viewer.layers, opened.control.uid)


def test_a_run_shows_every_stage_as_a_tagged_layer(open_session, scanning) -> None:
    opened = open_session(settings=scanning, run=False)
    order = []
    opened.viewer.layers.events.inserted.connect(
        lambda event: order.append(read_tag(event.value).slot.role)
    )
    opened.control.run()
    opened.check()
    layers = shown(opened)
    roles = {slot.role for slot in layers}
    assert roles == set(LayerRole) - {LayerRole.DRAWING}
    visible = {slot.role for slot, layer in layers.items() if layer.visible}
    assert visible == SEEN | {LayerRole.IMAGE}
    assert order.index(LayerRole.TISSUE) < order.index(LayerRole.EOSIN)
    assert order.index(LayerRole.REFERENCE) < order.index(LayerRole.ACTIVATION)
    assert order.index(LayerRole.ACTIVATION) < order.index(LayerRole.PROMPTS)
    assert order.index(LayerRole.PROMPTS) < order.index(LayerRole.NUCLEI)
    assert opened.stages == list(Stage)
    assert opened.busy == [True, False]
    assert opened.viewer.layers.selection.active is opened.points
    assert opened.nuclei.contour > 0
    assert len({layer.name for layer in layers.values()}) == len(layers)


def test_layers_are_found_though_renamed_and_keep_their_names(opened) -> None:
    for layer in opened.viewer.layers:
        layer.name = "same name for all"
    names = [layer.name for layer in opened.viewer.layers]
    opened.points.add([69.0, 61.0])
    opened.control.run()
    opened.check()
    assert [layer.name for layer in opened.viewer.layers] == names


@pytest.mark.parametrize("role", ["nuclei", "prompts", "suppressed", "reference"])
def test_a_deleted_layer_comes_back_and_still_works(opened, mouse, role) -> None:
    role = LayerRole(role)
    old = opened.control.layer(role)
    opened.viewer.layers.remove(old)
    assert opened.control.layer(role) is None
    opened.control.run()
    again = opened.control.layer(role)
    assert again is not None
    assert again is not old
    opened.check()
    opened.control.actions.choose_prompt_kind("positive")
    opened.points.add([69.0, 61.0])
    opened.check()
    assert opened.labels[69, 61] == opened.points.features["id"].iloc[-1]
    assert len(opened.changes) == 1


def test_a_deleted_nuclei_layer_comes_back_with_the_next_edit(opened) -> None:
    opened.viewer.layers.remove(opened.nuclei)
    opened.points.add([69.0, 61.0])
    opened.check()


def test_layers_renamed_and_deleted_in_the_middle_of_a_run(open_session, scanning) -> None:
    opened = open_session(settings=scanning, run=False)

    def meddle(stage: Stage) -> None:
        if stage is Stage.REFERENCE:
            opened.viewer.layers.remove(opened.control.layer(LayerRole.TISSUE))
            opened.control.layer(LayerRole.EOSIN).name = "Nuclei"
        if stage is Stage.PROMPTS:
            opened.viewer.layers.remove(opened.control.layer(LayerRole.PROMPTS))

    opened.control.stage_finished.connect(meddle)
    opened.control.run()
    opened.check()
    assert opened.control.layer(LayerRole.TISSUE) is None
    assert opened.control.layer(LayerRole.EOSIN).name == "Nuclei"
    opened.control.stage_finished.disconnect(meddle)
    opened.control.run()
    assert opened.control.layer(LayerRole.TISSUE) is not None


def test_cancelling_keeps_the_stages_that_are_done(open_session) -> None:
    opened = open_session(run=False)
    opened.control.stage_finished.connect(
        lambda stage: opened.control.cancel() if stage is Stage.ENCODING else None
    )
    opened.control.run()
    assert opened.failures == []
    assert opened.busy == [True, False]
    assert opened.control.session.is_current(Stage.ENCODING)
    assert not opened.control.session.is_current(Stage.NUCLEI)
    assert opened.control.layer(LayerRole.REFERENCE) is not None
    assert opened.control.layer(LayerRole.NUCLEI) is None
    assert opened.control.view is None


def test_a_failing_model_is_reported_and_the_next_run_goes_on(open_session, caplog) -> None:
    opened = open_session(run=False)
    boom = RuntimeError("the model broke")

    def fail() -> None:
        raise boom

    opened.fake.on_decode = fail
    opened.control.run()
    (sentence,) = opened.failures
    assert "the model broke" in sentence
    assert "Traceback" in caplog.text
    assert not opened.control.is_busy
    opened.fake.on_decode = None
    opened.control.run()
    opened.check()


def test_prompts_shown_before_their_masks_cannot_be_edited_yet(open_session) -> None:
    opened = open_session(run=False)
    editable = []
    opened.control.stage_finished.connect(
        lambda stage: editable.append(opened.points.editable) if stage is Stage.PROMPTS else None
    )
    opened.control.run()
    assert editable == [False]
    assert opened.points.editable
    opened.check()


def test_unchanged_pictures_are_not_drawn_again(opened) -> None:
    layer = opened.control.layer(LayerRole.EOSIN)
    drawn = []
    layer.events.data.connect(drawn.append)
    opened.control.run()
    assert drawn == []
    opened.control.change_settings(
        opened.control.settings.with_changes(stain={"method": "macenko"})
    )
    opened.control.run()
    assert len(drawn) == 1


def test_fewer_prototypes_and_no_scan_leave_no_layers_behind(open_session, scanning) -> None:
    opened = open_session(settings=scanning)
    numbers = [slot.number for slot in shown(opened) if slot.role is LayerRole.PROTOTYPE]
    assert len(numbers) == 6
    control = opened.control
    control.change_settings(scanning.with_changes(prototypes={"clusters": 1}))
    control.run()
    assert len([s for s in shown(opened) if s.role is LayerRole.PROTOTYPE]) == 2
    control.change_settings(scanning.with_changes(prompts={"source": "stain"}))
    control.run()
    assert not {LayerRole.PROTOTYPE, LayerRole.ACTIVATION} & {s.role for s in shown(opened)}
    opened.check()


def test_the_scan_can_be_scrubbed_and_its_stop_overridden(open_session, scanning) -> None:
    opened = open_session(settings=scanning)
    control = opened.control
    assert control.rhos == (0.6, 0.8, 1.0)
    before, encoded = opened.labels.copy(), opened.fake.encoded
    decoded = opened.fake.decoded
    maps = []
    for step in range(3):
        control.show_step(step)
        maps.append(control.layer(LayerRole.ACTIVATION).data.copy())
    assert not np.array_equal(maps[0], maps[2])
    assert (opened.fake.encoded, opened.fake.decoded) == (encoded, decoded)
    other = next(i for i in range(3) if i != control.chosen_step)
    chosen = {"rho": control.rhos[other]}
    control.change_settings(control.settings.with_changes(scan=chosen))
    control.run()
    opened.check()
    assert control.chosen_step == other
    assert np.array_equal(control.layer(LayerRole.ACTIVATION).data, maps[other])
    assert isinstance(opened.changes[0].edit, ChangeSettings)
    control.undo()
    opened.check()
    assert np.array_equal(opened.labels, before)
    assert control.chosen_step != other


def test_two_images_keep_to_their_own_layers(open_session, viewer, synthetic) -> None:
    first = open_session()
    other = viewer.add_image(np.ascontiguousarray(synthetic.rgb[::-1]), rgb=True, name="other")
    second = open_session(other)
    assert not set(shown(first).values()) & set(shown(second).values())
    assert second.nuclei.name == "Nuclei · other"
    still = first.nuclei.data.copy()
    second.points.add([69.0, 61.0])
    second.points.selected_data = {0}
    second.points.remove_selected()
    second.control.run()
    second.check()
    assert first.changes == []
    assert np.array_equal(first.nuclei.data, still)
    registry = SessionRegistry()
    registry.add(first.control)
    registry.add(second.control)
    assert registry.get(other) is second.control
    assert registry.owner(first.nuclei) is first.control
    registry.close(other)
    assert registry.get(other) is None
    first.points.add([69.0, 61.0])
    first.check()


def test_a_closed_session_leaves_layers_that_do_nothing(opened, mouse) -> None:
    points, nuclei = opened.points, opened.nuclei
    assert nuclei.keymap
    opened.control.close()
    assert not nuclei.keymap
    assert not points.keymap
    mouse.click(nuclei, opened.place(1))
    assert opened.control.actions.selected == frozenset()
    points.add([69.0, 61.0])
    nuclei.paint((69, 61), 5)
    opened.control.run()
    assert opened.changes == []
    assert nuclei.data[69, 61] == 5
    assert read_tag(nuclei) is None


def test_deleting_the_image_is_told(opened, viewer, image_layer) -> None:
    told = []
    opened.control.image_removed.connect(lambda: told.append(True))
    viewer.layers.remove(image_layer)
    assert told == [True]


def test_a_layer_that_is_no_colour_image_is_refused(open_session, viewer) -> None:
    grey = viewer.add_image(np.zeros((64, 64)), name="grey")
    assert isinstance(grey, Image)
    with pytest.raises(ImageError, match="'grey'"):
        open_session(grey)


def test_what_a_run_warns_of_is_told_once(open_session, viewer) -> None:
    blank = viewer.add_image(np.full((64, 64, 3), 255, np.uint8), rgb=True)
    opened = open_session(blank)
    opened.control.run()
    assert len(opened.warnings) == 1
    assert "No tissue" in opened.warnings[0]
