"""What lies over a slide: it follows the slide, and stays out of a person's way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray

from napari_sprout.io.slides.region_results import RegionState
from napari_sprout.io.slides.regions import Region, region_of_image
from napari_sprout.napari_.camera import in_view, look_at
from napari_sprout.napari_.image_layer import is_slide, rgb_of
from napari_sprout.napari_.readers import SLIDE
from napari_sprout.napari_.slide_layers import SlideLayers, make_region_layer, region_of

SHAPE = (400, 600)
BOX = (100, 200, 180, 300)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def slide(viewer: ViewerModel) -> Image:
    rgb = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    levels = [rgb, rgb[::2, ::2].copy()]
    layer = viewer.add_image(
        levels,
        rgb=True,
        multiscale=True,
        name="case",
        scale=(0.5, 0.5),
        translate=(30, -20),
        metadata={SLIDE: "/somewhere/case.svs", "path": "/somewhere/case.svs", "mpp": 0.5},
    )
    assert isinstance(layer, Image)
    return layer


@pytest.fixture
def region(tmp_path: Path) -> Region:
    found = region_of_image(tmp_path / "case.sprout-slide" / "regions" / "100_200_80_100.tif")
    assert found is not None
    assert found.box == BOX
    return found


def layers_over(viewer: ViewerModel, slide: Image) -> SlideLayers:
    return SlideLayers(viewer, slide, lambda corners: None)


def pixels(slide: Image) -> NDArray[np.uint8]:
    y0, x0, y1, x1 = BOX
    return np.ascontiguousarray(slide.data[0][y0:y1, x0:x1])


@pytest.mark.parametrize("rotate", [0, 30])
def test_a_region_lies_where_it_was_read_and_follows_the_slide(
    viewer: ViewerModel, slide: Image, region: Region, rotate: float
) -> None:
    over = layers_over(viewer, slide)
    layer = make_region_layer(pixels(slide), region, 0.5)
    over.add(layer, region)
    for change in ({"rotate": rotate}, {"translate": (7, 9)}, {"scale": (2, 2)}):
        for name, value in change.items():
            setattr(slide, name, value)
        for place in ((0, 0), (79, 99), (-0.5, 12.25)):
            on_slide = (place[0] + BOX[0], place[1] + BOX[1])
            assert np.allclose(layer.data_to_world(place), slide.data_to_world(on_slide))
    assert region_of(layer) == region
    assert not is_slide(layer)
    assert np.array_equal(rgb_of(layer), layer.data)


def test_the_map_covers_the_slide_edge_to_edge(viewer: ViewerModel, slide: Image) -> None:
    over = layers_over(viewer, slide)
    over.show_map(np.ones((40, 60), np.uint8), 10.0)
    assert over.map is not None
    first = over.map.data_to_world((-0.5, -0.5)), slide.data_to_world((-0.5, -0.5))
    last = over.map.data_to_world((39.5, 59.5)), slide.data_to_world((399.5, 599.5))
    assert np.allclose(*first)
    assert np.allclose(*last)
    assert not over.map.editable
    before = over.map
    over.show_map(np.full((40, 60), 3, np.uint8), 10.0)
    assert over.map is before
    assert (np.asarray(over.map.data) == 3).all()


def test_layers_come_in_order_and_leave_the_selection(
    viewer: ViewerModel, slide: Image, region: Region
) -> None:
    over = layers_over(viewer, slide)
    viewer.layers.selection.active = slide
    over.show_regions([(BOX, RegionState.NEW)])
    over.show_map(np.ones((40, 60), np.uint8), 10.0)
    assert viewer.layers.selection.active is slide
    layer = make_region_layer(pixels(slide), region, 0.5)
    over.add(layer, region)
    assert list(viewer.layers) == [slide, over.map, layer, over.outlines]


def test_regions_are_outlined_around_their_pixels(viewer: ViewerModel, slide: Image) -> None:
    over = layers_over(viewer, slide)
    over.show_regions([])
    assert over.outlines is None
    other = (0, 0, 50, 50)
    over.show_regions([(other, RegionState.SEGMENTED), (BOX, RegionState.CORRECTED)], chosen=BOX)
    outlines = over.outlines
    assert outlines is not None
    ends = [(shape.min(axis=0).tolist(), shape.max(axis=0).tolist()) for shape in outlines.data]
    assert ends == [([-0.5, -0.5], [49.5, 49.5]), ([99.5, 199.5], [179.5, 299.5])]
    assert len({tuple(colour) for colour in outlines.edge_color}) == 2
    assert not outlines.editable
    over.show_regions([(BOX, RegionState.CORRECTED)])
    assert over.outlines is outlines
    assert outlines.nshapes == 1


def test_a_layer_that_was_deleted_comes_back(viewer: ViewerModel, slide: Image) -> None:
    over = layers_over(viewer, slide)
    for _ in range(2):
        over.show_map(np.ones((40, 60), np.uint8), 10.0)
        over.show_regions([(BOX, RegionState.NEW)])
        assert len(viewer.layers) == 3
        for layer in over.own:
            viewer.layers.remove(layer)
        assert over.own == []


def test_what_is_looked_at_is_in_view(viewer: ViewerModel, slide: Image) -> None:
    look_at(viewer, slide, BOX)
    y0, x0, y1, x1 = in_view(viewer, slide)
    assert (y0 + y1) / 2 == pytest.approx((BOX[0] + BOX[2]) / 2)
    assert (x0 + x1) / 2 == pytest.approx((BOX[1] + BOX[3]) / 2)
    assert y0 <= BOX[0] + 1e-6
    assert x0 <= BOX[1] + 1e-6
    # One of both directions is filled.
    assert min((y1 - y0) / (BOX[2] - BOX[0]), (x1 - x0) / (BOX[3] - BOX[1])) == pytest.approx(1)
    zoom = y1 - y0
    look_at(viewer, slide, (0, 0, *SHAPE), keep_closer=True)
    again = in_view(viewer, slide)
    assert again[2] - again[0] == pytest.approx(zoom)
    assert (again[0] + again[2]) / 2 == pytest.approx(SHAPE[0] / 2)
