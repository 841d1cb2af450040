from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtWidgets import QFileDialog

from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.io.geojson import write_geojson
from napari_sprout.io.labels import write_labels
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt.stage_list import State

CHOOSE = "From a file…"


@pytest.fixture
def labels(sparse: SyntheticImage) -> NDArray[np.int32]:
    """What another program has made of the image, with numbers of its own."""
    return np.where(sparse.labels > 0, 3 * sparse.labels + 40, 0).astype(np.int32)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Open the menu of a desk, check what it offers, and choose one."""

    def choose(desk: Any, texts: list[str], chosen: str, path: Path | None = None) -> None:
        answer = (str(path or ""), "")
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: answer)
        opening = desk.dock.segment.opening
        assert opening.button.isEnabled()
        opening.menu.aboutToShow.emit()
        actions = {action.text(): action for action in opening.menu.actions()}
        assert list(actions) == texts
        actions[chosen].trigger()
        desk.until(lambda: not desk.dock.sessions.is_opening)

    return choose


def opened(desk: Any, labels: NDArray[np.int32]) -> None:
    """Wait until the nuclei are to be seen."""
    desk.until(lambda: desk.dock.sessions.current is not None)
    desk.until(
        lambda: (
            not desk.control.is_busy
            and desk.control.view is not None
            and np.array_equal(desk.labels, labels)
        )
    )


def test_a_file_is_opened_before_any_run_and_its_nuclei_are_refined(
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    labels: NDArray[np.int32],
    offered: Callable[..., None],
) -> None:
    made = desk()
    assert not made.dock.segment.open_button.isEnabled()
    made.open(tmp_path / "case.png", sparse.rgb)
    write_labels(tmp_path / "stardist.tif", labels)
    offered(made, [CHOOSE], CHOOSE, tmp_path / "stardist.tif")
    opened(made, labels)
    assert made.failures == []
    assert made.control.project.entries[0]["kind"] == "edit"
    stages, form = made.dock.segment.stages, made.dock.segment.form
    assert stages.state_of(Stage.ACTIVATION) is State.UNUSED
    assert stages.state_of(Stage.PROTOTYPES) is State.UNUSED
    assert stages.all_done
    assert form.groups["prompts"].widgets["source"].value == "given"
    assert made.dock.segment.run_button.isEnabled()
    # One of them is refined.
    ident = int(labels.max())
    refine = made.dock.prompts.action_buttons["refine_selected"]
    assert not refine.isEnabled()
    made.control.actions.select(frozenset({ident}))
    assert refine.isEnabled()
    refine.click()
    made.until(lambda: ident not in made.control.view.pinned)
    made.wait_until_done()
    assert np.array_equal(np.unique(made.labels), np.unique(labels))
    assert not np.array_equal(made.labels, labels)
    made.dock.undo.click()
    opened(made, labels)
    made.until(lambda: made.dock.prompts.why["source"].text() == "the nuclei you opened")
    # Run again, they stay; begun anew, the image has none.
    made.run()
    assert np.array_equal(made.labels, labels)
    made.dock.sessions.restart()
    assert made.dock.sessions.draft.settings.prompts.source == "activation"


def test_a_layer_is_opened_after_a_run_and_undo_brings_the_nuclei_back(
    working: Any, labels: NDArray[np.int32], offered: Callable[..., None]
) -> None:
    before = working.labels
    layer = working.viewer.add_labels(labels, name="Cellpose")
    working.viewer.add_labels(labels[:-1], name="Of another image")
    working.viewer.add_labels(np.stack([labels, labels]), name="A stack")
    text = "From the layer “Cellpose”"
    offered(working, [CHOOSE, text], text)
    opened(working, labels)
    assert not layer.visible
    assert working.layer(LayerRole.NUCLEI).visible
    assert np.array_equal(layer.data, labels)
    working.dock.undo.click()
    working.until(lambda: np.array_equal(working.labels, before))
    working.wait_until_done()
    form = working.dock.segment.form
    assert form.groups["prompts"].widgets["source"].value == "stain"
    working.dock.redo.click()
    opened(working, labels)
    assert working.failures == []


def test_a_file_that_does_not_fit_is_refused_and_nothing_is_begun(
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    labels: NDArray[np.int32],
    offered: Callable[..., None],
) -> None:
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    write_labels(tmp_path / "half.tif", labels[::2, ::2])
    offered(made, [CHOOSE], CHOOSE, tmp_path / "half.tif")
    made.until(lambda: bool(made.failures))
    assert "112 x 96 px" in made.failures[0]
    assert "224 x 192 px" in made.failures[0]
    assert made.dock.sessions.current is None
    assert not list(tmp_path.glob("*.sprout"))
    offered(made, [CHOOSE], CHOOSE, None)
    assert made.dock.sessions.current is None


def test_outlines_that_cannot_be_used_are_told_of(
    working: Any, labels: NDArray[np.int32], tmp_path: Path, offered: Callable[..., None]
) -> None:
    larger = np.pad(labels, ((0, 30), (0, 0)))
    larger[-20:-10, 5:20] = 999
    write_geojson(tmp_path / "qupath.geojson", larger, ())
    offered(working, [CHOOSE], CHOOSE, tmp_path / "qupath.geojson")
    opened(working, labels)
    assert any(text.startswith("1 of the ") for text in working.said)


def test_points_from_opened_nuclei_need_some(
    desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    form = made.dock.segment.form
    form.groups["prompts"].widgets["source"].value = "given"
    run = made.dock.segment.run_button
    assert not run.isEnabled()
    assert "open some" in run.toolTip()
    assert made.dock.segment.open_button.isEnabled()
    form.groups["prompts"].widgets["source"].value = "stain"
    assert run.isEnabled()


def test_the_scan_is_of_no_use_for_opened_nuclei_and_comes_back_with_undo(
    scanned: Any, labels: NDArray[np.int32], offered: Callable[..., None]
) -> None:
    scan = scanned.dock.segment.scan
    assert scan.slider.isEnabled()
    scanned.viewer.add_labels(labels, name="Cellpose")
    text = "From the layer “Cellpose”"
    offered(scanned, [CHOOSE, text], text)
    opened(scanned, labels)
    scanned.wait_until_done()
    assert scanned.viewer.layers.selection.active is scanned.layer(LayerRole.PROMPTS)
    assert not scan.slider.isEnabled()
    assert not scan.use.isEnabled()
    assert scan.label.text() == "not used"
    scanned.dock.undo.click()
    scanned.wait_until_done()
    assert scan.slider.isEnabled()
    assert "used" in scan.label.text()
    assert scanned.failures == []
