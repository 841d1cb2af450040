"""Tiles encoded several at once, and with less than float32, against one at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sprout.models import memory, openvino_encoder
from napari_sprout.models.frame import FromFrame, window_origins
from napari_sprout.models.protocols import PromptBatch
from napari_sprout.models.sam import SamSegmenter
from napari_sprout.models.weights import load_segmenter

SIDE = 512
CPU = torch.device("cpu")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(scope="module")
def tiles(monuseg_dev: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(monuseg_dev / "TCGA-21-5784-01Z-00-DX1.png"))
    assert image is not None
    rgb = image[:, :, ::-1]
    return np.stack([rgb[:SIDE, :SIDE], rgb[:SIDE, -SIDE:], rgb[-SIDE:, -SIDE:]])


@pytest.fixture(scope="module")
def by_torch() -> Callable[..., SamSegmenter]:
    """Load MobileSAM as where there is no OpenVINO, or with a card."""

    def load(device: str = "cpu", half: bool = False) -> SamSegmenter:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(openvino_encoder, "OpenVinoEncoder", Mock(side_effect=ImportError))
            made = load_segmenter("mobile_sam", device, half=half)
        assert isinstance(made._encoder, FromFrame)
        return made

    return load


@pytest.fixture(scope="module")
def alone(by_torch, tiles) -> Tensor:
    """Each tile encoded by itself, on the processor, in float32."""
    segmenter = by_torch()
    return torch.stack([segmenter.encode(tile) for tile in tiles])


def far(found: Tensor, expected: Tensor) -> float:
    return float((found.cpu() - expected).abs().max() / expected.abs().max())


def test_several_tiles_at_once_are_encoded_as_each_alone(by_torch, tiles, alone):
    found = by_torch().encode_batch(tiles)
    assert found.shape == (3, 256, 64, 64)
    assert found.dtype == torch.float32
    assert far(found, alone) < 1e-5
    # They are told apart.
    assert far(found, alone.flip(0)) > 0.1


def test_openvino_encodes_each_of_several_tiles_as_alone_to_the_bit(tiles):
    segmenter = load_segmenter("mobile_sam", "cpu")
    found = segmenter.encode_batch(tiles[:2])
    assert torch.equal(found, torch.stack([segmenter.encode(tile) for tile in tiles[:2]]))


def masks(segmenter: SamSegmenter, embeddings: Tensor) -> NDArray[np.bool_]:
    """The mean of SAM's answers to a grid of points on each tile, in windows of 16 tokens."""
    middles = torch.arange(40.0, SIDE - 40, 36)
    points = torch.cartesian_prod(middles, middles)[:, None]
    labels = torch.ones(points.shape[:2], dtype=torch.int64)
    origins = window_origins(points[:, 0], SIDE, 16)
    found = [
        segmenter.decode(one, PromptBatch(points, labels, origins, 16), SIDE).logits.mean(1)
        for one in embeddings
    ]
    return (torch.cat(found) > 0).cpu().numpy()


def agreement(found: NDArray[np.bool_], expected: NDArray[np.bool_]) -> float:
    """Return the mean IoU of masks that are not empty."""
    kept = expected.any((1, 2))
    assert kept.sum() > 100
    both = (found & expected).sum((1, 2)) / np.maximum((found | expected).sum((1, 2)), 1)
    return float(both[kept].mean())


def test_products_of_float16_leave_the_masks_as_they_are(by_torch, tiles, alone):
    halved = by_torch(half=True)
    found = halved.encode_batch(tiles[:1])
    assert found.dtype == torch.float32
    # They are of float16.
    assert 1e-4 < far(found, alone[:1]) < 0.01
    assert agreement(masks(halved, found), masks(halved, alone[:1])) >= 0.98


@needs_cuda
@pytest.mark.parametrize("half", [False, True])
def test_a_card_draws_the_processors_masks(by_torch, tiles, alone, half):
    there = by_torch("cuda", half)
    found = there.encode_batch(tiles)
    assert found.device.type == "cuda"
    one_by_one = torch.stack([there.encode(tile) for tile in tiles])
    assert agreement(masks(there, one_by_one), masks(there, found)) >= 0.99
    assert agreement(masks(there, found), masks(by_torch(), alone)) >= 0.98


def test_a_processor_takes_one_tile_at_once_and_a_card_as_many_as_it_has_room_for(monkeypatch):
    free = {"cpu": 10**12, "mps": 10**12, "cuda": 10**12}
    monkeypatch.setattr(memory, "free", lambda device: free[device.type])
    each = {
        name: [memory.fitting_tiles(name, torch.device(device)) for device in free]
        for name in ("mobile_sam", "vit_h", "hiera_large")
    }
    assert all(most == [1, 4, 8] for most in each.values())
    free["cuda"] = 4_000_000_000
    room = [memory.fitting_tiles(name, torch.device("cuda")) for name in each]
    assert room == [5, 2, 1]
    free["cuda"] = 0
    assert memory.fitting_tiles("mobile_sam", torch.device("cuda")) == 1
