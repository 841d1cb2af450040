from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sprout.core.settings import GROUPS, Settings
from napari_sprout.core.settings_groups import SMALLEST_TILE
from napari_sprout.errors import SettingsError

QUICK = settings(deadline=None, max_examples=50)

FIELDS = [
    (name, field) for name, group in GROUPS.items() for field in dataclasses.fields(group)
] + [("", field) for field in dataclasses.fields(Settings) if field.name == "seed"]


# What must be changed with a setting so that its whole range is allowed.
BESIDE = {"features.stride": {"patch": 1024}}
# Any of these go together: patches are whole tokens, and no farther apart than they are wide.
TOGETHER = {
    "encoder": st.sampled_from(["sam", "uni", "dinov3_vit_l", "timm:vit_tiny_patch16_224"]),
    "patch": st.integers(1, 16).map(lambda count: 64 * count),
    "stride": st.integers(8, 64),
    "tokens": st.sampled_from([4, 8, 16, 32, 64]),
}


def number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


NUMBERS = [(group, field) for group, field in FIELDS if number(field.default)]
TUPLES = [(group, field) for group, field in FIELDS if isinstance(field.default, tuple)]
WORDS = [(group, field) for group, field in FIELDS if field.metadata["choices"]]


def named(case) -> str:
    group, field = case
    return f"{group}.{field.name}" if group else field.name


def over(cases):
    return pytest.mark.parametrize("case", cases, ids=named)


def changed(case, value) -> Settings:
    group, field = case
    beside = BESIDE.get(named(case), {}) if value != field.default else {}
    return Settings.from_dict(
        {group: {**beside, field.name: value}} if group else {field.name: value}
    )


def read(made: Settings, case):
    group, field = case
    return getattr(getattr(made, group) if group else made, field.name)


def valid(field) -> st.SearchStrategy:
    """Values inside the field's own metadata."""
    if field.name in TOGETHER:
        return TOGETHER[field.name]
    low, high, choices = (field.metadata[k] for k in ("low", "high", "choices"))
    if choices:
        return st.sampled_from(choices)
    if isinstance(field.default, bool):
        return st.booleans()
    if isinstance(field.default, str):
        return st.text(max_size=8)
    if isinstance(field.default, tuple):
        return st.tuples(*[st.floats(low, high)] * len(field.default))
    if isinstance(field.default, int):
        unit = field.metadata["multiple"] or 1
        numbers = st.integers(-(-low // unit), high // unit).map(lambda count: count * unit)
        # 0 stands for tiles of the program's own choice; tiny ones are refused.
        return numbers.filter(lambda value: field.name != "tile" or not 0 < value < SMALLEST_TILE)
    return st.floats(low, high)


@st.composite
def values(draw):
    """Nested values for a random part of all settings."""
    made: dict = {}
    for group, field in FIELDS:
        if draw(st.booleans()):
            (made.setdefault(group, {}) if group else made)[field.name] = draw(valid(field))
    return made


@QUICK
@given(values())
def test_settings_survive_the_way_through_plain_mappings_and_json(given_values):
    made = Settings.from_dict(given_values)
    assert Settings.from_dict(made.to_dict()) == made
    again = Settings.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False)))
    assert again == made
    assert again.key() == made.key()
    assert hash(again) == hash(made)


@QUICK
@given(values())
def test_values_given_are_the_values_held_and_the_others_are_default(given_values):
    made = Settings.from_dict(given_values)
    for case in FIELDS:
        group, field = case
        table = given_values.get(group, {}) if group else given_values
        assert read(made, case) == table.get(field.name, field.default)


@QUICK
@given(values(), values())
def test_keys_are_equal_exactly_when_settings_are(first, second):
    a, b = Settings.from_dict(first), Settings.from_dict(second)
    assert (a.key() == b.key()) == (a == b)


@over(FIELDS)
def test_every_setting_has_a_sentence_and_a_default_that_it_accepts(case):
    _, field = case
    description = field.metadata["description"]
    assert description[0].isupper()
    assert description.endswith((".", ")."))
    assert changed(case, field.default) == Settings()


@over(NUMBERS + TUPLES)
def test_every_number_has_a_range_around_its_default(case):
    _, field = case
    low, high = field.metadata["low"], field.metadata["high"]
    inside = field.default if isinstance(field.default, tuple) else (field.default,)
    assert all(low <= value <= high for value in inside)
    assert low < high


@over(WORDS)
def test_every_default_word_is_one_of_its_choices(case):
    _, field = case
    assert field.default in field.metadata["choices"]


@over(NUMBERS)
def test_a_range_includes_its_ends_and_nothing_beyond(case):
    _, field = case
    whole = isinstance(field.default, int)
    for end, away in ((field.metadata["low"], -1), (field.metadata["high"], 1)):
        assert read(changed(case, end), case) == end
        beyond = end + away if whole else float(np.nextafter(end, away * math.inf))
        with pytest.raises(SettingsError, match=rf"'{named(case)}' must be at least .* at most"):
            changed(case, beyond)


