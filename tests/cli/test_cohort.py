from __future__ import annotations

import csv

import pytest

from napari_sprout.io.cohort.summary import LeftOutTile, write_summary
from slide_summaries import summarised


@pytest.fixture
def add(tmp_path):
    def write(name, **options):
        folder = tmp_path / "out" / f"{name}.slide"
        folder.mkdir(parents=True)
        write_summary(folder, summarised(name, fingerprint=name, **options))

    return write


def test_table_and_report_lie_beside_the_slides(run, add, tmp_path):
    add("a")
    add("b")
    result = run("cohort", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "2 slides with 400 nuclei" in result.stdout
    assert result.stderr == ""
    assert (tmp_path / "out" / "cohort.html").read_text(encoding="utf-8").startswith("<!doctype")
    with (tmp_path / "out" / "cohort.csv").open(encoding="utf-8") as file:
        assert [row["slide"] for row in csv.DictReader(file)] == ["a", "b"]


def test_another_folder_and_again_after_more_slides(run, add, tmp_path):
    report = tmp_path / "reports" / "march"
    add("a")
    assert run("cohort", tmp_path / "out", "-o", report, "-q").exit_code == 0
    first = (report / "cohort.csv").read_text()
    assert run("cohort", tmp_path / "out", "-o", report).exit_code == 0
    assert (report / "cohort.csv").read_text() == first
    add("b")
    assert "2 slides" in run("cohort", tmp_path / "out", "-o", report).stdout
    assert sorted(path.name for path in report.iterdir()) == ["cohort.csv", "cohort.html"]
    assert not (tmp_path / "out" / "cohort.csv").exists()


def test_unfinished_slides_and_tiles_left_out_end_with_3(run, add, tmp_path):
    add("a", left_out=[LeftOutTile(0, 0, 100, 100, "Full.")])
    result = run("cohort", tmp_path / "out")
    assert result.exit_code == 3
    assert "left out of a" in result.stderr
    (tmp_path / "out" / "early.slide").mkdir()
    result = run("cohort", tmp_path / "out", "-q")
    assert result.exit_code == 3
    assert "early" in result.stderr
    assert result.stdout == ""


def test_a_damaged_slide_ends_with_1_and_the_others_are_in_the_report(run, add, tmp_path):
    add("a")
    (tmp_path / "out" / "bad.slide").mkdir()
    (tmp_path / "out" / "bad.slide" / "summary.json").write_text("{")
    result = run("cohort", tmp_path / "out")
    assert result.exit_code == 1
    assert "bad" in result.stderr
    assert "1 slide with 200 nuclei" in result.stdout
    assert (tmp_path / "out" / "cohort.html").exists()


def test_a_folder_without_slides_gets_no_report(run, tmp_path):
    result = run("cohort", tmp_path, "-o", tmp_path / "report")
    assert result.exit_code == 1
    assert "holds no slides" in result.stderr
    assert not (tmp_path / "report").exists()


def test_a_place_that_cannot_be_written_is_told(run, add, tmp_path):
    add("a")
    (tmp_path / "taken").write_text("x")
    result = run("cohort", tmp_path / "out", "-o", tmp_path / "taken")
    assert result.exit_code == 1
    assert "taken" in result.stderr


def test_expected_slides_that_are_not_there_end_with_3(run, add, tmp_path):
    add("a")
    (tmp_path / "slides.txt").write_text("a.svs\nb.svs\n")
    result = run("cohort", tmp_path / "out", "--expected", tmp_path / "slides.txt")
    assert result.exit_code == 3
    assert "not in any number here: b." in result.stderr
