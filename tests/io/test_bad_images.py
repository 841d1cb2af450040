from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_sprout.errors import ImageError, SproutError
from napari_sprout.io.images import OUTPUT_ENDINGS, find_images, read_image

Rgb = NDArray[np.uint8]


def refused(path: Path, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message


def save(path: Path, array: NDArray[Any], **options: Any) -> Path:
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(array))
    elif path.suffix == ".jpg":
        Image.fromarray(array).save(path, **options)
    else:
        tifffile.imwrite(path, array, **options)
    return path


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "does not exist")
    refused(tmp_path / "no" / "folder.tif", "does not exist")


def test_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    refused(tmp_path / "a.png", "not a regular file")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_no_permission(tmp_path: Path, he: Rgb, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / name, he)

    def denied(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The superuser may read everything, so the system's answer is replaced.
    monkeypatch.setattr(Path, "open", denied)
    refused(path, "may not be read")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    refused(tmp_path / "a.png", "is empty")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("content", [b"id,area\n1,20\n", b"GIF89a" + bytes(100), b"\x89PNG"])
def test_other_files_with_an_image_s_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "not a TIFF, PNG or JPEG")


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\x00"])
@pytest.mark.parametrize("length", [0, 3, 40, 400])
def test_the_right_start_followed_by_noise(tmp_path: Path, start: bytes, length: int) -> None:
    noise = np.random.default_rng(length).bytes(length)
    (tmp_path / "a.tif").write_bytes(start + noise)
    with pytest.raises(ImageError):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.jpg", {}),
        ("a.jpg", {"progressive": True}),
        ("a.tif", {"photometric": "rgb"}),
        ("a.tif", {"photometric": "rgb", "tile": (16, 16)}),
        ("a.tif", {"photometric": "rgb", "compression": "zlib"}),
        ("a.tif", {"photometric": "rgb", "compression": "lzw", "rowsperstrip": 8}),
        ("a.tif", {"photometric": "rgb", "compression": "jpeg"}),
        ("a.tif", {"photometric": "rgb", "compression": "jpeg", "tile": (16, 16)}),
        ("a.ome.tif", {"photometric": "rgb", "compression": "zlib", "tile": (16, 16)}),
    ],
)
def test_cut_off_files(
    tmp_path: Path, he: Rgb, name: str, options: dict[str, Any], share: float
) -> None:
    path = save(tmp_path / name, he, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, "damaged or incomplete|not a TIFF")


def test_a_tiff_cut_before_its_directory(tmp_path: Path, he: Rgb) -> None:
    # Pillow, like many programs, writes the directory last.
    path = tmp_path / "a.tif"
    Image.fromarray(he).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-40])
    refused(path, "damaged or incomplete")


def test_a_flipped_byte_in_a_compressed_tiff(tmp_path: Path, he: Rgb) -> None:
    path = save(tmp_path / "a.tif", he, photometric="rgb", compression="zlib")
    flip_middle_byte(path)
    refused(path, "damaged or incomplete")


@pytest.mark.parametrize("level", [0, 6])
def test_a_flipped_byte_in_a_png(tmp_path: Path, he: Rgb, level: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(he, level=level))
    flip_middle_byte(path)
    refused(path, "damaged or incomplete")


def flip_middle_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_single_channel(tmp_path: Path, he: Rgb, name: str) -> None:
    refused(save(tmp_path / name, he[..., 0].copy()), "grayscale")


def test_grey_with_opacity(tmp_path: Path, he: Rgb) -> None:
    refused(save(tmp_path / "a.png", he[..., :2].copy()), "grayscale")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_grey_stored_as_colour(tmp_path: Path, he: Rgb, name: str) -> None:
    grey = np.repeat(he[..., :1], 3, axis=2)
    refused(save(tmp_path / name, grey), "grayscale")


