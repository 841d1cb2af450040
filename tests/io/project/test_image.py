from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray

from napari_sprout.errors import ProjectError
from napari_sprout.io.images import read_image
from napari_sprout.io.project import Project


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
    contents: Callable[[Path], dict[str, bytes]],
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
