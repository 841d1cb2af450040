from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_sprout.io.images import read_image

Rgb = NDArray[np.uint8]


def png(path: Path, array: NDArray[Any]) -> Path:
    path.write_bytes(imagecodecs.png_encode(array))
    return path


def tif(path: Path, array: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, array, **options)
    return path


def over_white(rgb: Rgb, opacity: NDArray[Any]) -> Rgb:
    share = opacity[..., None] / 255
    return np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)


def check(path: Path, expected: Rgb) -> None:
    loaded = read_image(path)
    assert loaded.rgb.dtype == np.uint8
    assert loaded.rgb.flags.c_contiguous
    np.testing.assert_array_equal(loaded.rgb, expected)
    assert loaded.path == path
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_png(tmp_path: Path, he: Rgb) -> None:
    check(png(tmp_path / "a.png", he), he)


def test_sixteen_bits_are_divided_by_257_and_rounded(tmp_path: Path, he: Rgb) -> None:
    deep = he.astype(np.uint16) * 257
    deep[0, 0] = (128, 129, 65535)
    expected = he.copy()
    expected[0, 0] = (0, 1, 255)
    check(png(tmp_path / "a.png", deep), expected)
    check(tif(tmp_path / "a.tif", deep, photometric="rgb"), expected)
    check(tif(tmp_path / "b.tif", deep, photometric="rgb", byteorder=">"), expected)


