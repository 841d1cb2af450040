"""The mask decoder that OpenVINO runs against the same arithmetic in torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from napari_sprout.models import openvino_decoder, sam2
from napari_sprout.models.frame import EMBEDDING, window_origins
from napari_sprout.models.parts import SamNetwork
from napari_sprout.models.sam import SamSegmenter
from napari_sprout.models.weights import load_segmenter
from napari_sprout.models.windowed import BATCH, WindowedDecoder

SIDE = 512

Answer = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def segmenter() -> SamSegmenter:
    return load_segmenter("mobile_sam", "cpu")


@pytest.fixture(scope="module")
def embedding(segmenter, monuseg_dev: Path) -> Tensor:
    image = cv2.imread(str(monuseg_dev / "TCGA-21-5784-01Z-00-DX1.png"))
    assert image is not None
    return segmenter.encode(np.ascontiguousarray(image[:SIDE, :SIDE, ::-1]))


def decoder(segmenter: SamSegmenter) -> WindowedDecoder:
    network = segmenter._network
    with torch.inference_mode():
        return WindowedDecoder(network.prompt_encoder, network.mask_decoder)


@pytest.fixture(scope="module")
def ours(segmenter) -> WindowedDecoder:
    made = decoder(segmenter)
    assert made._compiled is not None
    return made


@pytest.fixture(scope="module")
def torchs(segmenter) -> WindowedDecoder:
    made = decoder(segmenter)
    made._compiled = None
    return made


@pytest.fixture
def prompts(segmenter) -> Callable[..., tuple[Any, ...]]:
    def make(seed: int, window: int = 16, points: int = 2, masked: bool = True) -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(seed)
        places = 30 + torch.rand(BATCH, points, 2, generator=generator) * (SIDE - 60)
        labels = torch.tensor([1] + [0] * (points - 1)).expand(BATCH, -1)
        origins = window_origins(places[:, 0], SIDE, window)
        encoder = segmenter._network.prompt_encoder
        with torch.inference_mode():
            sparse = encoder((places.flip(-1) * 2, labels), None, None)[0]
        size = 4 * window
        masks = torch.full((BATCH, size, size), -4.0)
        masks[:, size // 2 - 8 : size // 2 + 8, size // 2 - 8 : size // 2 + 8] = 4.0
        return origins, window, sparse, masks if masked else None

    return make


@torch.inference_mode()
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("window", "points"), [(16, 2), (16, 5), (9, 1), (32, 2)])
def test_openvino_draws_torchs_masks(ours, torchs, embedding, prompts, window, points, masked):
    asked = prompts(window + points, window, points, masked)
    found, expected = (one.decode(embedding, *asked) for one in (ours, torchs))
    assert ours._compiled is not None
    for mine, theirs, close in zip(found, expected, (1e-3, 1e-5), strict=True):
        assert mine.shape == theirs.shape
        assert mine.dtype == torch.float32
        assert (mine - theirs).abs().max() < close
        # They are not all the same.
        assert theirs.std(dim=0).max() > 10 * close
    both, either = ((found[0] > 0) & (expected[0] > 0)), ((found[0] > 0) | (expected[0] > 0))
    assert either.sum() > 1000
    assert both.sum() / either.sum() > 0.999


@pytest.fixture
def compiled(monkeypatch) -> list[tuple[Any, ...]]:
    """What graphs were compiled."""
    made: list[tuple[Any, ...]] = []
    model = openvino_decoder._model
    monkeypatch.setattr(
        openvino_decoder, "_model", lambda parts, *shape: made.append(shape) or model(parts, *shape)
    )
    return made


@torch.inference_mode()
def test_only_whole_batches_in_windows_are_compiled_and_each_kind_once(
    segmenter, embedding, prompts, compiled
):
    one = decoder(segmenter)
    origins, window, sparse, masks = prompts(0)
    one.decode(embedding, origins[:7], window, sparse[:7], masks[:7])
    whole = torch.zeros(BATCH, 2, dtype=torch.int64)
    one.decode(embedding, whole, EMBEDDING, sparse, None)
    assert compiled == []
    for seed in range(3):
        one.decode(embedding, *prompts(seed))
    assert compiled == [(BATCH, 256, 3, True)]
    for points in (1, 3, 4, 5):
        one.decode(embedding, *prompts(0, points=points))
    assert len(compiled) == 5
    # The last four are kept.
    one.decode(embedding, *prompts(0, points=3))
    assert len(compiled) == 5
    one.decode(embedding, *prompts(0, points=2))
    assert len(compiled) == 6


def answers(
    one: WindowedDecoder, embedding: Tensor, asked: list[Any], at_once: int
) -> list[Answer]:
    def decode(prompt: tuple[Any, ...]) -> Answer:
        with torch.inference_mode():
            return one.decode(embedding, *prompt)

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(decode, asked))


def test_answers_are_the_same_bits_with_any_number_of_threads(segmenter, embedding, prompts):
    asked = [prompts(seed) for seed in range(12)]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            one = decoder(segmenter)
            found += [answers(one, embedding, asked, at_once) for at_once in (1, 4)]
            assert one._compiled is not None
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for mine, theirs in zip(found[0], other, strict=True):
            assert torch.equal(mine[0], theirs[0])
            assert torch.equal(mine[1], theirs[1])
    # And no prompt got another's.
    assert not torch.equal(found[0][0][0], found[0][1][0])


@torch.inference_mode()
@pytest.mark.parametrize("fault", ["no wheel", "no graph"])
def test_without_openvino_torch_decodes_and_says_so_once(
    segmenter, torchs, embedding, prompts, fault, monkeypatch, caplog
):
    if fault == "no wheel":
        monkeypatch.setitem(sys.modules, "napari_sprout.models.openvino_decoder", None)
    else:

        def refuse(*shape: Any) -> Any:
            raise RuntimeError("no such processor")

        monkeypatch.setattr(openvino_decoder, "_model", refuse)
    one = decoder(segmenter)
    for seed in range(2):
        found, expected = (each.decode(embedding, *prompts(seed)) for each in (one, torchs))
        assert all(map(torch.equal, found, expected))
    assert caplog.text.count("OpenVINO does not run the mask decoder") == 1


@torch.inference_mode()
def test_sam_2_is_decoded_by_torch():
    network = SamNetwork(torch.nn.Identity(), sam2.mask_decoder).eval()
    assert WindowedDecoder(network.prompt_encoder, network.mask_decoder)._compiled is None
    network = SamNetwork(torch.nn.Identity()).eval()
    assert WindowedDecoder(network.prompt_encoder, network.mask_decoder)._compiled is not None
