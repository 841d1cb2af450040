from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from fakes import FakeSegmenter
from napari_sprout.core.features import TileEmbeddings
from napari_sprout.core.instances import Candidate
from napari_sprout.core.mask_prompts import PointPrompts, mask_prompts
from napari_sprout.core.masks import TileDecoder, _component, plausible
from napari_sprout.core.settings import DecodingSettings
from napari_sprout.core.tiles import TileGrid
from napari_sprout.models.protocols import MaskBatch, PromptBatch
from napari_sprout.models.weights import load_segmenter

SHAPE = (300, 420)
SIDE = 256


def points_at(
    *points: tuple[float, float], negatives: int = 0, regions: NDArray | None = None
) -> PointPrompts:
    n = len(points)
    labels = np.zeros(SHAPE, np.int32) if regions is None else regions
    ids = np.arange(1, n + 1, dtype=np.int64)
    return PointPrompts(
        ids,
        np.array(points, float).reshape(-1, 2),
        np.full((n, negatives, 2), 5.0),
        labels,
        ids.copy() if regions is not None else np.zeros(n, np.int64),
    )


@pytest.fixture
def decoder(fake_type) -> Callable[..., tuple[TileDecoder, object]]:
    def make(settings: DecodingSettings | None = None, segmenter=None, shape=SHAPE, **fake):
        chosen = segmenter or fake_type(**fake)
        grid = TileGrid.over(shape, SIDE, 0.5)
        image = np.full((*shape, 3), 200, np.uint8)
        tiles = TileEmbeddings(grid, image, lambda: chosen, {})
        stain = np.linspace(0, 1, shape[1], dtype=np.float32)[None].repeat(shape[0], 0)
        made = TileDecoder(
            lambda: chosen, tiles, stain, settings or DecodingSettings(mask_prompt="none"), 0.25
        )
        return made, chosen

    return make


def decoded(decoder: TileDecoder, prompts: PointPrompts) -> dict[int, Candidate]:
    found = [c for _, batch in decoder.decode(prompts) for c in batch]
    assert len({c.id for c in found}) == len(found)
    return {c.id: c for c in found}


def whole(candidate: Candidate) -> NDArray[np.bool_]:
    image = np.zeros(SHAPE, bool)
    y0, x0, y1, x1 = candidate.box
    image[y0:y1, x0:x1] = candidate.mask
    return image


def test_masks_lie_where_their_points_are_on_every_tile(decoder):
    spots = [(20.0, 20.0), (150.0, 210.0), (280.0, 400.0), (40.0, 380.0), (260.5, 33.25)]
    found = decoded(decoder(radius=9)[0], points_at(*spots))
    rows, columns = np.indices(SHAPE)
    for id_, (y, x) in enumerate(spots, start=1):
        expected = np.hypot(rows - y, columns - x) < 9
        mask = whole(found[id_])
        assert np.count_nonzero(mask & expected) / np.count_nonzero(mask | expected) > 0.85


def test_boxes_are_tight_and_masks_are_never_the_size_of_the_image(decoder):
    for candidate in decoded(decoder(radius=9)[0], points_at((100, 100), (7, 413))).values():
        y0, x0, y1, x1 = candidate.box
        assert candidate.mask.shape == (y1 - y0, x1 - x0)
        assert max(candidate.mask.shape) < 24
        assert candidate.mask[[0, -1]].any(1).all()
        assert candidate.mask[:, [0, -1]].any(0).all()


def test_masks_stop_at_the_image_edge(decoder):
    box = decoded(decoder(radius=12)[0], points_at((298, 418)))[1].box
    assert box[2:] == SHAPE


def test_haematoxylin_is_the_mean_under_the_mask(decoder):
    candidate = decoded(decoder(radius=9)[0], points_at((100, 210)))[1]
    assert candidate.haematoxylin == pytest.approx(210 / 419, abs=0.01)