@over(NUMBERS)
def test_what_is_no_finite_number_is_refused_as_a_number(case):
    for wrong in (True, False, "1", None, [1], {}, math.nan, math.inf, -math.inf):
        with pytest.raises(SettingsError, match=f"Setting '{named(case)}' must be"):
            changed(case, wrong)


@over([case for case in NUMBERS if isinstance(case[1].default, int)])
def test_a_whole_number_may_be_written_as_a_float_but_not_be_a_fraction(case):
    low = case[1].metadata["low"]
    held = read(changed(case, float(low)), case)
    assert held == low
    assert isinstance(held, int)
    with pytest.raises(SettingsError, match="must be a whole number, not"):
        changed(case, low + 0.5)


@over([c for c in NUMBERS if isinstance(c[1].default, float) and c[1].metadata["high"] >= 1])
def test_a_number_written_without_a_point_is_held_as_a_float(case):
    high = math.floor(case[1].metadata["high"])
    held = read(changed(case, high), case)
    assert held == high
    assert isinstance(held, float)
    assert changed(case, high).key() == changed(case, float(high)).key()


@over(WORDS)
def test_a_word_outside_the_choices_is_answered_with_all_of_them(case):
    _, field = case
    with pytest.raises(SettingsError) as error:
        changed(case, "nonsense")
    assert all(word in str(error.value) for word in field.metadata["choices"])
    with pytest.raises(SettingsError, match="must be text"):
        changed(case, 1)
    for word in field.metadata["choices"]:
        assert read(changed(case, word), case) == word


def test_a_mistyped_word_is_answered_with_the_nearest_choice():
    with pytest.raises(SettingsError, match="Did you mean 'macenko'"):
        Settings.from_dict({"stain": {"method": "maceko"}})


@over([case for case in FIELDS if isinstance(case[1].default, bool)])
def test_a_switch_is_true_or_false_and_nothing_like_them(case):
    for wrong in (0, 1, "true", None, 1.0):
        with pytest.raises(SettingsError, match=f"'{named(case)}' must be true or false"):
            changed(case, wrong)


@over(TUPLES)
def test_a_colour_must_be_three_numbers_in_range(case):
    not_three = (0.5, "abc", None, [0.1, 0.2], [0.1, 0.2, 0.3, 0.4])
    thirds = ("x", math.nan, True, 1.5, -0.1)
    for wrong in (*not_three, *([0.1, 0.2, third] for third in thirds)):
        with pytest.raises(SettingsError, match=f"'{named(case)}' must be"):
            changed(case, wrong)


@over(TUPLES)
def test_a_colour_read_as_a_list_is_held_as_a_tuple_of_floats(case):
    assert read(changed(case, [0, 0.5, 1]), case) == (0.0, 0.5, 1.0)
    assert all(isinstance(value, float) for value in read(changed(case, [0, 0.5, 1]), case))


@pytest.mark.parametrize(
    ("given_values", "answer"),
    [
        ({"prompt": {}}, "Unknown setting 'prompt'. Did you mean 'prompts'?"),
        ({"Stain": {}}, "Unknown setting 'Stain'. Did you mean 'stain'?"),
        ({"sead": 1}, "Did you mean 'seed'?"),
        (
            {"prompts": {"negative": 1}},
            "Unknown setting 'prompts.negative'. Did you mean 'negatives'?",
        ),
        ({"transport": {"epsilonn": 1}}, "Did you mean 'epsilon'?"),
        ({"decoding": {"maxarea": 1}}, "Did you mean 'max_area'?"),
    ],
    ids=str,
)
def test_an_unknown_name_is_answered_with_the_nearest_one(given_values, answer):
    with pytest.raises(SettingsError) as error:
        Settings.from_dict(given_values)
    assert answer in str(error.value)


def test_a_name_like_no_other_is_answered_with_all_names():
    with pytest.raises(SettingsError) as error:
        Settings.from_dict({"xqzw": {}})
    assert all(name in str(error.value) for name in GROUPS)
    with pytest.raises(SettingsError, match="clusters"):
        Settings.from_dict({"prototypes": {"xqzw": 1}})


@pytest.mark.parametrize("wrong", [5, "text", None, [1, 2]], ids=repr)
def test_a_group_must_be_a_table(wrong):
    with pytest.raises(SettingsError, match="'prompts' must be a table of settings"):
        Settings.from_dict({"prompts": wrong})


def test_a_group_of_changes_must_be_a_table_too():
    for wrong in (5, "ab", None, [1, 2]):
        with pytest.raises(SettingsError, match="prompts"):
            Settings().with_changes(prompts=wrong)


