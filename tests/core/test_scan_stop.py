from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_sprout.core import activation
from napari_sprout.core.activation import ActivationMap, choose_step, merged_share, run_scan
from napari_sprout.core.settings import ActivationSettings, ScanSettings
from napari_sprout.core.tiles import TileGrid

SIDE = 128


def regions(text):
    """Read a drawing: letters are regions of the first step, # is the later mask."""
    return np.array([list(row) for row in text.split()])


def test_regions_that_stay_apart_are_each_their_own_share():
    first, n = ndimage.label(regions("AA..BB..CC..DD") != ".")
    assert n == 4
    assert merged_share(first, n, regions("##..##..##..##") == "#") == pytest.approx(1 / 4)


def test_the_share_is_that_of_the_region_which_holds_most():
    first, n = ndimage.label(regions("AA..BB..CC..DD") != ".")
    assert merged_share(first, n, regions("######..##..##") == "#") == pytest.approx(2 / 4)
    assert merged_share(first, n, regions("######..######") == "#") == pytest.approx(2 / 4)
    assert merged_share(first, n, regions("##..##########") == "#") == pytest.approx(3 / 4)
    assert merged_share(first, n, regions("##############") == "#") == 1


def test_regions_that_vanish_or_fall_apart_have_not_merged():
    first, n = ndimage.label(regions("AAAAA.BB..CC..DD") != ".")
    assert merged_share(first, n, regions("#...............") == "#") == pytest.approx(1 / 4)
    assert merged_share(first, n, regions("#.#.#.##..##....") == "#") == pytest.approx(1 / 4)
    assert merged_share(first, n, regions("................") == "#") == 0


def test_new_regions_do_not_count_as_merged():
    first, n = ndimage.label(regions("AA..BB........") != ".")
    assert merged_share(first, n, regions("##..##..######") == "#") == pytest.approx(1 / 2)


def test_without_a_first_region_nothing_merges():
    assert merged_share(np.zeros((3, 3), dtype=int), 0, np.ones((3, 3), dtype=bool)) == 0


def test_merging_counts_regions_in_two_dimensions():
    first, n = ndimage.label(regions("A..B ...B C..B") != ".")
    assert n == 3
    joined = regions("#..# #..# #..#") == "#"
    assert merged_share(first, n, joined) == pytest.approx(2 / 3)


def steps_with(merged, rhos=None):
    rhos = rhos or [0.6 + 0.05 * i for i in range(len(merged))]
    empty = np.zeros((2, 2), np.float32)
    return tuple(
        ActivationMap(rho, empty, 0.5, share) for rho, share in zip(rhos, merged, strict=True)
    )


@pytest.mark.parametrize(
    ("merged", "limit", "expected"),
    [
        ([0.1, 0.1, 0.1], 0.2, 2),
        ([0.1, 0.1, 0.3], 0.2, 1),
        ([0.1, 0.3, 0.1], 0.2, 0),
        ([0.1, 0.2, 0.2], 0.2, 2),
        ([0.3, 0.4, 0.5], 0.2, 0),
        ([0.3], 0.2, 0),
        ([0.1, 0.9, 1.0], 1.0, 2),
    ],
)
def test_the_scan_stops_before_the_merged_share_first_exceeds_the_limit(merged, limit, expected):
    assert choose_step(steps_with(merged), ScanSettings(merge_limit=limit)) == expected


@pytest.mark.parametrize(("rho", "expected"), [(0.6, 0), (0.66, 1), (0.69, 2), (1.0, 3), (0.05, 0)])
def test_the_rho_of_a_person_wins_over_the_stop(rho, expected):
    steps = steps_with([0.1, 0.9, 0.9, 0.9])
    assert choose_step(steps, ScanSettings(merge_limit=0.2, rho=rho)) == expected
    assert choose_step(steps, ScanSettings(merge_limit=0.2)) == 0


def scanning(masks):
    """Scan, step by step, where each activation is one of the masks over the tokens, exactly."""
    grid = TileGrid.over((SIDE, SIDE), SIDE, 0.5)
    weights = torch.zeros((len(masks), *grid.tokens, 2))
    for step, mask in enumerate(masks):
        weights[step, ..., 0] = torch.from_numpy(mask.astype(np.float32))
        weights[step, ..., 1] = 1 - weights[step, ..., 0]
    return run_scan(
        weights,
        1,
        np.ones((SIDE, SIDE, 3), np.float32),
        np.ones((SIDE, SIDE), dtype=bool),
        grid,
        tuple(0.6 + 0.05 * i for i in range(len(masks))),
        ActivationSettings(crf_iterations=0),
    )


def scan_of(masks):
    return tuple(scanning(masks))


def test_a_scan_that_is_stopped_does_not_refine_the_maps_that_are_left(monkeypatch):
    refined = []

    def slow(probability, *_, **__):
        refined.append(probability)
        time.sleep(0.05)
        return probability

    monkeypatch.setattr(activation, "mean_field", slow)
    steps = scanning([bars(10)] * 12)
    next(steps)
    steps.close()
    # Each thread may have been at the next one.
    assert len(refined) <= 2 + 2 * torch.get_num_threads()


def bars(n, upto=0):
    """Draw n bars over the tokens, the first `upto` of them joined."""
    mask = np.zeros((64, 64), dtype=bool)
    for i in range(n):
        mask[10:50, 6 * i + 1 : 6 * i + 4] = True
    if upto > 1:
        mask[20:30, 1 : 6 * upto - 3] = True
    return mask


def test_regions_that_flow_together_stop_the_scan():
    steps = scan_of([bars(10), bars(10), bars(10, 2), bars(10, 5), bars(10, 10)])
    assert [step.merged for step in steps] == pytest.approx([0.1, 0.1, 0.2, 0.5, 1.0])
    assert choose_step(steps, ScanSettings(merge_limit=0.2)) == 2
    assert choose_step(steps, ScanSettings(merge_limit=0.15)) == 1
    assert choose_step(steps, ScanSettings(merge_limit=0.6)) == 3


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
def test_a_few_regions_that_stay_apart_do_not_stop_the_scan(n):
    # A field with a handful of nuclei is common; here nothing flows together.
    steps = scan_of([bars(n)] * 4)
    assert choose_step(steps, ScanSettings()) == 3


def test_the_threshold_is_that_of_tissue_alone():
    # Faint background, clear nuclei, and half the image without tissue: three levels.
    grid = TileGrid.over((SIDE, SIDE), SIDE, 0.5)
    weights = torch.full((1, *grid.tokens, 2), 0.5)
    weights[0, ..., 0][torch.from_numpy(bars(5))] = 1.0
    weights[0, ..., 1] = 1 - weights[0, ..., 0]
    tissue = np.zeros((SIDE, SIDE), dtype=bool)
    tissue[:, :64] = True
    chosen = ActivationSettings(downsample=2, crf_iterations=0)
    density = np.ones((SIDE, SIDE, 3), np.float32)
    (step,) = run_scan(weights, 1, density, tissue, grid, (1.0,), chosen)
    assert 0.5 <= step.threshold < 1
    assert ndimage.label(step.foreground > step.threshold)[1] == 5
    assert step.merged == pytest.approx(1 / 5)
