from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray

from napari_sprout.io.images import read_image
from napari_sprout.io.project import Project, default_folder


@pytest.fixture
def image(tmp_path: Path, he: NDArray[np.uint8]) -> Path:
    path = tmp_path / "study" / "case.png"
    path.parent.mkdir()
    skimage.io.imsave(path, he)
    return path


@pytest.fixture
def folder(image: Path) -> Path:
    """A closed project with two entries."""
    with Project.create(default_folder(image), read_image(image), mpp=0.5) as project:
        project.append({"kind": "run", "settings": {}})
        project.append({"kind": "undo"})
    return project.folder


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Return the files of a folder, byte by byte."""

    def read(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return read
