from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from napari_sprout.errors import ImageError, OutputError
from napari_sprout.io.overlay import label_colours, overlay, to_picture, write_png


@pytest.fixture
def labels() -> NDArray[np.int32]:
    image = np.zeros((60, 60), np.int32)
    image[10:30, 10:30] = 4
    image[10:30, 30:50] = 5
    return image


def test_outlines_lie_inside_and_the_rest_is_untouched(labels: NDArray[np.int32]) -> None:
    rgb = np.full((60, 60, 3), 200, np.uint8)
    before = rgb.copy()
    drawn = overlay(rgb, labels)
    np.testing.assert_array_equal(rgb, before)
    changed = (drawn != rgb).any(-1)
    expected = np.zeros((60, 60), bool)
    for left in (10, 30):
        expected[10:30, left : left + 20] = True
        expected[12:28, left + 2 : left + 18] = False
    np.testing.assert_array_equal(changed, expected)


def test_touching_nuclei_keep_an_outline_each(labels: NDArray[np.int32]) -> None:
    drawn = overlay(np.zeros((60, 60, 3), np.uint8), labels)
    four, five = label_colours(np.array([4, 5]))
    assert (drawn[15:25, 28:30] == four).all()
    assert (drawn[15:25, 30:32] == five).all()
    assert np.abs(four.astype(int) - five).max() > 60


def test_thickness_is_in_pixels(labels: NDArray[np.int32]) -> None:
    drawn = overlay(np.zeros((60, 60, 3), np.uint8), labels, thickness=4)
    assert drawn[20, 10:14].any(-1).all()
    assert not drawn[20, 14:26].any()


def test_colours_belong_to_ids_not_to_images(labels: NDArray[np.int32]) -> None:
    rgb = np.zeros((60, 60, 3), np.uint8)
    alone = overlay(rgb, np.where(labels == 5, 5, 0))
    both = overlay(rgb, labels)
    np.testing.assert_array_equal(alone[20, 49], both[20, 49])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=30))
def test_colours_are_bright_and_unlike_the_stains(ids: list[int]) -> None:
    colours = label_colours(np.array(ids)).astype(int)
    assert (colours.max(1) == 255).all()
    # H&E has more blue than green everywhere; no outline does.
    assert (colours[:, 1] > colours[:, 2] - 60).all()


def test_labels_of_another_image_are_refused(labels: NDArray[np.int32]) -> None:
    with pytest.raises(ImageError, match="do not fit"):
        overlay(np.zeros((60, 50, 3), np.uint8), labels)


def test_truth_values_are_black_and_white(labels: NDArray[np.int32]) -> None:
    picture = to_picture(labels > 0)
    np.testing.assert_array_equal(picture, np.where(labels > 0, 255, 0))


def test_labels_are_coloured_on_black(labels: NDArray[np.int32]) -> None:
    picture = to_picture(labels)
    assert not picture[labels == 0].any()
    assert (picture[labels == 4] == label_colours(np.array([4]))).all()


def test_maps_are_stretched_between_their_percentiles() -> None:
    values = np.linspace(-3, 8, 10_000).reshape(100, 100)
    values[0, 1] = 1e9
    values[0, 2] = np.nan
    picture = to_picture(values)
    assert picture[0, 0] == picture[0, 2] == 0
    assert picture[0, 1] == picture[-1, -1] == 255
    assert 126 <= picture[50, 0] <= 129


def test_a_map_of_a_few_peaks_shows_them() -> None:
    values = np.zeros((100, 100), np.float32)
    values[50, 50] = 0.3
    picture = to_picture(values)
    assert picture[50, 50] == 255
    assert np.count_nonzero(picture) == 1


@settings(deadline=None, max_examples=80)
@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint16, bool]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    )
)
def test_any_flat_map_becomes_a_picture(array: NDArray[Any]) -> None:
    picture = to_picture(array)
    assert picture.dtype == np.uint8
    assert picture.shape[:2] == array.shape


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 5, 2)), np.zeros(4), np.zeros((0, 4)), np.zeros((4, 5), complex)],
)
def test_what_cannot_be_shown_is_refused(array: NDArray[Any]) -> None:
    with pytest.raises(OutputError, match="cannot be shown"):
        to_picture(array)


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
def test_png_round_trip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_png(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(skimage.io.imread(tmp_path / "a.png"), picture)


def test_only_pictures_are_written(tmp_path: Path) -> None:
    for wrong in (np.zeros((4, 5)), np.zeros((4, 5, 2), np.uint8)):
        with pytest.raises(OutputError, match="uint8"):
            write_png(tmp_path / "a.png", wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="free some space"):
        write_png(path, np.zeros((40, 50), np.uint8))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
