from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes import FakeSegmenter
from napari_sprout.core.synthetic import SyntheticImage, synthetic_he

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that open windows in one process: two windows would take each other's keys."""
    for item in items:
        if {"qt", "napari_"} & set(item.path.parts):
            item.add_marker(pytest.mark.xdist_group("windows"))


def _found(folder: Path, what: str) -> Path:
    if folder.is_dir():
        return folder
    reason = f"{what} are missing at {folder}"
    # A skipped comparison must not look like a passed one where it is meant to run.
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def monuseg_dev() -> Path:
    folder = os.environ.get("NAPARI_SPROUT_DEV_DATA")
    path = Path(folder) if folder else SHARED / "monuseg_dev"
    return _found(path, "Annotated images (set NAPARI_SPROUT_DEV_DATA to their folder)")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    folder = os.environ.get("NAPARI_SPROUT_REFERENCE")
    path = Path(folder) if folder else SHARED / "reference"
    return _found(path, "Reference results (set NAPARI_SPROUT_REFERENCE to their folder)")


@pytest.fixture(scope="session")
def synthetic() -> SyntheticImage:
    return synthetic_he(shape=(192, 224), n_nuclei=20, seed=7)


@pytest.fixture(scope="session")
def fake_type() -> type[FakeSegmenter]:
    return FakeSegmenter
