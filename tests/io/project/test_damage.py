from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_sprout.errors import ProjectError, SproutWarning
from napari_sprout.io.images import read_image
from napari_sprout.io.project import Project


def test_an_unfinished_last_line_costs_itself_alone(
    folder: Path, kinds: Callable[[Project], list[str]]
) -> None:
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    with pytest.warns(SproutWarning, match="all 1 entries before it are kept"):
        project = Project.open(folder)
    assert kinds(project) == ["run"]
    project.append({"kind": "redo"})
    project.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kinds(Project.open(folder)) == ["run", "redo"]


@pytest.mark.filterwarnings("error::napari_sprout.errors.SproutWarning")
def test_a_listener_is_told_of_an_unfinished_line(folder: Path) -> None:
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    told: list[str] = []
    Project.open(folder, tell=told.append).close()
    (text,) = told
    assert "all 1 entries before it are kept" in text


def test_a_journal_that_is_missing_or_of_another_project_is_refused(
    folder: Path, image: Path
) -> None:
    journal = folder / "journal.jsonl"
    with Project.create(image.parent / "other.sprout", read_image(image)) as other:
        other.append({"kind": "run", "settings": {}})
    shutil.copy(other.folder / "journal.jsonl", journal)
    with pytest.raises(ProjectError, match="Line 1 of 1"):
        Project.open(folder)
    journal.unlink()
    with pytest.raises(ProjectError, match="is missing"):
        Project.open(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: text.replace('"mpp": 0.5', '"mpp": 0.6'),
        lambda text: text.replace('"version": 1', '"version": "1"'),
    ],
)
def test_a_damaged_project_file_is_named(folder: Path, damage: Callable[[str], str]) -> None:
    path = folder / "project.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(ProjectError, match="damaged; restore it from a backup") as caught:
        Project.open(folder)
    assert str(path) in str(caught.value)


def test_a_project_of_a_later_version_is_refused_as_such(folder: Path) -> None:
    path = folder / "project.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "version": 2, "software": "napari-sprout 9.1"}))
    with pytest.raises(ProjectError, match=r"later version of this program \(napari-sprout 9\.1\)"):
        Project.open(folder)


def test_what_is_no_project_is_refused(tmp_path: Path, image: Path) -> None:
    with pytest.raises(ProjectError, match="does not exist"):
        Project.open(tmp_path / "none.sprout")
    with pytest.raises(ProjectError, match="is not a project"):
        Project.open(image.parent)
    with pytest.raises(ProjectError, match="is not a project"):
        Project.open(image)
