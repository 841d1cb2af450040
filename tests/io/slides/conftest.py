from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_sprout.io.slides.protocol import Slide
from slide_files import (
    Rgb,
    expected,
    pattern,
    pyramid,
    write_dicom,
    write_ome_tiff,
    write_ome_zarr,
    write_svs,
    write_tiff,
)

MPP = 0.5
LOSSLESS = ["none", "deflate", "lzw", "zstd", "lossless jpeg2000"]


@pytest.fixture(scope="session")
def levels() -> list[Rgb]:
    """Return a pyramid whose sides are whole multiples of nothing."""
    return pyramid(pattern(301, 402))


WRITERS: dict[str, Callable[[Path, list[Rgb]], None]] = {
    "generic.tif": lambda path, levels: write_tiff(
        path, levels, resolution=(2e4, 2e4), resolutionunit="CENTIMETER"
    ),
    "big.btf": lambda path, levels: write_tiff(
        path, levels, bigtiff=True, resolution=(2e4, 2e4), resolutionunit="CENTIMETER"
    ),
    "slide.ome.tif": lambda path, levels: write_ome_tiff(path, levels, MPP),
    "slide.svs": lambda path, levels: write_svs(path, levels, MPP),
    "dicom": lambda path, levels: write_dicom(path, levels, MPP),
    "v04.zarr": lambda path, levels: write_ome_zarr(path, levels, MPP, "0.4"),
    "v05.zarr": lambda path, levels: write_ome_zarr(path, levels, MPP, "0.5"),
}


@pytest.fixture(scope="session", params=WRITERS)
def written(request, levels, tmp_path_factory) -> Path:
    """Return the path of a slide of each format that can be written here."""
    path = tmp_path_factory.mktemp("slides") / request.param
    WRITERS[request.param](path, levels)
    return path


def assert_holds(slide: Slide, levels: list[Rgb]) -> None:
    """Check every pixel of every level, and some around them."""
    assert [one.shape for one in slide.levels] == [level.shape[:2] for level in levels]
    for i, level in enumerate(levels):
        region = (-3, -5, level.shape[0] + 9, level.shape[1] + 7)
        np.testing.assert_array_equal(slide.read(i, *region), expected(level, *region))
