from __future__ import annotations

import dataclasses

import pytest

from napari_sprout.core.presets import PRESETS
from napari_sprout.core.settings import GROUPS, Settings
from napari_sprout.errors import SettingsError


def test_the_paper_names_every_setting_so_that_no_default_can_change_it():
    values = PRESETS["paper"].values
    assert set(values) == {*GROUPS, "seed"}
    for name, group in GROUPS.items():
        assert set(values[name]) == {field.name for field in dataclasses.fields(group)}
    assert Settings.preset("paper").to_dict() == values


def test_the_paper_is_what_the_paper_says():
    made = Settings.preset("paper")
    assert (made.reference.kind, made.reference.fraction) == ("high_confidence", 0.6)
    assert made.prototypes.clusters == 3
    assert made.transport.method == "partial"
    assert (made.transport.rho_start, made.transport.rho_step) == (0.6, 0.05)
    assert (made.features.tile, made.features.overlap) == (512, 0.5)
    assert made.prompts.negatives == 2
    assert made.decoding.mask_prompt == "none"
    assert made.decoding.window == 64
    kept = made.suppression
    assert (kept.method, kept.decay, kept.score) == ("soft", "exponential", "both")
    assert kept.containment
    assert kept.min_visible == 0.0


def test_the_default_preset_is_the_defaults():
    assert Settings.preset("default") == Settings()
    assert Settings.preset("paper") != Settings()


def test_every_preset_is_explained():
    for name, preset in PRESETS.items():
        assert name == name.lower()
        assert preset.title
        assert preset.sentence[0].isupper()
        assert preset.sentence.endswith(".")


def test_settings_lie_over_the_preset_that_they_name():
    made = Settings.from_dict({"prompts": {"negatives": 3}, "preset": "paper", "seed": 5})
    paper = Settings.preset("paper")
    assert made == paper.with_changes(prompts={"negatives": 3}, seed=5)
    assert made.prompts.regions == paper.prompts.regions != Settings().prompts.regions
    assert Settings.from_dict({"preset": "default", "seed": 5}) == Settings(seed=5)


def test_laying_settings_over_a_preset_leaves_the_preset_as_it_was():
    before = Settings.preset("paper")
    Settings.from_dict({"preset": "paper", "decoding": {"window": 32}, "seed": 9})
    assert Settings.preset("paper") == before


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("papr", "Unknown preset 'papr'. Did you mean 'paper'?"),
        ("xyz", "Use one of: default, paper."),
        (3, "'preset' must be the name of a preset, not 3."),
        (["paper"], "'preset' must be the name of a preset"),
    ],
)
def test_an_unknown_preset_is_answered_with_the_nearest(name, answer):
    with pytest.raises(SettingsError) as error:
        Settings.from_dict({"preset": name})
    assert answer in str(error.value)


def test_a_mistyped_preset_key_is_answered_with_preset():
    with pytest.raises(SettingsError, match="Did you mean 'preset'"):
        Settings.from_dict({"presett": "paper"})
