from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.errors import ImageError, SettingsError, WeightsError
from napari_sprout.models.frame import (
    EMBEDDING,
    FRAME,
    pixels_per_token,
    to_frame_xy,
    window_origins,
)
from napari_sprout.models.mobile_sam import from_upstream
from napari_sprout.models.weights import embedded_path, load_segmenter, resolve_device


def test_damaged_weights_are_refused_before_they_are_parsed(tmp_path):
    damaged = tmp_path / "weights.safetensors"
    data = bytearray(embedded_path().read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(WeightsError, match=r"weights\.safetensors are damaged.*install"):
        load_segmenter("mobile_sam", "cpu", damaged)


def test_missing_weights_name_the_file_and_the_remedy(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.safetensors cannot be read.*install"):
        load_segmenter("mobile_sam", "cpu", tmp_path / "gone.safetensors")


def test_unknown_segmenter_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match="mobile_sam"):
        load_segmenter("sam_xxl", "cpu")


@pytest.mark.parametrize("name", ["toaster", "cuda:93", "gpu"])
def test_unavailable_device_is_refused_in_a_sentence(name):
    with pytest.raises(SettingsError, match=f"'{name}'.*'auto' or 'cpu'"):
        resolve_device(name)


def test_auto_device_is_one_that_works():
    torch.zeros(1, device=resolve_device("auto"))


def test_encode_refuses_what_is_not_a_square_rgb_tile():
    segmenter = load_segmenter("mobile_sam", "cpu")
    with pytest.raises(ImageError, match="square RGB"):
        segmenter.encode(np.zeros((64, 32, 3), np.uint8))


def test_upstream_keys_lose_their_classifier_and_counters():
    state = {
        "image_encoder.head.weight": torch.zeros(1),
        "image_encoder.norm_head.bias": torch.zeros(1),
        "image_encoder.layers.2.downsample.conv1.bn.num_batches_tracked": torch.zeros(1),
        "image_encoder.layers.2.downsample.conv1.c.weight": torch.ones(1),
        "image_encoder.layers.1.blocks.0.local_conv.bn.bias": torch.ones(1),
        "image_encoder.patch_embed.seq.2.bn.weight": torch.ones(1),
        "mask_decoder.iou_token.weight": torch.ones(1),
    }
    assert set(from_upstream(state)) == {
        "image_encoder.trunk.stages.3.downsample.conv1.conv.weight",
        "image_encoder.trunk.stages.1.blocks.0.local_conv.bn.bias",
        "image_encoder.trunk.patch_embed.conv2.bn.weight",
        "mask_decoder.iou_token.weight",
    }


@settings(deadline=None, max_examples=50)
@given(
    y=st.floats(0, 511),
    x=st.floats(0, 511),
    window=st.integers(1, EMBEDDING),
    side=st.sampled_from([256, 512, 1024]),
)
def test_windows_lie_in_the_embedding_and_hold_their_point(y, x, window, side):
    point = torch.tensor([[y, x]]) * (side / 512)
    origin = window_origins(point, side, window)[0]
    assert (origin >= 0).all()
    assert (origin + window <= EMBEDDING).all()
    token = (point[0] + 0.5) / pixels_per_token(side)
    # Half a token of play: the origin is rounded.
    assert (token >= origin - 0.5).all()
    assert (token <= origin + window + 0.5).all()


def test_frame_coordinates_are_x_first_and_keep_pixel_centres():
    corners = torch.tensor([[-0.5, -0.5], [511.5, 255.5]])
    frame = to_frame_xy(corners, 512)
    assert torch.allclose(frame, torch.tensor([[-0.5, -0.5], [511.5, FRAME - 0.5]]))