def test_settings_made_directly_refuse_what_is_no_group():
    for wrong in (5, "text", None, {"negatives": 2}):
        with pytest.raises(SettingsError, match="prompts"):
            Settings(prompts=wrong)


def test_a_number_too_large_for_a_float_is_refused_with_a_sentence():
    for case in NUMBERS:
        with pytest.raises(SettingsError, match=named(case)):
            changed(case, 10**400)


def test_zero_written_with_a_minus_is_the_same_setting():
    zero = Settings.from_dict({"scan": {"rho": 0.0}})
    minus = Settings.from_dict({"scan": {"rho": -0.0}})
    assert zero == minus
    assert zero.key() == minus.key()


def test_changes_leave_the_original_as_it_was():
    before = Settings()
    after = before.with_changes(prompts={"negatives": 3}, seed=5)
    assert (after.prompts.negatives, after.seed) == (3, 5)
    assert before == Settings()
    assert after.prompts.split_depth == before.prompts.split_depth
    assert after.stain == before.stain
    assert before.with_changes() == before


def test_changes_add_to_earlier_ones():
    once = Settings().with_changes(prompts={"negatives": 3}, stain={"method": "macenko"})
    twice = once.with_changes(prompts={"min_area": 4.0})
    assert twice.prompts.negatives == 3
    assert twice.prompts.min_area == 4.0
    assert twice.stain.method == "macenko"
    assert twice.with_changes(prompts={"min_area": 6.0}) == once


def test_changes_are_checked():
    with pytest.raises(SettingsError, match="Did you mean 'prompts'"):
        Settings().with_changes(prompt={"negatives": 1})
    with pytest.raises(SettingsError, match="Did you mean 'negatives'"):
        Settings().with_changes(prompts={"negatvies": 1})
    with pytest.raises(SettingsError, match="at most 16"):
        Settings().with_changes(prompts={"negatives": 17})
    with pytest.raises(SettingsError, match="'seed'"):
        Settings().with_changes(seed=-1)


@over(FIELDS)
def test_no_setting_can_be_changed_in_place(case):
    group, field = case
    made = Settings()
    holder = getattr(made, group) if group else made
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(holder, field.name, field.default)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.prompts = made.prompts


@pytest.mark.parametrize("group", GROUPS.values(), ids=lambda group: group.name)
def test_a_group_made_alone_is_checked_as_well(group):
    field = next((f for f in dataclasses.fields(group) if f.metadata["low"] is not None), None)
    name, wrong = (field.name, "x") if field else (dataclasses.fields(group)[0].name, 5)
    with pytest.raises(SettingsError, match=f"'{group.name}.{name}'"):
        group(**{name: wrong})


def test_every_group_of_the_settings_is_in_the_table_of_groups():
    made = Settings()
    assert {f.name for f in dataclasses.fields(Settings)} == {*GROUPS, "seed"}
    for name, group in GROUPS.items():
        assert type(getattr(made, name)) is group
        assert group.name == name


def test_a_key_is_the_same_in_another_process():
    program = (
        "from napari_sprout.core.settings import Settings;"
        "print(Settings().with_changes(prompts={'min_area': 4.7}, stain={'eosin': [0.1, 0.9, 0.3]})"
        ".key())"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = Settings().with_changes(prompts={"min_area": 4.7}, stain={"eosin": [0.1, 0.9, 0.3]})
    assert keys == {here.key()}


@pytest.mark.parametrize(
    "name", ["sam", "uni", "virchow2", "vit_l_16", "timm:vit_tiny_patch16_224"]
)
def test_an_encoder_is_one_of_the_registry_or_any_of_timm(name):
    assert Settings.from_dict({"features": {"encoder": name}}).features.encoder == name


@pytest.mark.parametrize(
    ("name", "near"), [("virchov2", "virchow2"), ("mobile_sam", "sam"), ("", "dinov3_vit_l")]
)
def test_an_unknown_encoder_is_answered_with_the_nearest(name, near):
    with pytest.raises(SettingsError, match=f"Unknown encoder '{name}'.*'?{near}'?.*timm:"):
        Settings.from_dict({"features": {"encoder": name}})


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"patch": 100}, "'features.patch' must be a multiple of 16, not 100"),
        (
            {"patch": 144, "tokens": 32},
            "'features.patch' must be a multiple of 'features.tokens'.*32.*not 144",
        ),
        ({"tokens": 14}, "'features.patch' must be a multiple of 'features.tokens'.*14.*not 128"),
        ({"stride": 129}, "'features.stride' must be at most 'features.patch'.*128.*not 129"),
    ],
    ids=str,
)
def test_patches_are_whole_tokens_and_leave_no_gaps(features, words):
    with pytest.raises(SettingsError, match=words):
        Settings.from_dict({"features": features})
