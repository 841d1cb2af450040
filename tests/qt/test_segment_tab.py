from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

from napari_sprout.core.edits import RemoveNuclei
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.io.pixel_size import checked_mpp
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt.stage_list import State
from napari_sprout.qt.stain_picker import STEPS

CTRL = Qt.KeyboardModifier.ControlModifier
YES, NO = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No


class Watched:
    """Tells which stages were made anew since this was made."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk
        self._before = self._outputs()

    def _outputs(self) -> dict[Stage, Any]:
        session, unused = self._desk.control.session, in_state(self._desk, State.UNUSED)
        return {stage: session.output(stage) for stage in Stage if stage not in unused}

    @property
    def made(self) -> set[Stage]:
        return {s for s, output in self._outputs().items() if output is not self._before[s]}


def edit(desk: Any, group: str, field: str, value: Any) -> None:
    """Type another value into the form."""
    desk.dock.segment.form.groups[group].widgets[field].value = value


def in_state(desk: Any, state: State) -> set[Stage]:
    return {stage for stage in Stage if desk.dock.segment.stages.state_of(stage) is state}


def pick(desk: Any, stage: Stage) -> None:
    """Click on a stage in the list."""
    stages = desk.dock.segment.stages
    place = stages.visualItemRect(stages.item(list(Stage).index(stage), 0)).center()
    desk.qtbot.mouseClick(stages.viewport(), Qt.MouseButton.LeftButton, pos=place)


def labels_of(
    rgb: NDArray[np.uint8], settings: Settings, fake_type: Any, mpp: float | None = None
) -> NDArray[np.int32]:
    """What the library makes of an image, without a window."""
    session = Session(rgb, settings, mpp=mpp, segmenter=fake_type())
    session.finish()
    return session.labels


def test_the_run_button_says_what_is_missing_and_what_it_will_do(
    desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    made = desk()
    button = made.dock.segment.run_button
    assert not button.isEnabled()
    assert "Open an H&E image first" in button.toolTip()
    made.open(tmp_path / "case.png", sparse.rgb)
    assert button.isEnabled()
    texts: list[tuple[str, str]] = []
    made.dock.sessions.progress.connect(lambda _: texts.append((button.text(), button.toolTip())))
    made.run()
    assert set(texts) == {("Cancel", "Stop soon; the stages that are done stay.")}
    assert (button.text(), button.isEnabled()) == ("Run", True)
    assert in_state(made, State.DONE) | in_state(made, State.UNUSED) == set(Stage)


@pytest.mark.parametrize(
    ("group", "field", "value", "stages"),
    [
        ("suppression", "threshold", 1.5, {Stage.NUCLEI}),
        ("decoding", "max_area", 25.0, {Stage.MASKS, Stage.NUCLEI}),
        ("prompts", "min_area", 30.0, {Stage.PROMPTS, Stage.MASKS, Stage.NUCLEI}),
        (
            "features",
            "tile",
            256,
            # Prompts from the stain alone read nothing of the image's features.
            {Stage.ENCODING, Stage.MASKS, Stage.NUCLEI},
        ),
    ],
)
def test_an_edited_setting_marks_its_stages_and_a_run_makes_these_alone(
    working: Any,
    sparse: SyntheticImage,
    fake_type: Any,
    group: str,
    field: str,
    value: Any,
    stages: set[Stage],
) -> None:
    fake, form, before = working.fakes[0], working.dock.segment.form, working.labels
    edit(working, group, field, value)
    assert in_state(working, State.STALE) == stages
    assert np.array_equal(working.labels, before)
    encoded, watched = fake.encoded, Watched(working)
    working.run()
    assert watched.made == stages
    assert (fake.encoded > encoded) == (Stage.ENCODING in stages)
    assert in_state(working, State.STALE) == set()
    assert np.array_equal(working.labels, labels_of(sparse.rgb, form.value, fake_type))
    assert working.failures == []


def test_a_setting_put_back_before_the_run_leaves_nothing_to_do(working: Any) -> None:
    edit(working, "prompts", "min_area", 30.0)
    assert in_state(working, State.STALE)
    working.dock.segment.form.groups["prompts"].widgets["min_area"].value = 6.0
    assert in_state(working, State.STALE) == set()


def test_a_run_can_stop_at_a_chosen_stage_and_go_on_from_there(
    working: Any, sparse: SyntheticImage, fake_type: Any
) -> None:
    segment, before = working.dock.segment, working.labels
    for button in (segment.run_to, segment.run_from):
        assert button.toolTip().endswith("Select a stage in the list first.")
    pick(working, Stage.PROMPTS)
    for button in (segment.run_to, segment.run_from):
        assert not button.isEnabled()
        assert "This stage is up to date" in button.toolTip()
    edit(working, "prompts", "min_area", 30.0)
    watched = Watched(working)
    segment.run_to.click()
    working.wait_until_done()
    assert watched.made == {Stage.PROMPTS}
    assert in_state(working, State.STALE) == {Stage.MASKS, Stage.NUCLEI}
    assert np.array_equal(working.labels, before)
    pick(working, Stage.MASKS)
    watched = Watched(working)
    segment.run_from.click()
    working.wait_until_done()
    assert watched.made == {Stage.MASKS, Stage.NUCLEI}
    assert np.array_equal(working.labels, labels_of(sparse.rgb, segment.form.value, fake_type))


def test_undo_of_a_setting_brings_back_its_field_and_its_nuclei(working: Any) -> None:
    form, before = working.dock.segment.form, working.labels
    field = form.groups["suppression"].widgets["threshold"]
    former = field.value
    edit(working, "suppression", "threshold", 1.5)
    working.run()
    after = working.labels
    assert not np.array_equal(after, before)
    assert working.dock.undo.isEnabled()
    working.key(Qt.Key.Key_Z, CTRL)
    working.until(lambda: np.array_equal(working.labels, before))
    working.wait_until_done()
    assert field.value == former
    assert working.dock.sessions.draft.settings == form.value == working.control.settings
    working.dock.redo.click()
    working.until(lambda: np.array_equal(working.labels, after))
    working.wait_until_done()
    assert field.value == 1.5
    assert in_state(working, State.STALE) == set()
    working.dock.undo.click()
    working.until(lambda: np.array_equal(working.labels, before))
    working.run()
    assert np.array_equal(working.labels, before)
    assert in_state(working, State.STALE) == set()


def test_corrections_stay_through_a_run_with_other_settings(working: Any) -> None:
    ident = working.lonely()
    y, x = np.round(working.prompt(ident)).astype(int)
    working.control.apply(RemoveNuclei((ident,)))
    working.wait_until_done()
    edit(working, "suppression", "sigma", 0.4)
    working.run()
    assert ident not in working.labels
    assert working.labels[y, x] == 0
    assert working.labels.any()


# The scan


def test_the_slider_shows_the_maps_of_every_step_and_computes_nothing(scanned: Any) -> None:
    scan, fake, control = scanned.dock.segment.scan, scanned.fakes[0], scanned.control
    assert scan.slider.isEnabled()
    assert (scan.slider.minimum(), scan.slider.maximum()) == (0, len(control.rhos) - 1)
    assert len(control.rhos) == 3
    assert scan.slider.value() == control.chosen_step
    assert scan.label.text() == f"share {control.rhos[control.chosen_step]:.2f}, used"
    before, work = scanned.labels, (fake.encoded, fake.decoded)
    layer = scanned.layer(LayerRole.ACTIVATION)
    assert not layer.visible
    steps = control.session.output(Stage.ACTIVATION).steps
    scanned.qtbot.keyClick(scan.slider, Qt.Key.Key_Home)
    shown = {scan.slider.value(): np.array(layer.data)}
    while scan.slider.value() < 2:
        scanned.qtbot.keyClick(scan.slider, Qt.Key.Key_Right)
        shown[scan.slider.value()] = np.array(layer.data)
        assert f"share {control.rhos[scan.slider.value()]:.2f}" in scan.label.text()
        assert scan.use.isEnabled() == (scan.slider.value() != control.chosen_step)
    assert layer.visible
    assert sorted(shown) == [0, 1, 2]
    for step, data in shown.items():
        assert np.array_equal(data, steps[step].foreground)
    assert not np.array_equal(shown[0], shown[2])
    assert (fake.encoded, fake.decoded) == work
    assert not control.is_busy
    assert np.array_equal(scanned.labels, before)


def test_another_step_can_be_taken_and_given_back(
    scanned: Any, sparse: SyntheticImage, scanning: Settings, fake_type: Any
) -> None:
    scan, control, before = scanned.dock.segment.scan, scanned.control, scanned.labels
    taken = control.chosen_step
    assert not scan.automatic.isEnabled()
    other = 0 if taken else 2
    scan.slider.setValue(other)
    watched = Watched(scanned)
    scan.use.click()
    scanned.wait_until_done()
    assert watched.made == {Stage.PROMPTS, Stage.MASKS, Stage.NUCLEI}
    assert control.chosen_step == scan.slider.value() == other
    assert scan.label.text().endswith(", used")
    rho = scanned.dock.segment.form.groups["scan"].widgets["rho"].value
    assert rho == pytest.approx(control.rhos[other])
    settings = scanning.with_changes(scan={"rho": rho})
    assert np.array_equal(scanned.labels, labels_of(sparse.rgb, settings, fake_type))
    assert not np.array_equal(scanned.labels, before)
    scan.automatic.click()
    scanned.wait_until_done()
    assert control.chosen_step == scan.slider.value() == taken
    assert np.array_equal(scanned.labels, before)
    for expected in (other, taken):
        scanned.dock.undo.click()
        scanned.until(lambda: not control.is_busy)
        assert scan.slider.value() == expected
    assert np.array_equal(scanned.labels, before)
    assert not scanned.dock.undo.isEnabled()


def test_without_a_scan_the_slider_says_why_it_is_of_no_use(working: Any) -> None:
    scan = working.dock.segment.scan
    for widget in (scan.slider, scan.use, scan.automatic):
        assert not widget.isEnabled()
        assert "no activation scan yet" in widget.toolTip()


# Beginning again


def test_starting_over_takes_the_layers_away_and_leaves_the_work_on_disk(working: Any) -> None:
    image, first = working.dock.sessions.layer, working.control.project.folder
    journal = (first / "journal.jsonl").read_bytes()
    working.dock.segment.restart.click()
    assert working.dock.sessions.current is None
    working.until(lambda: list(working.viewer.layers) == [image])
    assert not working.dock.segment.restart.isEnabled()
    assert "Nothing has been begun yet" in working.dock.segment.restart.toolTip()
    assert working.dock.segment.image.pixel_size.isEnabled()
    assert in_state(working, State.WAITING) == set(Stage)
    working.run()
    assert working.labels.any()
    assert working.control.project.folder != first
    assert (first / "journal.jsonl").read_bytes() == journal
    assert working.failures == []


def test_starting_over_asks_first_if_anything_was_corrected(
    working: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, texts = iter([NO, YES]), []

    def question(parent: Any, title: str, text: str) -> QMessageBox.StandardButton:
        texts.append(text)
        return next(answers)

    monkeypatch.setattr(QMessageBox, "question", question)
    working.control.apply(RemoveNuclei((working.lonely(),)))
    working.wait_until_done()
    control, before = working.control, working.labels
    working.dock.segment.restart.click()
    assert working.control is control
    assert np.array_equal(working.labels, before)
    assert str(control.project.folder) in texts[0]
    working.dock.segment.restart.click()
    assert working.dock.sessions.current is None
    working.until(lambda: len(working.viewer.layers) == 1)


# What is said about the image


def test_the_pixel_size_that_was_typed_counts_from_the_first_run_on(
    desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage, quick: Settings, fake_type: Any
) -> None:
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    field = made.dock.segment.image.pixel_size
    assert "unknown" in field.text()
    field.setFocus()
    field.selectAll()
    made.qtbot.keyClicks(field, "0.5")
    made.qtbot.keyClick(field, Qt.Key.Key_Return)
    made.run()
    assert made.control.session.mpp == made.control.project.mpp == checked_mpp(0.5)
    assert np.array_equal(made.labels, labels_of(sparse.rgb, quick, fake_type, mpp=0.5))
    assert not field.isEnabled()
    assert "Start over" in field.toolTip()


def test_stain_colours_are_picked_with_two_clicks_on_the_image(
    working: Any, sparse: SyntheticImage
) -> None:
    form, layer = working.dock.segment.image, working.dock.sessions.layer
    dark = min(
        (tuple(np.round(working.prompt(i)).astype(int)) for i in working.control.correction.areas),
        key=lambda place: sparse.rgb[place].sum(),
    )
    pale = np.argwhere((working.labels == 0) & (sparse.labels == 0))
    pink = max(
        pale[::37].tolist(),
        key=lambda at: int(sparse.rgb[tuple(at)][[0, 2]].sum()) - 3 * int(sparse.rgb[tuple(at)][1]),
    )
    before = working.labels
    form.pick.click()
    assert form.pick.text() == "Cancel"
    assert working.dock.status.message.text() == STEPS[0]
    working.click(layer, *dark)
    assert working.dock.status.message.text() == STEPS[1]
    working.click(layer, *pink)
    assert form.pick.text() == "Pick…"
    assert form.stain.currentText() == "Picked by hand"
    given = working.dock.segment.form.value.stain
    assert given.method == "given"
    assert given.haematoxylin[0] > given.eosin[0]
    assert given.eosin[1] > given.haematoxylin[1]
    assert Stage.STAIN in in_state(working, State.STALE)
    assert Stage.TISSUE in in_state(working, State.DONE)
    assert np.array_equal(working.labels, before)
    working.run()
    vectors = working.control.session.output(Stage.STAIN).vectors
    assert np.allclose(
        vectors.haematoxylin,
        np.divide(given.haematoxylin, np.linalg.norm(given.haematoxylin)),
        atol=1e-3,
    )
    assert working.failures == []


def test_picking_can_be_given_up(working: Any) -> None:
    form, settings = working.dock.segment.image, working.dock.segment.form.value
    form.pick.click()
    form.pick.click()
    assert form.pick.text() == "Pick…"
    assert working.dock.segment.form.value == settings
    assert working.dock.status.message.text() == "The colours stay as they were."


def test_the_way_to_find_the_stains_is_chosen_from_a_list(working: Any) -> None:
    stain = working.dock.segment.image.stain
    assert stain.currentText() == "Standard H&E colours"
    stain.setFocus()
    working.qtbot.keyClick(stain, Qt.Key.Key_Home)
    assert stain.currentText() == "From this image (Vahadane)"
    stain.activated.emit(stain.currentIndex())
    assert working.dock.segment.form.value.stain.method == "vahadane"
    assert working.dock.segment.form.groups["stain"].widgets["method"].value == "vahadane"
    assert Stage.STAIN in in_state(working, State.STALE)
    edit(working, "stain", "method", "fixed")
    assert stain.currentText() == "Standard H&E colours"
    assert in_state(working, State.STALE) == set()
