from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.io import imread

from napari_sprout.core.settings import TissueSettings
from napari_sprout.core.stain import optical_density
from napari_sprout.core.tissue import tissue_mask
from napari_sprout.errors import ImageError

DEFAULT = TissueSettings()
MPP = 0.25
GLASS = (244, 242, 245)
STROMA = (226, 150, 190)
NUCLEUS = (88, 66, 140)


def expose(od):
    return np.clip(np.rint(256 * np.exp(-od) - 1), 0, 255).astype(np.uint8)


def painted(size=400, colour=STROMA, seed=0):
    """Eosin-stained ground with dark nuclei, 7 um wide, every 15 um."""
    rng = np.random.default_rng(seed)
    rgb = np.empty((size, size, 3))
    rgb[:] = colour
    y, x = np.mgrid[:size, :size]
    rgb[np.hypot(y % 60 - 30, x % 60 - 30) < 14] = NUCLEUS
    return np.clip(rgb + rng.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)


def disc(size, centre, radius_um, mpp=MPP):
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - centre[0], x - centre[1]) < radius_um / mpp


def inked(rgb, ink, where):
    return np.where(where[..., None], expose(optical_density(rgb) + np.asarray(ink)), rgb)


def test_stained_tissue_is_kept_whole():
    assert tissue_mask(painted(), DEFAULT, MPP).all()


@pytest.mark.parametrize("grey", [255, 245, 232])
def test_blank_glass_holds_no_tissue(grey):
    rng = np.random.default_rng(0)
    blank = np.clip(grey + rng.normal(0, 2, (300, 320, 3)), 0, 255).astype(np.uint8)
    assert not tissue_mask(blank, DEFAULT, MPP).any()


def test_black_holds_no_tissue():
    assert not tissue_mask(np.zeros((300, 320, 3), np.uint8), DEFAULT, MPP).any()


@pytest.mark.parametrize("level", [0, 255])
def test_everything_is_kept_when_asked(level):
    image = np.full((50, 60, 3), level, np.uint8)
    kept = tissue_mask(image, TissueSettings(mask_non_tissue=False), MPP)
    assert kept.shape == (50, 60)
    assert kept.all()


def test_glass_beside_tissue_is_left_out_to_within_two_micrometres():
    rgb = painted()
    rgb[:, :150] = GLASS
    kept = tissue_mask(rgb, DEFAULT, MPP)
    assert not kept[:, :142].any()
    assert kept[:, 158:].all()


def test_a_wide_lumen_is_left_out_and_a_narrow_gap_stays():
    rgb = painted()
    lumen = disc(400, (100, 100), 15)
    gap = disc(400, (300, 300), 5)
    slit = np.zeros((400, 400), bool)
    slit[200:212] = True
    rgb[lumen | gap | slit] = GLASS
    kept = tissue_mask(rgb, DEFAULT, MPP)
    assert kept[disc(400, (100, 100), 13)].mean() < 0.01
    assert kept[gap].all()
    assert kept[slit].all()


def test_lengths_are_physical():
    # The same 100 pixels are a wide lumen at 0.25 um a pixel and a cell's vacuole at 0.05.
    rgb = painted()
    lumen = disc(400, (200, 200), 12.5)
    rgb[lumen] = GLASS
    assert tissue_mask(rgb, DEFAULT, 0.25)[lumen].mean() < 0.2
    assert tissue_mask(rgb, DEFAULT, 0.05)[lumen].all()


def test_a_cell_afloat_in_glass_stays_and_dust_goes():
    rgb = np.empty((400, 400, 3), np.uint8)
    rgb[:] = GLASS
    rgb[disc(400, (100, 100), 5)] = NUCLEUS
    rgb[disc(400, (300, 300), 1)] = (120, 120, 120)
    kept = tissue_mask(rgb, DEFAULT, MPP)
    assert kept[disc(400, (100, 100), 4.5)].all()
    assert not kept[200:].any()


def test_a_higher_minimum_leaves_out_paler_tissue():
    rgb = painted(colour=(236, 214, 226))
    rgb[:, 300:] = (236, 214, 226)
    assert tissue_mask(rgb, TissueSettings(min_od=0.02), MPP)[:, 320:].all()
    assert not tissue_mask(rgb, TissueSettings(min_od=0.5), MPP)[:, 320:].any()


