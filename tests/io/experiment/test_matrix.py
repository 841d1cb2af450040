from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_sprout.core.baseline import BASELINE
from napari_sprout.core.settings import Settings
from napari_sprout.errors import SettingsError, WeightsError
from napari_sprout.io.experiment.matrix import Alteration, read_matrix

REPOSITORY = Path(__file__).resolve().parents[3]
WHOLE = """
title = "Suppression"
text = "above"
after = "below"
seeds = [0, 3]
base = { prompts = { negatives = 2 } }
baseline = true
prompt_quality = true
by_image = true

[[row]]
name = "hard"
settings = { suppression = { containment = false, method = "hard" } }
paper = { AJI = 0.553, Dice = 0.743 }

[[row]]
name = "paper"
preset = "paper"

[[sweep]]
setting = "reference.fraction"
values = [0.2, 0.4]

[[sweep]]
setting = "suppression.containment"
values = [true, false]

[[alter]]
kind = "blur"
levels = [1, 2.5]
"""


@pytest.fixture
def read(tmp_path):
    def make(text, seeds=()):
        path = tmp_path / "m.toml"
        path.write_text(text, encoding="utf-8")
        return read_matrix(path, seeds)

    return make


def test_everything_in_the_file_is_read(read):
    matrix = read(WHOLE)
    assert (matrix.title, matrix.text, matrix.after) == ("Suppression", "above", "below")
    assert matrix.seeds == (0, 3)
    assert (matrix.prompt_quality, matrix.by_image) == (True, True)
    assert [row.name for row in matrix.rows] == [
        *("hard", "paper", "reference.fraction = 0.2", "reference.fraction = 0.4"),
        *("suppression.containment = true", "suppression.containment = false", BASELINE),
    ]
    hard, paper, first, *_, last = matrix.rows
    assert hard.settings == Settings().with_changes(
        prompts={"negatives": 2}, suppression={"containment": False, "method": "hard"}
    )
    assert dict(hard.paper) == {"AJI": 0.553, "Dice": 0.743}
    assert paper.settings == Settings.preset("paper").with_changes(prompts={"negatives": 2})
    assert first.settings.reference.fraction == 0.2
    assert first.settings.prompts.negatives == 2
    assert last.settings is None
    assert matrix.sweeps[0].values == (0.2, 0.4)
    assert matrix.sweeps[0].rows == ("reference.fraction = 0.2", "reference.fraction = 0.4")
    assert matrix.alterations == (Alteration("blur", 1.0), Alteration("blur", 2.5))


def test_a_preset_is_the_base_of_all_rows(read):
    matrix = read('preset = "paper"\n[[row]]\nname = "a"\n[[sweep]]\nsetting = "prompts.negatives"'
                  "\nvalues = [5]")  # fmt: skip
    assert matrix.rows[0].settings == Settings.preset("paper")
    assert matrix.rows[1].settings == Settings.preset("paper").with_changes(
        prompts={"negatives": 5}
    )


def test_what_is_left_out_has_plain_defaults(read):
    matrix = read('[[row]]\nname = "default"')
    assert matrix.rows[0].settings == Settings()
    assert (matrix.seeds, matrix.sweeps, matrix.alterations) == ((0,), (), ())
    assert not matrix.prompt_quality


def test_seeds_from_the_command_line_take_the_place_of_the_file_s(read):
    assert read(WHOLE, (7,)).seeds == (7,)


ROW = '[[row]]\nname = "a"\n'
BAD = {
    "": "nothing to measure",
    'titel = "x"\n' + ROW: "Unknown key 'titel'. Did you mean 'title'?",
    "[[row]]\nname = 'a'\nsetings = {}": "Did you mean 'settings'?",
    "[[row]]\nsettings = {}": "Row 1 has no name",
    ROW + ROW: "2 of the row 'a'",
    ROW + "settings = { supression = {} }": "Did you mean 'suppression'?",
    ROW + "settings = { suppression = { methd = 'hard' } }": "Did you mean 'method'?",
    ROW + "settings = { suppression = { sigma = -1 } }": "Row 'a': Setting 'suppression.sigma'",
    ROW + "settings = { seed = 1 }": "keys of the matrix itself",
    ROW + "settings = 1": "'settings' must be a table",
    ROW + "settings = { features = { segmenter = 'sam9' } }": "Unknown segmenter 'sam9'",
    ROW + "settings = { prompts = { source = 'given' } }": "opened nuclei",
    ROW + "paper = { aji = 0.5 }": "Unknown metric 'aji'",
    ROW + "paper = { AJI = 55.3 }": "'paper.AJI' must be a number from 0 to 1",
    ROW + "preset = 'papers'": "Did you mean 'paper'?",
    "row = 1": "'row' must be tables",
    "seeds = []\n" + ROW: "'seeds' must be a list",
    "seeds = [1, 1]\n" + ROW: "2 of the seed '1'",
    "seeds = [-1]\n" + ROW: "'seed' must be at least 0",
    "seeds = [0.5]\n" + ROW: "whole number",
    "baseline = 1": "'baseline' must be true or false",
    "title = 1\n" + ROW: "'title' must be text",
    "[[sweep]]\nsetting = 'fraction'\nvalues = [1]": "Did you mean 'reference.fraction'?",
    "[[sweep]]\nsetting = 'reference.fractoin'\nvalues = [1]": "Did you mean 'fraction'?",
    "[[sweep]]\nsetting = 'referense.fraction'\nvalues = [1]": "Did you mean 'reference'?",
    "[[sweep]]\nsetting = 'reference.fraction'": "needs its values",
    "[[sweep]]\nsetting = 'reference.fraction'\nvalues = [0.5, 0.5]": "2 of the row",
    ROW + "[[alter]]\nkind = 'blurr'\nlevels = [1]": "Did you mean 'blur'?",
    ROW + "[[alter]]\nkind = 'blur'\nlevels = [-1]": "The level of 'blur'",
    ROW + "[[alter]]\nkind = 'blur'\nlevels = ['x']": "The level of 'blur'",
    ROW + "[[alter]]\nkind = 'blur'\nlevels = [1, 1]": "2 of the alteration 'blur 1'",
    ROW + "[[alter]]\nkind = 'blur'": "needs its levels",
    "title = ": "not valid TOML",
}


@pytest.mark.parametrize(("text", "sentence"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_matrix_is_refused_with_what_to_do(read, tmp_path, text, sentence):
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert sentence in str(caught.value)
    assert str(tmp_path / "m.toml") in str(caught.value)


def test_a_model_that_is_not_there_is_told_before_anything_is_run(read, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_SPROUT_MODELS", str(tmp_path / "models"))
    with pytest.raises(WeightsError, match="'sam_vit_h' are not on this computer"):
        read(ROW + "settings = { features = { segmenter = 'sam_vit_h' } }")


def test_the_documentation_shows_a_matrix_that_can_be_read(read):
    text = (REPOSITORY / "docs" / "experiments" / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    matrix = read(shown)
    assert len(matrix.rows) == 2 + 5 + 1
    assert matrix.rows[1].settings == Settings().with_changes(prompts={"negatives": 1})


EXPERIMENTS = sorted((REPOSITORY / "benchmarks" / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_matrices_of_the_repository_can_be_read(path):
    matrix = read_matrix(path)
    assert matrix.rows
    for row in matrix.rows:
        for score in row.paper.values():
            assert 0 < score < 1


def test_a_missing_matrix_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.toml' does not exist"):
        read_matrix(tmp_path / "nowhere.toml")
