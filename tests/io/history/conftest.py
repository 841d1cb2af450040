from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import skimage.io

from fakes import FakeSegmenter
from napari_sprout.core.correction import Correction
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import synthetic_he
from napari_sprout.io import history
from napari_sprout.io.images import read_image
from napari_sprout.io.project import Project

Begun = tuple[Project, Correction]


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings().with_changes(
        stain={"method": "fixed"},
        features={"tile": 128, "overlap": 0.5},
        suppression={"threshold": 1.0},
    )


@pytest.fixture(scope="session")
def new_fake() -> Callable[[], FakeSegmenter]:
    """Make a segmenter whose masks are so large that neighbours compete."""
    return partial(FakeSegmenter, radius=18.0)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "case.png"
    skimage.io.imsave(path, synthetic_he(shape=(160, 192), n_nuclei=20, seed=11).rgb)
    return path


@pytest.fixture
def make(
    image: Path, tmp_path: Path, settings: Settings, new_fake: Callable[[], FakeSegmenter]
) -> Callable[[], Begun]:
    """Make a project in which nothing has been done yet."""

    def new() -> Begun:
        own = Path(shutil.copy(image, tmp_path))
        project = Project.create(tmp_path / "case.sprout", read_image(own), settings, 0.25)
        session = Session(
            project.image.rgb, project.settings, mpp=project.mpp, segmenter=new_fake()
        )
        return project, Correction(session)

    return new


@pytest.fixture
def begun(make: Callable[[], Begun], finish: Callable[..., None]) -> Begun:
    """A project that has been run."""
    project, correction = make()
    finish(project, correction)
    return project, correction


@pytest.fixture(scope="session")
def finish() -> Callable[..., None]:
    """Run a project to the end, or as far as a stage."""

    def run(project: Project, correction: Correction, until: Stage = Stage.NUCLEI) -> None:
        for _ in history.run(project, correction, until):
            pass

    return run


@pytest.fixture(scope="session")
def replayed(new_fake: Callable[[], FakeSegmenter]) -> Callable[[Project], Correction]:
    """Do everything in a project again."""

    def replay(project: Project) -> Correction:
        return history.replay(project, segmenter=new_fake())

    return replay


@pytest.fixture(scope="session")
def everything() -> Callable[[Correction], dict[str, Any]]:
    """Return all that a person sees of a correction, to be compared bit by bit."""

    def describe(correction: Correction) -> dict[str, Any]:
        return {
            "labels": correction.labels.tobytes(),
            "nuclei": correction.measure(),
            "prompts": dict(correction.prompts),
            "pinned": correction.pinned,
            "locked": correction.locked,
            "settings": correction.session.settings,
            "painted": len(correction.session.painted),
            "undo": (correction.can_undo, correction.can_redo),
        }

    return describe


@pytest.fixture(scope="session")
def largest() -> Callable[..., list[int]]:
    """Return the identifiers of the largest nuclei."""

    def find(correction: Correction, count: int = 1) -> list[int]:
        areas = correction.areas
        found: list[int] = sorted(areas, key=lambda i: (-areas[i], i))[:count]
        return found

    return find
