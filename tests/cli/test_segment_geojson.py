from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_sprout.io.geojson_reader import read_geojson
from napari_sprout.io.labels import read_labels


@pytest.fixture
def image(write: Callable[..., Path], tissue: NDArray[np.uint8]) -> Path:
    return write("case.png", tissue)


def test_outlines_for_qupath_hold_exactly_the_labels(run, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("segment", image, "-o", out, "--mpp", "0.5", "--geojson").exit_code == 0
    labels = read_labels(out / "case_labels.tif").labels
    assert labels.any()
    assert np.array_equal(read_geojson(out / "case_nuclei.geojson", labels.shape), labels)


def test_an_image_without_its_outlines_is_not_finished(run, blank, tmp_path: Path) -> None:
    path, out = blank(), tmp_path / "out"
    assert run("segment", path, "-o", out).exit_code == 0
    assert not (out / "blank_nuclei.geojson").exists()
    assert "skipped" in run("segment", path, "-o", out).stderr
    assert run("segment", path, "-o", out, "--geojson").exit_code == 0
    assert (out / "blank_nuclei.geojson").exists()
    assert "skipped" in run("segment", path, "-o", out, "--geojson").stderr
