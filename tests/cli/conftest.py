from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from napari_sprout.cli.main import app
from napari_sprout.models import weights
from napari_sprout.models.sam import SamSegmenter
from napari_sprout.samples import sample_paths

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests' own environment says of colours and errors must not matter."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NAPARI_SPROUT_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def segmenter() -> SamSegmenter:
    return weights.load_segmenter(device="cpu")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, segmenter: SamSegmenter) -> Run:
    """Run the command line in this process, with a model that is loaded once for all tests."""
    monkeypatch.setattr(weights, "load_segmenter", lambda *_: segmenter)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture(scope="session")
def tissue() -> NDArray[np.uint8]:
    """A piece of the sample with a dozen clear nuclei, 160 x 144 px."""
    return np.ascontiguousarray(skimage.io.imread(sample_paths()[0])[150:310, 150:294])


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, NDArray[np.uint8]], Path]:
    def write_image(name: str, image: NDArray[np.uint8]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        skimage.io.imsave(path, image, check_contrast=False)
        return path

    return write_image


@pytest.fixture
def blank(write: Callable[[str, NDArray[np.uint8]], Path]) -> Callable[..., Path]:
    """Write bare glass: an image that is segmented at once, since nothing is encoded."""

    def write_blank(name: str = "blank.png", value: int = 245) -> Path:
        return write(name, np.full((64, 80, 3), value, np.uint8))

    return write_blank
