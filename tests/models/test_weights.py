from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from napari_sprout.errors import ImageError, SettingsError, WeightsError
from napari_sprout.models import weights
from napari_sprout.models.frame import (
    EMBEDDING,
    FRAME,
    pixels_per_token,
    to_frame_xy,
    window_origins,
)
from napari_sprout.models.mobile_sam import from_upstream
from napari_sprout.models.state import read_state
from napari_sprout.models.weights import (
    embedded_path,
    load_segmenter,
    resolve_device,
    segmenters,
    weights_sha256,
)


def test_damaged_weights_are_refused_before_they_are_parsed(tmp_path, monkeypatch):
    damaged = tmp_path / "weights.safetensors"
    data = bytearray(embedded_path().read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    monkeypatch.setattr(weights, "embedded_path", lambda: damaged)
    with pytest.raises(WeightsError, match=r"weights\.safetensors are damaged.*install"):
        load_segmenter("mobile_sam", "cpu")


def test_missing_weights_name_the_file_and_the_remedy(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.safetensors' do not exist: check the path"):
        load_segmenter("mobile_sam", "cpu", tmp_path / "gone.safetensors")


@pytest.fixture
def no_downloads(tmp_path, monkeypatch):
    for variable in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))


@pytest.mark.usefixtures("no_downloads")
@pytest.mark.parametrize("name", ["sam_vit_h", "sam2_1_large"])
def test_weights_that_are_not_here_are_never_fetched_unasked(name):
    with pytest.raises(
        WeightsError, match=f"'{name}' are not on this computer: .* download {name}"
    ):
        load_segmenter(name, "cpu")


def test_every_segmenter_of_the_registry_can_be_chosen_and_has_a_hash():
    assert set(segmenters()) == {
        "mobile_sam",
        *(f"sam_vit_{size}" for size in "blh"),
        *(f"sam2_1_{size}" for size in ("tiny", "small", "base_plus", "large")),
    }
    assert all(len(weights_sha256(name)) == 64 for name in segmenters())


def test_an_unknown_segmenter_or_an_encoder_is_refused_with_a_known_one():
    with pytest.raises(SettingsError, match="'sam_vit"):
        load_segmenter("sam_vit_xxl", "cpu")
    with pytest.raises(SettingsError, match="Unknown segmenter 'uni2_h'"):
        load_segmenter("uni2_h", "cpu")


def test_mobile_sam_in_its_authors_format_is_read_by_path(tmp_path):
    own = load_segmenter("mobile_sam", "cpu")
    path = tmp_path / "mobile_sam.pt"
    torch.save(upstream(read_state(embedded_path())[0]), path)
    theirs = load_segmenter("mobile_sam", "cpu", path)
    assert theirs.weights_sha256 == weights_sha256("mobile_sam", path) != own.weights_sha256
    expected = own._network.state_dict()
    found = theirs._network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def upstream(state):
    """Give MobileSAM's tensors the names that its authors' checkpoint has for them."""
    made = {"image_encoder.norm_head.weight": torch.ones(320)}
    for name, tensor in state.items():
        stage = re.match(r"image_encoder\.trunk\.stages\.(\d)\.(downsample|blocks)(.*)", name)
        if stage:
            number = int(stage[1]) - (stage[2] == "downsample")
            name = f"image_encoder.layers.{number}.{stage[2]}{stage[3]}"
        name = name.replace("trunk.patch_embed.conv1.", "patch_embed.seq.0.")
        name = name.replace("trunk.patch_embed.conv2.", "patch_embed.seq.2.")
        if name.startswith("image_encoder."):
            name = name.replace(".conv.", ".c.")
        made[name] = tensor
    return made


def test_a_model_at_work_does_not_change_when_its_file_is_written_anew(tmp_path):
    tensors, _ = read_state(embedded_path())
    path = tmp_path / "tuned.safetensors"
    save_file({name: tensor.float() for name, tensor in tensors.items()}, path)
    segmenter = load_segmenter("mobile_sam", "cpu", path)
    tile = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    before = segmenter.encode(tile)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4)
        file.write(b"\x7f" * (size // 2))
    assert torch.equal(segmenter.encode(tile), before)


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