def test_batches_change_nothing(decoder):
    spots = [(float(y), float(x)) for y in range(20, 290, 40) for x in range(20, 410, 40)]
    prompts = points_at(*spots)
    one = decoded(decoder(DecodingSettings(mask_prompt="none", batch=1))[0], prompts)
    many = decoded(decoder(DecodingSettings(mask_prompt="none", batch=64))[0], prompts)
    assert one.keys() == many.keys() == set(range(1, len(spots) + 1))
    for id_, candidate in one.items():
        assert candidate.box == many[id_].box
        assert (candidate.mask == many[id_].mask).all()


def test_progress_counts_every_prompt(decoder):
    spots = [(float(y), 100.0) for y in range(10, 290, 10)]
    made, _ = decoder(DecodingSettings(mask_prompt="none", batch=5))
    asked = [count for count, _ in made.decode(points_at(*spots))]
    assert sum(asked) == len(spots)
    assert max(asked) <= 5


def test_a_mask_larger_than_its_window_is_decoded_again_over_the_tile(decoder):
    made, fake = decoder(DecodingSettings(mask_prompt="none", window=8), radius=40)
    found = decoded(made, points_at((150, 210), (150, 250)))
    assert fake.decoded == 4
    for candidate in found.values():
        assert candidate.mask.shape[0] == pytest.approx(80, abs=3)


def test_no_prompts_need_no_model(decoder):
    def refuse():
        raise AssertionError("the model must not be loaded")

    grid = TileGrid.over(SHAPE, SIDE, 0.5)
    tiles = TileEmbeddings(grid, np.zeros((*SHAPE, 3), np.uint8), refuse, {})
    made = TileDecoder(refuse, tiles, np.zeros(SHAPE, np.float32), DecodingSettings(), 0.25)
    assert list(made.decode(points_at())) == []


class Recorder:
    """Wraps a segmenter and keeps the batches it was asked."""

    def __init__(self, segmenter) -> None:
        self.segmenter = segmenter
        self.device = segmenter.device
        self.batch = segmenter.batch
        self.batches: list[PromptBatch] = []

    def encode_batch(self, tiles):
        return self.segmenter.encode_batch(tiles)

    def decode(self, embedding, prompts, side) -> MaskBatch:
        self.batches.append(prompts)
        return self.segmenter.decode(embedding, prompts, side)


def test_negatives_are_passed_and_missing_ones_are_padding(decoder, fake_type):
    recorder = Recorder(fake_type())
    made, _ = decoder(segmenter=recorder)
    prompts = points_at((60, 60), (70, 100), negatives=2)
    prompts.negatives[0] = [[50, 55], [66, 44]]
    prompts.negatives[1] = [[80, 90], [np.nan, np.nan]]
    decoded(made, prompts)
    batch = recorder.batches[0]
    assert batch.labels.tolist() == [[1, 0, 0], [1, 0, -1]]
    assert batch.points[0].tolist() == [[60, 60], [50, 55], [66, 44]]


def test_region_is_shown_to_sam_where_it_is(decoder, fake_type):
    regions = np.zeros(SHAPE, np.int32)
    regions[90:110, 180:220] = 1
    recorder = Recorder(fake_type())
    made, _ = decoder(DecodingSettings(mask_strength=3.0, mask_shrink=0.0, window=16), recorder)
    prompts = points_at((100, 200), regions=regions)
    decoded(made, prompts)
    (batch,) = recorder.batches
    assert batch.masks is not None
    logits = batch.masks[0].numpy()
    assert logits.max() == pytest.approx(3.0)
    assert logits.min() == pytest.approx(-3.0)
    # One value a pixel at this tile size: the region's own shape and place.
    inside = np.argwhere(logits > 0)
    centre = batch.points[0, 0].numpy() - batch.origins[0].numpy() * 4
    assert np.allclose(inside.mean(0), centre - 0.5, atol=1)
    assert np.ptp(inside, axis=0).tolist() == [19, 39]


def test_mask_prompt_outside_the_image_is_background():
    prompts = points_at((2, 2), regions=np.ones(SHAPE, np.int32))
    corners = np.array([[-16, -16]])
    logits = mask_prompts(prompts, corners, 32, 32, 2.0)[0].numpy()
    assert (logits[:16] == -2).all()
    assert (logits[16:, 16:] == 2).all()


