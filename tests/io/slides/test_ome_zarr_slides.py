"""What is true of OME-Zarr alone."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import zarr

from napari_sprout.errors import ImageError, UnsuitableImageError
from napari_sprout.io.slides.opening import is_slide, open_slide
from slide_files import write_ome_zarr

from .conftest import MPP, assert_holds

VERSIONS = pytest.mark.parametrize("version", ["0.4", "0.5"])
RGB = [{"color": one} for one in ("FF0000", "00FF00", "0000FF")]
FLUORESCENCE = [{"color": one} for one in ("0000FF", "00FF00", "FF0000")]


@VERSIONS
@pytest.mark.parametrize("axes", ["cyx", "tczyx", "czyx"])
@pytest.mark.parametrize("chunk", [(1, 64, 48), (3, 100, 100)])
def test_axes_of_length_one_do_not_matter(tmp_path, levels, version, axes, chunk):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, levels, MPP, version, chunk, axes)
    slide = open_slide(path)
    assert slide.levels[0].tile == chunk[1:]
    assert slide.mpp == MPP
    assert_holds(slide, levels)


@VERSIONS
def test_without_a_unit_there_is_no_pixel_size(tmp_path, levels, version):
    write_ome_zarr(tmp_path / "a.zarr", levels, None, version)
    assert open_slide(tmp_path / "a.zarr").mpp is None


def test_units_are_taken_as_they_are(tmp_path, levels):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, levels, MPP)
    text = (path / ".zattrs").read_text()
    (path / ".zattrs").write_text(text.replace("micrometer", "millimeter").replace("0.5", "5e-4"))
    assert open_slide(path).mpp == pytest.approx(0.5)


def test_sixteen_bits_are_scaled_to_eight(tmp_path, levels):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, [one.astype(np.uint16) * 257 for one in levels], MPP)
    assert_holds(open_slide(path), levels)


def test_an_image_that_bioformats2raw_wrote_lies_one_folder_down(tmp_path, levels):
    path = tmp_path / "a.zarr"
    zarr.open_group(str(path), mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    write_ome_zarr(path / "0", levels, MPP)
    assert is_slide(path)
    assert_holds(open_slide(path), levels)


@VERSIONS
def test_chunks_that_are_missing_are_white(tmp_path, levels, version):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, levels, MPP, version, (3, 64, 48))
    wanted = [one.copy() for one in levels]
    for row, column in [(1, 2), (4, 8)]:
        (chunk,) = _chunks(path, row, column)
        chunk.unlink()
        wanted[0][row * 64 : row * 64 + 64, column * 48 : column * 48 + 48] = 255
    assert_holds(open_slide(path), wanted)


def _chunks(path, row, column):
    finest = next(one for one in path.iterdir() if one.name.endswith("0"))
    return [one for one in finest.rglob(f"0/{row}/{column}") if one.is_file()]


@VERSIONS
@pytest.mark.parametrize("left", [0, 1, 20, -1])
def test_a_chunk_that_was_cut_is_found_at_opening(tmp_path, levels, version, left):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, levels, MPP, version, (3, 64, 48))
    (chunk,) = _chunks(path, 4, 8)
    chunk.write_bytes(chunk.read_bytes()[:left])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        open_slide(path)


@VERSIONS
def test_damaged_metadata_are_an_error(tmp_path, levels, version):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, levels, MPP, version)
    name = "zarr.json" if version == "0.5" else ".zattrs"
    (path / name).write_bytes((path / name).read_bytes()[:-20])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        open_slide(path)


def test_a_level_that_is_gone_is_an_error(tmp_path, levels):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, levels, MPP)
    datasets = json.loads((path / ".zattrs").read_text())["multiscales"][0]["datasets"]
    shutil.rmtree(path / datasets[1]["path"])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        open_slide(path)


@pytest.mark.parametrize(
    ("channels", "dtype", "colours", "shown", "opens"),
    [
        (3, np.uint8, None, True, True),
        (3, np.uint8, RGB, True, True),
        (3, np.uint8, FLUORESCENCE, False, False),
        (3, np.uint16, None, False, True),
        (3, np.uint16, RGB, True, True),
        (1, np.uint8, None, False, False),
        (4, np.uint8, None, False, False),
        (3, np.float32, None, False, False),
    ],
)
def test_what_is_taken_for_rgb(tmp_path, channels, dtype, colours, shown, opens):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, [np.zeros((64, 64, channels), dtype)], MPP)
    if colours is not None:
        attributes = json.loads((path / ".zattrs").read_text())
        attributes["omero"] = {"channels": colours}
        (path / ".zattrs").write_text(json.dumps(attributes))
    assert is_slide(path) is shown
    if opens:
        assert open_slide(path).levels[0].shape == (64, 64)
    else:
        with pytest.raises(UnsuitableImageError, match="not an RGB image"):
            open_slide(path)


def test_a_stack_is_refused(tmp_path):
    path = tmp_path / "a.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", shape=(3, 7, 64, 64), dtype="u1", chunks=(1, 1, 64, 64))
    axes = [{"name": name} for name in "czyx"]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
    assert not is_slide(path)
    with pytest.raises(UnsuitableImageError, match="stack of 7"):
        open_slide(path)


def test_a_zarr_without_an_image_is_refused(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.open_group(str(path), mode="w")
    assert not is_slide(path)
    with pytest.raises(UnsuitableImageError, match="no OME-Zarr image"):
        open_slide(path)
