"""SAM 2 made of timm's Hiera and segment-anything's decoder, with made-up weights.

What Meta's own program answers with the same weights was recorded by
``scripts/record_sam2_reference.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from made_up import made_up_image, made_up_weights
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.errors import WeightsError
from napari_sprout.io.embeddings import EmbeddingCache
from napari_sprout.models import networks, sam2, weights
from napari_sprout.models.frame import EMBEDDING, FEATURES, to_frame_xy, window_origins
from napari_sprout.models.parts import SamNetwork
from napari_sprout.models.protocols import PromptableSegmenter, PromptBatch
from napari_sprout.models.registry import models
from napari_sprout.models.sam import SamSegmenter
from napari_sprout.models.weights import load_segmenter

SIDE = 1024
SMALL: dict[str, Any] = {
    "trunk": "sam2_hiera_tiny",
    "embed_dim": 16,
    "stages": (1, 1, 2, 1),
    "global_att_blocks": (3,),
}
REFERENCE = Path(__file__).parent / "data" / "sam2_reference.npz"
# Memory and object pointers, which are the same for all sizes.
VIDEO_PARAMETERS = 7_653_618
HIERAS = [one for one in models().values() if one.family == "sam2"]


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[Any]]:
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def state(reference) -> dict[str, torch.Tensor]:
    """Tensors as Meta's checkpoints name them, video part and all."""
    return made_up_weights(json.loads(bytes(reference["shapes"])))


@pytest.fixture(scope="module")
def segmenter(state) -> SamSegmenter:
    network = sam2.build(sam2.from_upstream(state), **SMALL)
    return SamSegmenter(network, "sam2_1_tiny", "2" * 64, torch.device("cpu"))


@pytest.fixture(scope="module")
def tile() -> NDArray[np.uint8]:
    return made_up_image(SIDE)


@pytest.fixture(scope="module")
def embedding(segmenter, tile) -> torch.Tensor:
    return segmenter.encode(tile)


def prompts_of(reference, window: int = EMBEDDING, kind: str = "points"):
    points = torch.from_numpy(reference["points_xy"]).flip(-1)
    labels = torch.from_numpy(reference["labels"])
    boxes = torch.from_numpy(reference["boxes_xyxy"]).view(-1, 2, 2).flip(-1).flatten(1)
    masks = np.random.default_rng(3).normal(size=(2, 256, 256)).astype(np.float32)
    few = 0 if kind == "boxes" else points.shape[1]
    return PromptBatch(
        points[:, :few],
        labels[:, :few],
        window_origins(points[:, 0], SIDE, window),
        window,
        torch.from_numpy(masks) if kind in ("masks", "all") else None,
        boxes if kind in ("boxes", "all") else None,
    )


def test_several_tiles_at_once_are_encoded_as_each_alone(segmenter, tile, embedding):
    found = segmenter.encode_batch(np.stack([tile, tile[::-1]]))
    assert torch.allclose(found[0], embedding, atol=1e-4)
    assert torch.allclose(found[1], segmenter.encode(tile[::-1]), atol=1e-4)


def test_there_are_four_sizes():
    assert {one.architecture for one in HIERAS} == sam2.ARCHITECTURES.keys()


@pytest.mark.parametrize("one", HIERAS, ids=lambda one: one.name)
def test_an_architecture_has_the_published_number_of_parameters(one):
    with torch.device("meta"):
        encoder = sam2.ImageEncoder(**sam2.ARCHITECTURES[one.architecture])
        network = SamNetwork(encoder, sam2.mask_decoder)
    count = sum(parameter.numel() for parameter in network.parameters()) + VIDEO_PARAMETERS
    assert count / 1e6 == pytest.approx(one.parameters, rel=0.01)
    assert one.size == pytest.approx(4 * count, rel=0.01)
    upstream = {"image_encoder.trunk.pos_embed": encoder.trunk.pos_embed}
    for name, tensor in encoder.trunk.state_dict(prefix="image_encoder.trunk.").items():
        upstream[name] = tensor
    assert networks.architecture_of(upstream) == one.architecture


def test_every_tensor_of_a_checkpoint_is_used_or_known_to_be_for_videos(state):
    kept = sam2.from_upstream(state)
    left = sum(tensor.numel() for tensor in state.values())
    left -= sum(tensor.numel() for tensor in kept.values())
    assert left == VIDEO_PARAMETERS
    assert "some.new_part" in sam2.from_upstream({"some.new_part": torch.zeros(1)})


def test_an_encoded_tile_is_metas(embedding, reference):
    assert embedding.shape == (1024, EMBEDDING, EMBEDDING)
    features, coarse, fine = (part.numpy() for part in embedding.split([FEATURES, 256, 512]))
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(features[::16, ::8, ::8], reference["embedding"], **close)
    # Rows and columns within a token come first, then channels.
    coarse = coarse.reshape(2, 2, 64, 64, 64).transpose(2, 3, 0, 4, 1).reshape(64, 128, 128)
    np.testing.assert_allclose(coarse[::8, ::16, ::16], reference["coarse"], **close)
    fine = fine.reshape(2, 2, 2, 2, 32, 64, 64).transpose(4, 5, 0, 2, 6, 1, 3)
    fine = fine.reshape(32, 256, 256)
    np.testing.assert_allclose(fine[::4, ::32, ::32], reference["fine"], **close)


