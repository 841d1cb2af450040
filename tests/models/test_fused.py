"""The encoder rewritten for inference against the one that it was made of."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import psutil
import pytest
import torch
from torch import nn

from napari_sprout.models import openvino_encoder, sam
from napari_sprout.models.frame import FRAME, FromFrame
from napari_sprout.models.fused import fuse
from napari_sprout.models.mobile_sam import ImageEncoder, MobileSam
from napari_sprout.models.openvino_encoder import OpenVinoEncoder
from napari_sprout.models.sam import SamSegmenter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    """Random weights, and norms that do something."""
    torch.manual_seed(1)
    made = ImageEncoder().eval().requires_grad_(False)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.2, 0.2)
    return made


@pytest.fixture(scope="module")
def frame() -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randint(0, 256, (1, FRAME, FRAME, 3), dtype=torch.uint8)


@pytest.fixture(scope="module")
def expected(encoder, frame) -> torch.Tensor:
    with torch.inference_mode():
        return FromFrame(encoder)(frame)


@pytest.fixture(scope="module")
def compiled(encoder) -> nn.Module:
    """As OpenVINO runs it; a copy, since the encoder given is used up."""
    return fuse(copy.deepcopy(encoder), CPU)


@torch.inference_mode()
def test_openvino_computes_the_same(compiled, frame, expected):
    assert isinstance(compiled, OpenVinoEncoder)
    found = compiled(frame)
    assert found.shape == expected.shape == (1, 256, 64, 64)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    # However its rows lie in memory.
    assert torch.equal(compiled(frame.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)), found)


@torch.inference_mode()
def test_answers_are_kept_when_the_next_tile_is_asked_for(compiled, frame):
    first = compiled(frame)
    kept = first.clone()
    assert not torch.equal(compiled(frame.flip(2)), kept)
    assert torch.equal(first, kept)


@torch.inference_mode()
def test_several_threads_may_ask_and_nobody_waits_for_the_interpreter(compiled, frame):
    """The window's thread must go on while a tile is encoded in another."""
    alone = compiled(frame), compiled(frame.flip(2))
    ticks = []
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(compiled, frame if i % 2 == 0 else frame.flip(2)) for i in range(4)]
        while not all(one.done() for one in asked):
            ticks.append(time.monotonic())
            time.sleep(0.005)
    assert len(ticks) > 8
    for number, one in enumerate(asked):
        assert torch.equal(one.result(), alone[number % 2])


@torch.inference_mode()
def test_the_number_of_threads_can_be_chosen_later_and_changes_no_bit(compiled, frame):
    before = torch.get_num_threads()
    found = {}
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found[threads] = compiled(frame)
            used = compiled._request.get_compiled_model().get_property("INFERENCE_NUM_THREADS")
            assert used == min(threads, len(psutil.Process().cpu_affinity()))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[1], found[2])


@torch.inference_mode()
@pytest.mark.parametrize(
    "error", [ImportError("no wheel"), RuntimeError("no such processor"), TypeError("no graph")]
)
def test_without_openvino_torch_computes_the_same(
    encoder, frame, expected, error, monkeypatch, caplog
):
    monkeypatch.setattr(openvino_encoder, "OpenVinoEncoder", Mock(side_effect=error))
    ours = fuse(copy.deepcopy(encoder), CPU)
    assert isinstance(ours, FromFrame)
    assert str(error) in caplog.text
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ours.modules())
    assert (ours(frame) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_the_encoder_is_rewritten_before_it_is_moved(monkeypatch):
    seen = []
    network = MobileSam().eval()
    given = network.image_encoder
    monkeypatch.setattr(
        sam, "fuse", lambda encoder, device: seen.append((encoder, device)) or encoder
    )
    moved = []
    monkeypatch.setattr(network, "to", lambda device: moved.append(len(seen)) or network)
    SamSegmenter(network, "mobile_sam", "f" * 64, CPU)
    assert seen == [(given, CPU)]
    assert moved == [1]


def test_nobody_is_told_that_openvino_is_used(tmp_path):
    """Its import would leave an identity in the home folder and report to Google Analytics."""
    code = (
        "import sys, napari_sprout.models.openvino_encoder\n"
        "assert 'openvino.tools.ovc.telemetry_stub' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]\n"
    )
    home = {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    # Where it believes to be tested it would be silent anyway.
    watched = {name: value for name, value in os.environ.items() if name != "CI"}
    subprocess.run([sys.executable, "-c", code], env=watched | home, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []


def test_on_a_gpu_the_encoder_stays_torchs(encoder):
    ours = fuse(copy.deepcopy(encoder), torch.device("cuda"))
    assert isinstance(ours, FromFrame)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ours.modules())
