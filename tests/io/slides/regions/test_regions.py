"""Regions of a slide on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from array_slide import ArraySlide
from napari_sprout.core.instances import Box
from napari_sprout.errors import ProjectError
from napari_sprout.io.images import read_image
from napari_sprout.io.slides.regions import (
    FACTS_NAME,
    RegionsFacts,
    SlideRegions,
    default_slide_folder,
    region_of_image,
)


def add(regions: SlideRegions, slide: ArraySlide, box: Box) -> np.ndarray:
    steps = regions.add(slide, box)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_region_is_the_slides_pixels(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    height, width = data.draw(st.integers(40, 200)), data.draw(st.integers(40, 200))
    rgb = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    slide = ArraySlide(rgb, tmp_path_factory.mktemp("slide") / "case.svs", tile=(16, 16))
    regions = SlideRegions.at([default_slide_folder(slide.path)], RegionsFacts.of(slide, 0.5))
    y0, x0 = data.draw(st.integers(0, height - 33)), data.draw(st.integers(0, width - 33))
    y1, x1 = data.draw(st.integers(y0 + 32, height)), data.draw(st.integers(x0 + 32, width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_sprout.io.slides.regions._BAND_PIXELS", 1000)
        found = add(regions, slide, (y0, x0, y1, x1))
    assert np.array_equal(found, rgb[y0:y1, x0:x1])
    (region,) = regions.regions()
    assert region.box == (y0, x0, y1, x1)
    image = read_image(region.image)
    assert np.array_equal(image.rgb, found)
    assert image.mpp == pytest.approx(0.5)
    # No tile of the slide is decoded for two of the pieces that are read.
    assert all(y % 16 == 0 for y, _, _, _ in slide.reads[1:])


def test_nothing_is_written_before_there_is_a_region(
    regions: SlideRegions, slide: ArraySlide
) -> None:
    assert regions.regions() == ()
    assert not regions.begun
    assert list(slide.path.parent.iterdir()) == []


def test_regions_are_found_again(regions: SlideRegions, slide: ArraySlide) -> None:
    boxes = [(64, 0, 128, 64), (0, 32, 64, 96)]
    for box in boxes:
        add(regions, slide, box)
    again = SlideRegions.at([regions.folder], RegionsFacts.of(slide, 0.25))
    assert [region.box for region in again.regions()] == sorted(boxes)
    assert all(region_of_image(one.image) == one for one in again.regions())
    assert again.begun


def test_the_pixel_size_that_regions_have_counts(regions: SlideRegions, slide: ArraySlide) -> None:
    add(regions, slide, (0, 0, 64, 64))
    assert SlideRegions.at([regions.folder], RegionsFacts.of(slide, 0.5)).facts.mpp == 0.25


def test_another_slide_of_the_same_name_gets_a_folder_of_its_own(
    regions: SlideRegions, slide: ArraySlide
) -> None:
    add(regions, slide, (0, 0, 64, 64))
    other = ArraySlide(slide.rgb[::-1].copy(), slide.path)
    found = SlideRegions.at([regions.folder], RegionsFacts.of(other, 0.25))
    assert found.folder.name == "case-2.sprout-slide"
    add(found, other, (0, 0, 64, 64))
    assert SlideRegions.at([regions.folder], found.facts).folder == found.folder
    assert len(regions.regions()) == 1


def test_reading_that_is_cancelled_leaves_nothing(
    regions: SlideRegions, slide: ArraySlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sprout.io.slides.regions._BAND_PIXELS", 1000)
    steps = regions.add(slide, (0, 0, 200, 200))
    assert 0 < next(steps) < 0.5
    steps.close()
    assert list(slide.path.parent.iterdir()) == []


def test_a_name_in_any_script_can_be_written(tmp_path: Path, slide: ArraySlide) -> None:
    slide.path = tmp_path / "Fäll 患者.svs"
    regions = SlideRegions.at([default_slide_folder(slide.path)], RegionsFacts.of(slide, 0.25))
    add(regions, slide, (0, 0, 64, 64))
    assert regions.folder.name == "Fäll 患者.sprout-slide"
    with tifffile.TiffFile(regions.regions()[0].image) as file:
        assert "y=0, x=0" in file.pages[0].description


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "else"}'])
def test_a_damaged_folder_is_named_and_left(
    regions: SlideRegions, slide: ArraySlide, text: str
) -> None:
    add(regions, slide, (0, 0, 64, 64))
    (regions.folder / FACTS_NAME).write_text(text)
    with pytest.raises(ProjectError, match=r"slide\.json"):
        SlideRegions.at([regions.folder], RegionsFacts.of(slide, 0.25))
    assert len(regions.regions()) == 1


def test_other_files_are_no_regions(regions: SlideRegions, slide: ArraySlide) -> None:
    add(regions, slide, (0, 0, 64, 64))
    place = regions.regions()[0].image.parent
    (place / "notes.tif").touch()
    assert len(regions.regions()) == 1
    assert region_of_image(slide.path) is None
