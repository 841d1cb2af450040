from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes import FakeSegmenter
from napari_sprout.core.loaded import LoadedModels
from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import synthetic_he
from napari_sprout.io.overlay import write_png
from napari_sprout.io.slides.source import SlideSource
from napari_sprout.io.whole_slide.executors import InProcess
from napari_sprout.io.whole_slide.run import SlideOrder, segment_slide

TILE_UM = 64.0


def fake_models(device: str) -> LoadedModels:
    return LoadedModels("cpu", segmenter=FakeSegmenter(radius=9.0))


@pytest.fixture(scope="session")
def tissue() -> np.ndarray:
    """An image of 600 x 700 px: three by three tiles of 256 px."""
    return synthetic_he(shape=(600, 700), n_nuclei=220, seed=11).rgb


@pytest.fixture(scope="session")
def slide_path(tissue: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "case 7.png"
    write_png(path, tissue)
    return path


def order_for(path: Path, output: Path) -> SlideOrder:
    # The quickest of everything that has no part in how tiles are joined.
    settings = Settings().with_changes(
        features={"tile": 192},
        stain={"method": "fixed"},
        transport={"rho_step": 0.4},
        activation={"downsample": 4, "crf_iterations": 1},
        prompts={"regions": "single"},
    )
    return SlideOrder(
        SlideSource(path, 0.25),
        output,
        settings,
        "cpu",
        tile_um=TILE_UM,
        models=fake_models,
    )


@pytest.fixture
def order(slide_path: Path, tmp_path: Path) -> SlideOrder:
    return order_for(slide_path, tmp_path / "out")


@pytest.fixture(scope="session")
def whole(slide_path: Path, tmp_path_factory: pytest.TempPathFactory) -> SlideOrder:
    """The slide finished in one go, its work kept; not to be changed."""
    order = replace(order_for(slide_path, tmp_path_factory.mktemp("whole")), keep_work=True)
    segment_slide(order, lambda tiles: InProcess())
    return order
