"""What waits for a run when the program is killed: it is as if a copy of the folder were opened."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tifffile

from napari_sprout.io.images import read_image
from napari_sprout.io.project import Project


@pytest.fixture
def project(tmp_path: Path, synthetic, quick) -> Any:
    path = tmp_path / "tissue.tif"
    tifffile.imwrite(path, synthetic.rgb)
    made = Project.create(tmp_path / "tissue.sprout", read_image(path), quick)
    yield made
    made.close()


@pytest.fixture
def slow(open_session, later, project) -> Any:
    """A session with a result, whose work is done when the test says so."""
    opened = open_session(run=False, submit=later, project=project)
    opened.control.run()
    later.finish()
    opened.check()
    return opened


@pytest.fixture
def crash(tmp_path: Path, project) -> Callable[[], Path]:
    """Return a copy of the project as it would be if the program died now."""
    count = iter(range(1000))

    def copy() -> Path:
        folder = tmp_path / f"crash-{next(count)}.sprout"
        shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns("lock"))
        return folder

    return copy


@pytest.fixture
def bring_back(open_session, viewer, synthetic) -> Iterator[Callable[..., Any]]:
    """Open a project folder and do everything in it again."""
    projects: list[Project] = []

    def back(folder: Path, restore: bool = True, **options: Any) -> Any:
        projects.append(Project.open(folder))
        layer = viewer.add_image(synthetic.rgb, rgb=True)
        opened = open_session(layer, run=False, project=projects[-1], **options)
        if restore:
            opened.control.restore()
        return opened

    yield back
    for project in projects:
        project.close()
