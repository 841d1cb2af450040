"""What is true of single scanners' formats."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sprout.errors import ImageError
from napari_sprout.io.slides.opening import is_slide, open_slide
from napari_sprout.io.slides.openslide_reader import ScannerSlide
from slide_files import SCN_AROUND, SCN_PLACE, write_dicom, write_ndpi, write_scn, write_svs


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


def test_an_ndpi_opens_through_openslide(tmp_path, levels):
    path = tmp_path / "a.ndpi"
    decoded = write_ndpi(path, levels, 0.5)
    slide = open_slide(path)
    assert is_slide(path)
    assert slide.format == "hamamatsu"
    assert slide.mpp == pytest.approx(0.5, rel=1e-3)
    # OpenSlide adds coarser ones, which it decodes from these.
    for number, level in enumerate(decoded):
        read = slide.read(number, 0, 0, *level.shape[:2])
        np.testing.assert_array_equal(read, level)


@pytest.mark.parametrize("name", ["cut.ndpi", "cut.scn", "cut.tif"])
@pytest.mark.parametrize("write", [write_ndpi, write_scn])
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_a_scanners_tiff_cut_anywhere_is_found_at_opening(tmp_path, levels, name, write, data):
    path = tmp_path / ("whole.ndpi" if write is write_ndpi else "whole.scn")
    if not path.exists():
        write(path, levels, 0.5)
    content = path.read_bytes()
    # The end of an NDPI holds halves of numbers that are zero.
    needed = len(content) - (100 if write is write_ndpi else 1)
    cut = tmp_path / name
    cut.write_bytes(content[: data.draw(st.integers(0, needed))])
    with pytest.raises(ImageError, match=r"cut\."):
        open_slide(cut)


def test_one_file_of_a_dicom_slide_stands_for_all(tmp_path, levels):
    folder = tmp_path / "slide"
    write_dicom(folder, levels, 0.5)
    slide = open_slide(folder / "level1.dcm")
    assert slide.format == "dicom"
    assert len(slide.levels) == 3
    assert slide.fingerprint == open_slide(folder).fingerprint
    assert is_slide(folder / "level1.dcm")


def test_a_folder_of_two_dicom_slides_says_so(tmp_path, levels):
    folder, other = tmp_path / "slides", tmp_path / "other"
    write_dicom(folder, levels, 0.5)
    write_dicom(other, levels[1:], 0.5)
    for file in other.iterdir():
        file.rename(folder / f"other-{file.name}")
    with pytest.raises(ImageError, match="several DICOM series"):
        open_slide(folder)
    assert open_slide(folder / "level0.dcm").levels[0].shape == levels[0].shape[:2]
    assert open_slide(folder / "other-level0.dcm").levels[0].shape == levels[1].shape[:2]


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
