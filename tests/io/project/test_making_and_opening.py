from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray

from napari_sprout.core.settings import Settings
from napari_sprout.errors import OutputError, ProjectError, SettingsError
from napari_sprout.io import project as project_module
from napari_sprout.io.images import read_image
from napari_sprout.io.project import Project, default_folder


def test_a_new_project_opens_with_all_it_was_given(
    image: Path, kinds: Callable[[Project], list[str]]
) -> None:
    settings = Settings().with_changes(prompts={"negatives": 3}, seed=5)
    loaded = read_image(image)
    with Project.create(image.parent / "mine.sprout", loaded, settings, 0.25) as made:
        assert (made.mpp, made.settings, made.name) == (0.25, settings, "case")
        assert list(made.entries) == []
        assert made.append({"kind": "redo"}) == 1
    with Project.open(image.parent / "mine.sprout") as opened:
        assert opened.facts == made.facts
        assert opened.settings == settings
        assert opened.image.mpp == opened.mpp == 0.25
        assert np.array_equal(opened.image.rgb, loaded.rgb)
        assert kinds(opened) == ["redo"]


def test_the_customary_folder_lies_beside_the_image() -> None:
    assert default_folder("a/case.1.ome.tif") == Path("a/case.1.sprout")


def test_entries_are_added_to_those_from_before(
    folder: Path, kinds: Callable[[Project], list[str]]
) -> None:
    with Project.open(folder) as project:
        assert project.append({"kind": "redo"}) == 3
    with Project.open(folder) as project:
        assert kinds(project) == ["run", "undo", "redo"]


def test_a_project_opens_by_its_file_and_from_inside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Project.open(folder / "project.json") as project:
        assert project.folder == folder
    monkeypatch.chdir(folder)
    with Project.open(".") as project:
        assert len(project.entries) == 2


def test_opening_and_closing_changes_nothing(
    folder: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    before = contents(folder)
    Project.open(folder).close()
    assert contents(folder) == before
    assert sorted(before) == ["journal.jsonl", "lock", "project.json"]


def test_an_existing_project_is_never_made_anew(
    folder: Path, image: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    before = contents(folder)
    with pytest.raises(ProjectError, match="holds a project already; open it"):
        Project.create(folder, read_image(image))
    assert contents(folder) == before


def test_a_folder_with_other_files_is_refused(
    image: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    before = contents(image.parent)
    with pytest.raises(ProjectError, match=r"is not empty \(it holds 'case.png'\)"):
        Project.create(image.parent, read_image(image))
    assert contents(image.parent) == before


def test_a_project_whose_making_was_cut_short_is_made_again(
    image: Path, kinds: Callable[[Project], list[str]]
) -> None:
    folder = default_folder(image)
    folder.mkdir()
    (folder / "journal.jsonl").write_bytes(b"")
    (folder / "lock").write_bytes(b"")
    (folder / ".sprout-0123.json").write_text('{"format"')
    with Project.create(folder, read_image(image)) as project:
        project.append({"kind": "redo"})
    with Project.open(folder) as project:
        assert kinds(project) == ["redo"]


def test_what_cannot_be_written_leaves_no_half_project(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(project_module, "write_facts", full)
        with pytest.raises(OutputError, match="disk is full"):
            Project.create(default_folder(image), read_image(image))
    assert [path.name for path in image.parent.iterdir()] == ["case.png"]
    Project.create(default_folder(image), read_image(image)).close()


def test_a_senseless_pixel_size_is_refused(image: Path) -> None:
    with pytest.raises(SettingsError):
        Project.create(default_folder(image), read_image(image), mpp=-1.0)
    assert not default_folder(image).exists()


def test_an_image_without_a_file_is_refused(image: Path) -> None:
    loaded = replace(read_image(image), path=image.with_name("unsaved.png"))
    with pytest.raises(ProjectError, match="save the image first"):
        Project.create(default_folder(image), loaded)


def test_an_image_that_changed_after_it_was_read_is_refused(
    image: Path, he: NDArray[np.uint8]
) -> None:
    loaded = read_image(image)
    skimage.io.imsave(image, he[::-1])
    with pytest.raises(ProjectError, match="has changed since it was opened"):
        Project.create(default_folder(image), loaded)
    assert not default_folder(image).exists()
