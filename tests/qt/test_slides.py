"""Slides in the window: regions are read, worked on, left and found again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import synthetic_he
from napari_sprout.io.label_pyramid import LabelPyramid
from napari_sprout.io.slides.region_results import RegionState
from napari_sprout.io.slides.tiff_reader import TiffSlide
from napari_sprout.napari_.readers import image_reader
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt import slides as slides_module
from napari_sprout.qt.slide_box import SlideBox
from napari_sprout.qt.slides import SlideOnDesk, Slides
from slide_files import pyramid, write_svs, write_tiff

SHAPE, MPP = (640, 768), 0.25


def write_pyramid(path: Path, rgb: NDArray[np.uint8], mpp: float | None) -> None:
    """Write a tiled TIFF of two resolutions, with or without a pixel size."""
    if mpp is None:
        write_tiff(path, pyramid(rgb, 2), tile=(128, 128))
    else:
        write_svs(path, pyramid(rgb, 2), mpp)


@pytest.fixture(scope="session")
def tissue() -> NDArray[np.uint8]:
    """Glass, and tissue from row 128 on."""
    rgb = synthetic_he(shape=SHAPE, n_nuclei=170, seed=9).rgb.copy()
    rgb[:128] = 244
    return rgb


class SlideDesk:
    """A desk with a slide on it."""

    def __init__(self, desk: Any, path: Path, settings: Settings) -> None:
        self.desk, self.path = desk, path
        reader = image_reader(str(path))
        assert reader is not None
        ((data, options, _),) = reader(str(path))
        self.layer = desk.viewer.add_image(data, **options)
        self.sessions.draft_of(self.layer).settings = settings
        desk.until(lambda: self.on_desk.open.shape is not None)

    @property
    def sessions(self) -> Any:
        return self.desk.dock.sessions

    @property
    def box(self) -> SlideBox:
        return self.desk.dock.segment.slide

    @property
    def slides(self) -> Slides:
        return self.box.slides

    @property
    def on_desk(self) -> SlideOnDesk:
        desk = self.slides.desk
        assert desk is not None
        return desk

    @property
    def states(self) -> dict[Any, RegionState]:
        return self.on_desk.open.states

    @property
    def listed(self) -> list[str]:
        return [self.box.list.item(i).text() for i in range(self.box.list.count())]

    def look_at(self, box: tuple[int, int, int, int]) -> None:
        self.on_desk.layers.look_at(box)

    def take_view(self) -> Image:
        """Press the button, and return the region's layer when it is there."""
        self.box.from_view.click()
        self.desk.until(lambda: self.slides.chosen is not None)
        return self.sessions.layer

    def go_to(self, row: int) -> None:
        """Double click on a line of the list."""
        self.box.list.itemActivated.emit(self.box.list.item(row))

    def until_idle(self) -> None:
        self.desk.until(lambda: not self.on_desk.open.busy)


OpenSlideDesk = Callable[..., SlideDesk]


@pytest.fixture
def on_desk(
    desk: Callable[[], Any], tmp_path: Path, tissue: NDArray[np.uint8], quick: Settings
) -> OpenSlideDesk:
    """Open a slide in a window of its own."""

    def make(mpp: float | None = MPP) -> SlideDesk:
        path = tmp_path / "case.tif"
        if not path.exists():
            write_pyramid(path, tissue, mpp)
        return SlideDesk(desk(), path, quick)

    return make


