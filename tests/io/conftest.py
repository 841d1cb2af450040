from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_sprout.io.project import Project


@pytest.fixture(scope="session")
def he() -> NDArray[np.uint8]:
    """Pink and purple blotches, 48 x 64, smooth enough that JPEG changes little."""
    noise = gaussian_filter(np.random.default_rng(3).normal(size=(48, 64)), 3)
    share = ((noise - noise.min()) / np.ptp(noise))[..., None]
    image = share * np.array([236.0, 170.0, 205.0]) + (1 - share) * np.array([88.0, 52.0, 140.0])
    return np.rint(image).astype(np.uint8)


@pytest.fixture(scope="session")
def kinds() -> Callable[[Project], list[str]]:
    """Return the kinds of everything that is written down in a project."""

    def read(project: Project) -> list[str]:
        return [entry["kind"] for entry in project.entries]

    return read
