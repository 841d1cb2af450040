from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pytest
import skimage.io
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from napari_sprout.errors import ImageError, OutputError, SettingsError
from napari_sprout.io.labels import read_labels, write_labels


@pytest.fixture
def labels() -> NDArray[np.int32]:
    image = np.zeros((300, 270), np.int32)
    image[5:20, 5:25] = 1
    image[20:40, 5:25] = 7
    image[250:290, 240:270] = 999
    return image


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    image=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.uint32, np.int64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.integers(0, 200),
    ),
    largest=st.sampled_from([0, 1, 255, 65535, 65536, 2**31 - 1]),
    mpp=st.none() | st.floats(0.01, 20),
    metadata=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values),
)
def test_whatever_is_written_is_read_back(
    tmp_path: Path,
    image: NDArray[Any],
    largest: int,
    mpp: float | None,
    metadata: dict[str, Any],
) -> None:
    if largest <= np.iinfo(image.dtype).max:
        image[-1, -1] = largest
    write_labels(tmp_path / "a.tif", image, mpp=mpp, metadata=metadata)
    loaded = read_labels(tmp_path / "a.tif")
    assert loaded.labels.dtype == np.int32
    np.testing.assert_array_equal(loaded.labels, image)
    assert loaded.mpp == mpp
    assert loaded.metadata == metadata


@pytest.mark.parametrize(("largest", "dtype"), [(65535, np.uint16), (65536, np.uint32)])
def test_other_readers_see_the_same_labels(
    tmp_path: Path, labels: NDArray[np.int32], largest: int, dtype: type
) -> None:
    labels[0, 0] = largest
    path = tmp_path / "a_labels.tif"
    write_labels(path, labels, mpp=0.2468)
    for read in (tifffile.imread, skimage.io.imread):
        found = read(path)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, labels)


def test_the_file_is_a_tiled_ome_tiff_with_its_pixel_size(
    tmp_path: Path, labels: NDArray[np.int32]
) -> None:
    write_labels(tmp_path / "a.tif", labels, mpp=0.2468, metadata={"seed": 3})
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_ome
        page = file.pages[0]
        assert page.is_tiled
        assert page.tile == (256, 256)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        per_cm = page.tags["XResolution"].value
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        assert 1e4 * per_cm[1] / per_cm[0] == pytest.approx(0.2468)
        assert page.tags["YResolution"].value == per_cm
        root = ElementTree.fromstring(file.ome_metadata)
    pixels = root.find("{*}Image/{*}Pixels")
    assert pixels is not None
    assert float(pixels.attrib["PhysicalSizeX"]) == 0.2468
    assert pixels.attrib["PhysicalSizeYUnit"] == "µm"
    reference = root.find("{*}Image/{*}AnnotationRef")
    annotation = root.find("{*}StructuredAnnotations/{*}MapAnnotation")
    assert reference is not None
    assert annotation is not None
    assert reference.attrib["ID"] == annotation.attrib["ID"]


def test_without_a_pixel_size_none_is_invented(tmp_path: Path, labels: NDArray[np.int32]) -> None:
    write_labels(tmp_path / "a.tif", labels)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert "PhysicalSize" not in file.ome_metadata
    assert read_labels(tmp_path / "a.tif").mpp is None


def test_equal_input_gives_equal_bytes(tmp_path: Path, labels: NDArray[np.int32]) -> None:
    metadata = {"b": 1, "a": [0.5, "x"]}
    write_labels(tmp_path / "a.tif", labels, mpp=0.25, metadata=metadata)
    time.sleep(1.1)
    reordered = dict(reversed(metadata.items()))
    write_labels(tmp_path / "b.tif", labels.astype(np.int64), mpp=0.25, metadata=reordered)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    labels[0, 0] = 5
    write_labels(tmp_path / "c.tif", labels, mpp=0.25, metadata=metadata)
    assert (tmp_path / "a.tif").read_bytes() != (tmp_path / "c.tif").read_bytes()


