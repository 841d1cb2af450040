"""What is true of single scanners' formats."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from napari_sprout.errors import ImageError
from napari_sprout.io.slides.opening import is_slide, open_slide
from napari_sprout.io.slides.openslide_reader import ScannerSlide
from slide_files import SCN_AROUND, SCN_PLACE, write_dicom, write_scn, write_svs


def test_coordinates_are_those_of_the_whole_slide(tmp_path, levels):
    path = tmp_path / "a.scn"
    write_scn(path, levels, 0.5)
    slide = open_slide(path)
    assert slide.format == "leica"
    assert slide.mpp == pytest.approx(0.5)
    height, width = levels[0].shape[:2]
    (down, across), (y, x) = SCN_AROUND, SCN_PLACE
    assert slide.levels[0].shape == (height + down, width + across)
    wanted = np.full((height + down, width + across, 3), 255, np.uint8)
    wanted[y : y + height, x : x + width] = levels[0]
    np.testing.assert_array_equal(slide.read(0, 0, 0, *wanted.shape[:2]), wanted)


def test_one_file_of_a_dicom_slide_stands_for_all(tmp_path, levels):
    folder = tmp_path / "slide"
    write_dicom(folder, levels, 0.5)
    slide = open_slide(folder / "level1.dcm")
    assert slide.format == "dicom"
    assert len(slide.levels) == 3
    assert slide.fingerprint == open_slide(folder).fingerprint
    assert is_slide(folder / "level1.dcm")


def test_a_truncated_dicom_is_found_at_opening(tmp_path, levels):
    folder = tmp_path / "slide"
    write_dicom(folder, levels, 0.5)
    file = folder / "level0.dcm"
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        open_slide(folder)


def test_after_a_damaged_tile_the_others_can_be_read(tmp_path, levels):
    path = tmp_path / "a.svs"
    write_svs(path, levels, 0.5, compression="jpeg")
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\xd8")
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    slide = ScannerSlide(path)
    good = slide.read(0, 200, 200, 64, 64)
    with pytest.raises(ImageError, match=r"a\.svs' is damaged"):
        slide.read(0, 0, 0, 64, 64)
    np.testing.assert_array_equal(slide.read(0, 200, 200, 64, 64), good)


def test_without_its_folder_a_mirax_slide_says_so(tmp_path):
    path = tmp_path / "a.mrxs"
    shutil.copy(_any_jpeg(tmp_path), path)
    with pytest.raises(ImageError, match="other files or a folder"):
        open_slide(path)


def _any_jpeg(folder):
    import imagecodecs

    path = folder / "label.jpg"
    path.write_bytes(imagecodecs.jpeg8_encode(np.zeros((64, 64, 3), np.uint8)))
    return path
