"""The composed MobileSAM against the upstream network's recorded answers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_sprout.models import mobile_sam
from napari_sprout.models.frame import EMBEDDING, to_frame_xy, window_origins
from napari_sprout.models.protocols import PromptableSegmenter, PromptBatch
from napari_sprout.models.sam import SamSegmenter
from napari_sprout.models.state import read_state
from napari_sprout.models.weights import embedded_path, load_segmenter, weights_sha256

SIDE = 512
CHECKPOINT_VARIABLE = "NAPARI_SPROUT_MOBILE_SAM_PT"


@pytest.fixture(scope="module")
def segmenter() -> SamSegmenter:
    return load_segmenter("mobile_sam", "cpu")


@pytest.fixture(scope="module")
def reference(reference_dir: Path) -> dict[str, NDArray[np.generic]]:
    with np.load(reference_dir / "mobile_sam_reference.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def tile(monuseg_dev: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(monuseg_dev / "TCGA-21-5784-01Z-00-DX1.png"))
    assert image is not None
    return np.ascontiguousarray(image[:SIDE, :SIDE, ::-1])


def prompts_of(reference: dict, window: int = EMBEDDING) -> PromptBatch:
    frame_xy = torch.from_numpy(reference["points_xy"])
    points = (frame_xy.flip(-1) + 0.5) * (SIDE / 1024) - 0.5
    assert torch.allclose(to_frame_xy(points, SIDE), frame_xy, atol=1e-4)
    labels = torch.from_numpy(reference["labels"])
    return PromptBatch(points, labels, window_origins(points[:, 0], SIDE, window), window)


def iou(a: NDArray, b: NDArray) -> float:
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


def agreement(segmenter: SamSegmenter, tile: NDArray, reference: dict) -> tuple[float, float]:
    """Return the embedding's relative L2 error and the worst mask's IoU."""
    embedding = segmenter.encode(tile)
    wanted = reference["embedding"].astype(np.float32)
    error = np.linalg.norm(embedding.numpy() - wanted) / np.linalg.norm(wanted)
    answer = segmenter.decode(embedding, prompts_of(reference), SIDE)
    expected = np.concatenate([reference["low_res_single"], reference["low_res_multi"]], axis=1)
    masks = answer.logits.numpy() > 0
    worst = min(iou(masks[i, j], expected[i, j] > 0) for i in range(len(masks)) for j in range(4))
    scores = np.concatenate([reference["iou_single"], reference["iou_multi"]], axis=1)
    assert np.abs(answer.iou.numpy() - scores).max() < 0.02
    return float(error), worst


def test_embedded_weights_reproduce_the_upstream_network(segmenter, tile, reference):
    error, worst = agreement(segmenter, tile, reference)
    assert error < 5e-3
    assert worst >= 0.97


def test_float32_checkpoint_reproduces_the_upstream_network(tile, reference):
    path = os.environ.get(CHECKPOINT_VARIABLE)
    if not path:
        pytest.skip(f"{CHECKPOINT_VARIABLE} does not name the upstream mobile_sam.pt")
    read_state(Path(path), mobile_sam.UPSTREAM_SHA256)
    full = load_segmenter("mobile_sam", "cpu", Path(path))
    assert full.weights_sha256 == mobile_sam.UPSTREAM_SHA256
    error, worst = agreement(full, tile, reference)
    assert error < 1e-3
    assert worst >= 0.995


def test_segmenter_follows_the_protocol(segmenter):
    assert isinstance(segmenter, PromptableSegmenter)
    assert segmenter.weights_sha256 == weights_sha256("mobile_sam")


def test_embedded_file_has_the_recorded_hash():
    assert hashlib.sha256(embedded_path().read_bytes()).hexdigest() == weights_sha256("mobile_sam")


def test_full_window_equals_segment_anythings_own_decoder(segmenter):
    generator = torch.Generator().manual_seed(3)
    embedding = torch.randn(256, EMBEDDING, EMBEDDING, generator=generator) * 0.2
    points = torch.tensor([[[100.0, 200.0], [140.0, 180.0]], [[400.5, 30.25], [390.0, 60.0]]])
    labels = torch.tensor([[1, 0], [1, -1]])
    masks = torch.randn(2, 256, 256, generator=generator)
    boxes = torch.tensor([[90.0, 180.0, 150.5, 220.0], [380.0, 20.0, 420.0, 70.0]])
    origins = window_origins(points[:, 0], SIDE, EMBEDDING)
    network = segmenter._network
    none = points[:, :0], labels[:, :0]
    for (given, kinds), mask_prompt, box in (
        ((points, labels), None, None),
        ((points, labels), masks, None),
        ((points, labels), masks, boxes),
        (none, None, boxes),
    ):
        prompts = PromptBatch(given, kinds, origins, EMBEDDING, mask_prompt, box)
        ours = segmenter.decode(embedding, prompts, SIDE)
        with torch.inference_mode():
            sparse, dense = network.prompt_encoder(
                (to_frame_xy(given, SIDE), kinds),
                None if box is None else to_frame_xy(box.view(2, 2, 2), SIDE).view(2, 4),
                None if mask_prompt is None else mask_prompt[:, None],
            )
            theirs, scores = network.mask_decoder.predict_masks(
                embedding[None], network.prompt_encoder.get_dense_pe(), sparse, dense
            )
        assert torch.allclose(ours.logits, theirs, atol=1e-3)
        assert torch.allclose(ours.iou, scores, atol=1e-4)


@pytest.mark.parametrize("window", [6, 16, 24])
@pytest.mark.parametrize("count", [1, 3])
def test_a_window_equals_segment_anythings_decoder_on_the_cropped_embedding(
    segmenter, window, count
):
    generator = torch.Generator().manual_seed(window)
    network = segmenter._network
    embedding = torch.randn(256, EMBEDDING, EMBEDDING, generator=generator) * 0.2
    points = torch.rand(count, 3, 2, generator=generator) * SIDE
    labels = torch.tensor([[1, 0, -1]]).expand(count, -1)
    masks = 4 * torch.randn(count, 4 * window, 4 * window, generator=generator)
    origins = window_origins(points[:, 0], SIDE, window)
    for mask_prompt in (None, masks):
        ours = segmenter.decode(
            embedding, PromptBatch(points, labels, origins, window, mask_prompt), SIDE
        )
        for i, (y, x) in enumerate(origins.tolist()):
            crop = (slice(None), slice(None), slice(y, y + window), slice(x, x + window))
            with torch.inference_mode():
                sparse, _ = network.prompt_encoder(
                    (to_frame_xy(points[i : i + 1], SIDE), labels[i : i + 1]), None, None
                )
                dense = (
                    network.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
                    if mask_prompt is None
                    else network.prompt_encoder.mask_downscaling(mask_prompt[i : i + 1, None])
                )
                theirs, scores = network.mask_decoder.predict_masks(
                    embedding[None][crop],
                    network.prompt_encoder.get_dense_pe()[crop],
                    sparse,
                    dense.expand(-1, -1, window, window),
                )
            assert torch.allclose(ours.logits[i : i + 1], theirs, atol=1e-3)
            assert torch.allclose(ours.iou[i : i + 1], scores, atol=1e-4)


def test_mask_prompt_window_is_the_crop_of_the_whole(segmenter):
    """A windowed mask prompt must be encoded as the same place of the full one."""
    full = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    downscale = segmenter._network.prompt_encoder.mask_downscaling
    with torch.inference_mode():
        whole = downscale(full)[0, :, 10:34, 20:44]
        part = downscale(full[:, :, 40:136, 80:176])[0]
    assert torch.allclose(whole, part, atol=1e-5)


def test_windowed_masks_stay_close_to_the_full_decoders(segmenter, tile, reference):
    embedding = segmenter.encode(tile)
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.uniform(120, 390, (24, 1, 2))).float()
    labels = torch.ones(24, 1, dtype=torch.int64)
    region = torch.full((24, 256, 256), -4.0)
    for i, (y, x) in enumerate(points[:, 0].tolist()):
        region[i, int(y / 2) - 8 : int(y / 2) + 8, int(x / 2) - 8 : int(x / 2) + 8] = 4.0
    whole = PromptBatch(points, labels, torch.zeros(24, 2, dtype=torch.int64), EMBEDDING, region)
    full = segmenter.decode(embedding, whole, SIDE).logits[:, 0].numpy() > 0
    origins = window_origins(points[:, 0], SIDE, 24)
    crops = torch.stack(
        [region[i, 4 * r : 4 * r + 96, 4 * c : 4 * c + 96] for i, (r, c) in enumerate(origins)]
    )
    part = segmenter.decode(embedding, PromptBatch(points, labels, origins, 24, crops), SIDE)
    ious = []
    for i, (r, c) in enumerate(origins.tolist()):
        crop = full[i, 4 * r : 4 * r + 96, 4 * c : 4 * c + 96]
        mask = part.logits[i, 0].numpy() > 0
        if crop.any():
            ious.append(iou(mask, crop))
    assert np.median(ious) > 0.8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_agrees_with_the_cpu(tile, reference):
    on_gpu = load_segmenter("mobile_sam", "cuda")
    on_cpu = load_segmenter("mobile_sam", "cpu")
    a, b = on_cpu.encode(tile), on_gpu.encode(tile).cpu()
    assert float((a - b).norm() / a.norm()) < 1e-2
    cpu = on_cpu.decode(a, prompts_of(reference), SIDE)
    gpu = on_gpu.decode(a.cuda(), prompts_of(reference), SIDE)
    worst = min(
        iou(cpu.logits[i, j].numpy() > 0, gpu.logits[i, j].cpu().numpy() > 0)
        for i in range(4)
        for j in range(4)
    )
    assert worst > 0.95


def test_a_network_made_of_its_weights_lacks_nothing_that_one_made_in_earnest_has():
    earnest = mobile_sam.ImageEncoder().eval()
    state, _ = read_state(embedded_path())
    built = mobile_sam.build(mobile_sam.from_upstream(state)).image_encoder
    for kind in ("named_buffers", "named_parameters"):
        expected, found = dict(getattr(earnest, kind)()), dict(getattr(built, kind)())
        assert expected.keys() == found.keys()
        for name, tensor in found.items():
            assert (tensor.shape, tensor.dtype) == (expected[name].shape, expected[name].dtype)
            assert tensor.device == torch.device("cpu")
            # What no file carries.
            if name.endswith(("attention_bias_idxs", "num_batches_tracked")):
                assert torch.equal(tensor, expected[name])
