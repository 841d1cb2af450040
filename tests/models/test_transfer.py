from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_sprout.errors import ImageError
from napari_sprout.models.protocols import PromptBatch
from napari_sprout.models.transfer import frames, moved, packed, unpacked

CPU = torch.device("cpu")
WIDEST_FIRST = (torch.int64, torch.float64, torch.float32, torch.int32, torch.float16, torch.bool)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def tensors(shapes: list[tuple[int, ...]], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randint(0, 100, shape, generator=generator) for shape in shapes]
    return [one.to(dtype) for one, dtype in zip(made, WIDEST_FIRST, strict=False)]


shapes_of = st.lists(
    st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6
)


@given(shapes_of, st.integers(0, 9))
def test_what_is_packed_into_one_transfer_comes_out_as_it_was(shapes, seed):
    given = tensors(shapes, seed)
    # However it lies in memory.
    given = [one.movedim(0, -1).contiguous().movedim(-1, 0) for one in given]
    carried = packed(given, CPU)
    assert carried.shape == (sum(one.nbytes for one in given),)
    for before, after in zip(given, unpacked(carried, given), strict=True):
        assert before.dtype == after.dtype
        assert torch.equal(before, after)


def test_what_is_there_already_is_not_copied():
    given = tensors([(3, 2), (4,)], 0)
    found = moved(given, CPU)
    assert all(before is after for before, after in zip(given, found, strict=True))
    batch = prompts()
    there = batch.to(CPU)
    assert there.points is batch.points
    assert (there.masks, there.window) == (None, 16)


def prompts() -> PromptBatch:
    points = torch.rand(3, 2, 2) * 100
    labels = torch.tensor([[1, 0]]).expand(3, -1)
    boxes = torch.rand(3, 4) * 100
    return PromptBatch(points, labels, torch.zeros(3, 2, dtype=torch.int64), 16, None, boxes)


@needs_cuda
def test_prompts_go_to_a_card_and_back_in_one_transfer_each_way():
    cuda, batch = torch.device("cuda"), prompts()
    there = batch.to(cuda)
    assert there.points.device.type == there.boxes.device.type == "cuda"
    assert there.masks is None
    with torch.profiler.profile() as watched:
        there = batch.to(cuda)
        back = there.to(CPU)
    copies = [event for event in watched.events() if "Memcpy" in event.name]
    assert len(copies) <= 2
    for name in ("points", "labels", "origins", "boxes"):
        assert torch.equal(getattr(back, name), getattr(batch, name))


@pytest.mark.parametrize(("side", "how"), [(64, cv2.INTER_AREA), (200, cv2.INTER_CUBIC), (96, 0)])
def test_frames_are_what_opencv_makes_of_each_tile(side, how):
    tiles = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    found = frames(tiles, side, CPU, cv2.INTER_CUBIC, cv2.INTER_AREA)
    expected = [cv2.resize(tile, (side, side), interpolation=how) for tile in tiles]
    np.testing.assert_array_equal(found.numpy(), expected)
    assert side == 96 or not np.array_equal(found, frames(tiles, side, CPU))


@pytest.mark.parametrize("shape", [(2, 8, 9, 3), (8, 8, 3), (2, 8, 8, 4), (2, 8, 8), (8,)])
def test_frames_are_made_only_of_square_rgb_images(shape):
    with pytest.raises(ImageError, match="square RGB"):
        frames(np.zeros(shape, np.uint8), 16, CPU)


@needs_cuda
def test_frames_on_a_card_are_those_of_the_processor():
    tiles = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), dtype=np.uint8)
    there = [frames(tiles, side, torch.device("cuda")) for side in (64, 200)]
    for found, side in zip(there, (64, 200), strict=True):
        assert torch.equal(found.cpu(), frames(tiles, side, CPU))
