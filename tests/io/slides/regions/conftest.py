from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from array_slide import ArraySlide
from napari_sprout.core.correction import Correction
from napari_sprout.core.instances import Box
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import synthetic_he
from napari_sprout.io import history
from napari_sprout.io.images import read_image
from napari_sprout.io.project import Project, default_folder
from napari_sprout.io.slides.regions import RegionsFacts, SlideRegions, default_slide_folder

WorkOn = Callable[..., tuple[Project, Correction]]


@pytest.fixture(scope="session")
def quick() -> Settings:
    return Settings().with_changes(
        stain={"method": "fixed"}, features={"tile": 128}, prompts={"source": "stain"}
    )


@pytest.fixture
def slide(tmp_path: Path) -> ArraySlide:
    rgb = synthetic_he(shape=(256, 384), n_nuclei=60, seed=5).rgb
    return ArraySlide(np.ascontiguousarray(rgb), tmp_path / "case.svs")


@pytest.fixture
def regions(slide: ArraySlide) -> SlideRegions:
    return SlideRegions.at([default_slide_folder(slide.path)], RegionsFacts.of(slide, 0.25))


@pytest.fixture
def work_on(slide: ArraySlide, regions: SlideRegions, quick: Settings, fake_type: Any) -> WorkOn:
    """Make a region and its project, and run it."""

    def work(box: Box, *, run: bool = True) -> tuple[Project, Correction]:
        region = regions.region(box)
        if not region.image.exists():
            for _ in regions.add(slide, box):
                pass
        folder = region.project or default_folder(region.image)
        exists = folder.exists()
        project = (
            Project.open(folder)
            if exists
            else Project.create(folder, read_image(region.image), quick)
        )
        session = Session(
            project.image.rgb, project.settings, mpp=project.mpp, segmenter=fake_type()
        )
        correction = Correction(session)
        if exists:
            for _ in history.replaying(project, correction):
                pass
        elif run:
            for _ in history.run(project, correction):
                pass
        return project, correction

    return work
