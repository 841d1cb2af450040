from __future__ import annotations

import csv

import pytest

from napari_sprout.core.settings import Settings
from napari_sprout.errors import ResultsError
from napari_sprout.io.cohort.cohort import expected_slides, read_cohort, slide_name
from napari_sprout.io.cohort.remarks import left_out, names, remarks
from napari_sprout.io.cohort.summary import LeftOutTile, write_summary
from napari_sprout.io.cohort.table import write_cohort_csv
from slide_summaries import many, summarised

TILE = LeftOutTile(1024, 2048, 4000, 1000, "It did not fit in memory.")


@pytest.fixture
def add(tmp_path):
    """Put a finished slide into the folder of the cohort."""

    def write(name, *arguments, **options):
        folder = tmp_path / f"{name}.slide"
        folder.mkdir()
        made = summarised(name, *arguments, **({"fingerprint": name} | options))
        write_summary(folder, made)
        return made

    return write


def test_slides_are_found_by_name_and_other_folders_passed_over(add, tmp_path):
    made = [add("b"), add("a")]
    (tmp_path / "notes").mkdir()
    (tmp_path / "c.slide").write_text("a file")
    cohort = read_cohort(tmp_path)
    assert [slide.name for slide in cohort.finished] == ["a", "b"]
    assert cohort.summaries == made[::-1]
    assert cohort.complete
    assert cohort.nuclei == 400
    assert cohort.tissue_mm2 == 4.0
    assert remarks(cohort) == ()


def test_unfinished_and_damaged_slides_are_named_and_the_others_go_on(add, tmp_path):
    add("good")
    (tmp_path / "early.slide").mkdir()
    (tmp_path / "bad.slide").mkdir()
    (tmp_path / "bad.slide" / "summary.json").write_text('{"format"')
    cohort = read_cohort(tmp_path)
    assert [slide.name for slide in cohort.finished] == ["good"]
    assert not cohort.complete
    unfinished, damaged = remarks(cohort)
    assert "early" in unfinished
    assert "napari-sprout slide" in unfinished
    assert "bad" in damaged
    assert "damaged" in damaged


def test_expected_slides_without_results_are_named(add, tmp_path):
    add("case1")
    listed = tmp_path / "slides.txt"
    listed.write_text("\ufeff/scans/case1.ome.tif\r\n\n/scans/case 2.svs\ncase 2.svs \n")
    wanted = expected_slides(listed)
    assert wanted == ["case1", "case 2"]
    cohort = read_cohort(tmp_path, wanted)
    assert cohort.absent == ("case 2",)
    assert not cohort.complete
    (remark,) = remarks(cohort)
    assert "case 2" in remark
    write_cohort_csv(tmp_path / "cohort.csv", cohort)
    assert "case 2,absent," in (tmp_path / "cohort.csv").read_text()


def test_nothing_but_expected_slides_is_a_cohort_of_absent_ones(tmp_path):
    assert read_cohort(tmp_path, ["a"]).absent == ("a",)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_list_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "slides.txt"
    if content:
        path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"slides\.txt"):
        expected_slides(path)


@pytest.mark.parametrize(
    ("slide", "name"),
    [("a/case1.svs", "case1"), ("case.1.ome.tiff", "case.1"), ("x.ome.zarr", "x"), ("d", "d")],
)
def test_results_are_called_after_the_slide(slide, name):
    assert slide_name(slide) == name


def test_a_folder_that_was_renamed_goes_by_its_new_name(add, tmp_path):
    add("before")
    (tmp_path / "before.slide").rename(tmp_path / "after.slide")
    assert read_cohort(tmp_path).finished[0].name == "after"


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_folder_without_slides_is_refused(tmp_path, kind):
    folder = tmp_path / "results"
    if kind == "empty":
        folder.mkdir()
    elif kind == "file":
        folder.write_text("x")
    with pytest.raises(ResultsError, match="results'"):
        read_cohort(folder)


