"""Runs that are ended at an awkward moment, whose work is taken away, or that meet another's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sprout.errors import ImageError, OutputError
from napari_sprout.io.cohort.summary import read_summary
from napari_sprout.io.overlay import write_png
from napari_sprout.io.whole_slide import plan, work
from napari_sprout.io.whole_slide.executors import InProcess
from napari_sprout.io.whole_slide.plan import CSV, GEOJSON, LABELS, SUMMARY, WORK
from napari_sprout.io.whole_slide.records import record_path
from napari_sprout.io.whole_slide.run import SlideOrder, segment_slide
from napari_sprout.io.whole_slide.work import JOINED, UnfitWorkerError

from .test_run import Failing, labels_of


def go(order: SlideOrder, workers: Any = None, **changes: Any) -> Any:
    return segment_slide(replace(order, **changes), lambda tiles: workers or InProcess())


def leave_out(order: SlideOrder, **changes: Any) -> None:
    """Run, but for the tile in the middle."""

    def damaged(cell: Any, _: dict) -> BaseException | None:
        return ImageError("It is damaged there.") if cell == (1, 1) else None

    assert go(order, Failing("segment_tile", damaged), **changes).summary.tiles.left_out


def outlines(order: SlideOrder) -> int:
    return (order.folder / GEOJSON).read_text(encoding="utf-8").count('"Feature"')


def is_as(order: SlideOrder, whole: SlideOrder) -> bool:
    same = (order.folder / CSV).read_bytes() == (whole.folder / CSV).read_bytes()
    return same and np.array_equal(labels_of(order), labels_of(whole))


class Interrupted(InProcess):
    """Is stopped as the work of one name begins."""

    def __init__(self, name: str) -> None:
        self._name = name

    def run(self, work: Callable, items: Sequence) -> Iterator:
        if getattr(work, "func", work).__name__ == self._name:
            raise KeyboardInterrupt
        yield from super().run(work, items)


def test_outlines_of_a_slide_with_gaps_do_not_outlive_them(
    order: SlideOrder, whole: SlideOrder
) -> None:
    leave_out(order, geojson=True)
    before = outlines(order)
    nuclei = go(order).summary.nuclei
    assert before < nuclei == outlines(order)
    assert is_as(order, whole)


@pytest.mark.parametrize("phase", ["segment_tile", "join_tile", "_paint"])
def test_no_summary_stands_beside_results_that_are_being_made_anew(
    order: SlideOrder, whole: SlideOrder, phase: str
) -> None:
    leave_out(order)
    with pytest.raises(KeyboardInterrupt):
        go(order, Interrupted(phase))
    assert not (order.folder / SUMMARY).exists()
    go(order)
    assert is_as(order, whole)


def test_a_label_image_that_is_half_deleted_is_made_anew(
    order: SlideOrder, whole: SlideOrder
) -> None:
    """As a run leaves it that is killed while it puts a new one in its place."""
    leave_out(order)
    with pytest.raises(KeyboardInterrupt):
        go(order, Interrupted("_paint"))
    for path in (order.folder / LABELS).glob(".z*"):
        path.unlink()
    assert any((order.folder / LABELS).iterdir())
    go(order)
    assert is_as(order, whole)


def test_what_is_done_without_its_work_folder_is_done_anew(
    order: SlideOrder, whole: SlideOrder
) -> None:
    go(order)
    shutil.rmtree(order.folder / WORK)
    assert go(order).done_before
    again = Failing("none", lambda item, _: None)
    assert not go(order, again, geojson=True).done_before
    assert again.done == 1 + 3 * 9
    assert outlines(order) == read_summary(order.folder).nuclei
    assert is_as(order, whole)


def test_a_joined_tile_that_is_gone_is_made_anew(order: SlideOrder, whole: SlideOrder) -> None:
    go(order)
    (joined,) = (order.folder / WORK).glob(f"*/{JOINED}")
    record_path(joined, (1, 1)).unlink()
    go(order, geojson=True)
    assert outlines(order) == read_summary(order.folder).nuclei
    assert is_as(order, whole)


def test_a_damaged_joined_tile_is_named(order: SlideOrder) -> None:
    go(order)
    (joined,) = (order.folder / WORK).glob(f"*/{JOINED}")
    record_path(joined, (1, 1)).write_bytes(b"PK")
    with pytest.raises(OutputError, match=r"00001_00001\.npz' is damaged"):
        go(order, geojson=True)


@pytest.mark.parametrize(
    ("last", "keep_work"),
    [(1, False), (2, False), (3, False), (5, False), (8, False), (2, True), (3, True)],
)
def test_an_overwrite_that_is_cut_short_leaves_nothing_half(
    order: SlideOrder,
    whole: SlideOrder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    last: int,
    keep_work: bool,
) -> None:
    """Whatever was deleted by then, a run that goes on gives the whole result."""
    shutil.copytree(whole.folder, order.folder)
    if not keep_work:
        (made,) = (order.folder / WORK).iterdir()
        plan.clear_work(made)
    deleted: list[Path] = []

    def cut(delete: Callable) -> Callable:
        def then(path: Any, *args: Any, **kwargs: Any) -> None:
            deleted.append(Path(path))
            if len(deleted) == last:
                for file in sorted(p for p in deleted[-1].rglob("*") if p.is_file())[::2]:
                    file.rename(tmp_path / f"{len(list(tmp_path.iterdir()))}")
                raise KeyboardInterrupt
            delete(path, *args, **kwargs)

        return then

    with monkeypatch.context() as patch:
        patch.setattr(plan.shutil, "rmtree", cut(shutil.rmtree))
        patch.setattr(Path, "unlink", cut(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            plan.clear(order.folder)
    go(order)
    assert (order.folder / SUMMARY).exists()
    assert is_as(order, whole)


class Late(InProcess):
    """Keeps the work on tiles that another run has begun, as workers of a cluster do."""

    def __init__(self) -> None:
        self.begun: list[Callable[[], object]] = []

    def run(self, work: Callable, items: Sequence) -> Iterator:
        if getattr(work, "func", work).__name__ == "segment_tile":
            self.begun += [partial(work, item) for item in items]
            raise KeyboardInterrupt
        yield from super().run(work, items)


def test_workers_of_an_earlier_run_that_come_late_change_nothing(
    order: SlideOrder, tmp_path: Path
) -> None:
    late = Late()
    other = order.settings.with_changes(decoding={"min_area": 40.0})
    with pytest.raises(KeyboardInterrupt):
        go(order, late, settings=other)

    class Met(InProcess):
        def run(self, work: Callable, items: Sequence) -> Iterator:
            if getattr(work, "func", work).__name__ == "segment_tile":
                with pytest.raises(OutputError):
                    late.begun[4]()
            yield from super().run(work, items)

    clean = replace(order, output=tmp_path / "clean")
    go(clean)
    go(order, Met(), overwrite=True)
    assert is_as(order, clean)


def test_a_slide_that_is_another_by_then_ends_the_run(order: SlideOrder, tmp_path: Path) -> None:
    path = tmp_path / "slide.png"
    shutil.copy(order.source.path, path)
    order = replace(order, source=replace(order.source, path=path))

    class Swapped(InProcess):
        def run(self, doing: Callable, items: Sequence) -> Iterator:
            if getattr(doing, "func", doing).__name__ == "segment_tile":
                work.forget()
                rng = np.random.default_rng(0)
                write_png(path, rng.integers(0, 255, (600, 700, 3)).astype(np.uint8))
            yield from super().run(doing, items)

    with pytest.raises(UnfitWorkerError, match=r"slide\.png' is another slide"):
        go(order, Swapped())
    assert not (order.folder / SUMMARY).exists()
    with pytest.raises(OutputError, match=r"another run \(other slide\)"):
        go(order)


def test_a_worker_keeps_no_slide_that_was_replaced(order: SlideOrder, tmp_path: Path) -> None:
    """Workers of a cluster live for days."""
    path = tmp_path / "slide.png"
    order = replace(order, source=replace(order.source, path=path))
    rng = np.random.default_rng(0)
    write_png(path, np.full((300, 300, 3), 200, np.uint8))
    with pytest.raises(KeyboardInterrupt):
        go(order, Interrupted("segment_tile"))
    image = rng.integers(60, 255, (300, 300, 3)).astype(np.uint8)
    write_png(path, image)
    seen: list[np.ndarray] = []

    class Looking(InProcess):
        def run(self, doing: Callable, items: Sequence) -> Iterator:
            if getattr(doing, "func", doing).__name__ == "segment_tile":
                known = doing.args[0]
                seen.append(work._slide(known.source, known.fingerprint).read(0, 0, 0, 300, 300))
                raise KeyboardInterrupt
            yield from super().run(doing, items)

    with pytest.raises(KeyboardInterrupt):
        go(order, Looking(), overwrite=True)
    assert np.array_equal(seen[0], image)


def test_a_worker_of_another_version_is_told(
    order: SlideOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "__version__", "0.0.1")
    with pytest.raises(UnfitWorkerError, match=r"a worker has version 0\.0\.1.*install"):
        go(order)
