"""Ways in which TIFF files store colours that the formats of scanners do not show."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tifffile

from napari_sprout.errors import ImageError, UnsuitableImageError
from napari_sprout.io.raster import MAX_PIXELS
from napari_sprout.io.slides.opening import is_slide, open_slide
from napari_sprout.io.slides.openslide_reader import ScannerSlide
from napari_sprout.io.slides.tiff_reader import TiffSlide
from slide_files import TILE, pattern, pyramid, write_svs, write_tiff

from .conftest import assert_holds


@pytest.mark.parametrize("tile", [TILE, None], ids=["tiles", "strips"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "adobe_deflate", "lzw", "zstd"])
def test_every_layout_gives_the_same_pixels(tmp_path, levels, tile, planar, compression):
    path = tmp_path / "a.tif"
    stored = [np.moveaxis(one, -1, 0) if planar == "separate" else one for one in levels]
    strips = {} if tile else {"rowsperstrip": 50}
    write_tiff(path, stored, tile=tile, planarconfig=planar, compression=compression, **strips)
    slide = open_slide(path)
    assert slide.format == "tiff"
    assert slide.levels[0].tile == (TILE if tile else (50, 402))
    assert_holds(slide, levels)


def test_a_predictor_is_undone(tmp_path, levels):
    path = tmp_path / "a.tif"
    write_tiff(path, levels, compression="adobe_deflate", predictor=True)
    assert_holds(open_slide(path), levels)


def test_lossless_jpeg_2000_as_aperio_writes_it(tmp_path, levels):
    path = tmp_path / "a.tif"
    options = {"compression": "aperio_jp2000_rgb", "compressionargs": {"reversible": True}}
    write_tiff(path, levels, tile=(64, 64), **options)
    assert_holds(open_slide(path), levels)


def test_jpeg_is_decoded_as_tifffile_does(tmp_path, levels):
    path = tmp_path / "a.tif"
    write_tiff(path, levels, tile=(64, 64), compression="jpeg")
    with tifffile.TiffFile(path) as file:
        decoded = [level.asarray() for level in file.series[0].levels]
    assert_holds(open_slide(path), decoded)


def test_colours_in_pages_of_their_own(tmp_path):
    rgb = pattern(1000, 700)
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        planes = np.moveaxis(rgb, -1, 0)
        file.write(planes, photometric="minisblack", tile=(64, 64), metadata={"axes": "CYX"})
    assert_holds(open_slide(path), [rgb])


def test_sixteen_bits_are_scaled_to_eight(tmp_path, levels):
    path = tmp_path / "a.tif"
    write_tiff(path, [one.astype(np.uint16) * 257 for one in levels])
    assert_holds(open_slide(path), levels)


def test_a_palette_is_applied(tmp_path):
    colours = pattern(16, 16).reshape(256, 3)
    indices = np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8)
    path = tmp_path / "a.tif"
    colormap = colours.T.astype(np.uint16) * 257
    write_tiff(path, [indices], photometric="palette", colormap=colormap)
    assert_holds(open_slide(path), [colours[indices]])


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_what_is_transparent_lies_over_white(tmp_path, kind):
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (200, 300, 4), dtype=np.uint8)
    rgba[:50, :, 3], rgba[50:100, :, 3] = 0, 255
    opacity = rgba[..., 3:] / 255
    if kind == "assocalpha":
        rgba[..., :3] = np.rint(rgba[..., :3] * opacity)
        wanted = np.minimum(rgba[..., :3] + 255 * (1 - opacity), 255)
    else:
        wanted = rgba[..., :3] * opacity + 255 * (1 - opacity)
    path = tmp_path / "a.tif"
    write_tiff(path, [rgba], extrasamples=[kind])
    assert_holds(open_slide(path), [np.rint(wanted).astype(np.uint8)])


def test_tiles_that_are_missing_are_white(tmp_path, levels):
    path = tmp_path / "a.svs"
    write_svs(path, levels, 0.5)
    across = -(-levels[0].shape[1] // 64)
    last = across * -(-levels[0].shape[0] // 64) - 1
    _forget_tiles(path, [across + 2, last])
    wanted = [one.copy() for one in levels]
    wanted[0][64:128, 128:192] = 255
    wanted[0][last // across * 64 :, last % across * 64 :] = 255
    assert_holds(open_slide(path), wanted)


def _forget_tiles(path, numbers):
    with tifffile.TiffFile(path) as file:
        places = [file.pages[0].tags[code] for code in ("TileOffsets", "TileByteCounts")]
        order = file.byteorder
    with path.open("r+b") as file:
        for tag in places:
            size = {3: "H", 4: "I"}[tag.dtype]
            for number in numbers:
                file.seek(tag.valueoffset + number * struct.calcsize(size))
                file.write(struct.pack(order + size, 0))


def test_a_grey_pyramid_is_not_a_slide_even_without_tiles(tmp_path):
    path = tmp_path / "a.tif"
    write_tiff(path, [np.zeros((200, 300), np.uint8)], photometric="minisblack")
    with pytest.raises(UnsuitableImageError, match="grayscale"):
        TiffSlide(path)


def test_a_stack_is_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    stack = np.zeros((5, 200, 300, 3), np.uint8)
    tifffile.imwrite(path, stack, photometric="rgb", tile=TILE, ome=True, metadata={"axes": "ZYXS"})
    with pytest.raises(UnsuitableImageError, match="stack of 5"):
        open_slide(path)


def test_what_is_stored_in_one_huge_piece_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    side = int(MAX_PIXELS**0.5) + 2
    with tifffile.TiffWriter(path) as file:
        # A sparse file: only its index takes room.
        shape = (side, side, 3)
        file.write(
            None, shape=shape, dtype=np.uint8, photometric="rgb", rowsperstrip=side, metadata=None
        )
    assert is_slide(path)
    with pytest.raises(ImageError, match="one piece"):
        open_slide(path)


def test_pages_that_are_not_coarser_views_are_left_out(tmp_path):
    rgb = pattern(400, 300)
    path = tmp_path / "a.svs"
    write_svs(path, [rgb, rgb[::2, ::2], rgb[:300, :100]], 0.5)
    assert [one.shape for one in TiffSlide(path).levels] == [(400, 300), (200, 150)]


@pytest.mark.parametrize("size", [(2001, 3003), (1999, 2405)])
def test_both_readers_of_svs_agree_on_levels_of_any_size(tmp_path, size):
    path = tmp_path / "a.svs"
    full = pattern(*size)
    write_svs(path, pyramid(full), 0.5)
    ours, theirs = TiffSlide(path), ScannerSlide(path)
    assert [one.shape for one in ours.levels] == [one.shape for one in theirs.levels]
    assert ours.mpp == theirs.mpp == 0.5
    assert ours.format == theirs.format == "aperio"
    np.testing.assert_array_equal(ours.read(0, 1500, 1200, 300, 300), full[1500:1800, 1200:1500])
    for level, (height, width) in enumerate(one.shape for one in theirs.levels):
        whole = theirs.read(level, 0, 0, height, width)
        for y, x in [(1, 3), (height // 2 + 1, width // 3), (height - 101, width - 203)]:
            region = theirs.read(level, y, x, 100, 200)
            np.testing.assert_array_equal(region, whole[y : y + 100, x : x + 200])