@pytest.mark.parametrize("width", [6, 37])
def test_a_black_frame_is_left_out_and_the_tissue_beside_it_kept(width):
    rgb = painted()
    rgb[:width] = 3
    rgb[:, -width:] = 3
    kept = tissue_mask(rgb, DEFAULT, MPP)
    assert kept[:width].mean() < 0.01
    assert kept[:, -width:].mean() < 0.01
    assert kept[width + 12 :, : -width - 12].all()


def test_glass_is_still_told_from_tissue_beside_a_black_frame():
    rgb = painted()
    rgb[:, :200] = (228, 226, 229)
    rgb[:100] = 0
    kept = tissue_mask(rgb, DEFAULT, MPP)
    assert not kept[:, :190].any()
    assert kept[112:, 210:].all()


INKS = {
    "blue": (1.45, 0.76, 0.30),
    "green": (1.50, 0.60, 1.10),
    "black": (2.00, 2.00, 1.90),
}


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("ground", ["tissue", "glass"])
def test_a_pen_stroke_is_left_out(ink, ground):
    rgb = painted() if ground == "tissue" else np.full((400, 400, 3), 244, np.uint8)
    stroke = np.zeros((400, 400), bool)
    stroke[120:260] = True
    kept = tissue_mask(inked(rgb, INKS[ink], stroke), DEFAULT, MPP)
    assert kept[stroke].mean() < 0.02
    if ground == "tissue":
        assert kept[:80].all()
        assert kept[300:].all()


def test_red_ink_on_glass_is_left_out():
    rgb = np.full((400, 400, 3), 244, np.uint8)
    stroke = np.zeros((400, 400), bool)
    stroke[120:260] = True
    kept = tissue_mask(inked(rgb, (0.2, 1.5, 1.45), stroke), DEFAULT, MPP)
    assert kept.mean() < 0.01


@pytest.mark.parametrize(
    "colour",
    [
        (40, 32, 100),
        (60, 55, 120),
        (90, 88, 150),
        (55, 20, 60),
        (190, 50, 60),
        (225, 110, 170),
    ],
    ids=["navy", "blue", "pale blue", "pyknotic", "blood", "eosin"],
)
def test_stains_however_dark_are_not_ink(colour):
    rgb = painted()
    rgb[60:340, 60:340] = colour
    assert tissue_mask(rgb, DEFAULT, MPP).all()


def test_a_small_pigment_clump_stays():
    rgb = painted()
    rgb[disc(400, (200, 200), 5)] = (12, 12, 12)
    assert tissue_mask(rgb, DEFAULT, MPP).all()


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    st.sampled_from([0.1, 0.25, 0.5, 1.0, 3.0]),
)
def test_any_image_gives_a_mask_of_its_own_shape_and_the_same_one_again(rgb, mpp):
    before = rgb.copy()
    kept = tissue_mask(rgb, DEFAULT, mpp)
    assert kept.shape == rgb.shape[:2]
    assert kept.dtype == bool
    np.testing.assert_array_equal(kept, tissue_mask(rgb, DEFAULT, mpp))
    np.testing.assert_array_equal(rgb, before)


def test_a_grey_image_is_refused():
    with pytest.raises(ImageError, match="8 bits"):
        tissue_mask(np.zeros((20, 20), np.uint8), DEFAULT, MPP)


@pytest.mark.parametrize(
    "name",
    [
        "TCGA-21-5784-01Z-00-DX1",  # wide clefts, black pigment
        "TCGA-B0-5710-01Z-00-DX1",  # clear cells: more white than stain
        "TCGA-NH-A8F7-01A-01-TS1",  # dark blue nuclei beside lumina
    ],
)
def test_annotated_nuclei_stay_in_the_tissue(monuseg_dev: Path, name: str):
    rgb = imread(monuseg_dev / f"{name}.png")[..., :3]
    nuclei = imread(monuseg_dev / f"{name}_labels.tif") > 0
    kept = tissue_mask(rgb, DEFAULT, MPP)
    assert kept[nuclei].mean() > 0.995
    # Each of these has lumina or clefts, and the mask must find some of them.
    assert 0.9 < kept.mean() < 0.99
