from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sprout.core.settings import GROUPS, Settings
from napari_sprout.errors import SettingsError
from napari_sprout.io.settings_file import read_settings, settings_toml


def values_of(field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    meta, example = field.metadata, field.default
    if isinstance(example, bool):
        return st.booleans()
    if isinstance(example, str):
        text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
        return st.sampled_from(meta["choices"]) if meta["choices"] else text
    if isinstance(example, tuple):
        return st.tuples(*[st.floats(meta["low"], meta["high"]) for _ in example])
    kind = st.integers if isinstance(example, int) else st.floats
    return kind(meta["low"], meta["high"])


@st.composite
def any_settings(draw: st.DrawFn) -> Settings:
    chosen: dict[str, Any] = {"seed": draw(st.integers(0, 2**31 - 1))}
    for name in draw(st.lists(st.sampled_from(list(GROUPS)), unique=True)):
        fields = dataclasses.fields(GROUPS[name])  # type: ignore[arg-type]
        chosen[name] = {
            field.name: draw(values_of(field)) for field in fields if draw(st.booleans())
        }
    try:
        return Settings.from_dict(chosen)
    except SettingsError:
        # Settings may also have to fit each other.
        return Settings()


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chosen=any_settings())
def test_settings_read_back_equal(tmp_path: Path, chosen: Settings) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(settings_toml(chosen), encoding="utf-8")
    assert read_settings(path) == chosen


def test_every_setting_is_there_and_explained() -> None:
    text = settings_toml(Settings())
    assert tomllib.loads(text) == Settings().to_dict()
    for group in GROUPS.values():
        for field in dataclasses.fields(group):  # type: ignore[arg-type]
            assert f"# {field.metadata['description']}\n" in text
            for choice in field.metadata["choices"] or ():
                assert choice in text
    assert "# From 0.05 to 4 um/px. Default: 0.25.\nmpp = 0.25\n" in text


def read(path: Path, content: str | bytes) -> Settings:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)
    return read_settings(path)


def test_what_the_file_leaves_out_is_default(tmp_path: Path) -> None:
    found = read(tmp_path / "a.toml", "[prompts]\nnegatives = 2\n")
    assert found == Settings().with_changes(prompts={"negatives": 2})
    assert read(tmp_path / "a.toml", "") == Settings()


def test_files_from_windows_editors(tmp_path: Path) -> None:
    found = read(tmp_path / "a.toml", b"\xef\xbb\xbfseed = 7\r\n[prompts]\r\nnegatives = 2\r\n")
    assert found.seed == 7


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("seed = 1\n\n[prompts\n", "line 3"),
        ("seed = 1\nseed = 2\n", "line 2"),
        ('seed = 1\nkind = """open\n', "line 3"),
        ("seed =", "line 1"),
        (b"seed = 1 # \xe4\n", "UTF-8"),
        ("[prompts]\nnegativs = 1\n", "Did you mean 'negatives'"),
        ("[promts]\nnegatives = 1\n", "Did you mean 'prompts'"),
        ("[prompts]\nnegatives = 99\n", "at most 16"),
        ("prompts = 3\n", "table of settings"),
        ('preset = "papr"\n', "Did you mean 'paper'"),
        ("preset = 1\n", "name of a preset"),
        ("seed = 2024-01-01\n", "whole number"),
    ],
)
def test_bad_files_are_named_with_what_is_wrong(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    path = tmp_path / "a.toml"
    with pytest.raises(SettingsError, match=reason) as caught:
        read(path, content)
    assert str(path) in str(caught.value)


def test_a_file_lies_over_the_preset_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    found = read(path, 'preset = "paper"\n[prompts]\nnegatives = 4\n')
    assert found == Settings.preset("paper").with_changes(prompts={"negatives": 4})
    path.write_text(settings_toml(found), encoding="utf-8")
    assert read_settings(path) == found


def test_a_file_lies_over_the_preset_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    expected = Settings.preset("paper").with_changes(prompts={"negatives": 4})
    for first in ("", 'preset = "paper"\n'):
        path.write_text(first + "[prompts]\nnegatives = 4\n", encoding="utf-8")
        assert read_settings(path, "paper") == expected
    with pytest.raises(SettingsError, match="names the preset 'paper', but 'default'") as caught:
        read_settings(path, "default")
    assert str(path) in str(caught.value)
    with pytest.raises(SettingsError, match=r"^Unknown preset 'papr'\. Did you mean 'paper'"):
        read_settings(path, "papr")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        read_settings(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path)
