from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from napari_sprout.models import memory
from napari_sprout.models.encoders import TimmEncoder
from napari_sprout.models.registry import Model, model, models

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GB = 1_000_000_000
MOBILE = model("mobile_sam")
ENCODERS = [one for one in models().values() if one.kind == "encoder"]
SEGMENTERS = [one for one in models().values() if one.kind == "segmenter"]


class Machine:
    """A computer with so much free, whose program has taken so much already."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.card, self.taken = 8 * GB, 8 * GB, 0
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=self.free))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (self.card, 2 * self.card))
        monkeypatch.setattr(psutil, "Process", lambda: self)

    def memory_info(self) -> Any:
        return SimpleNamespace(rss=self.taken)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize(
    ("side", "measured"), [(500, 1520), (1000, 1631), (2000, 2206), (4000, 3751)]
)
def test_a_default_run_needs_what_was_measured(side: int, measured: int) -> None:
    """The peaks of docs/performance.md, MB."""
    assert memory.needed(None, MOBILE, side**2) / 1e6 == pytest.approx(measured, rel=0.06)


@pytest.mark.parametrize("one", ENCODERS, ids=lambda one: one.name)
def test_an_encoder_needs_its_weights_and_more_for_each_pixel(one: Model) -> None:
    more = memory.needed(one, MOBILE, 0) - memory.needed(None, MOBILE, 0)
    assert 4e6 * one.parameters < more < 4e6 * one.parameters + GB
    pixels = 10**7
    # The map alone: a float for each channel of each token of 8 x 8 px.
    assert (
        memory.needed(one, MOBILE, pixels) - memory.needed(None, MOBILE, pixels) - more
        >= 4 * one.dimension * pixels // 64
    )


@pytest.mark.parametrize("one", SEGMENTERS, ids=lambda one: one.name)
def test_a_larger_sam_needs_at_least_its_weights_more(one: Model) -> None:
    more = memory.needed(None, one, 0) - memory.needed(None, MOBILE, 0)
    assert more >= 4e6 * (one.parameters - MOBILE.parameters)
    # Its network takes more than MobileSAM's while it looks at a tile, too.
    assert (more > 4e6 * (one.parameters - MOBILE.parameters)) == (one is not MOBILE)


def test_a_run_that_fits_is_not_warned_of_and_one_that_does_not_is(machine: Machine) -> None:
    uni = model("uni2_h")
    whole = memory.needed(uni, MOBILE, 10**6)
    machine.free = whole
    assert memory.warning(uni, MOBILE, 10**6, CPU) == ""
    machine.free = whole - 1
    assert memory.warning(uni, MOBILE, 10**6, CPU)


def test_the_warning_is_one_sentence_with_both_sizes_and_what_to_do(machine: Machine) -> None:
    machine.free = 4 * GB
    assert memory.warning(model("h_optimus_1"), MOBILE, 10**6, CPU) == (
        "This run needs about 6.6 GB of memory, and 4.0 GB are free: close other programs, "
        "choose a smaller model, or cut out a region."
    )


def test_what_the_program_has_taken_already_is_not_asked_for_again(machine: Machine) -> None:
    machine.free = memory.needed(None, MOBILE, 10**6) - 500_000_000
    assert memory.warning(None, MOBILE, 10**6, CPU)
    machine.taken = 500_000_000
    assert memory.warning(None, MOBILE, 10**6, CPU) == ""


def test_on_a_graphics_card_networks_need_room_there_and_the_rest_in_the_computer(
    machine: Machine,
) -> None:
    large = model("h_optimus_1")
    machine.free, machine.card = 2 * GB, 80 * GB
    assert memory.warning(large, MOBILE, 10**6, CUDA) == ""
    assert "of memory, and 2.0 GB are free" in memory.warning(large, MOBILE, 10**8, CUDA)
    machine.card = 4 * GB
    assert "on the graphics card, and 4.0 GB are free" in memory.warning(large, MOBILE, 10**6, CUDA)


def test_what_is_free_is_asked_of_the_device_that_computes(machine: Machine) -> None:
    machine.free, machine.card = 3 * GB, 5 * GB
    assert memory.free(CPU) == memory.free(torch.device("mps")) == 3 * GB
    assert memory.free(CUDA) == 5 * GB


def test_a_batch_is_as_large_as_what_is_free_allows_and_never_none(machine: Machine) -> None:
    each = memory.patch_bytes(1024, 256)
    found = []
    for free in (0, each, 8 * each, 40 * each, 4000 * each):
        machine.card = free
        found.append(memory.fitting_batch(1024, 256, CUDA))
    assert found == [1, 1, 2, 10, 64]
    assert memory.fitting_batch(1024, 256, CUDA, 8) == 8


def test_a_patch_is_reckoned_with_what_a_network_really_keeps(machine: Machine) -> None:
    """Tensors of one block that live at once: its input, the norm's, qkv or the wide layer's."""
    width, tokens = 64, 16
    network = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=width, depth=1, num_heads=1, num_classes=0
    ).eval()
    sizes: list[int] = []
    for part in network.modules():
        part.register_forward_hook(lambda _, __, out: sizes.append(out.nbytes))
    with torch.inference_mode():
        network.forward_features(torch.zeros(1, 3, 64, 64))
    largest = max(sizes)
    assert largest < memory.patch_bytes(width, tokens) < 10 * largest


def test_features_do_not_depend_on_the_size_of_the_batch(machine: Machine) -> None:
    torch.manual_seed(0)
    network = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=32, depth=2, num_heads=2, num_classes=0
    ).requires_grad_(False)
    encoder = TimmEncoder(network, "tiny", "0" * 64, CPU, (0.5,) * 3, (0.25,) * 3)
    patches = torch.randint(0, 256, (6, 64, 64, 3), dtype=torch.uint8).numpy()
    whole = encoder.encode_batch(patches)
    parts = torch.cat([encoder.encode_batch(patches[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-5)


def test_an_encoder_takes_smaller_batches_where_memory_is_short(machine: Machine) -> None:
    network = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=32, depth=1, num_heads=2, num_classes=0
    )
    each = memory.patch_bytes(32, 17)

    def batch() -> int:
        return TimmEncoder(network, "tiny", "0" * 64, CPU, (0.5,) * 3, (0.25,) * 3).batch

    assert batch() == 8
    machine.free = 13 * each
    assert batch() == 3
    machine.free = 0
    assert batch() == 1