def test_tiles_that_were_left_out_are_told_in_words(add, tmp_path):
    add("a", left_out=[TILE] * 7)
    cohort = read_cohort(tmp_path)
    assert not cohort.complete
    (remark,) = remarks(cohort)
    assert "left out of a" in remark
    first, *tiles, rest = left_out(cohort.finished[0])
    assert first.startswith("7 of 40 tiles with tissue were left out (1.75 mm²)")
    assert len(tiles) == 5
    assert tiles[0] == "Tile at x 2048, y 1024 (1000 × 4000 px): It did not fit in memory."
    assert "2 more" in rest


def test_mixed_pixel_sizes_say_which_and_what_can_be_compared(add, tmp_path):
    add("a", mpp=0.2525)
    add("b", mpp=0.5)
    add("c", mpp=0.2456)
    (remark,) = remarks(read_cohort(tmp_path))
    assert "0.246 to 0.253 µm per pixel (c, a); 0.5 µm per pixel (b)" in remark
    assert "same units" in remark


def test_scanners_of_one_magnification_are_not_mixed(add, tmp_path):
    add("a", mpp=0.2525)
    add("b", mpp=0.25)
    assert remarks(read_cohort(tmp_path)) == ()


def test_mixed_settings_models_and_versions_are_named(add, tmp_path):
    add("a")
    add("b", settings=Settings.preset("paper"))
    add("c", settings=Settings().with_changes(seed=9), software="napari-sprout 0.1")
    settings, versions = remarks(read_cohort(tmp_path))
    assert "preset default" in settings
    assert "preset paper" in settings
    assert "own settings" in settings
    assert "napari-sprout 0.1 (c)" in versions


def test_mixed_weights_are_named(add, tmp_path):
    add("a")
    add("b", weights={"sam_vit_b": "ff" * 32})
    (remark,) = remarks(read_cohort(tmp_path))
    assert "different models: mobile_sam 01230123 (a); sam_vit_b ffffffff (b)" in remark


def test_one_slide_under_two_names_is_told(add, tmp_path):
    add("a", fingerprint="same")
    add("b", fingerprint="same")
    (remark,) = remarks(read_cohort(tmp_path))
    assert "several names: a, b" in remark


def test_long_lists_of_names_are_cut():
    assert names([str(n) for n in range(9)]).count(",") == 8
    assert names([str(n) for n in range(30)]).endswith("6, 7 and 22 more")


def test_the_table_has_one_row_a_slide_whatever_became_of_it(add, tmp_path):
    made = add("b", many(50), warnings=["Pale, \nstain."])
    add("a", [], tissue_mm2=0.0)
    add("d", left_out=[TILE])
    (tmp_path / "c.slide").mkdir()
    (tmp_path / "e.slide").mkdir()
    (tmp_path / "e.slide" / "summary.json").write_text("[]")
    path = tmp_path / "cohort.csv"
    write_cohort_csv(path, read_cohort(tmp_path))
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "a": "finished",
        "b": "finished",
        "c": "unfinished",
        "d": "incomplete",
        "e": "damaged",
    }
    row = rows["b"]
    assert int(row["nuclei"]) == 50
    assert float(row["density_per_mm2"]) == 25.0
    area = made.measures["area_um2"]
    assert float(row["area_um2_median"]) == pytest.approx(area.median, rel=1e-5)
    assert float(row["area_um2_sd"]) == pytest.approx(area.sd, rel=1e-5)
    assert (row["width_px"], row["height_px"], row["mpp"]) == ("30000", "20000", "0.25")
    assert row["warnings"] == "Pale, \nstain."
    assert rows["a"]["density_per_mm2"] == rows["a"]["score_median"] == ""
    assert rows["d"]["tiles_left_out"] == "1"
    assert rows["c"]["nuclei"] == ""
    assert "damaged" in rows["e"]["warnings"]
