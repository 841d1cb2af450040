from __future__ import annotations

import pytest

from napari_sprout.errors import SproutError
from napari_sprout.io.pairing import find_annotated


@pytest.fixture
def folder(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    return make


def test_images_are_found_with_the_labels_beside_them(folder):
    found = find_annotated(
        folder(
            *("b.png", "b_labels.tif", "a.ome.tif", "a_GT.png", "c.jpg", "c_mask.tiff"),
            *("alone.png", "lone_labels.tif", "b_overlay.png", ".a_labels.tif", "notes.txt"),
        )
    )
    assert [(f.name, f.image.name, f.truth.name) for f in found] == [
        ("a", "a.ome.tif", "a_GT.png"),
        ("b", "b.png", "b_labels.tif"),
        ("c", "c.jpg", "c_mask.tiff"),
    ]


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (("a.png", "a.tif", "a_labels.tif"), "images of this name (a.png, a.tif)"),
        (("a.png", "a_gt.png", "a_labels.tif"), "label images of this name (a_gt.png, a_labels"),
    ],
)
def test_several_files_for_one_image_are_not_guessed_between(folder, names, listed):
    with pytest.raises(SproutError) as caught:
        find_annotated(folder(*names))
    assert listed in str(caught.value)


def test_a_folder_without_pairs_says_how_to_name_files(folder, tmp_path):
    with pytest.raises(SproutError, match=r"case1_labels\.tif"):
        find_annotated(folder("a.png", "b_labels.tif"))
    with pytest.raises(SproutError, match="not a folder"):
        find_annotated(tmp_path / "a.png")
