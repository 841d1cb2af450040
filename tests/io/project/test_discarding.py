from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_sprout.errors import ProjectError
from napari_sprout.io.images import read_image
from napari_sprout.io.project import Project, default_folder


def test_a_new_project_in_which_nothing_was_done_leaves_nothing_behind(image: Path) -> None:
    made = Project.create(default_folder(image), read_image(image))
    made.discard()
    assert list(image.parent.iterdir()) == [image]
    with pytest.raises(ProjectError, match="not open"):
        made.append({"kind": "undo"})
    # Twice does no harm, and the place is free.
    made.discard()
    Project.create(default_folder(image), read_image(image)).close()


def test_what_was_done_is_never_discarded(
    folder: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    before = contents(folder)
    Project.open(folder).discard()
    assert contents(folder) == before
    Project.open(folder).close()


def test_what_others_put_beside_it_stays(image: Path) -> None:
    made = Project.create(default_folder(image), read_image(image))
    (made.folder / "notes.txt").write_text("mine")
    made.discard()
    assert [path.name for path in made.folder.iterdir()] == ["notes.txt"]
