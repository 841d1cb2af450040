from __future__ import annotations

import errno
import multiprocessing
import os
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ome_zarr_models
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from ome_zarr.io import parse_url
from ome_zarr.reader import Label, Multiscales, Reader
from ome_zarr.writer import write_labels

from napari_sprout.errors import ImageError, OutputError, SettingsError
from napari_sprout.io.label_pyramid import LabelPyramid
from napari_sprout.io.mode_pyramid import halved

Version = Literal["0.4", "0.5"]


def scattered(shape: tuple[int, int], seed: int = 0) -> NDArray[np.uint32]:
    """Labels up to 70,000 in patches, half of it background."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 70_000, (shape[0] // 5 + 1, shape[1] // 5 + 1))
    coarse[rng.random(coarse.shape) < 0.5] = 0
    return coarse.repeat(5, 0).repeat(5, 1)[: shape[0], : shape[1]].astype(np.uint32)


def written(path: Path, labels: NDArray[Any], **options: Any) -> LabelPyramid:
    pyramid = LabelPyramid.create(path, labels.shape, options.pop("mpp", 0.25), **options)
    for y, x, height, width in pyramid.blocks():
        pyramid.write(y, x, labels[y : y + height, x : x + width])
    pyramid.finish()
    return pyramid


def whole(pyramid: LabelPyramid, level: int = 0) -> NDArray[Any]:
    return pyramid.read(level, 0, 0, *pyramid.shapes[level])


@pytest.fixture(params=["0.4", "0.5"])
def version(request: pytest.FixtureRequest) -> Version:
    found: Version = request.param
    return found


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    labels=arrays(
        np.uint32,
        array_shapes(min_dims=2, max_dims=2, max_side=70),
        elements=st.sampled_from([0, 1, 2, 70_000, 2**31 - 1]),
    ),
    mpp=st.none() | st.floats(0.01, 20),
)
def test_whatever_is_written_is_read_back(
    tmp_path: Path, version: Version, labels: NDArray[np.uint32], mpp: float | None
) -> None:
    written(tmp_path / "a.zarr", labels, mpp=mpp, chunk=32, version=version, overwrite=True)
    pyramid = LabelPyramid.open(tmp_path / "a.zarr")
    assert pyramid.mpp == mpp
    assert pyramid.shape == labels.shape
    np.testing.assert_array_equal(whole(pyramid), labels)


def test_its_metadata_are_valid(tmp_path: Path, version: Version) -> None:
    written(tmp_path / "a.zarr", scattered((2500, 1300)), version=version, image_name="case 7")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ome_zarr_models.open_ome_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"))
    assert type(found).__name__ == "ImageLabel"
    assert found.ome_zarr_version == version


def test_ome_zarrs_reader_shows_it_as_labels(tmp_path: Path, version: Version) -> None:
    labels = scattered((2500, 1300))
    written(tmp_path / "a.zarr", labels, version=version, image_name="case 7", mpp=0.5)
    (node,) = Reader(parse_url(tmp_path / "a.zarr"))()
    assert {type(spec) for spec in node.specs} == {Label, Multiscales}
    assert node.metadata["name"] == "case 7"
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer"] * 2
    scales = [change[0]["scale"] for change in node.metadata["coordinateTransformations"]]
    assert scales == [[0.5, 0.5], [1.0, 1.0], [2.0, 2.0]]
    np.testing.assert_array_equal(np.asarray(node.data[0]), labels)
    np.testing.assert_array_equal(np.asarray(node.data[1]), halved(labels))


@pytest.mark.parametrize("shape", [(1025, 300), (3000, 2177)])
def test_coarser_levels_are_the_same_however_they_are_cut_up(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    labels = scattered(shape)
    pyramid = written(tmp_path / "a.zarr", labels, chunk=64)
    expected = labels
    for level in range(1, len(pyramid.shapes)):
        expected = halved(expected)
        np.testing.assert_array_equal(whole(pyramid, level), expected)
    assert max(pyramid.shapes[-1]) <= 1024 < max(pyramid.shapes[-2])


@settings(max_examples=200, deadline=None)
@given(
    arrays(
        np.uint32,
        array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.sampled_from([0, 1, 2, 3]),
    )
)
def test_a_coarse_pixel_has_the_label_that_most_pixels_under_it_have(
    labels: NDArray[np.uint32],
) -> None:
    coarse = halved(labels)
    assert coarse.shape == (-(-labels.shape[0] // 2), -(-labels.shape[1] // 2))
    padded = np.pad(labels, [(0, side % 2) for side in labels.shape], mode="edge")
    for (y, x), value in np.ndenumerate(coarse):
        four = padded[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        counts = {number: np.count_nonzero(four == number) for number in np.unique(four)}
        assert counts[value] == max(counts.values())
        if value == 0:
            assert all(n < counts[0] for number, n in counts.items() if number)


def test_regions_are_cut_at_the_border_of_the_image(tmp_path: Path) -> None:
    labels = scattered((70, 90))
    pyramid = written(tmp_path / "a.zarr", labels, chunk=32)
    padded = np.pad(labels, 50)
    for y, x, height, width in ((-50, -50, 170, 190), (60, 80, 40, 60), (-20, 5, 10, 10)):
        expected = padded[y + 50 : y + 50 + height, x + 50 : x + 50 + width]
        np.testing.assert_array_equal(pyramid.read(0, y, x, height, width), expected)


def test_background_takes_no_files(tmp_path: Path, version: Version) -> None:
    labels = np.zeros((300, 300), np.uint32)
    labels[:40, :40] = 5
    written(tmp_path / "a.zarr", labels, chunk=64, version=version)
    chunks = [p for p in (tmp_path / "a.zarr" / "0").rglob("*") if p.is_file()]
    assert len([p for p in chunks if not p.name.startswith((".z", "zarr.json"))]) == 1


def test_labels_that_go_away_are_gone(tmp_path: Path) -> None:
    pyramid = written(tmp_path / "a.zarr", scattered((1500, 64)), chunk=64)
    for y, x, height, width in pyramid.blocks():
        pyramid.write(y, x, np.zeros((height, width), np.uint32))
    pyramid.finish()
    assert not any(whole(pyramid, level).any() for level in range(len(pyramid.shapes)))


def _paint(path: Path, rows: list[int], labels: NDArray[np.uint32]) -> None:
    pyramid = LabelPyramid.open(path)
    for y in rows:
        pyramid.write(y, 0, labels[y : y + 32])


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    labels = scattered((512, 64))
    LabelPyramid.create(tmp_path / "a.zarr", labels.shape, 0.25, chunk=32)
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(
            target=_paint, args=(tmp_path / "a.zarr", list(range(32 * i, 512, 64)), labels)
        )
        for i in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    np.testing.assert_array_equal(whole(LabelPyramid.open(tmp_path / "a.zarr")), labels)


@pytest.mark.parametrize(
    ("y", "x", "shape"), [(0, 1, (32, 32)), (0, 0, (33, 32)), (64, 0, (64, 32)), (-32, 0, (32, 32))]
)
def test_parts_of_chunks_are_refused(
    tmp_path: Path, y: int, x: int, shape: tuple[int, int]
) -> None:
    pyramid = LabelPyramid.create(tmp_path / "a.zarr", (100, 100), 0.25, chunk=32)
    with pytest.raises(SettingsError, match="whole chunks"):
        pyramid.write(y, x, np.ones(shape, np.uint32))


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    pyramid = LabelPyramid.create(tmp_path / "a.zarr", (32, 32), 0.25, dtype=np.uint16)
    for value in (2**16, -1):
        with pytest.raises(SettingsError, match="from 0 to 65535"):
            pyramid.write(0, 0, np.full((32, 32), value))


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    labels = scattered((40, 40))
    written(tmp_path / "a.zarr", labels)
    with pytest.raises(OutputError, match="exists already"):
        LabelPyramid.create(tmp_path / "a.zarr", (9, 9), 0.25)
    np.testing.assert_array_equal(whole(LabelPyramid.open(tmp_path / "a.zarr")), labels)
    assert LabelPyramid.create(tmp_path / "a.zarr", (9, 9), 0.25, overwrite=True).shape == (9, 9)


def test_a_folder_of_something_else_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="no OME-Zarr"):
        LabelPyramid.create(tmp_path / "mine", (9, 9), 0.25, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    "options",
    [{"chunk": 0}, {"dtype": np.int32}, {"version": "0.3"}, {"mpp": 0.0}, {"shape": (0, 5)}],
)
def test_senseless_values_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    arguments = {"shape": (9, 9), "mpp": 0.25, **options}
    with pytest.raises(SettingsError):
        LabelPyramid.create(tmp_path / "a.zarr", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyramid = LabelPyramid.create(tmp_path / "a.zarr", (64, 64), 0.25)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("zarr.storage._local._put", full)
    with pytest.raises(OutputError, match=r"a\.zarr' could not be written: the disk is full"):
        pyramid.write(0, 0, np.ones((64, 64), np.uint32))


# Labels of other programs


def test_the_labels_of_an_image_are_found(tmp_path: Path) -> None:
    labels = scattered((60, 80)).astype(np.int32)
    image = zarr.open_group(tmp_path / "image.zarr", mode="w", zarr_format=2)
    write_labels(labels[None], image, name="nuclei", axes="zyx", scale_factors=[])
    pyramid = LabelPyramid.open(tmp_path / "image.zarr")
    np.testing.assert_array_equal(whole(pyramid), labels)
    write_labels(labels[None], image, name="cells", axes="zyx", scale_factors=[])
    with pytest.raises(ImageError, match=r"several label images \(nuclei, cells\)"):
        LabelPyramid.open(tmp_path / "image.zarr")
    again = LabelPyramid.open(tmp_path / "image.zarr" / "labels" / "cells")
    np.testing.assert_array_equal(whole(again), labels)


def test_a_stack_or_a_picture_is_refused(tmp_path: Path) -> None:
    image = zarr.open_group(tmp_path / "image.zarr", mode="w", zarr_format=2)
    write_labels(np.zeros((3, 60, 80), np.int32), image, name="a", axes="zyx", scale_factors=[])
    with pytest.raises(ImageError, match="not a flat label image"):
        LabelPyramid.open(tmp_path / "image.zarr")


def test_what_is_no_label_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "none", "does not exist"), (tmp_path / "empty", "holds no OME")):
        with pytest.raises(ImageError, match=said):
            LabelPyramid.open(path)


def test_a_damaged_chunk_is_named_when_it_is_read(tmp_path: Path) -> None:
    written(tmp_path / "a.zarr", scattered((128, 128)), chunk=64)
    (tmp_path / "a.zarr" / "0" / "1" / "0").write_bytes(b"garbage")
    pyramid = LabelPyramid.open(tmp_path / "a.zarr")
    assert pyramid.read(0, 0, 0, 64, 128).any()
    with pytest.raises(ImageError, match=r"a\.zarr' is damaged"):
        pyramid.read(0, 64, 0, 10, 10)


@pytest.mark.parametrize("text", ["{", '{"multiscales": [{}]}', '{"multiscales": 5}'])
def test_damaged_metadata_are_named(tmp_path: Path, text: str) -> None:
    written(tmp_path / "a.zarr", scattered((64, 64)))
    (tmp_path / "a.zarr" / ".zattrs").write_text(text)
    with pytest.raises(ImageError, match=r"a\.zarr' is damaged"):
        LabelPyramid.open(tmp_path / "a.zarr")
