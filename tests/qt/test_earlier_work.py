"""Which earlier work is offered for an image."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.layers import Image
from numpy.typing import NDArray

from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.io.images import read_image
from napari_sprout.io.overlay import write_png
from napari_sprout.qt import earlier, keeping
from napari_sprout.qt.earlier import earlier_work
from napari_sprout.qt.keeping import data_folder, new_project
from napari_sprout.qt.preferences import Preferences

WorkedOn = Callable[[Image], Path]


@pytest.fixture
def png(tmp_path: Path, synthetic: SyntheticImage) -> Path:
    path = tmp_path / "slide.png"
    write_png(path, synthetic.rgb)
    return path


@pytest.fixture
def tif(tmp_path: Path, synthetic: SyntheticImage) -> Path:
    """Another image, of the same size, whose file's name begins like the first's."""
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, np.ascontiguousarray(synthetic.rgb[::-1]), photometric="rgb")
    return path


def opened(path: Path) -> Image:
    return Image(read_image(path).rgb, rgb=True, metadata={"path": str(path)})


@pytest.fixture
def worked_on() -> Callable[[Image], Path]:
    """Make projects, each of which was last changed later than those made before."""
    times = count(1_700_000_000)

    def make(layer: Image) -> Path:
        with new_project(layer, None, Settings()) as project:
            folder = project.folder
        at = next(times)
        os.utime(folder / "journal.jsonl", (at, at))
        return folder

    return make


def test_the_work_of_another_image_of_the_same_name_is_not_offered(
    png: Path, tif: Path, worked_on: WorkedOn
) -> None:
    first = worked_on(opened(png))
    assert earlier_work(opened(tif)) is None
    second = worked_on(opened(tif))
    assert {first.name, second.name} == {"slide.sprout", "slide-2.sprout"}
    assert earlier_work(opened(png)) == first
    assert earlier_work(opened(tif)) == second


def test_the_newest_work_is_offered_though_an_older_folder_was_deleted(
    png: Path, worked_on: WorkedOn
) -> None:
    first, second, third = (worked_on(opened(png)) for _ in range(3))
    assert earlier_work(opened(png)) == third
    # A person went on with the second since.
    os.utime(second / "journal.jsonl")
    assert earlier_work(opened(png)) == second
    shutil.rmtree(first)
    assert earlier_work(opened(png)) == second
    shutil.rmtree(second)
    assert earlier_work(opened(png)) == third


def test_work_whose_description_is_damaged_is_offered_where_there_is_no_other(
    png: Path, worked_on: WorkedOn
) -> None:
    first = worked_on(opened(png))
    (first / "project.json").write_text("{}")
    assert earlier_work(opened(png)) == first
    second = worked_on(opened(png))
    os.utime(first / "journal.jsonl")
    assert earlier_work(opened(png)) == second


@pytest.mark.parametrize("chosen", [False, True])
def test_work_on_pixels_that_no_file_holds_is_found_by_the_pixels(
    png: Path,
    synthetic: SyntheticImage,
    tmp_path: Path,
    preferred: Callable[[Path], None],
    worked_on: WorkedOn,
    chosen: bool,
) -> None:
    if chosen:
        preferred(tmp_path / "work")
    rgb = synthetic.rgb.copy()
    rgb[0, 0] = 1, 2, 3
    folders = {
        "nowhere": worked_on(Image(rgb, rgb=True)),
        "cropped": worked_on(Image(rgb[5:], rgb=True, metadata={"path": str(png)})),
        "transparent": worked_on(Image(_with_alpha(rgb[:, 7:]), rgb=True)),
    }
    assert len(set(folders.values())) == 3
    assert earlier_work(Image(rgb, rgb=True)) == folders["nowhere"]
    # The same pixels under another name are the same image.
    assert earlier_work(Image(rgb, rgb=True, name="again")) == folders["nowhere"]
    cropped = Image(rgb[5:], rgb=True, metadata={"path": str(png)})
    assert earlier_work(cropped) == folders["cropped"]
    assert earlier_work(Image(_with_alpha(rgb[:, 7:]), rgb=True)) == folders["transparent"]
    assert earlier_work(opened(png)) is None


def test_an_edited_layer_is_offered_its_own_work_not_that_of_its_file(
    png: Path, synthetic: SyntheticImage, worked_on: WorkedOn
) -> None:
    rgb = synthetic.rgb.copy()
    rgb[0, 0] = 1, 2, 3
    edited = Image(rgb, rgb=True, metadata={"path": str(png)})
    own = worked_on(edited)
    of_file = worked_on(opened(png))
    assert own.parent == data_folder()
    assert earlier_work(edited) == own
    assert earlier_work(opened(png)) == of_file


def _with_alpha(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = np.full((*rgb.shape[:2], 1), 200, np.uint8)
    return np.concatenate([rgb, alpha], axis=2)


@pytest.fixture
def preferred(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Choose the folder for all work in the preferences."""

    def choose(folder: Path) -> None:
        monkeypatch.setattr(keeping, "preferences", lambda: Preferences("auto", folder, 0))

    return choose


