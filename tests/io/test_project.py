from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray

from napari_sprout.core.settings import Settings
from napari_sprout.errors import OutputError, ProjectError, SettingsError, SproutWarning
from napari_sprout.io import project as project_module
from napari_sprout.io.images import read_image
from napari_sprout.io.project import Project, default_folder

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX only")


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


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kinds(project: Project) -> list[str]:
    return [entry["kind"] for entry in project.entries]


# Making and opening


def test_a_new_project_opens_with_all_it_was_given(image: Path) -> None:
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


def test_entries_are_added_to_those_from_before(folder: Path) -> None:
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


def test_opening_and_closing_changes_nothing(folder: Path) -> None:
    before = contents(folder)
    Project.open(folder).close()
    assert contents(folder) == before
    assert sorted(before) == ["journal.jsonl", "lock", "project.json"]


def test_an_existing_project_is_never_made_anew(folder: Path, image: Path) -> None:
    before = contents(folder)
    with pytest.raises(ProjectError, match="holds a project already; open it"):
        Project.create(folder, read_image(image))
    assert contents(folder) == before


def test_a_folder_with_other_files_is_refused(image: Path) -> None:
    before = contents(image.parent)
    with pytest.raises(ProjectError, match=r"is not empty \(it holds 'case.png'\)"):
        Project.create(image.parent, read_image(image))
    assert contents(image.parent) == before


def test_a_project_whose_making_was_cut_short_is_made_again(image: Path) -> None:
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


# The image, found and checked