@pytest.mark.parametrize("kind", ["points", "masks", "boxes", "all"])
def test_answers_are_metas(kind, segmenter, embedding, reference):
    found = segmenter.decode(embedding, prompts_of(reference, kind=kind), SIDE)
    assert found.logits.std() > 1
    expected = reference[f"{kind}_logits"]
    np.testing.assert_allclose(found.logits[:, :, ::16, ::16], expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.iou, reference[f"{kind}_iou"], atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("window", [6, 24])
def test_a_window_is_decoded_as_the_crop_of_everything(window, segmenter, embedding, reference):
    """Features and details of a window, in SAM 2's own order of work."""
    prompts = prompts_of(reference, window)
    found = segmenter.decode(embedding, prompts, SIDE)
    network = segmenter._network
    decoder = network.mask_decoder
    sparse, _ = network.prompt_encoder(
        (to_frame_xy(prompts.points, SIDE), prompts.labels), None, None
    )
    position = network.prompt_encoder.get_dense_pe()
    for i, (y, x) in enumerate(prompts.origins.tolist()):
        crop = (slice(None), slice(None), slice(y, y + window), slice(x, x + window))
        features, coarse, fine = embedding[None][crop].split([FEATURES, 256, 512], dim=1)
        features = features + network.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        asked = (decoder.obj_score_token, decoder.iou_token, decoder.mask_tokens)
        tokens = torch.cat([*(one.weight for one in asked), sparse[i]])[None]
        tokens, image = decoder.transformer(features, position[crop], tokens)
        image = image.transpose(1, 2).view(1, FEATURES, window, window)
        first, norm, activation, second, last = decoder.output_upscaling
        coarse = torch.nn.functional.pixel_shuffle(
            coarse.view(1, 4, 64, window, window).transpose(1, 2).flatten(1, 2), 2
        )
        image = activation(norm(first(image) + coarse))
        steps = fine.view(1, 2, 2, 2, 2, 32, window, window)  # rows, columns; rows, columns
        fine = steps.permute(0, 5, 6, 1, 3, 7, 2, 4).reshape(1, 32, 4 * window, 4 * window)
        image = last(second(image) + fine)
        heads = [mlp(tokens[:, 2 + j]) for j, mlp in enumerate(decoder.output_hypernetworks_mlps)]
        logits = torch.einsum("nmc,nchw->nmhw", torch.stack(heads, 1), image)
        assert torch.allclose(found.logits[i : i + 1], logits, atol=1e-3)
        iou = decoder.iou_prediction_head(tokens[:, 1])
        assert torch.allclose(found.iou[i : i + 1], iou, atol=1e-5)


def test_a_session_takes_the_features_alone_and_keeps_details_on_disk(
    segmenter, synthetic, tmp_path, monkeypatch
):
    assert isinstance(segmenter, PromptableSegmenter)
    cache = EmbeddingCache(tmp_path)
    first = Session(synthetic.rgb, mpp=0.25, segmenter=segmenter, embeddings=cache)
    first.finish()
    assert first.output(Stage.ENCODING).features.shape[0] == FEATURES
    assert first.metadata()["weights_sha256"] == "2" * 64
    monkeypatch.setattr(segmenter, "encode", None)
    again = Session(synthetic.rgb, mpp=0.25, segmenter=segmenter, embeddings=cache)
    again.finish()
    np.testing.assert_array_equal(again.labels, first.labels)


@pytest.fixture
def small_hieras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tiny one be tinier, so that whole files of it can be read."""
    known = {**sam2.ARCHITECTURES, "hiera_tiny": SMALL}
    monkeypatch.setattr(sam2, "ARCHITECTURES", MappingProxyType(known))
    monkeypatch.setattr(networks, "_HIERAS", {(16, 5): "hiera_tiny", (16, 4): "hiera_small"})


@pytest.mark.usefixtures("small_hieras")
def test_metas_checkpoint_is_read_from_its_file(state, segmenter, tmp_path):
    path = tmp_path / "sam2.1_hiera_tiny.pt"
    torch.save({"model": state}, path)
    loaded = load_segmenter("sam2_1_tiny", "cpu", path)
    assert loaded.weights_sha256 == weights.weights_sha256("sam2_1_tiny", path)
    expected = segmenter._network.state_dict()
    held = loaded._network.state_dict()
    assert held.keys() == expected.keys()
    assert all(torch.equal(held[name], tensor) for name, tensor in expected.items())


@pytest.mark.usefixtures("small_hieras")
def test_a_checkpoint_of_another_size_or_with_parts_missing_is_refused(state, tmp_path):
    path = tmp_path / "sam2.pt"
    torch.save({"model": state}, path)
    with pytest.raises(WeightsError, match=r"seems to hold SAM 2\.1 tiny, not SAM 2\.1 small"):
        load_segmenter("sam2_1_small", "cpu", path)
    with pytest.raises(WeightsError, match=r"seems to hold SAM 2\.1 tiny, not SAM ViT-B: choose"):
        load_segmenter("sam_vit_b", "cpu", path)
    del state["no_mem_embed"]
    torch.save({"model": state}, path)
    with pytest.raises(WeightsError, match=r"as SAM 2\.1 tiny\. .* missing 'image_encoder\.no_mem"):
        load_segmenter("sam2_1_tiny", "cpu", path)
