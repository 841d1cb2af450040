from __future__ import annotations

import os
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sprout.errors import ImageError, SproutError, UnsuitableImageError
from napari_sprout.io.overlay import write_png
from napari_sprout.io.slides import opening
from napari_sprout.io.slides.generator import write_synthetic_slide
from napari_sprout.io.slides.opening import is_slide, open_slide
from napari_sprout.io.slides.source import SlideSource
from slide_files import pattern, write_ndpi, write_ome_tiff, write_svs, write_tiff

from .conftest import assert_holds

KINDS = {
    "tiff": write_tiff,
    "ome": lambda path, levels, **options: write_ome_tiff(path, levels, 0.5, **options),
    "aperio": lambda path, levels, **options: write_svs(path, levels, 0.5, **options),
}


def test_an_ordinary_image_is_a_slide_of_one_resolution(tmp_path):
    rgb = pattern(200, 300)
    for name in ("a.tif", "a.png"):
        path = tmp_path / name
        if name == "a.tif":
            tifffile.imwrite(path, rgb, photometric="rgb", resolution=(5e4, 5e4), resolutionunit=3)
        else:
            write_png(path, rgb)
        slide = open_slide(path)
        assert slide.format == "image"
        assert slide.mpp == (0.2 if name == "a.tif" else None)
        assert_holds(slide, [rgb])
        assert not is_slide(path)


def test_the_content_decides_not_the_name(tmp_path, levels):
    for name in ("a.svs", "a.tif", "a.png", "a"):
        path = tmp_path / name
        write_svs(path, levels, 0.5)
        slide = open_slide(path)
        assert slide.format == "aperio"
        assert is_slide(path)
        slide.close()