def test_opacity_is_laid_over_white(tmp_path: Path, he: Rgb) -> None:
    opacity = np.full(he.shape[:2], 255, np.uint8)
    opacity[:10], opacity[10:20] = 0, 100
    rgba = np.dstack([he, opacity])
    expected = over_white(he, opacity)
    assert (expected[0, 0] == 255).all()
    check(png(tmp_path / "a.png", rgba), expected)
    check(tif(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"]), expected)
    deep = rgba.astype(np.uint16) * 257
    check(png(tmp_path / "b.png", deep), expected)


def test_premultiplied_opacity_is_laid_over_white(tmp_path: Path, he: Rgb) -> None:
    opacity = np.full(he.shape[:2], 102, np.uint8)
    premultiplied = np.rint(he * 0.4).astype(np.uint8)
    path = tif(
        tmp_path / "a.tif",
        np.dstack([premultiplied, opacity]),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    check(path, premultiplied + np.uint8(153))


def test_a_fourth_sample_that_is_not_opacity_is_left_out(tmp_path: Path, he: Rgb) -> None:
    four = np.dstack([he, np.zeros(he.shape[:2], np.uint8)])
    check(tif(tmp_path / "a.tif", four, photometric="rgb", extrasamples=["unspecified"]), he)


def test_palettes(tmp_path: Path, he: Rgb) -> None:
    quantised = Image.fromarray(he).convert("P", palette=Image.Palette.ADAPTIVE)
    expected = np.asarray(quantised.convert("RGB"))
    quantised.save(tmp_path / "a.png")
    check(tmp_path / "a.png", expected)

    palette = np.zeros((3, 256), np.uint16)
    colours = np.asarray(quantised.getpalette()).reshape(-1, 3).T
    palette[:, : colours.shape[1]] = colours
    indices = np.asarray(quantised)
    check(
        tif(tmp_path / "a.tif", indices, photometric="palette", colormap=palette * np.uint16(257)),
        expected,
    )
    # Palettes filled with 8 bit colours by mistake are common.
    check(tif(tmp_path / "b.tif", indices, photometric="palette", colormap=palette), expected)


def test_transparent_palette_colours_become_white(tmp_path: Path, he: Rgb) -> None:
    quantised = Image.fromarray(he).convert("P", palette=Image.Palette.ADAPTIVE)
    indices = np.asarray(quantised)
    clear = int(indices[5, 5])
    quantised.save(tmp_path / "a.png", transparency=clear)
    expected = np.asarray(quantised.convert("RGB")).copy()
    expected[indices == clear] = 255
    check(tmp_path / "a.png", expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(tmp_path: Path, he: Rgb, progressive: bool) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(he).save(path, quality=98, subsampling=0, progressive=progressive)
    rgb = read_image(path).rgb
    assert np.abs(rgb.astype(int) - he).mean() < 2
    # What follows the end marker (some cameras add previews) is none of our business.
    path.write_bytes(path.read_bytes() + b"\x00trailing")
    np.testing.assert_array_equal(read_image(path).rgb, rgb)


def test_exif_orientation_is_ignored(tmp_path: Path, he: Rgb) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(he).save(tmp_path / "a.jpg", quality=98, subsampling=0, exif=exif)
    Image.fromarray(he).save(tmp_path / "b.jpg", quality=98, subsampling=0)
    Image.fromarray(he).save(tmp_path / "a.png", exif=exif)
    turned = read_image(tmp_path / "a.jpg").rgb
    assert turned.shape == he.shape
    np.testing.assert_array_equal(turned, read_image(tmp_path / "b.jpg").rgb)
    check(tmp_path / "a.png", he)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "jpeg2000", "webp"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_compressions(tmp_path: Path, he: Rgb, compression: str | None, bigtiff: bool) -> None:
    lossless = {"webp": {"lossless": True}, "jpeg2000": {"reversible": True}}
    path = tif(
        tmp_path / "a.tif",
        he,
        photometric="rgb",
        compression=compression,
        compressionargs=lossless.get(compression or ""),
        bigtiff=bigtiff,
        tile=(16, 16),
    )
    check(path, he)


def test_jpeg_inside_tiff(tmp_path: Path, he: Rgb) -> None:
    path = tif(tmp_path / "a.tif", he, photometric="rgb", compression="jpeg")
    assert np.abs(read_image(path).rgb.astype(int) - he).mean() < 4


def test_separate_colour_planes(tmp_path: Path, he: Rgb) -> None:
    planes = np.ascontiguousarray(np.moveaxis(he, -1, 0))
    separate = {"photometric": "rgb", "planarconfig": "separate"}
    check(tif(tmp_path / "a.tif", planes, **separate), he)
    check(tif(tmp_path / "b.tif", planes, **separate, tile=(16, 16), compression="zlib"), he)


@pytest.mark.parametrize("kind", [{"ome": True}, {"imagej": True}])
def test_a_channel_axis_of_three(tmp_path: Path, he: Rgb, kind: dict[str, bool]) -> None:
    planes = np.ascontiguousarray(np.moveaxis(he, -1, 0))
    path = tif(
        tmp_path / "a.tif", planes, photometric="minisblack", metadata={"axes": "CYX"}, **kind
    )
    check(path, he)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_decimal_colours_from_zero_to_one(tmp_path: Path, he: Rgb, dtype: type) -> None:
    check(tif(tmp_path / "a.tif", (he / 255).astype(dtype), photometric="rgb"), he)


def test_the_largest_level_of_a_pyramid_is_read(tmp_path: Path, he: Rgb) -> None:
    large = np.kron(he, np.ones((4, 4, 1), np.uint8))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(
            large,
            photometric="rgb",
            subifds=1,
            metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
        )
        writer.write(he, photometric="rgb", subfiletype=1)
    check(tmp_path / "a.ome.tif", large)
    assert read_image(tmp_path / "a.ome.tif").mpp == 0.5
    with tifffile.TiffWriter(tmp_path / "thumbnail_first.tif") as writer:
        writer.write(he, photometric="rgb", metadata=None)
        writer.write(large, photometric="rgb", metadata=None)
    check(tmp_path / "thumbnail_first.tif", large)


def test_the_name_may_lie_about_the_kind(tmp_path: Path, he: Rgb) -> None:
    path = png(tmp_path / "a.png", he)
    check(path.rename(tmp_path / "a.tif"), he)


@pytest.mark.parametrize("value", [0, 255])
def test_blank_images_are_legal(tmp_path: Path, value: int) -> None:
    blank = np.full((40, 40, 3), value, np.uint8)
    check(png(tmp_path / "a.png", blank), blank)


def test_an_image_at_the_smallest_size_is_read(tmp_path: Path, he: Rgb) -> None:
    check(png(tmp_path / "a.png", he[:32, :32]), he[:32, :32])


def test_real_images_fit_their_labels(monuseg_dev: Path) -> None:
    from napari_sprout.io.labels import read_labels

    path = sorted(monuseg_dev.glob("*.png"))[0]
    labels = read_labels(path.with_name(f"{path.stem}_labels.tif")).labels
    rgb = read_image(path).rgb
    assert labels.shape == rgb.shape[:2]
    inside, outside = rgb[labels > 0].mean(), rgb[labels == 0].mean()
    assert inside < outside


def test_memory_is_not_asked_for_when_the_header_says_it_would_not_fit(tmp_path: Path) -> None:
    from napari_sprout.errors import ImageError

    # A PNG header that claims 100 000 x 100 000 pixels, with no pixels behind it.
    data = bytearray(imagecodecs.png_encode(np.zeros((40, 40, 3), np.uint8)))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    (tmp_path / "a.png").write_bytes(data)
    stream = io.BytesIO()
    Image.new("RGB", (40, 40)).save(stream, "JPEG")
    jpeg = bytearray(stream.getvalue())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    (tmp_path / "a.jpg").write_bytes(jpeg)
    tifffile.memmap(tmp_path / "a.tif", shape=(20_000, 20_000, 3), dtype="u1", photometric="rgb")
    for name in ("a.png", "a.jpg", "a.tif"):
        with pytest.raises(ImageError, match="cut out a region"):
            read_image(tmp_path / name)