def test_channels_of_fluorescence(tmp_path: Path, he: Rgb) -> None:
    planes = np.stack([he[..., 0]] * 4)
    path = save(tmp_path / "a.ome.tif", planes, photometric="minisblack", metadata={"axes": "CYX"})
    refused(path, "4 channels")


def test_print_colours(tmp_path: Path, he: Rgb) -> None:
    for name in ("a.jpg", "a.tif"):
        Image.fromarray(he).convert("CMYK").save(tmp_path / name)
        refused(tmp_path / name, "export it again as RGB")


@pytest.mark.parametrize("shape", [(5, 48, 64), (2, 48, 64, 3)])
@pytest.mark.parametrize("ome", [False, True])
def test_stacks(tmp_path: Path, shape: tuple[int, ...], ome: bool) -> None:
    stack = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    photometric = "rgb" if len(shape) == 4 else "minisblack"
    axes = "ZYXS"[: len(shape)]
    path = save(
        tmp_path / "a.tif", stack, photometric=photometric, ome=ome, metadata={"axes": axes}
    )
    refused(path, f"stack of {shape[0]} images")


def test_pages_of_a_plain_tiff(tmp_path: Path, he: Rgb) -> None:
    first, *others = [Image.fromarray(he)] * 3
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    refused(tmp_path / "a.tif", "stack of 3 images")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number(tmp_path: Path, he: Rgb, value: float) -> None:
    unit = (he / 255).astype(np.float32)
    unit[3, 4, 1] = value
    refused(save(tmp_path / "a.tif", unit, photometric="rgb"), "NaN")


def test_decimals_beyond_one(tmp_path: Path, he: Rgb) -> None:
    refused(save(tmp_path / "a.tif", he.astype(np.float32), photometric="rgb"), "0 to 1")


@pytest.mark.parametrize("dtype", [np.uint32, np.int16])
def test_odd_kinds_of_number(tmp_path: Path, he: Rgb, dtype: type) -> None:
    refused(save(tmp_path / "a.tif", he.astype(dtype), photometric="rgb"), "8 bits")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_too_small(tmp_path: Path, he: Rgb, name: str) -> None:
    refused(save(tmp_path / name, he[:, :20].copy()), "20 px wide")
    refused(save(tmp_path / name, he[:31].copy()), "31 px high")


def test_zero_size(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 0, 40, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    refused(tmp_path / "a.png", "no pixels")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / name).touch()
        return tmp_path

    return make


def test_folders_list_their_images_in_order(folder: Callable[..., Path]) -> None:
    path = folder("b.PNG", "a.tif", "c.jpeg", "notes.txt", ".hidden.png", "d.ome.tiff")
    (path / "below.tif").mkdir()
    names = [image.name for image in find_images([path])]
    assert names == ["a.tif", "b.PNG", "c.jpeg", "d.ome.tiff"]


def test_results_in_a_folder_are_not_inputs(folder: Callable[..., Path]) -> None:
    path = folder("a.png", *(f"a{ending}" for ending in OUTPUT_ENDINGS))
    assert find_images([path]) == [path / "a.png"]


def test_files_are_taken_as_given_and_once(folder: Callable[..., Path]) -> None:
    path = folder("z.svs", "a.png", "a_labels.tif")
    given = [path / "z.svs", path / "a_labels.tif", path, str(path / "a.png")]
    assert find_images(given) == [path / "z.svs", path / "a_labels.tif", path / "a.png"]


def test_a_folder_without_images(folder: Callable[..., Path]) -> None:
    path = folder("notes.txt", "a_labels.tif")
    with pytest.raises(SproutError, match="holds no images"):
        find_images([path])


def test_a_missing_path(folder: Callable[..., Path]) -> None:
    path = folder("a.png")
    with pytest.raises(SproutError, match=r"b\.png.*does not exist"):
        find_images([path / "a.png", path / "b.png"])


def test_a_folder_that_may_not_be_listed(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder("a.png")

    def denied(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(SproutError, match="ask for permission"):
        find_images([path])
