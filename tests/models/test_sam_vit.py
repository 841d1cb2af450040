"""SAM's own vision transformers against segment-anything, with made-up weights."""

from __future__ import annotations

import hashlib
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import nn

from made_up import made_up_image, made_up_weights
from napari_sprout.core.session import Session
from napari_sprout.core.settings import FeatureSettings, Settings
from napari_sprout.core.stages import Stage
from napari_sprout.errors import SproutWarning, WeightsError
from napari_sprout.models import sam_vit
from napari_sprout.models.frame import EMBEDDING, to_frame_xy, window_origins
from napari_sprout.models.parts import SamNetwork
from napari_sprout.models.protocols import PromptableSegmenter, PromptBatch
from napari_sprout.models.registry import models
from napari_sprout.models.sam import SamSegmenter
from napari_sprout.models.weights import load_segmenter, weights_sha256

SIDE = 512
CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "global_attn_indexes": (1,),
}
VITS = [one for one in models().values() if one.architecture in sam_vit.ARCHITECTURES]


def state_of(**arguments: Any) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        network = SamNetwork(sam_vit.image_encoder(**arguments))
    return made_up_weights({name: one.shape for name, one in network.state_dict().items()})


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return state_of(**SMALL)


@pytest.fixture(scope="module")
def segmenter(state) -> SamSegmenter:
    return SamSegmenter(sam_vit.build(state, **SMALL), "sam_vit_b", "f" * 64, CPU)


@pytest.fixture(scope="module")
def theirs(state) -> Sam:
    """segment-anything's whole model of the same weights."""
    plain = ImageEncoderViT(
        depth=2,
        embed_dim=16,
        num_heads=2,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=(1,),
        window_size=14,
        out_chans=256,
    )
    parts = SamNetwork(plain)
    made = Sam(plain, parts.prompt_encoder, parts.mask_decoder)
    made.load_state_dict(state, strict=True)
    return made.eval()