def test_a_region_is_shown_smaller_but_a_shape_as_it_is():
    regions = np.zeros(SHAPE, np.int32)
    regions[100:120, 100:120] = 1
    regions[200:202, 200:202] = 2
    prompts = points_at((110, 110), (201, 201), regions=regions)
    corners = np.array([[96, 96], [192, 192]])
    logits = mask_prompts(prompts, corners, 32, 32, 2.0, shrink=2).numpy()
    assert (logits[0] > 0).sum() == 16 * 16
    # What would vanish stays as it is.
    assert (logits[1] > 0).sum() == 2 * 2
    shape = (100, 100, 120, 120), np.ones((20, 20), bool)
    drawn = dataclasses.replace(prompts, shapes={1: shape})
    assert (mask_prompts(drawn, corners, 32, 32, 2.0, shrink=2)[0] > 0).sum() == 20 * 20


def test_best_of_three_takes_the_highest_predicted_iou(decoder):
    single = decoded(decoder()[0], points_at((100, 100)))[1]
    settings = DecodingSettings(mask_prompt="none", multimask="best")
    best = decoded(decoder(settings)[0], points_at((100, 100)))[1]
    assert best.predicted_iou == pytest.approx(single.predicted_iou + 0.1)
    assert best.area < single.area


class Disagreeing(FakeSegmenter):
    """Its four answers have levels of their own: their mean is what none of them is."""

    LEVELS = (3.0, -1.0, -1.5, 0.5)

    def decode(self, embedding, prompts, side) -> MaskBatch:
        answer = super().decode(embedding, prompts, side)
        logits = torch.stack([answer.logits[:, 0] + level for level in self.LEVELS], dim=1)
        return MaskBatch(logits, torch.tensor([[0.9, 0.5, 0.6, 0.8]]).expand(len(prompts), -1))


def test_the_mean_of_all_answers_is_the_mean_of_their_logits_and_scores(decoder):
    settings = DecodingSettings(mask_prompt="none", multimask="mean", smoothing=0.0)
    found = decoded(decoder(settings, Disagreeing())[0], points_at((100, 100)))[1]
    assert found.predicted_iou == pytest.approx(0.7)
    single = dataclasses.replace(settings, multimask="single")

    class Shifted(FakeSegmenter):
        def decode(self, embedding, prompts, side) -> MaskBatch:
            answer = super().decode(embedding, prompts, side)
            return MaskBatch(answer.logits + 0.25, answer.iou)

    alike = decoded(decoder(single, Shifted())[0], points_at((100, 100)))[1]
    assert found.box == alike.box
    assert np.array_equal(found.mask, alike.mask)


class TwoPieces:
    """Answers every prompt with a piece under the point and a larger one apart from it."""

    device = torch.device("cpu")
    batch = 1

    def encode_batch(self, tiles):
        return torch.zeros(len(tiles), 1, 64, 64)

    def decode(self, embedding, prompts, side) -> MaskBatch:
        size = prompts.window * 4
        logits = torch.full((len(prompts), 4, size, size), -1.0)
        centre = size // 2
        logits[:, :, centre - 4 : centre + 4, centre - 4 : centre + 4] = 1.0
        logits[:, :, 2:14, 2:14] = 1.0
        return MaskBatch(logits, torch.full((len(prompts), 4), 0.8))


def test_only_the_piece_under_the_point_is_kept(decoder):
    settings = DecodingSettings(mask_prompt="none", smoothing=0.0)
    candidate = decoded(decoder(settings, TwoPieces())[0], points_at((150, 210)))[1]
    assert candidate.area == 64
    y0, x0, y1, x1 = candidate.box
    assert y0 <= 150 <= y1
    assert x0 <= 210 <= x1


@given(arrays(bool, (9, 12)), st.tuples(st.integers(0, 8), st.integers(0, 11)))
def test_a_piece_is_the_one_under_its_point_or_the_largest(mask, point):
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    piece = _component(mask, *point)
    if count == 0:
        assert not piece.any()
    elif mask[point]:
        assert np.array_equal(piece, labels == labels[point])
    else:
        sizes = np.bincount(labels.ravel())[1:]
        assert np.count_nonzero(piece) == sizes.max()
        assert len(np.unique(labels[piece])) == 1