def test_numpy_values_and_paths_may_be_metadata(tmp_path: Path, labels: NDArray[np.int32]) -> None:
    metadata = {"n": np.int64(3), "w": np.array([0.5, 1.0]), "image": Path("x.png")}
    write_labels(tmp_path / "a.tif", labels, metadata=metadata)
    assert read_labels(tmp_path / "a.tif").metadata == {
        "n": 3,
        "w": [0.5, 1.0],
        "image": "x.png",
    }


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((3, 4, 5), int),
        np.zeros((0, 4), int),
        np.zeros((3, 4)),
        np.full((3, 4), -1),
        np.full((3, 4), 2**31),
    ],
)
def test_what_is_no_label_image_is_not_written(tmp_path: Path, bad: NDArray[Any]) -> None:
    with pytest.raises(OutputError, match=r"a\.tif"):
        write_labels(tmp_path / "a.tif", bad)
    assert list(tmp_path.iterdir()) == []


def test_a_senseless_pixel_size_is_not_written(tmp_path: Path, labels: NDArray[np.int32]) -> None:
    with pytest.raises(SettingsError):
        write_labels(tmp_path / "a.tif", labels, mpp=float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_keeps_the_old_labels(
    tmp_path: Path, labels: NDArray[np.int32], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    write_labels(path, labels, metadata={"run": 1})
    old = path.read_bytes()

    def full(writer: tifffile.TiffWriter, *args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    with pytest.raises(OutputError, match="free some space"):
        write_labels(path, labels * 2, metadata={"run": 2})
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint32, np.float32, bool])
def test_foreign_tiffs(tmp_path: Path, labels: NDArray[np.int32], dtype: type) -> None:
    image = np.minimum(labels, 1 if dtype is bool else 200).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image)
    loaded = read_labels(tmp_path / "a.tif")
    np.testing.assert_array_equal(loaded.labels, image.astype(np.int32))
    assert loaded.metadata == {}
    assert loaded.mpp is None


def test_labels_saved_by_napari(tmp_path: Path, labels: NDArray[np.int32]) -> None:
    napari_io = pytest.importorskip("napari.utils.io")
    napari_io.imsave(str(tmp_path / "a.tif"), labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").labels, labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_foreign_pngs(tmp_path: Path, labels: NDArray[np.int32], dtype: type) -> None:
    image = np.minimum(labels, np.iinfo(dtype).max).astype(dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").labels, image)


def test_pngs_of_few_bits_keep_their_numbers(tmp_path: Path) -> None:
    from PIL import Image

    image = (np.indices((40, 50)).sum(0) % 2).astype(np.uint8)
    Image.fromarray(image * 255).convert("1").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").labels, image)


def test_palette_tiffs_are_read_by_their_numbers(tmp_path: Path) -> None:
    image = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50).astype(np.uint8)
    colours = np.random.default_rng(0).integers(0, 65535, (3, 256), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").labels, image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((8, 9), -1, np.int16), "-1"),
        (np.full((8, 9), 2**32 - 1, np.uint32), "renumber"),
        (np.full((8, 9), 0.5, np.float32), "not whole"),
        (np.full((8, 9), np.nan, np.float32), "not whole"),
        (np.full((8, 9), np.inf, np.float32), "inf"),
        (np.zeros((40, 40, 3), np.uint8), "colour picture"),
        (np.zeros((5, 8, 9), np.uint8), "stack of 5"),
    ],
)
def test_foreign_files_that_hold_no_labels(
    tmp_path: Path, image: NDArray[Any], reason: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image)
    with pytest.raises(ImageError, match=reason):
        read_labels(tmp_path / "a.tif")


def test_missing_and_damaged_label_files(tmp_path: Path, labels: NDArray[np.int32]) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read_labels(tmp_path / "a.tif")
    write_labels(tmp_path / "a.tif", labels)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:-20])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        read_labels(tmp_path / "a.tif")
