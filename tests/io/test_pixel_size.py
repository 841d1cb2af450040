from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_sprout.errors import SettingsError
from napari_sprout.io.images import read_image

Rgb = NDArray[np.uint8]


def tiff_mpp(path: Path, he: Rgb, **options: Any) -> float | None:
    tifffile.imwrite(path, he, photometric="rgb", **options)
    return read_image(path).mpp


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [
        (0.2468, "µm", 0.2468),
        (0.2468, None, 0.2468),
        (251.5, "nm", 0.2515),
        (0.0005, "mm", 0.5),
        (0.25, "pixel", None),
        (0.0, "µm", None),
        (1000.0, "µm", None),
    ],
)
def test_ome_physical_size(
    tmp_path: Path, he: Rgb, size: float, unit: str | None, expected: float | None
) -> None:
    ome: dict[str, Any] = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size}
    if unit:
        ome |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    found = tiff_mpp(tmp_path / "a.ome.tif", he, metadata=ome)
    assert found == (None if expected is None else pytest.approx(expected))


def test_pixels_that_are_not_square_keep_their_area(tmp_path: Path, he: Rgb) -> None:
    ome = {"axes": "YXS", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.8}
    assert tiff_mpp(tmp_path / "a.ome.tif", he, metadata=ome) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("per_unit", "unit", "expected"),
    [
        (40000.0, "CENTIMETER", 0.25),
        (25400 / 0.5, "INCH", 0.5),
        (72.0, "INCH", None),
        (96.0, "INCH", None),
        (300.0, "INCH", None),
        (28.35, "CENTIMETER", None),
        (1.0, "CENTIMETER", None),
        (4.0, "NONE", None),
        (1e8, "CENTIMETER", None),
    ],
)
def test_tiff_resolution(
    tmp_path: Path, he: Rgb, per_unit: float, unit: str, expected: float | None
) -> None:
    found = tiff_mpp(tmp_path / "a.tif", he, resolution=(per_unit, per_unit), resolutionunit=unit)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-5))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("micron", 0.25), ("um", 0.25), ("\\u00B5m", 0.25), ("nm", None), ("pixel", None), ("", None)],
)
def test_imagej_unit(tmp_path: Path, he: Rgb, unit: str, expected: float | None) -> None:
    metadata = {"unit": unit} if unit else {}
    found = tiff_mpp(tmp_path / "a.tif", he, imagej=True, resolution=(4, 4), metadata=metadata)
    assert found == expected


def test_aperio_description(tmp_path: Path, he: Rgb) -> None:
    text = "Aperio Image Library v10.0\n46920x33014|AppMag = 40|MPP = 0.2520|Left = 25.6"
    assert tiff_mpp(tmp_path / "a.tif", he, description=text, metadata=None) == 0.252


def test_without_any_statement_the_size_is_unknown(tmp_path: Path, he: Rgb) -> None:
    assert tiff_mpp(tmp_path / "a.tif", he) is None
    cv2.imwrite(str(tmp_path / "a.png"), he)
    assert read_image(tmp_path / "a.png").mpp is None


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize(
    ("dpi", "expected"), [(25400 / 0.5, 0.5), (72, None), (96, None), (300, None)]
)
def test_png_and_jpeg_density(
    tmp_path: Path, he: Rgb, name: str, dpi: float, expected: float | None
) -> None:
    Image.fromarray(he).save(tmp_path / name, dpi=(dpi, dpi))
    found = read_image(tmp_path / name).mpp
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-3))


def test_a_size_given_by_hand_wins(tmp_path: Path, he: Rgb) -> None:
    path = tmp_path / "a.tif"
    assert tiff_mpp(path, he, resolution=(4e4, 4e4), resolutionunit="CENTIMETER") == 0.25
    loaded = read_image(path, mpp=1)
    assert loaded.mpp == 1.0
    assert isinstance(loaded.mpp, float)


@pytest.mark.parametrize("mpp", [0, -0.25, float("nan"), float("inf"), True, "0.25", 250])
def test_a_senseless_size_given_by_hand_is_refused(tmp_path: Path, he: Rgb, mpp: Any) -> None:
    Image.fromarray(he).save(tmp_path / "a.png")
    with pytest.raises(SettingsError, match="pixel size"):
        read_image(tmp_path / "a.png", mpp=mpp)
