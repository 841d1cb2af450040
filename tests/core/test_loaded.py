from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch

from napari_sprout.core.loaded import LoadedModels
from napari_sprout.core.settings import FeatureSettings, Settings
from napari_sprout.models import weights


def features(name: str) -> FeatureSettings:
    return Settings().with_changes(features={"segmenter": name}).features


def test_another_way_to_load_is_asked_for_what_the_settings_name(fake_type: Any) -> None:
    asked: list[str] = []

    def load(chosen: FeatureSettings) -> Any:
        asked.append(chosen.segmenter)
        return fake_type()

    models = LoadedModels("cpu", load)
    first = models.segmenter(features("mobile_sam"))
    assert models.segmenter(features("mobile_sam")) is first
    assert models.segmenter(features("sam_vit_b")) is not first
    assert asked == ["mobile_sam", "sam_vit_b"]


def test_a_loaded_model_serves_whatever_the_settings_name(fake_type: Any) -> None:
    given = fake_type()
    models = LoadedModels("cpu", given)
    assert models.segmenter(features("sam_vit_b")) is given


def test_a_model_is_gone_before_the_next_is_loaded(
    fake_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []
    alive: list[bool] = []

    def load(name: str, device: str, path: object) -> Any:
        alive.extend(one() is not None for one in made)
        model = fake_type()
        made.append(weakref.ref(model))
        return model

    monkeypatch.setattr(weights, "load_segmenter", load)
    models = LoadedModels("cpu")
    models.segmenter(features("mobile_sam"))
    models.segmenter(features("sam_vit_b"))
    assert alive == [False]


def test_what_is_not_loaded_yet_is_described_by_its_weights() -> None:
    def load(chosen: FeatureSettings) -> Any:
        raise AssertionError("nothing had to be loaded")

    facts = LoadedModels("cpu", load).facts(features("mobile_sam"))
    assert facts == {
        "segmenter": "mobile_sam",
        "weights_sha256": weights.weights_sha256("mobile_sam"),
        "device": str(torch.device("cpu")),
    }