def work_on_edited(desk: Any, rgb: NDArray[np.uint8]) -> Any:
    """Run and correct an image that no file holds, close it, and open it again."""
    made = desk()
    layer = made.viewer.add_image(rgb, rgb=True, name="cropped")
    made.dock.sessions.draft.settings = made._settings
    made.dock.segment.show_all()
    made.run()
    ident = made.lonely()
    made.control.actions.select(frozenset({ident}))
    made.control.actions.remove_selected()
    made.wait_until_done()
    labels = made.labels
    assert layer is made.control.image_layer
    made.close()
    again = desk()
    again.viewer.add_image(rgb, rgb=True, name="cropped")
    return again, labels


@pytest.mark.parametrize("large", [False, True])
def test_a_person_goes_on_with_an_image_that_no_file_holds(
    desk: Callable[[], Any],
    sparse: SyntheticImage,
    monkeypatch: pytest.MonkeyPatch,
    large: bool,
) -> None:
    if large:
        monkeypatch.setattr(earlier, "AT_ONCE", 0)
    again, labels = work_on_edited(desk, sparse.rgb)
    segment = again.dock.segment
    again.until(lambda: segment.earlier.asks)
    assert segment.earlier.isVisibleTo(segment)
    assert not segment.run_button.isEnabled()
    segment.earlier.go_on.click()
    again.wait_until_done()
    assert again.failures == []
    assert np.array_equal(again.labels, labels)


def test_closing_while_a_large_image_is_looked_up_is_harmless(
    desk: Callable[[], Any], sparse: SyntheticImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier, "AT_ONCE", 0)
    again, _ = work_on_edited(desk, sparse.rgb)
    again.close()
    again.qtbot.wait(100)


def test_work_that_is_found_after_a_run_has_begun_is_told_of(
    desk: Callable[[], Any], sparse: SyntheticImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier, "AT_ONCE", 0)
    go_on, digest = threading.Event(), earlier.pixel_hash
    made, _ = work_on_edited(desk, sparse.rgb)
    made.until(lambda: made.dock.segment.earlier.asks)
    folder = made.dock.sessions.draft.earlier
    made.viewer.layers.clear()

    def slow(rgb: NDArray[np.uint8]) -> str:
        assert go_on.wait(20)
        return digest(rgb)

    monkeypatch.setattr(earlier, "pixel_hash", slow)
    made.viewer.add_image(sparse.rgb, rgb=True, name="cropped")
    made.dock.sessions.draft.settings = made._settings
    made.run()
    go_on.set()
    made.until(lambda: any(folder.name in text for text in made.said))
    assert not made.dock.segment.earlier.asks
    assert made.dock.segment.run_button.isEnabled()