def test_a_project_moved_with_its_image_opens(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "deep"
    shutil.move(folder.parent, moved)
    with Project.open(moved / folder.name) as project:
        assert project.image.path == moved / "case.png"


def test_a_project_moved_alone_finds_its_image_where_it_was(
    folder: Path, image: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / "mine.sprout"
    shutil.move(folder, moved)
    with Project.open(moved) as project:
        assert project.image.path == image


def test_an_image_put_beside_the_project_is_found(
    folder: Path, image: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / "deep" / "mine.sprout"
    shutil.move(folder, moved)
    shutil.move(image, moved.parent / image.name)
    # As seen from the new place, the old relative name happens to be the same file.
    with Project.open(moved) as project:
        assert project.image.path == moved.parent / image.name


def test_an_image_from_another_folder_is_found_beside_the_project(
    image: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "projects" / "mine.sprout"
    Project.create(folder, read_image(image)).close()
    shutil.move(image, folder.parent / image.name)
    with Project.open(folder) as project:
        assert project.image.path == folder.parent / image.name


def test_the_original_is_preferred_to_another_image_of_its_name(
    folder: Path, image: Path, tmp_path: Path, he: NDArray[np.uint8]
) -> None:
    moved = tmp_path / "elsewhere" / "mine.sprout"
    shutil.move(folder, moved)
    skimage.io.imsave(moved.parent / image.name, he[::-1])
    with Project.open(moved) as project:
        assert project.image.path == image


def test_an_image_can_be_pointed_at(folder: Path, image: Path, tmp_path: Path) -> None:
    place = tmp_path / "renamed.png"
    shutil.move(image, place)
    with Project.open(folder, place) as project:
        assert project.image.path == place


def test_a_missing_image_is_named_with_what_to_do(folder: Path, image: Path) -> None:
    image.unlink()
    with pytest.raises(ProjectError, match=r"put 'case\.png' beside the project") as caught:
        Project.open(folder)
    assert str(image) in str(caught.value)


def changed_pixel(image: Path, he: NDArray[np.uint8]) -> None:
    he[20, 30, 1] ^= 1
    skimage.io.imsave(image, he)


def other_size(image: Path, he: NDArray[np.uint8]) -> None:
    skimage.io.imsave(image, he[:-1])


def same_bytes_in_another_shape(image: Path, he: NDArray[np.uint8]) -> None:
    skimage.io.imsave(image, he.reshape(he.shape[1], he.shape[0], 3))


def no_image(image: Path, _: NDArray[np.uint8]) -> None:
    image.write_bytes(b"nothing")


@pytest.mark.parametrize(
    "change", [changed_pixel, other_size, same_bytes_in_another_shape, no_image]
)
def test_an_image_whose_content_changed_is_refused_and_nothing_is_overwritten(
    folder: Path,
    image: Path,
    he: NDArray[np.uint8],
    change: Callable[[Path, NDArray[np.uint8]], None],
) -> None:
    change(image, he.copy())
    before, file = contents(folder), image.read_bytes()
    with pytest.raises(ProjectError, match="has changed since the project") as caught:
        Project.open(folder)
    assert str(image) in str(caught.value)
    assert str(folder) in str(caught.value)
    assert (contents(folder), image.read_bytes()) == (before, file)
    # Nor is the project left locked.
    skimage.io.imsave(image, he)
    Project.open(folder).close()


def test_an_image_stored_differently_with_equal_pixels_is_the_same(
    folder: Path, image: Path, he: NDArray[np.uint8]
) -> None:
    before = image.read_bytes()
    image.write_bytes(imagecodecs.png_encode(he, level=0))
    assert image.read_bytes() != before
    with Project.open(folder) as project:
        assert np.array_equal(project.image.rgb, he)


# Damage


def test_an_unfinished_last_line_costs_itself_alone(folder: Path) -> None:
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


# One at a time

HOLDER = """
import os, sys
from napari_sprout.io.project import Project
project = Project.open(sys.argv[1])
print(project.append({"kind": "redo"}), flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Open the project in another process, which has added an entry."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "3\n"
        yield process
        process.kill()


def test_a_project_open_in_another_process_is_refused_until_that_is_killed(folder: Path) -> None:
    with held_elsewhere(folder) as process:
        before = contents(folder)
        with pytest.raises(ProjectError, match=f"process {process.pid}") as caught:
            Project.open(folder)
        assert "close it there" in str(caught.value)
        assert contents(folder) == before
        process.kill()
        process.wait()
        # What the killed process leaves is taken over, its entries included.
        assert json.loads((folder / "lock").read_bytes())["pid"] == process.pid
        with Project.open(folder) as project:
            assert kinds(project) == ["run", "undo", "redo"]
            assert json.loads((folder / "lock").read_bytes()) == {
                "pid": os.getpid(),
                "host": socket.gethostname(),
            }


def test_a_project_open_in_this_process_is_refused_until_it_is_closed(folder: Path) -> None:
    project = Project.open(folder)
    with pytest.raises(ProjectError, match="open already in this program"):
        Project.open(folder)
    project.append({"kind": "redo"})
    project.close()
    Project.open(folder).close()


def test_a_project_open_elsewhere_can_be_read_and_not_written(folder: Path) -> None:
    with Project.open(folder) as writer, Project.open(folder, read_only=True) as reader:
        writer.append({"kind": "redo"})
        assert kinds(reader) == ["run", "undo"]
        with pytest.raises(ProjectError, match="not open for writing"):
            reader.append({"kind": "redo"})
    assert len(Project.open(folder, read_only=True).entries) == 3


@posix
def test_reading_needs_no_permission_to_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}
    opened = os.open

    def reading_alone(path: str, flags: int, *rest: object, **names: object) -> int:
        if str(path).startswith(str(folder)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *rest, **names)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", reading_alone)
    Project.open(folder, read_only=True).close()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(OutputError, match="permission was denied"):
        Project.open(folder)


def test_a_lock_left_by_another_computer_is_respected(folder: Path) -> None:
    lock = folder / "lock"
    lock.write_text(json.dumps({"pid": 1, "host": "pathology-pc-7"}))
    with pytest.raises(ProjectError, match="open on the computer 'pathology-pc-7'") as caught:
        Project.open(folder)
    assert f"delete '{lock}'" in str(caught.value)
    lock.unlink()
    Project.open(folder).close()


@pytest.mark.parametrize("left", [b"", b"\0\0\0", b"[]", b'{"pid": "a"}'])
def test_a_senseless_lock_file_locks_nobody_out(folder: Path, left: bytes) -> None:
    (folder / "lock").write_bytes(left)
    Project.open(folder).close()


@posix
def test_on_a_drive_without_locks_the_named_process_decides(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with held_elsewhere(folder) as process:
        with pytest.raises(ProjectError, match=f"process {process.pid}"):
            Project.open(folder)
        process.kill()
        process.wait()
        Project.open(folder).close()
