from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image

from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.errors import ImageError, ProjectError
from napari_sprout.io.images import read_image
from napari_sprout.io.overlay import write_png
from napari_sprout.io.project import Project
from napari_sprout.napari_.sample_data import hgsc_nest
from napari_sprout.qt.earlier import earlier_work
from napari_sprout.qt.keeping import copy_project, data_folder, new_project
from napari_sprout.qt.log import LOGGER, explained, log_path


@pytest.fixture
def file(tmp_path: Path, synthetic: SyntheticImage) -> Path:
    path = tmp_path / "images" / "case 12.png"
    path.parent.mkdir()
    write_png(path, synthetic.rgb)
    return path


def opened(path: Path) -> Image:
    return Image(read_image(path).rgb, rgb=True, metadata={"path": str(path)})


def test_work_is_kept_beside_the_image_and_found_again(file: Path) -> None:
    layer = opened(file)
    assert earlier_work(layer) is None
    settings = Settings(seed=3)
    with new_project(layer, 0.4, settings) as project:
        assert project.folder == file.with_name("case 12.sprout").resolve()
        assert (project.mpp, project.settings) == (0.4, settings)
        assert np.array_equal(project.image.rgb, layer.data)
    assert earlier_work(opened(file)) == file.with_name("case 12.sprout")


def test_starting_anew_leaves_earlier_work_alone(file: Path) -> None:
    first = new_project(opened(file), None, Settings())
    second = new_project(opened(file), None, Settings())
    assert second.folder.name == "case 12-2.sprout"
    for project in (first, second):
        project.close()
    assert earlier_work(opened(file)) == second.folder
    assert first.folder.is_dir()


def test_samples_and_protected_folders_are_not_written_to(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, options, _ = hgsc_nest()[0]
    sample = Image(data, **options)
    with new_project(sample, 0.5, Settings()) as project:
        assert project.folder.is_relative_to(home)
    assert earlier_work(sample) == project.folder
    # Tests may run as root, who may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with new_project(opened(file), None, Settings()) as project:
        assert project.folder.is_relative_to(home)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("edited", [True, False])
def test_an_image_that_no_file_holds_is_written_to_one(
    file: Path, synthetic: SyntheticImage, edited: bool
) -> None:
    rgb = synthetic.rgb.copy()
    rgb[0, 0] = 1, 2, 3
    layer = Image(rgb, rgb=True, metadata={"path": str(file)} if edited else {})
    with new_project(layer, None, Settings()) as project:
        assert project.folder.parent == data_folder()
        assert project.image.path.parent == data_folder()
    with Project.open(project.folder) as again:
        assert np.array_equal(again.image.rgb, rgb)


def test_what_is_no_colour_image_is_refused() -> None:
    with pytest.raises(ImageError, match="not a colour image"):
        new_project(Image(np.zeros((64, 64))), None, Settings())


def test_a_copy_opens_with_the_same_entries(file: Path, tmp_path: Path) -> None:
    with new_project(opened(file), None, Settings()) as project:
        project.append({"kind": "reviewed", "id": 1})
        copy_project(project, tmp_path / "deep" / "copy.sprout")
        project.append({"kind": "reviewed", "id": 2})
        with Project.open(tmp_path / "deep" / "copy.sprout") as copy:
            assert [entry["id"] for entry in copy.entries] == [1]
            assert np.array_equal(copy.image.rgb, project.image.rgb)
        with pytest.raises(ProjectError, match="exists already"):
            copy_project(project, tmp_path / "deep" / "copy.sprout")


def test_an_unexpected_error_becomes_a_sentence_and_a_traceback_in_the_log() -> None:
    def fault() -> None:
        raise ValueError("shapes differ")

    try:
        fault()
    except ValueError as error:
        said = str(explained(error))
    for handler in LOGGER.handlers:
        handler.flush()
    assert str(log_path()) in said
    assert "shapes differ" not in said
    text = log_path().read_text()
    assert "in fault" in text
    assert "shapes differ" in text


def test_an_error_made_for_people_speaks_for_itself() -> None:
    error = ImageError("The image is too small.")
    assert explained(error) is error


@pytest.fixture(autouse=True)
def _closed_log() -> object:
    yield
    for handler in list(LOGGER.handlers):
        if isinstance(handler, logging.FileHandler):
            handler.close()
            LOGGER.removeHandler(handler)
