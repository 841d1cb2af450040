from __future__ import annotations

import csv
import subprocess
import sys

from napari_sprout.io.experiment import plots

from .conftest import MATRIX, cells


def test_everything_is_written(experiment, tmp_path, matrix):
    result = experiment()
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    table = (out / "table.md").read_text(encoding="utf-8")
    names = ("soft", "hard", "reference.fraction = 0.4", "Otsu + watershed")
    assert all(f"| {name} |" in table for name in names)
    assert f"napari-sprout experiment {matrix}" in table
    # Where was computed is part of what a measurement is.
    assert "--device cpu`" in table
    with (out / "images.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 10
    assert (out / "matrix.toml").read_text(encoding="utf-8") == MATRIX
    assert (out / "plots" / "sweep_1_reference_fraction.png").stat().st_size > 5000
    assert len(list((out / "cache").iterdir())) == 2
    assert "10 of 10 measurements" in result.stdout
    assert "[10/10]" in result.stderr


def test_the_same_command_again_measures_nothing(experiment, fake, tmp_path):
    experiment()
    before, asked = cells(tmp_path / "out"), fake.decoded
    table = (tmp_path / "out" / "table.md").read_bytes()
    result = experiment()
    assert result.exit_code == 0
    assert fake.decoded == asked
    assert "[" not in result.stderr
    assert cells(tmp_path / "out") == before
    assert (tmp_path / "out" / "table.md").read_bytes() == table


def test_a_cache_can_be_shared_or_left_out(experiment, fake, tmp_path):
    assert experiment("--cache", tmp_path / "shared", out="a").exit_code == 0
    encoded = fake.encoded
    assert experiment("--cache", tmp_path / "shared", out="b").exit_code == 0
    assert fake.encoded == encoded
    assert experiment("--no-cache", out="c").exit_code == 0
    assert fake.encoded == 2 * encoded
    assert not [out for out in "abc" if (tmp_path / out / "cache").exists()]
    assert cells(tmp_path / "a") == cells(tmp_path / "b") == cells(tmp_path / "c")
    assert "not both" in experiment("--no-cache", "--cache", tmp_path).stderr


def test_seeds_images_and_groups_can_be_given(experiment, tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("image,group\none,a\ntwo,b\n", encoding="utf-8")
    assert experiment("--seed", 3, "--seed", 4, "--images", "tw*").exit_code == 0
    assert len(cells(tmp_path / "out")) == 9
    assert experiment("--groups", groups).exit_code == 0
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "Without one group" in table
    refused = experiment("--images", "three")
    assert refused.exit_code == 1
    assert "no annotated image 'three'" in refused.stderr


def test_a_failed_image_is_told_once_and_the_rest_is_there(experiment, folder, tmp_path):
    (folder / "one.png").write_bytes(b"no image")
    result = experiment()
    assert result.exit_code == 1
    assert result.stderr.count("one.png") == 1
    assert "5 of 10 measurements" in result.stdout
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "5 of 10 measurements are missing" in table


def test_a_bad_matrix_is_one_sentence_and_makes_no_folder(experiment, matrix, tmp_path):
    matrix.write_text("[[row]]\nnam = 'a'\n", encoding="utf-8")
    result = experiment()
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "Did you mean 'name'?" in result.stderr
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_the_tables_are_there_and_a_sentence(experiment, tmp_path, monkeypatch):
    def missing(*_):
        raise ImportError

    monkeypatch.setattr(plots, "_draw_sweep", missing)
    result = experiment()
    assert result.exit_code == 0
    assert "pip install" in result.stderr
    assert (tmp_path / "out" / "table.md").exists()


def test_importing_the_command_loads_nothing_heavy() -> None:
    code = (
        "import sys, napari_sprout.cli.experiment; "
        "print({'numpy', 'torch', 'tifffile', 'skimage', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
