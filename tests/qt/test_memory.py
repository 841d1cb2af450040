from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_sprout.core.loaded import LoadedModels
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.models.protocols import MaskBatch, PromptableSegmenter, PromptBatch
from napari_sprout.qt import draft
from napari_sprout.qt.memory import FrugalSegmenter, is_out_of_memory

SETTINGS = Settings().with_changes(stain={"method": "fixed"}, features={"tile": 128})
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"


class SmallCard:
    """A card with room for so many tiles, so many tiles at once, and so many prompts at once.

    It computes on the processor: no card is needed to test a card that is full.
    """

    def __init__(
        self, inner: Any, prompts: int, tiles: int = 10**6, at_once: int = 10**6, batch: int = 1
    ) -> None:
        self.inner, self.prompts, self.tiles, self.at_once = inner, prompts, tiles, at_once
        self.name, self.weights_sha256 = inner.name, inner.weights_sha256
        self.device, self.batch = torch.device("cpu"), batch

    def encode_batch(self, tiles: Any) -> Any:
        if self.inner.encoded + len(tiles) > self.tiles or len(tiles) > self.at_once:
            raise torch.OutOfMemoryError(FULL)
        return self.inner.encode_batch(tiles)

    def decode(self, embedding: Any, prompts: PromptBatch, side: int) -> MaskBatch:
        if len(prompts) > self.prompts:
            raise torch.OutOfMemoryError(FULL)
        return self.inner.decode(embedding, prompts, side)


class Bench:
    """A frugal segmenter over a small card, and what it said and loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fake_type: Any, **card: int) -> None:
        self.said: list[str] = []
        self.loaded: list[str] = []
        self.fake_type, self.card = fake_type, card
        # The card's own memory is the processor's: moving there must change nothing.
        convert = torch.Tensor.to

        def to(tensor: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
            if args == (torch.device("cuda"),):
                return tensor
            return convert(tensor, *args, **options)

        monkeypatch.setattr(torch.Tensor, "to", to)
        self.segmenter = FrugalSegmenter(self.load, torch.device("cuda"), self.said.append)

    def load(self, device: torch.device) -> PromptableSegmenter:
        self.loaded.append(str(device))
        fake = self.fake_type()
        return fake if device.type == "cpu" else SmallCard(fake, **self.card)


def labels(synthetic: SyntheticImage, segmenter: Any) -> Any:
    session = Session(synthetic.rgb, SETTINGS, segmenter=segmenter)
    session.finish()
    return session.labels


@pytest.mark.parametrize(("prompts", "tiles"), [(3, 99), (0, 99), (99, 2), (99, 0)])
def test_a_run_on_a_full_card_ends_with_the_same_labels(
    synthetic: SyntheticImage,
    fake_type: Any,
    monkeypatch: pytest.MonkeyPatch,
    prompts: int,
    tiles: int,
) -> None:
    expected = labels(synthetic, fake_type())
    bench = Bench(monkeypatch, fake_type, prompts=prompts, tiles=tiles)
    assert np.array_equal(labels(synthetic, bench.segmenter), expected)
    assert expected.any()
    assert bench.said
    retreated = prompts == 0 or tiles < 99
    assert bench.loaded == (["cuda", "cpu"] if retreated else ["cuda"])
    assert bench.segmenter.device.type == ("cpu" if retreated else "cuda")


def test_batches_are_halved_until_they_fit_and_each_step_is_said(
    fake_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(monkeypatch, fake_type, prompts=5)
    points = torch.rand(32, 1, 2) * 100
    batch = PromptBatch(
        points, torch.ones(32, 1, dtype=torch.int64), torch.zeros(32, 2, dtype=torch.int64)
    )
    embedding = torch.zeros(3, 64, 64)
    expected = fake_type().decode(embedding, batch, 128)
    for _ in range(2):
        answer = bench.segmenter.decode(embedding, batch, 128)
        assert torch.equal(answer.logits, expected.logits)
        assert torch.equal(answer.iou, expected.iou)
    assert [[word for word in text.split() if word.isdigit()] for text in bench.said] == [
        ["16"],
        ["8"],
        ["4"],
    ]


def test_tiles_are_encoded_in_halves_until_they_fit_and_then_so_many_at_once(
    fake_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(monkeypatch, fake_type, prompts=5, at_once=2, batch=7)
    tiles = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)
    assert bench.segmenter.batch == 7
    expected = fake_type().encode_batch(tiles)
    for _ in range(2):
        assert torch.equal(bench.segmenter.encode_batch(tiles[:5]), expected[:5])
        assert bench.segmenter.batch == 2
        assert torch.equal(bench.segmenter.encode_batch(tiles), expected)
    assert bench.loaded == ["cuda"]
    assert "2 tiles are encoded at once from now on, not 5." in bench.said[0]


def test_other_errors_pass(fake_type: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, fake_type, prompts=5)
    model = bench.segmenter
    with pytest.raises(ValueError, match="reshape"):
        model.encode_batch(np.zeros((1, 100, 100, 3), np.uint8))
    assert bench.said == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError(FULL), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (MemoryError(), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_on_a_card_another_model_is_loaded_when_the_settings_name_it(
    fake_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[str, torch.device, object]] = []

    def load(name: str, device: torch.device, path: object) -> Any:
        loaded.append((name, device, path))
        return fake_type()

    monkeypatch.setattr(draft, "resolve_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(draft, "load_segmenter", load)
    source = draft.frugal_segmenter(draft.Draft(), lambda text: None)
    models = LoadedModels("cuda", source)
    for features in ({}, {"segmenter": "sam_vit_b", "segmenter_weights": "/tuned.pt"}):
        chosen = Settings().with_changes(features=features).features
        assert models.segmenter(chosen).name == "fake"
    card = torch.device("cuda")
    assert loaded == [("mobile_sam", card, None), ("sam_vit_b", card, Path("/tuned.pt"))]
