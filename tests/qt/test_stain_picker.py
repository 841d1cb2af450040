from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_sprout.core.stain import StainVectors, vectors_from_pixels
from napari_sprout.qt.stain_picker import STEPS, StainPicker, mean_colour

NUCLEUS, PINK, GLASS = (70, 40, 130), (230, 120, 190), (250, 250, 250)


class Picking:
    def __init__(self) -> None:
        rgb = np.full((40, 90, 3), GLASS, np.uint8)
        rgb[:, :30], rgb[:, 30:60] = NUCLEUS, PINK
        self.viewer = ViewerModel()
        self.layer: Image = self.viewer.add_image(rgb, scale=(0.5, 0.5), translate=(7, 3))
        self.viewer.add_points(np.zeros((0, 2)))
        self.picker = StainPicker(self.viewer, self.layer)
        self.asked: list[str] = []
        self.picked: list[StainVectors] = []
        self.ended: list[str] = []
        self.picker.asked.connect(self.asked.append)
        self.picker.picked.connect(self.picked.append)
        self.picker.ended.connect(self.ended.append)

    def click(self, y: float, x: float) -> None:
        self.picker.take(tuple(self.layer.data_to_world((y, x))))


@pytest.fixture
def picking() -> Picking:
    return Picking()


def test_two_clicks_give_the_colours_of_the_pixels_under_them(picking: Picking) -> None:
    picking.picker.start()
    assert picking.viewer.layers.selection.active is picking.layer
    picking.click(15, 10)
    picking.click(15, 45)
    assert picking.asked == list(STEPS)
    assert picking.picked == [vectors_from_pixels(NUCLEUS, PINK)]
    assert picking.ended == []
    assert not picking.picker.active
    assert picking.layer.mouse_drag_callbacks == []


def test_a_click_beside_the_image_does_not_count(picking: Picking) -> None:
    picking.picker.start()
    picking.click(-20, 10)
    picking.click(15, 10)
    picking.click(15, 900)
    picking.click(15, 45)
    assert len(picking.picked) == 1


def test_glass_is_refused_in_a_sentence(picking: Picking) -> None:
    picking.picker.start()
    picking.click(15, 10)
    picking.click(15, 80)
    assert picking.picked == []
    assert "glass" in picking.ended[0]
    assert not picking.picker.active


def test_giving_up_or_closing_the_image_ends_the_picking(picking: Picking) -> None:
    picking.picker.start()
    picking.picker.cancel()
    picking.picker.start()
    picking.viewer.layers.remove(picking.layer)
    assert picking.ended == ["", "The image was closed."]
    assert picking.picked == []


def test_colours_are_averaged_around_the_click_and_cut_at_the_edge() -> None:
    rgb = np.zeros((9, 9, 3), np.uint8)
    rgb[4, 4] = 250
    assert mean_colour(rgb, (4.2, 3.9)) == (10, 10, 10)
    rgb[0, 0] = 90
    assert mean_colour(rgb, (0, 0)) == (10, 10, 10)
    assert mean_colour(rgb, (9, 0)) is None
