from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from napari_sprout.errors import ImageError
from napari_sprout.io.label_pyramid import LabelPyramid
from napari_sprout.io.label_tiff import LabelTiff, label_pyramid_to_tiff
from napari_sprout.io.labels import read_labels, write_labels
from napari_sprout.io.mode_pyramid import halved


def patches(shape: tuple[int, int]) -> NDArray[np.uint32]:
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 70_000, (shape[0] // 7 + 1, shape[1] // 7 + 1))
    return coarse.repeat(7, 0).repeat(7, 1)[: shape[0], : shape[1]].astype(np.uint32)


def pyramid_of(path: Path, labels: NDArray[np.uint32], chunk: int = 256) -> LabelPyramid:
    pyramid = LabelPyramid.create(path, labels.shape, 0.25, chunk=chunk, overwrite=True)
    pyramid.write(0, 0, labels)
    pyramid.finish()
    return pyramid


@pytest.mark.parametrize("chunk", [64, 256, 1024])
def test_a_pyramid_goes_to_tiff_with_all_its_levels(tmp_path: Path, chunk: int) -> None:
    labels = patches((2100, 1500))
    pyramid = pyramid_of(tmp_path / "a.zarr", labels, chunk)
    path = tmp_path / "a.ome.tif"
    label_pyramid_to_tiff(pyramid, path, metadata={"seed": 3})
    loaded = read_labels(path)
    np.testing.assert_array_equal(loaded.labels, labels)
    assert (loaded.mpp, loaded.metadata) == (0.25, {"seed": 3})
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert file.is_ome
        (series,) = file.series
        assert [level.shape for level in series.levels] == list(pyramid.shapes)
        np.testing.assert_array_equal(series.levels[1].asarray(), halved(labels))
        np.testing.assert_array_equal(series.levels[2].asarray(), halved(halved(labels)))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    arrays(
        np.uint32,
        array_shapes(min_dims=2, max_dims=2, max_side=60),
        elements=st.sampled_from([0, 1, 2, 70_000, 2**31 - 1]),
    )
)
def test_labels_survive_both_ways_into_a_tiff(tmp_path: Path, labels: NDArray[np.uint32]) -> None:
    label_pyramid_to_tiff(pyramid_of(tmp_path / "a.zarr", labels, 32), tmp_path / "a.tif")
    write_labels(tmp_path / "b.tif", labels, mpp=0.25, pyramid=True)
    for name in "ab":
        np.testing.assert_array_equal(read_labels(tmp_path / f"{name}.tif").labels, labels)


def test_labels_in_memory_get_the_same_levels(tmp_path: Path) -> None:
    labels = patches((2100, 1500))
    label_pyramid_to_tiff(pyramid_of(tmp_path / "a.zarr", labels), tmp_path / "a.tif")
    write_labels(tmp_path / "b.tif", labels, mpp=0.25, pyramid=True)
    with tifffile.TiffFile(tmp_path / "a.tif") as a, tifffile.TiffFile(tmp_path / "b.tif") as b:
        for one, other in zip(a.series[0].levels, b.series[0].levels, strict=True):
            np.testing.assert_array_equal(one.asarray(), other.asarray())


def test_the_same_pyramid_gives_the_same_bytes(tmp_path: Path) -> None:
    pyramid = pyramid_of(tmp_path / "a.zarr", patches((1100, 300)))
    for name in "ab":
        label_pyramid_to_tiff(pyramid, tmp_path / f"{name}.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("tile", [None, (64, 32)])
@pytest.mark.parametrize("pyramid", [False, True])
def test_regions_of_a_large_tiff(
    tmp_path: Path, tile: tuple[int, int] | None, pyramid: bool
) -> None:
    labels, path = patches((1300, 1200)), tmp_path / "a.tif"
    if tile is None:
        write_labels(path, labels, mpp=0.5, metadata={"a": 1}, pyramid=pyramid)
    else:
        with tifffile.TiffWriter(path, ome=True) as file:
            file.write(labels, tile=tile, subifds=int(pyramid), metadata={"axes": "YX"})
            if pyramid:
                file.write(labels[::2, ::2], tile=tile, subfiletype=1)
    tiff = LabelTiff(path)
    assert tiff.shape == labels.shape
    assert (tiff.mpp, tiff.metadata) == ((None, {}) if tile else (0.5, {"a": 1}))
    padded = np.pad(labels, 50)
    for y, x, height, width in ((-50, -50, 99, 99), (1000, 1100, 350, 150), (500, 3, 1, 700)):
        expected = padded[y + 50 : y + 50 + height, x + 50 : x + 50 + width]
        np.testing.assert_array_equal(tiff.read(y, x, height, width), expected)
    tiff.close()


def test_colours_and_fractions_are_refused(tmp_path: Path) -> None:
    for pixels in (np.zeros((40, 50, 3), np.uint8), np.zeros((40, 50), np.float32)):
        tifffile.imwrite(tmp_path / "a.tif", pixels)
        with pytest.raises(ImageError, match="not a flat label image"):
            LabelTiff(tmp_path / "a.tif")


def test_a_file_that_is_cut_short_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    rng = np.random.default_rng(0)
    tifffile.imwrite(path, rng.integers(0, 9, (300, 300), np.uint32), tile=(64, 64))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ImageError, match=r"a\.tif' is damaged"):
        LabelTiff(path)
    with pytest.raises(ImageError, match="does not exist"):
        LabelTiff(tmp_path / "none.tif")