def test_a_source_opens_its_slide_anywhere(tmp_path, levels):
    path = tmp_path / "a.svs"
    write_svs(path, levels, 0.5)
    assert SlideSource(path).open().mpp == 0.5
    assert SlideSource(path, 0.4).open().mpp == 0.4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"hello" * 100, "is not a slide or an image"),
        (b"II*\x00" + bytes(100), "damaged or incomplete"),
        (b"II+\x00", "damaged or incomplete"),
        (b"\x89PNG\r\n\x1a\n", "damaged or incomplete"),
    ],
)
def test_what_is_no_slide_gets_a_sentence(tmp_path, content, says):
    path = tmp_path / "a.tif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=says) as caught:
        open_slide(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not is_slide(path)


@pytest.mark.parametrize("suffix", [".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".dcm"])
def test_a_scanners_file_that_is_damaged_gets_a_sentence(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"hello" * 100)
    with pytest.raises(ImageError, match="no slide that can be read"):
        open_slide(path)
    assert is_slide(path)


def test_a_folder_that_is_no_slide_gets_a_sentence(tmp_path):
    with pytest.raises(ImageError, match="neither an OME-Zarr nor a DICOM slide"):
        open_slide(tmp_path)
    assert not is_slide(tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_gets_a_sentence(tmp_path):
    path = tmp_path / "a.svs"
    path.touch(mode=0)
    with pytest.raises(ImageError, match="may not be read"):
        open_slide(path)


@pytest.fixture
def without_openslide(monkeypatch):
    """Let the extra `slides` be missing."""
    monkeypatch.setitem(sys.modules, "openslide", None)
    found = util.find_spec
    monkeypatch.setattr(
        opening, "find_spec", lambda name: None if name == "openslide" else found(name)
    )


@pytest.mark.usefixtures("without_openslide")
def test_svs_opens_without_openslide(tmp_path, levels):
    path = tmp_path / "a.svs"
    write_svs(path, levels, 0.5)
    assert is_slide(path)
    slide = open_slide(path)
    assert slide.format == "aperio"
    assert_holds(slide, levels)


@pytest.mark.usefixtures("without_openslide")
@pytest.mark.parametrize("suffix", [".ndpi", ".mrxs"])
def test_what_needs_openslide_says_how_to_get_it(tmp_path, levels, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".ndpi":
        write_ndpi(path, levels, 0.5)
    else:
        path.write_bytes(b"\xff\xd8\xff")
    assert is_slide(path)
    with pytest.raises(SproutError, match=r"pip install 'napari-sprout\[slides\]'"):
        open_slide(path)


@pytest.mark.parametrize("compression", [None, "adobe_deflate", "lzw", "jpeg"])
@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_a_file_cut_anywhere_is_found_at_opening(tmp_path, levels, kind, compression, data):
    path = tmp_path / "whole.tif"
    if not path.exists():
        KINDS[kind](path, levels, tile=(64, 64), compression=compression)
    content = path.read_bytes()
    length = data.draw(st.integers(0, len(content) - 1))
    cut = tmp_path / "cut.svs"
    cut.write_bytes(content[:length])
    whole = open_slide(path)
    try:
        slide = open_slide(cut)
    except ImageError as exc:
        assert str(cut) in str(exc)  # noqa: PT017
        return
    assert slide.mpp == whole.mpp
    assert slide.levels == whole.levels
    for i, level in enumerate(whole.levels):
        region = (i, 0, 0, *level.shape)
        np.testing.assert_array_equal(slide.read(*region), whole.read(*region))


def test_damage_at_the_end_of_the_full_resolution_is_found_at_opening(tmp_path, levels):
    path = tmp_path / "a.tif"
    write_tiff(path, levels, compression="adobe_deflate")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[-1]
    with path.open("r+b") as opened:
        opened.seek(offset)
        opened.write(bytes(64))
    with pytest.raises(ImageError, match="damaged or incomplete"):
        open_slide(path)


def test_damage_in_the_middle_is_told_when_it_is_read(tmp_path, levels):
    path = tmp_path / "a.tif"
    write_tiff(path, levels, compression="adobe_deflate")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[5]
    with path.open("r+b") as opened:
        opened.seek(offset)
        opened.write(bytes(64))
    slide = open_slide(path)
    with pytest.raises(ImageError, match="damaged or incomplete"):
        slide.read(0, 0, 0, 300, 400)
    np.testing.assert_array_equal(slide.read(0, 200, 0, 64, 64), levels[0][200:264, :64])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count reads")
@pytest.mark.parametrize("kind", ["generic", "aperio", "ome"])
def test_opening_reads_little_of_a_large_slide(tmp_path, kind):
    path = tmp_path / "a.tif"
    texture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    options = {"tissue_fraction": 1, "compression": "none", "texture": texture}
    write_synthetic_slide(path, (6000, 6000), kind=kind, **options)
    read = subprocess.run(
        [sys.executable, "-c", _COUNT, str(path)], capture_output=True, text=True, check=True
    )
    tile = 512 * 512 * 3
    assert path.stat().st_size > 100 * tile
    assert int(read.stdout) < 2 * tile


# In a process of its own, where nothing else reads.
_COUNT = """
import sys
from pathlib import Path
from napari_sprout.io.slides.opening import open_slide

def count():
    return int(Path("/proc/self/io").read_text().split()[1])

try:
    open_slide("missing.tif")  # what is imported late
except Exception:
    pass
import openslide
openslide.OpenSlide.detect_format(sys.argv[0])
before = count()
open_slide(sys.argv[1])
print(count() - before)
"""


def test_aperios_ycbcr_in_jpeg_2000_is_left_to_openslide(tmp_path):
    rgb = np.full((128, 128, 3), (200, 90, 160), np.uint8)
    as_stored = np.array(
        [[[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]]
    )
    ycbcr = np.rint(rgb @ as_stored[0].T + (0, 128, 128)).astype(np.uint8)
    path = tmp_path / "a.svs"
    options = {"compression": "aperio_jp2000_ycbc", "compressionargs": {"reversible": True}}
    write_svs(path, [ycbcr, ycbcr[::2, ::2]], 0.5, **options)
    slide = open_slide(path)
    assert slide.format == "aperio"
    difference = slide.read(0, 0, 0, 128, 128).astype(int) - rgb
    assert np.abs(difference).max() <= 2


def test_grey_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    write_tiff(
        path, [np.zeros((side, side), np.uint8) for side in (256, 128)], photometric="minisblack"
    )
    with pytest.raises(UnsuitableImageError, match="grayscale"):
        open_slide(path)
