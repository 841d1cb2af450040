from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sprout.core.session import Session
from napari_sprout.errors import ImageError, OutputError, ProjectError, SproutError
from napari_sprout.io.cohort.summary import read_summary
from napari_sprout.io.label_pyramid import LabelPyramid
from napari_sprout.io.lock import FolderLock
from napari_sprout.io.whole_slide.executors import InProcess
from napari_sprout.io.whole_slide.grid import SlideGrid
from napari_sprout.io.whole_slide.plan import CSV, GEOJSON, LABELS, RESULTS, SUMMARY, WORK
from napari_sprout.io.whole_slide.records import read_fit, read_record
from napari_sprout.io.whole_slide.run import SlideOrder, SlideOutcome, segment_slide
from napari_sprout.io.whole_slide.work import FIT, FOUND

from .conftest import fake_models


class Shuffled(InProcess):
    """Works in another order each time."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def run(self, work: Callable, items: Sequence) -> Iterator:
        yield from super().run(work, self._chance.sample(list(items), len(items)))


class Failing(InProcess):
    """Fails at some pieces of the work of one name, as `error` says."""

    def __init__(self, name: str, error: Callable[[Any, dict], BaseException | None]) -> None:
        self._name = name
        self._error = error
        self.done = 0

    def run(self, work: Callable, items: Sequence) -> Iterator:
        task = getattr(work, "func", work)
        for item in items:
            error = None
            if task.__name__ == self._name:
                error = self._error(item, getattr(work, "keywords", {}))
            if error is not None and not isinstance(error, Exception):
                raise error
            if error is not None:
                yield item, error
                continue
            self.done += 1
            yield from super().run(work, [item])


def run(order: SlideOrder, workers: Any = None, **changes: Any) -> SlideOutcome:
    return segment_slide(replace(order, **changes), lambda tiles: workers or InProcess())


def labels_of(order: SlideOrder) -> np.ndarray:
    pyramid = LabelPyramid.open(order.folder / LABELS)
    height, width = pyramid.shape
    return np.asarray(pyramid.read(0, 0, 0, height, width))


def workplace(order: SlideOrder) -> Path:
    """Return the folder of the workers of the one run there was."""
    (folder,) = (order.folder / WORK).iterdir()
    return folder


def same_regions(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two label images differ in their numbers alone."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def test_results_are_there_and_agree(order: SlideOrder) -> None:
    outcome = run(order, geojson=True)
    labels, summary = labels_of(order), outcome.summary
    assert summary.nuclei == labels.max() == len(np.unique(labels)) - 1 > 100
    assert (summary.tiles.total, summary.tiles.with_tissue) == (9, 9)
    assert summary.tissue_mm2 == pytest.approx(600 * 700 * 0.25**2 / 1e6, rel=0.1)
    assert read_summary(order.folder) == summary
    assert {p.name for p in order.folder.iterdir()} == {*RESULTS, "run.json", ".lock", WORK}
    rows = (order.folder / CSV).read_text().splitlines()
    assert len(rows) == 1 + summary.nuclei
    assert (order.folder / GEOJSON).read_text().count('"Feature"') == summary.nuclei


def test_measurements_are_those_of_the_label_image(whole: SlideOrder) -> None:
    labels = labels_of(whole)
    header, *rows = (line.split(",") for line in (whole.folder / CSV).read_text().splitlines())
    for row in rows:
        values = dict(zip(header, map(float, row), strict=True))
        ys, xs = np.nonzero(labels == int(values["id"]))
        assert len(ys) == values["area_px"]
        assert ys.mean() == pytest.approx(values["centroid_y_px"], rel=1e-4, abs=1e-3)
        assert xs.mean() == pytest.approx(values["centroid_x_px"], rel=1e-4, abs=1e-3)


def test_a_slide_of_one_tile_is_segmented_like_an_image(order: SlideOrder, tissue) -> None:
    run(order, tile_um=512.0)
    session = Session(tissue, order.settings, mpp=0.25, models=fake_models("cpu"))
    session.finish()
    assert same_regions(labels_of(order), session.labels)


def test_inside_a_tile_nuclei_are_those_of_its_region_by_itself(whole: SlideOrder, tissue) -> None:
    work, labels = workplace(whole), labels_of(whole)
    grid = SlideGrid.over((600, 700), 0.25, whole.settings, whole.tile_um)
    grid = grid.over_tissue(np.ones((600, 700), bool))
    fit = read_fit(work / FIT)
    compared = 0
    for cell in grid.cells:
        y0, x0, y1, x1 = grid.region(cell, grid.core(cell))
        region = np.ascontiguousarray(tissue[y0:y1, x0:x1])
        alone = Session(region, whole.settings, mpp=0.25, models=fake_models("cpu"), fit=fit)
        alone.finish()
        others = np.zeros((600, 700), bool)
        for other in grid.cells:
            if other != cell:
                found = read_record(work / FOUND, other)
                for i, mask in enumerate(found.masks):
                    top, left, bottom, right = found.box(i)
                    others[top:bottom, left:right] |= mask
        for nucleus in alone.nuclei:
            mask = np.zeros((600, 700), bool)
            mask[y0:y1, x0:x1] = alone.labels == nucleus.id
            top, left, bottom, right = grid.core(cell)
            inside = mask[top:bottom, left:right].sum() == mask.sum()
            if inside and not (mask & others).any():
                (label,) = np.unique(labels[mask])
                assert label > 0
                assert np.array_equal(labels == label, mask)
                compared += 1
    assert compared > 50


def test_the_order_of_tiles_makes_no_difference(
    order: SlideOrder, whole: SlideOrder, tmp_path: Path
) -> None:
    expected = labels_of(whole), (whole.folder / CSV).read_bytes()
    for seed in range(2):
        again = replace(order, output=tmp_path / str(seed))
        run(again, Shuffled(seed))
        assert np.array_equal(labels_of(again), expected[0])
        assert (again.folder / CSV).read_bytes() == expected[1]


def test_no_nucleus_is_lost_or_doubled_where_tiles_meet(whole: SlideOrder, tissue) -> None:
    """The same tissue in one tile and in nine has nearly the same nuclei."""
    tiled = labels_of(whole)
    session = Session(tissue, whole.settings, mpp=0.25, models=fake_models("cpu"))
    session.finish()
    assert abs(int(tiled.max()) - len(session.nuclei)) <= 0.04 * len(session.nuclei)


@pytest.mark.parametrize("phase", ["fit_sample", "segment_tile", "join_tile", "_paint"])
def test_an_interrupted_run_goes_on_where_it_was(
    order: SlideOrder, whole: SlideOrder, phase: str
) -> None:
    expected = labels_of(whole), (whole.folder / CSV).read_bytes()
    cut = order
    begun: list[Any] = []

    def interrupt(item: Any, _: dict) -> BaseException | None:
        begun.append(item)
        return KeyboardInterrupt() if len(begun) == (1 if phase == "fit_sample" else 4) else None

    with pytest.raises(KeyboardInterrupt):
        run(cut, Failing(phase, interrupt))
    assert not (cut.folder / SUMMARY).exists()
    again = Failing(phase, lambda item, _: None)
    run(cut, again)
    # Labels are painted anew, which takes little.
    done_twice = {"fit_sample": 1, "_paint": 9}.get(phase, 9 - 3)
    phases = ["fit_sample", "segment_tile", "join_tile", "_paint"]
    later = phases[phases.index(phase) + 1 :]
    assert again.done == done_twice + sum(9 for _ in later)
    assert np.array_equal(labels_of(cut), expected[0])
    assert (cut.folder / CSV).read_bytes() == expected[1]


def test_a_finished_slide_is_left_as_it_is(order: SlideOrder) -> None:
    first = run(order)
    times = {path: path.stat().st_mtime_ns for path in order.folder.rglob("*")}
    again = run(order, Failing("none", lambda item, _: None))
    assert again.done_before
    assert again.summary == first.summary
    now = {path: path.stat().st_mtime_ns for path in order.folder.rglob("*")}
    lock = order.folder / ".lock"
    assert {p: t for p, t in now.items() if p != lock} == {
        p: t for p, t in times.items() if p != lock
    }


def test_a_tile_that_cannot_be_read_is_named_and_tried_again(
    order: SlideOrder, whole: SlideOrder
) -> None:
    def damaged(cell: Any, _: dict) -> BaseException | None:
        return ImageError(f"'{order.source.path}' is damaged there.") if cell == (1, 1) else None

    summary = run(order, Failing("segment_tile", damaged)).summary
    (tile,) = summary.tiles.left_out
    assert (tile.y, tile.x, tile.height, tile.width) == (256, 256, 256, 256)
    assert "is damaged there" in tile.reason
    assert 0 < summary.nuclei < read_summary(whole.folder).nuclei
    again = Failing("segment_tile", lambda cell, _: None)
    assert not run(order, again).summary.tiles.left_out
    assert np.array_equal(labels_of(order), labels_of(whole))
    assert (order.folder / CSV).read_bytes() == (whole.folder / CSV).read_bytes()


def test_a_tile_too_large_for_memory_is_done_in_quarters(
    order: SlideOrder, whole: SlideOrder
) -> None:
    small: list[bool] = []

    def full(cell: Any, given: dict) -> BaseException | None:
        if cell == (1, 1):
            small.append(given["split"])
            return None if given["split"] else MemoryError()
        return None

    summary = run(order, Failing("segment_tile", full)).summary
    assert small == [False, True]
    assert (summary.tiles.split, summary.tiles.left_out) == (1, ())
    one, other = labels_of(order), labels_of(whole)
    assert abs(int(one.max()) - int(other.max())) <= 8
    assert ((one > 0) == (other > 0)).mean() > 0.98


def test_a_tile_that_fits_nowhere_is_reported(order: SlideOrder) -> None:
    def full(cell: Any, _: dict) -> BaseException | None:
        return MemoryError() if cell == (0, 2) else None

    summary = run(order, Failing("segment_tile", full)).summary
    (tile,) = summary.tiles.left_out
    assert (tile.y, tile.x) == (0, 512)
    assert "memory" in tile.reason


def test_a_full_disk_ends_the_run_and_loses_nothing(order: SlideOrder) -> None:
    count: list[Any] = []

    def full(cell: Any, _: dict) -> BaseException | None:
        count.append(cell)
        return (
            OutputError("'x' could not be written: the disk is full.") if len(count) == 5 else None
        )

    with pytest.raises(OutputError, match="disk is full"):
        run(order, Failing("segment_tile", full))
    assert len(count) == 5
    again = Failing("segment_tile", lambda cell, _: None)
    run(order, again)
    assert again.done == (9 - 4) + 9 + 9


def test_another_run_on_the_same_results_is_named(order: SlideOrder) -> None:
    order.folder.mkdir(parents=True)
    lock = FolderLock(order.folder / ".lock", "results")
    try:
        with pytest.raises(ProjectError, match=r"The results '.*case 7\.slide' is open already"):
            run(order)
    finally:
        lock.release()
    assert not run(order).done_before


def test_results_of_other_settings_are_not_touched(order: SlideOrder) -> None:
    run(order)
    before = labels_of(order)
    other = order.settings.with_changes(suppression={"sigma": 0.3})
    with pytest.raises(OutputError, match=r"another run \(other settings\).*--overwrite"):
        run(order, settings=other)
    assert np.array_equal(labels_of(order), before)
    assert (order.folder / SUMMARY).exists()
    assert not run(order, settings=other, overwrite=True).done_before


def test_results_without_their_record_are_not_deleted(order: SlideOrder) -> None:
    run(order)
    (order.folder / "run.json").unlink()
    with pytest.raises(OutputError, match="another run"):
        run(order)
    assert (order.folder / SUMMARY).exists()


def test_a_pixel_size_is_asked_for(order: SlideOrder) -> None:
    with pytest.raises(ImageError, match=r"case 7\.png' states no pixel size.*--mpp"):
        run(order, source=replace(order.source, mpp=None))


def test_a_slide_of_glass_is_finished_without_nuclei(order: SlideOrder, tmp_path: Path) -> None:
    from napari_sprout.io.overlay import write_png

    path = tmp_path / "glass.png"
    rng = np.random.default_rng(0)
    write_png(path, rng.integers(235, 245, (900, 900, 3)).astype(np.uint8))
    glass = replace(order, source=replace(order.source, path=path))
    summary = run(glass).summary
    assert (summary.nuclei, summary.tiles.with_tissue) == (0, 0)
    assert "No tissue was found" in summary.warnings[0]
    assert labels_of(glass).max() == 0
    assert run(glass).done_before


def test_outlines_can_be_asked_for_later(order: SlideOrder) -> None:
    run(order)
    before = labels_of(order)
    again = Failing("segment_tile", lambda cell, _: None)
    run(order, again, geojson=True)
    assert again.done == 0
    text = (order.folder / GEOJSON).read_text()
    assert text.count('"Feature"') == before.max()
    assert np.array_equal(labels_of(order), before)


@pytest.mark.parametrize("phase", ["fit_sample", "join_tile", "_paint"])
def test_an_error_that_nobody_thought_of_names_the_slide(order: SlideOrder, phase: str) -> None:
    broken = Failing(phase, lambda item, _: RuntimeError("a tensor had another shape"))
    with pytest.raises(SproutError, match=r"case 7\.png: an unexpected RuntimeError"):
        run(order, broken)
    assert not (order.folder / SUMMARY).exists()


def test_folders_of_dicom_series_keep_their_whole_number(tmp_path: Path, order: SlideOrder) -> None:
    folder = tmp_path / "1.2.840.7"
    folder.mkdir()
    named = replace(order, source=replace(order.source, path=folder))
    assert named.name == "1.2.840.7"


def test_no_summary_stands_beside_labels_that_are_painted_again(order: SlideOrder) -> None:
    """The work was kept, so a later export paints again; and is ended in the middle of it."""
    run(order, keep_work=True)

    def end(item: Any, _: dict) -> BaseException | None:
        return KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        run(order, Failing("_paint", end), geojson=True)
    assert not (order.folder / SUMMARY).exists()
    assert not run(order).done_before