def test_implausible_sizes_are_dropped():
    def square(side: int) -> Candidate:
        return Candidate(side, (0, 0, side, side), np.ones((side, side), bool), 0.9, 0.5)

    settings = DecodingSettings(min_area=10.0, max_area=100.0)
    kept = plausible([square(5), square(20), square(60)], settings, mpp=0.25, stained=0.0)
    assert [c.id for c in kept] == [20]


def test_unstained_masks_are_dropped():
    def stained(level: float, id_: int) -> Candidate:
        return Candidate(id_, (0, 0, 20, 20), np.ones((20, 20), bool), 0.9, level)

    settings = DecodingSettings(min_haematoxylin=0.5)
    kept = plausible([stained(0.1, 1), stained(0.4, 2)], settings, mpp=0.25, stained=0.5)
    assert [c.id for c in kept] == [2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_draws_the_same_masks(synthetic):
    shape = synthetic.rgb.shape[:2]
    grid = TileGrid.over(shape, SIDE, 0.5)
    points = np.asarray(synthetic.centres, float)
    ids = np.arange(1, len(points) + 1, dtype=np.int64)
    none = np.zeros((len(points), 0, 2))
    prompts = PointPrompts(ids, points, none, np.zeros(shape, np.int32), 0 * ids)
    areas = []
    for device in ("cpu", "cuda"):
        segmenter = load_segmenter("mobile_sam", device)
        tiles = TileEmbeddings(grid, synthetic.rgb, lambda s=segmenter: s, {})
        stain = np.ones(shape, np.float32)
        made = TileDecoder(lambda s=segmenter: s, tiles, stain, DecodingSettings(), 0.25)
        areas.append({i: c.area for i, c in decoded(made, prompts).items()})
    assert areas[0].keys() == areas[1].keys()
    assert all(areas[1][i] == pytest.approx(area, rel=0.05) for i, area in areas[0].items())


def test_a_prompt_without_a_region_does_not_take_the_others_regions_away(decoder, fake_type):
    regions = np.zeros(SHAPE, np.int32)
    regions[90:110, 180:220] = 1
    recorder = Recorder(fake_type())
    made, _ = decoder(DecodingSettings(), recorder)
    prompts = points_at((100, 200), (120, 230), regions=regions)
    prompts.region_ids[1] = 0
    assert decoded(made, prompts).keys() == {1, 2}
    (with_region,) = [b.masks for b in recorder.batches if b.masks is not None]
    assert float(with_region.max()) == pytest.approx(4.0)
    assert len(with_region) == 1
    assert sum(len(b) for b in recorder.batches if b.masks is None) == 1


def test_spikes_are_cut_off_and_small_masks_are_left_alone(decoder, fake_type):
    class Spiky(fake_type):
        def decode(self, embedding, prompts, side):
            answer = super().decode(embedding, prompts, side)
            middle = answer.logits.shape[-1] // 2
            # A tooth one pixel thick, from the nucleus to beyond its radius.
            answer.logits[..., middle, middle : middle + 30] = 1.0
            return answer

    spot = points_at((150.0, 150.0))
    settings = DecodingSettings(mask_prompt="none")
    toothed = dataclasses.replace(settings, smoothing=0.0)
    raw = decoded(decoder(toothed, Spiky(radius=12))[0], spot)[1]
    cut = decoded(decoder(settings, Spiky(radius=12))[0], spot)[1]
    plain = decoded(decoder(settings, radius=12)[0], spot)[1]
    assert raw.mask.shape[1] > plain.mask.shape[1] + 10
    assert cut.box == plain.box
    tiny = decoded(decoder(settings, radius=1.2)[0], spot)[1]
    same = decoded(decoder(toothed, radius=1.2)[0], spot)[1]
    assert np.array_equal(tiny.mask, same.mask)
