from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import FakeSegmenter
from napari_sprout.core.nuclear_size import matched_tile, nuclear_diameter
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import synthetic_he
from napari_sprout.errors import SettingsError

MPP = 0.25


def discs(diameter_um, shape=(600, 600), spacing=1.8):
    """Stained discs of one size on an even ground."""
    stain = np.full(shape, 0.1, dtype=np.float32)
    diameter = diameter_um / MPP
    for y in np.arange(diameter, shape[0] - diameter, spacing * diameter):
        for x in np.arange(diameter, shape[1] - diameter, spacing * diameter):
            cv2.circle(stain, (round(x), round(y)), round(diameter / 2), 1.0, -1)
    return stain


@settings(deadline=None, max_examples=15)
@given(st.floats(4, 14))
def test_the_diameter_of_discs_is_found(diameter):
    stain = discs(diameter)
    found = nuclear_diameter(stain, np.ones(stain.shape, bool), MPP)
    assert found == pytest.approx(diameter, rel=0.12)


def test_half_of_the_nuclear_area_is_in_larger_ones():
    both = np.concatenate([discs(5, (600, 300)), discs(12, (600, 900))], axis=1)
    found = nuclear_diameter(both, np.ones(both.shape, bool), MPP)
    assert found == pytest.approx(12, rel=0.12)


def test_of_a_large_image_a_few_parts_are_enough():
    stain = discs(8, (2500, 2500))
    tissue = np.ones(stain.shape, bool)
    tissue[:, :300] = False
    assert nuclear_diameter(stain, tissue, MPP) == pytest.approx(8, rel=0.12)


@pytest.mark.parametrize("tissue", [False, True])
def test_without_nuclei_the_diameter_is_unknown(tissue):
    shape = (300, 300)
    found = nuclear_diameter(np.zeros(shape, np.float32), np.full(shape, tissue), MPP)
    assert math.isnan(found)


@given(st.one_of(st.floats(0, 100), st.just(math.nan)), st.floats(0.05, 4))
def test_tiles_are_whole_tokens_that_sam_takes(diameter, mpp):
    side = matched_tile(diameter, mpp)
    assert side % 64 == 0
    assert Settings().with_changes(features={"tile": side}).features.tile == side


@given(st.floats(1, 30), st.floats(1, 30))
def test_larger_nuclei_never_get_smaller_tiles(one, other):
    small, large = sorted([one, other])
    assert matched_tile(small, MPP) <= matched_tile(large, MPP)


def test_nuclei_of_unknown_size_get_the_usual_tile():
    assert matched_tile(math.nan, MPP) == 512


def test_a_given_tile_is_taken_and_the_automatic_one_follows_the_nuclei():
    image = synthetic_he((300, 300), seed=1).rgb
    session = Session(image, mpp=MPP, segmenter=FakeSegmenter())
    session.finish(Stage.ENCODING)
    diameter = session.output(Stage.STAIN).nuclear_diameter
    assert session.output(Stage.ENCODING).tiles.grid.side == matched_tile(diameter, MPP)
    session.settings = Settings().with_changes(features={"tile": 128})
    session.finish(Stage.ENCODING)
    assert session.output(Stage.ENCODING).tiles.grid.side == 128


def test_what_the_tiles_were_chosen_by_is_recorded():
    session = Session(synthetic_he((300, 300), seed=1).rgb, mpp=MPP, segmenter=FakeSegmenter())
    session.finish()
    facts = session.metadata()
    assert facts["tile_px"] == session.output(Stage.ENCODING).tiles.grid.side
    assert facts["nuclear_diameter_um"] == session.output(Stage.STAIN).nuclear_diameter


@pytest.mark.parametrize("side", [1100, 1500, 1600, 2500])
def test_nuclei_are_found_wherever_in_the_image_they_are(side):
    stain = discs(8, (side, side))
    tissue = np.zeros(stain.shape, bool)
    tissue[-350:] = True
    assert nuclear_diameter(stain, tissue, MPP) == pytest.approx(8, rel=0.12)


@pytest.mark.parametrize("tile", [64, -64])
def test_tiles_too_small_to_be_meant_are_refused(tile):
    with pytest.raises(SettingsError, match="tile"):
        Settings().with_changes(features={"tile": tile})
