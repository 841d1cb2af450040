from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_sprout.core.features import TileEmbeddings, blending_weights, stitch
from napari_sprout.core.tiles import TileGrid

SHAPE = (203, 330)
OVERLAPS = [0.0, 0.25, 0.5, 0.75]


def random_image(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def embeddings(fake, overlap=0.5, shape=SHAPE, side=128):
    grid = TileGrid.over(shape, side, overlap)
    known: dict[int, torch.Tensor] = {}
    return TileEmbeddings(grid, random_image(shape), lambda: fake, known), known


class Numbered:
    """An encoder whose n-th tile has the value n everywhere."""

    name = "numbered"
    batch = 1

    def __init__(self):
        self.count = -1

    def encode_batch(self, tiles):
        self.count += 1
        return torch.full((1, 2, 64, 64), float(self.count))


def test_a_tile_is_encoded_only_when_asked_for_and_only_once(fake):
    tiles, known = embeddings(fake)
    assert fake.encoded == 0
    first = tiles[2]
    assert fake.encoded == 1
    assert tiles[2] is first
    assert fake.encoded == 1
    assert set(known) == {2}
    _ = tiles[0]
    assert fake.encoded == 2


def test_the_encoder_is_not_even_fetched_before_a_tile_needs_it():
    def never():
        raise AssertionError("nothing had to be encoded")

    grid = TileGrid.over(SHAPE, 128, 0.5)
    known = {i: torch.zeros(3, 64, 64) for i in range(len(grid.origins))}
    tiles = TileEmbeddings(grid, random_image(), never, known)
    assert list(tiles.fill(range(len(grid.origins)))) == []
    stitch(tiles, range(len(grid.origins)))


def test_embeddings_made_earlier_are_used(fake):
    tiles, known = embeddings(fake)
    known[1] = torch.full((3, 64, 64), 7.0)
    assert tiles[1] is known[1]
    assert fake.encoded == 0


def test_a_tile_sees_its_own_part_of_the_image(fake):
    tiles, _ = embeddings(fake)
    part = tiles.grid.cut(random_image(), 5)
    np.testing.assert_array_equal(tiles[5].numpy(), fake.encode(part).numpy())


@pytest.mark.parametrize(
    ("batch", "batches", "told"),
    [
        (1, [1] * 7, [1, 2, 3, 4, 5, 6, 7]),
        (3, [3, 3, 1], [1, 4, 7]),
        (100, [7], [1]),
    ],
)
def test_missing_tiles_are_encoded_in_batches_and_told_of_before_each(fake, batch, batches, told):
    tiles, known = embeddings(fake)
    fake.batch = batch
    there = tiles[4]
    alone = {index: tiles[index] for index in (0, 7)}
    del known[0], known[7]
    fake.batches.clear()
    wanted = [5, 0, 1, 4, 2, 3, 6, 7]
    assert list(tiles.fill(wanted)) == told
    assert fake.batches == batches
    assert set(known) == set(wanted)
    assert tiles[4] is there
    for index, embedding in alone.items():
        assert torch.equal(tiles[index], embedding)
    assert list(tiles.fill(wanted)) == []


def test_filling_that_is_left_goes_on_where_it_was(fake):
    tiles, known = embeddings(fake)
    fake.batch = 2
    filling = tiles.fill(range(5))
    assert [next(filling), next(filling)] == [0, 2]
    filling.close()
    assert set(known) == {0, 1}
    assert list(tiles.fill(range(5))) == [2, 4]
    assert fake.encoded == 5


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("side", [128, 192])
def test_stitched_features_are_those_of_the_whole_image(fake, overlap, side):
    tiles, _ = embeddings(fake, overlap, side=side)
    grid = tiles.grid
    features = stitch(tiles, range(len(grid.origins)))
    assert fake.encoded == len(grid.origins)
    h, w = grid.tokens
    image = random_image()
    extra = [(0, p - s) for p, s in zip(grid.padded, grid.shape, strict=True)]
    padded = np.pad(image, [*extra, (0, 0)], mode="symmetric")
    blocks = padded.reshape(h, grid.token, w, grid.token, 3).astype(float)
    expected = -np.log((blocks.mean(axis=(1, 3)) + 1) / 256)
    assert features.shape == (3, h, w)
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features.numpy(), np.moveaxis(expected, 2, 0), atol=1e-5)


def test_tokens_that_no_tile_covers_are_zero(fake):
    tiles, _ = embeddings(fake)
    grid = tiles.grid
    features = stitch(tiles, [0, 3])
    assert fake.encoded == 2
    covered = np.zeros(grid.tokens, dtype=bool)
    for index in (0, 3):
        y, x = (origin // grid.token for origin in grid.origins[index])
        covered[y : y + 64, x : x + 64] = True
    assert 0 < covered.mean() < 1
    assert (features.numpy()[:, ~covered] == 0).all()
    assert (features.numpy()[:, covered] > 0).all()


def test_without_tiles_there_are_no_features(fake):
    tiles, _ = embeddings(fake)
    assert stitch(tiles, []).shape == (0, *tiles.grid.tokens)
    assert fake.encoded == 0


@pytest.mark.parametrize("overlap", OVERLAPS[1:])
def test_one_tile_fades_into_the_next(overlap):
    grid = TileGrid.over((128, 128 + round(128 * (1 - overlap) / 2) * 2), 128, overlap)
    assert len(grid.origins) == 2
    numbered = Numbered()
    tiles = TileEmbeddings(grid, random_image((128, grid.shape[1])), lambda: numbered, {})
    across = stitch(tiles, [0, 1])[0, 30].numpy()
    start = grid.origins[1][1] // grid.token
    assert (across[:start] == 0).all()
    assert (across[64:] == 1).all()
    inside = across[start:64]
    assert (np.diff(inside) >= -1e-6).all()
    assert 0 < inside[0] < 0.25
    assert 0.75 < inside[-1] < 1
    np.testing.assert_allclose(inside + inside[::-1], 1, atol=1e-6)
    # No seam: the step from token to token is a small part of the whole.
    assert np.diff(across).max() <= 4 / len(inside)


def test_blending_weights_are_positive_symmetric_and_highest_in_the_middle():
    weights = blending_weights(64).numpy()
    assert weights.shape == (64, 64)
    assert (weights > 0).all()
    np.testing.assert_array_equal(weights, weights[::-1])
    np.testing.assert_array_equal(weights, weights.T)
    assert weights[32, 32] == weights.max()
    assert (weights[0] == weights[0].min()).any()
    assert (np.diff(weights[32, :32]) >= 0).all()