@pytest.fixture
def small_vit_b(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ViT-B and ViT-L be small, so that whole files of them can be read."""
    known = {"vit_b": SMALL, "vit_l": {**SMALL, "embed_dim": 32}}
    monkeypatch.setattr(sam_vit, "ARCHITECTURES", MappingProxyType(known))


def test_the_registry_knows_all_three():
    assert {one.architecture for one in VITS} == {"vit_b", "vit_l", "vit_h"}


@pytest.mark.parametrize("one", VITS, ids=lambda one: one.name)
def test_an_architecture_is_segment_anythings(one):
    with torch.device("meta"):
        ours = SamNetwork(sam_vit.image_encoder(**sam_vit.ARCHITECTURES[one.architecture]))
        plain = sam_model_registry[one.architecture]()
    expected = {name: tensor.shape for name, tensor in plain.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == expected
    count = sum(parameter.numel() for parameter in ours.parameters())
    assert count / 1e6 == pytest.approx(one.parameters, rel=0.01)
    # A checkpoint is its float32 values and little else.
    assert one.bytes == pytest.approx(4 * count, rel=0.001)


@torch.inference_mode()
def test_lean_attention_is_segment_anythings(segmenter, theirs, monkeypatch):
    pixels = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(1))
    expected = theirs.image_encoder(pixels)
    assert expected.std() > 0.1
    # All windows at once, and three.
    for scores in (sam_vit._MOST_SCORES, 3 * 196 * 196):
        monkeypatch.setattr(sam_vit, "_MOST_SCORES", scores)
        found = segmenter._network.image_encoder(pixels)
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_several_tiles_at_once_are_encoded_as_each_alone(segmenter):
    tiles = np.stack([made_up_image(SIDE), made_up_image(SIDE)[::-1]])
    alone = torch.stack([segmenter.encode(tile) for tile in tiles])
    assert torch.allclose(segmenter.encode_batch(tiles), alone, atol=1e-4)
    assert not torch.allclose(*alone, atol=0.1)


@torch.inference_mode()
def test_encoding_a_tile_and_decoding_on_the_whole_of_it_equal_their_predictor(segmenter, theirs):
    tile = made_up_image(SIDE)
    predictor = SamPredictor(theirs)
    predictor.set_image(tile.repeat(2, 0).repeat(2, 1))
    doubled = segmenter.encode(tile.repeat(2, 0).repeat(2, 1))
    assert torch.allclose(doubled, predictor.features[0], atol=1e-4)
    points = torch.tensor([[[100.0, 200.0], [140.0, 180.0]], [[400.5, 30.25], [390.0, 60.0]]])
    labels = torch.tensor([[1, 0], [1, -1]])
    masks = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(3))
    origins = window_origins(points[:, 0], SIDE, EMBEDDING)
    for prompt in (None, masks):
        ours = segmenter.decode(
            doubled, PromptBatch(points, labels, origins, EMBEDDING, prompt), SIDE
        )
        assert ours.logits.std() > 0.1
        for answers, multimask in ((slice(0, 1), False), (slice(1, 4), True)):
            _, iou, logits = predictor.predict_torch(
                to_frame_xy(points, SIDE),
                labels,
                mask_input=None if prompt is None else prompt[:, None],
                multimask_output=multimask,
                return_logits=True,
            )
            assert torch.allclose(ours.logits[:, answers], logits, atol=1e-4)
            assert torch.allclose(ours.iou[:, answers], iou, atol=1e-4)


@pytest.mark.usefixtures("small_vit_b")
def test_a_session_runs_with_a_tuned_sam(state, segmenter, synthetic, tmp_path):
    assert isinstance(segmenter, PromptableSegmenter)
    path = tmp_path / "medsam.pth"
    torch.save(state, path)
    chosen = FeatureSettings(segmenter="sam_vit_b", segmenter_weights=str(path))
    session = Session(synthetic.rgb, Settings(features=chosen), mpp=0.25, device="cpu")
    session.finish()
    assert session.output(Stage.ENCODING).features.shape[0] == 256
    assert session.labels.shape == synthetic.rgb.shape[:2]
    metadata = session.metadata()
    assert metadata["segmenter"] == "sam_vit_b"
    assert metadata["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def saved(state: dict[str, torch.Tensor], path, kind: str) -> None:
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "trained":
        torch.save({"model_state": {f"sam.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    elif kind == "half":
        torch.save({name: tensor.half() for name, tensor in state.items()}, path)
    elif kind == "with constants":
        torch.save({**state, "pixel_mean": torch.zeros(3), "pixel_std": torch.ones(3)}, path)
    else:
        torch.save(state if kind == "plain" else {"model": state}, path)


@pytest.mark.usefixtures("small_vit_b")
@pytest.mark.parametrize(
    "kind", ["plain", "nested", "trained", "safetensors", "half", "with constants"]
)
def test_a_tuned_sam_is_read_from_its_file(kind, state, tmp_path):
    path = tmp_path / "tuned.pth"
    saved(state, path, kind)
    loaded = load_segmenter("sam_vit_b", "cpu", path)
    assert loaded.name == "sam_vit_b"
    assert loaded.weights_sha256 == weights_sha256("sam_vit_b", path)
    assert loaded.weights_sha256 != weights_sha256("sam_vit_b")
    held = loaded._network.state_dict()
    assert held.keys() == state.keys()
    for name, tensor in state.items():
        assert held[name].dtype == torch.float32
        assert torch.allclose(held[name], tensor, rtol=1e-3, atol=1e-6)


@pytest.mark.usefixtures("small_vit_b")
def test_the_head_of_another_method_is_left_out_and_said(state, tmp_path):
    path = tmp_path / "vit_b_histopathology.pt"
    head = {"decoder.blocks.0.weight": torch.ones(2), "out_conv.bias": torch.ones(1)}
    torch.save({**state, **head}, path)
    with pytest.warns(SproutWarning, match=r"histopathology\.pt' holds a further head of 2 "):
        load_segmenter("sam_vit_b", "cpu", path)


@pytest.mark.usefixtures("small_vit_b")
def test_a_file_of_another_architecture_is_told_by_name(tmp_path):
    path = tmp_path / "large.pth"
    torch.save(state_of(**{**SMALL, "embed_dim": 32}), path)
    with pytest.raises(
        WeightsError, match=r"large\.pth' seems to hold SAM ViT-L, not SAM ViT-B: choose 'sam_vit_l"
    ):
        load_segmenter("sam_vit_b", "cpu", path)


@pytest.mark.usefixtures("small_vit_b")
def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"layer1.0.conv1.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(WeightsError, match=r"resnet\.pth' seems to hold no SAM ViT-B: give"):
        load_segmenter("sam_vit_b", "cpu", path)


@pytest.mark.usefixtures("small_vit_b")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_encoder.blocks.1.attn.rel_pos_w": None}, r"missing 'image_encoder\.blocks\.1"),
        ({"image_encoder.blocks.0.lora.weight": torch.zeros(1)}, r"unknown .*lora\.weight'"),
        ({"mask_decoder.iou_token.weight": torch.zeros(2, 256)}, r"another shape .*iou_token"),
        ({f"mask_decoder.more{i}": torch.zeros(1) for i in range(9)}, r"more2' and 6 more\.$"),
    ],
    ids=["missing", "unknown", "shape", "many"],
)
def test_tensors_that_do_not_fit_are_named(change, told, state, tmp_path):
    path = tmp_path / "tuned.pth"
    changed = {name: t for name, t in {**state, **change}.items() if t is not None}
    torch.save(changed, path)
    with pytest.raises(WeightsError, match=rf"tuned\.pth' cannot be used as SAM ViT-B\. .*{told}"):
        load_segmenter("sam_vit_b", "cpu", path)


def test_a_made_up_weight_depends_on_its_name_alone():
    one = made_up_weights({"a.weight": (2, 3), "b.weight": (2, 3)})
    again = made_up_weights({"b.weight": (2, 3)})
    assert np.array_equal(one["b.weight"], again["b.weight"])
    assert not np.array_equal(one["a.weight"], one["b.weight"])
