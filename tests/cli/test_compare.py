from __future__ import annotations

import csv

import pytest
import skimage.io

from napari_sprout.models import weights


@pytest.fixture
def one_model(monkeypatch, segmenter):
    monkeypatch.setattr(weights, "load_segmenter", lambda *_, **__: segmenter)


def test_a_picture_and_a_table_are_written(run, one_model, write, tissue, tmp_path):
    image = write("case.ome.png", tissue)
    result = run("compare", image, "-o", tmp_path / "out", "--device", "cpu", "--mpp", 0.25)
    assert result.exit_code == 0, result.output
    assert "mobile_sam" in result.stdout
    assert "pixel size" not in result.stderr
    picture = skimage.io.imread(tmp_path / "out" / "case_compare.png")
    assert picture.shape[1] > 3 * tissue.shape[1]
    with (tmp_path / "out" / "case_compare.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert int(row["nuclei"]) > 3


def test_names_are_separated_by_commas_and_an_unknown_one_is_told(
    run, one_model, write, tissue, tmp_path
):
    image = write("case.png", tissue)
    words = ["--sams", "mobile_sam, mobile_sam", "--encoders", "sam,univ", "--device", "cpu"]
    result = run("compare", image, "-o", tmp_path, *words)
    assert result.exit_code == 1
    assert "'univ'" in result.stderr
    assert "'uni'" in result.stderr
    with (tmp_path / "case_compare.csv").open(encoding="utf-8") as file:
        good, bad = csv.DictReader(file)
    assert good["failed"] == ""
    assert bad["encoder"] == "univ"
    assert "univ" in bad["failed"]


def test_an_earlier_comparison_is_not_replaced_unasked(run, one_model, write, tissue, tmp_path):
    image, out = write("case.png", tissue), tmp_path / "out"
    out.mkdir()
    (out / "case_compare.csv").write_text("of yesterday")
    words = ["compare", image, "-o", out, "--device", "cpu"]
    refused = run(*words)
    assert refused.exit_code == 1
    assert "case_compare.csv" in refused.stderr
    assert (out / "case_compare.csv").read_text() == "of yesterday"
    assert run(*words, "--overwrite").exit_code == 0
    assert "mobile_sam" in (out / "case_compare.csv").read_text()


def test_no_model_at_all_is_refused(run, write, tissue, tmp_path):
    result = run("compare", write("case.png", tissue), "-o", tmp_path / "out", "--sams", ", ")
    assert result.exit_code == 1
    assert "at least one" in result.stderr


def test_a_pixel_size_that_had_to_be_assumed_is_told(run, one_model, write, tissue, tmp_path):
    image = write("case.png", tissue)
    result = run("compare", image, "-o", tmp_path, "--device", "cpu", "-q")
    assert result.exit_code == 0
    assert "0.25 um per pixel was assumed" in result.stderr


def test_an_image_that_is_not_there_is_told(run, tmp_path):
    result = run("compare", tmp_path / "none.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "none.png" in result.stderr
    assert not (tmp_path / "out").exists()