def test_a_slide_is_never_read_whole(
    on_desk: OpenSlideDesk,
    tmp_path: Path,
    tissue: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_pyramid(tmp_path / "case.tif", np.tile(tissue, (4, 4, 1)), MPP)
    largest: list[int] = []
    read = TiffSlide.read

    def noted(self: TiffSlide, level: int, *where: int) -> NDArray[np.uint8]:
        if level == 0:
            largest.append(where[2] * where[3])
        return read(self, level, *where)

    monkeypatch.setattr(TiffSlide, "read", noted)
    slide = on_desk()
    slide.desk.until(lambda: slide.slides.share is not None)
    assert slide.box.isVisible()
    assert not slide.desk.dock.segment.run_button.isEnabled()
    assert "Region from view" in slide.desk.dock.segment.run_button.toolTip()
    slide.sessions.run()
    assert "Region from view" in slide.desk.failures[0]
    assert max(largest, default=0) < SHAPE[0] * SHAPE[1] * 16 / 2
    assert list(slide.path.parent.iterdir()) == [slide.path]


def test_the_view_becomes_an_image_where_it_was_on_the_slide(
    on_desk: OpenSlideDesk, tissue: NDArray[np.uint8], quick: Settings
) -> None:
    slide = on_desk()
    slide.look_at((300, 300, 420, 420))
    layer = slide.take_view()
    (box,) = slide.states
    y0, x0, y1, x1 = box
    assert np.array_equal(layer.data, tissue[y0:y1, x0:x1])
    assert y0 <= 300 < 420 <= y1
    assert x0 <= 300 < 420 <= x1
    assert (y1 - y0) * (x1 - x0) < 0.5 * SHAPE[0] * SHAPE[1]
    where = [layer.data_to_world((4, 7)), slide.layer.data_to_world((y0 + 4, x0 + 7))]
    assert np.allclose(where[0], where[1])
    # What was chosen for the slide holds for its regions.
    draft = slide.sessions.draft
    assert draft.settings == quick
    assert draft.mpp == pytest.approx(MPP)
    assert not slide.desk.dock.segment.image.pixel_size.isEnabled()
    assert slide.desk.dock.segment.run_button.isEnabled()
    # It follows the slide.
    slide.layer.translate = (1000, -50)
    assert np.allclose(layer.data_to_world((0, 0)), slide.layer.data_to_world((y0, x0)))


def test_a_rectangle_is_drawn(on_desk: OpenSlideDesk, tissue: NDArray[np.uint8]) -> None:
    slide = on_desk()
    slide.desk.viewer.reset_view()
    slide.box.draw.click()
    tool = slide.desk.viewer.layers.selection.active
    slide.desk.drag(tool, (200, 150), (330, 340))
    slide.desk.until(lambda: slide.slides.chosen is not None)
    ((y0, x0, y1, x1),) = slide.states
    assert (y0, x0, y1, x1) == pytest.approx((200, 150, 330, 340), abs=4)
    assert np.array_equal(slide.sessions.layer.data, tissue[y0:y1, x0:x1])
    assert len(tool.data) == 0
    over = slide.on_desk.layers
    slide.desk.until(lambda: over.outlines is not None and over.outlines.nshapes == 1)


def test_work_in_a_region_is_found_again_another_day(on_desk: OpenSlideDesk) -> None:
    slide = on_desk()
    slide.desk.until(lambda: slide.slides.share is not None)
    assert slide.slides.share == 0
    slide.look_at((300, 300, 460, 460))
    slide.take_view()
    assert list(slide.states.values()) == [RegionState.NEW]
    slide.desk.run()
    assert slide.desk.failures == []
    assert list(slide.states.values()) == [RegionState.SEGMENTED]
    assert slide.slides.share > 0
    control = slide.desk.control
    control.actions.select(frozenset({int(slide.desk.labels.max())}))
    control.actions.remove_selected()
    slide.desk.until(lambda: list(slide.states.values()) == [RegionState.CORRECTED])
    slide.desk.wait_until_done()
    labels = slide.desk.labels
    share, box = slide.slides.share, next(iter(slide.states))
    slide.desk.close()

    again = on_desk()
    again.desk.until(lambda: again.slides.share is not None)
    assert again.slides.share == share
    assert again.states == {box: RegionState.CORRECTED}
    assert "corrected" in again.listed[0]
    again.go_to(0)
    again.desk.until(lambda: again.sessions.current is not None)
    again.desk.wait_until_done()
    assert np.array_equal(again.desk.labels, labels)
    layer = again.sessions.layer
    assert np.allclose(layer.data_to_world((0, 0)), again.layer.data_to_world(box[:2]))
    assert again.desk.control.can_undo
    assert again.desk.failures == []


def test_a_region_that_was_only_read_is_opened_again(
    on_desk: OpenSlideDesk, tissue: NDArray[np.uint8]
) -> None:
    slide = on_desk()
    slide.look_at((300, 300, 420, 420))
    slide.take_view()
    slide.desk.close()
    again = on_desk()
    assert "not segmented" in again.listed[0]
    again.go_to(0)
    again.desk.until(lambda: again.slides.chosen is not None)
    ((y0, x0, y1, x1),) = again.states
    assert np.array_equal(again.sessions.layer.data, tissue[y0:y1, x0:x1])
    # The same view is the same region, not another one.
    again.slides.take(again.on_desk, (y0, x0, y1 - 1, x1 - 1))
    assert len(again.states) == 1


def test_a_region_is_closed_and_its_work_kept(on_desk: OpenSlideDesk) -> None:
    slide = on_desk()
    slide.look_at((300, 300, 420, 420))
    layer = slide.take_view()
    slide.desk.run()
    slide.box.leave.click()
    assert slide.sessions.layer is slide.layer
    assert layer not in slide.desk.viewer.layers
    over = slide.on_desk.layers
    slide.desk.until(
        lambda: set(slide.desk.viewer.layers) <= {slide.layer, over.map, over.outlines}
    )
    result = slide.on_desk.open.regions.regions()[0].result
    slide.desk.until(result.exists)
    slide.go_to(0)
    slide.desk.until(lambda: slide.sessions.current is not None)
    slide.desk.wait_until_done()
    assert slide.desk.labels.any()


def test_a_slide_that_states_no_pixel_size_asks_for_it(on_desk: OpenSlideDesk) -> None:
    slide = on_desk(None)
    form = slide.desk.dock.segment.image
    assert "does not say" in slide.box.note.text()
    assert "give it first" in form.pixel_size.text()
    for one in (slide.box.from_view, slide.box.draw, slide.box.export):
        assert not one.isEnabled()
    slide.slides.take_view()
    assert not slide.on_desk.open.busy
    form.pixel_size.setValue(0.5)
    slide.desk.until(lambda: slide.slides.share is not None)
    slide.look_at((300, 300, 420, 420))
    layer = slide.take_view()
    assert layer.metadata["mpp"] == slide.sessions.draft.mpp == 0.5
    slide.desk.close()
    # It has been said once.
    again = on_desk()
    assert again.on_desk.open.mpp == 0.5
    assert again.sessions.draft.mpp == 0.5
    assert not again.desk.dock.segment.image.pixel_size.isEnabled()
    assert again.box.from_view.isEnabled()


def test_a_region_too_large_for_memory_is_refused(
    on_desk: OpenSlideDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = on_desk()
    monkeypatch.setattr(slides_module, "working_room", lambda draft: 10_000)
    slide.look_at((300, 300, 420, 420))
    slide.box.from_view.click()
    assert not slide.on_desk.open.busy
    assert "too large" in slide.desk.failures[0]
    assert "at most 0.0" in slide.desk.failures[0]
    assert list(slide.path.parent.iterdir()) == [slide.path]


def test_the_window_answers_while_a_region_is_read_and_reading_can_be_cancelled(
    on_desk: OpenSlideDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = on_desk()
    slide.desk.until(lambda: slide.slides.share is not None)
    monkeypatch.setattr("napari_sprout.io.slides.regions._BAND_PIXELS", 1000)
    slide.look_at((200, 200, 600, 600))
    slide.desk.qtbot.wait(300)
    reading, go_on = threading.Event(), threading.Event()
    read = TiffSlide.read

    def slow(self: TiffSlide, *where: int) -> NDArray[np.uint8]:
        if threading.current_thread() is not threading.main_thread():
            reading.set()
            assert go_on.wait(30)
        return read(self, *where)

    monkeypatch.setattr(TiffSlide, "read", slow)
    ticks: list[int] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start(10)
    slide.box.from_view.click()
    slide.desk.until(reading.is_set)
    slide.desk.until(lambda: len(ticks) > 20)
    assert slide.box.bar.isVisible()
    assert not slide.box.from_view.isEnabled()
    slide.box.cancel.click()
    go_on.set()
    slide.until_idle()
    timer.stop()
    assert slide.states == {}
    assert slide.desk.failures == []
    assert list(slide.path.parent.iterdir()) == [slide.path]
    assert slide.box.from_view.isEnabled()


def test_regions_that_overlap_are_exported_as_one_slide(
    on_desk: OpenSlideDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = on_desk()
    for box in ((200, 200, 329, 329), (200, 280, 329, 409)):
        slide.slides.take(slide.on_desk, box)
        slide.desk.until(
            lambda box=box: slide.slides.chosen is not None and not slide.on_desk.open.busy
        )
        slide.desk.until(lambda: slide.sessions.current is None)
        slide.desk.run()
    out = tmp_path / "out"
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(out))
    said = len(slide.desk.said)
    slide.box.export.click()
    slide.desk.until(lambda: any("were written" in text for text in slide.desk.said[said:]))
    assert slide.desk.failures == []
    labels = LabelPyramid.open(out / "case_labels.ome.zarr")
    assert labels.shape == SHAPE
    found = np.unique(labels.read(0, 0, 0, *SHAPE))
    rows = (out / "case_nuclei.csv").read_text().splitlines()
    assert len(found) == len(rows) > 2
    # What is there is replaced only when a person says so.
    asked: list[str] = []

    def no(parent: Any, title: str, text: str) -> Any:
        asked.append(text)
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", no)
    slide.box.export.click()
    assert "case_nuclei.csv" in asked[0]
    assert not slide.on_desk.open.busy


def test_the_map_can_be_hidden(on_desk: OpenSlideDesk) -> None:
    slide = on_desk()
    assert not slide.box.progress_map.isEnabled()
    slide.desk.until(lambda: slide.slides.share is not None)
    map_ = slide.on_desk.layers.map
    assert map_.visible
    found = np.asarray(map_.data)
    height = found.shape[0]
    assert not found[: height // 6].any()
    assert found[height // 3 :].mean() > 0.8
    slide.box.progress_map.click()
    assert not map_.visible


def test_another_image_hides_the_box_and_a_closed_slide_its_layers(
    on_desk: OpenSlideDesk, tmp_path: Path, tissue: NDArray[np.uint8]
) -> None:
    slide = on_desk()
    slide.look_at((300, 300, 420, 420))
    region = slide.take_view()
    slide.desk.until(lambda: slide.slides.share is not None)
    image = slide.desk.open(tmp_path / "other.png", tissue[:200, :200])
    assert not slide.box.isVisible()
    assert slide.sessions.draft.mpp is None
    slide.sessions.choose(region)
    assert slide.box.isVisible()
    slide.desk.viewer.layers.remove(slide.layer)
    slide.desk.until(lambda: set(slide.desk.viewer.layers) == {image, region})
    assert not slide.box.isVisible()
    # The region is an image like any other.
    slide.desk.run()
    assert slide.desk.layer(LayerRole.NUCLEI).data.any()
