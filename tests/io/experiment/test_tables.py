from __future__ import annotations

import csv
import itertools
import math
import sys

import pytest
import skimage.io

from napari_sprout.core.baseline import BASELINE
from napari_sprout.core.metrics import Scores
from napari_sprout.core.prompt_quality import PromptQuality
from napari_sprout.core.settings import Settings
from napari_sprout.io.experiment.cells import Cell
from napari_sprout.io.experiment.matrix import Alteration, Matrix, Row, Sweep
from napari_sprout.io.experiment.plan import Place, Wanted
from napari_sprout.io.experiment.plots import write_plots
from napari_sprout.io.experiment.summary import Results
from napari_sprout.io.experiment.tables import write_images_csv, write_table

IMAGES = ("a", "b", "c")
GROUPS = {"a": "liver", "b": "liver", "c": "colon"}
BLUR = Alteration("blur", 2.0)
# AJI by row, seed and image; the other scores follow from it.
AJI = {
    ("ours", 0): (0.5, 0.6, 0.7),
    ("ours", 1): (0.6, 0.7, 0.8),
    (BASELINE, None): (0.4, 0.66, 0.3),
}


def matrix(**changes) -> Matrix:
    rows = (Row("ours", Settings(), {"AJI": 0.553, "SQ": 0.735}), Row(BASELINE, None))
    values = {
        "title": "A title", "text": "Above.", "after": "Below.", "seeds": (0, 1), "rows": rows,
        "sweeps": (), "alterations": (), "prompt_quality": False, "by_image": False,
    }  # fmt: skip
    return Matrix(**{**values, **changes})


def results(compared: Matrix, groups=None, missing=()) -> Results:
    places, finished = {}, {}
    for (row, seed), image in itertools.product(AJI, IMAGES):
        if row not in {made.name for made in compared.rows}:
            continue
        if seed is not None and seed not in compared.seeds:
            continue
        for alteration in (None, *compared.alterations):
            place = Place(image, row, seed, alteration)
            key = str(place)
            places[place] = Wanted(key, None, place)
            aji = AJI[row, seed][IMAGES.index(image)] - (0.1 if alteration else 0.0)
            scores = Scores(aji, aji - 0.1, 0.5, 0.75, 0.8, 10, 20 + IMAGES.index(image), 9)
            quality = None if seed is None else PromptQuality(0.5 + 0.1 * seed, math.nan, 0.25, 2.0)
            if not {(image, row), (image, row, alteration)} & set(missing):
                finished[key] = Cell(key, scores, quality, 2.0, 30.0)
    return Results(compared, places, finished, IMAGES, groups)


@pytest.fixture
def table(tmp_path):
    """Write the tables and return the text, and the cells of the rows that start with a name."""

    def make(found: Results):
        path = tmp_path / "table.md"
        write_table(path, found, "napari-sprout experiment ...")
        text = path.read_text(encoding="utf-8")
        lines = [line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line]
        return text, lambda name: [line for line in lines if line[0] == name]

    return make


def test_means_over_images_and_their_spread_over_seeds(table):
    text, rows = table(results(matrix()))
    # Seed 0: (0.5 + 0.6 + 0.7) / 3 = 0.6; seed 1: 0.7; their mean is 0.65.
    assert rows("ours")[0][1:] == [
        *("0.650 (0.600 to 0.700)", "0.550 (0.500 to 0.600)", "0.500", "0.750", "0.800"),
        *("63 / 30", "2.0"),
    ]
    assert rows(BASELINE)[0][1:3] == ["0.453", "0.353"]
    assert "Mean over 3 images; of the seeds 0, 1" in text
    assert "missing" not in text


def test_one_seed_has_no_spread(table):
    text, rows = table(results(matrix(seeds=(0,))))
    assert rows("ours")[0][1] == "0.600"
    assert "Mean over 3 images, seed 0." in text


def test_the_papers_values_stand_below_the_row_and_texts_around_the_table(table):
    text, rows = table(results(matrix()))
    assert rows("*ours, in the paper*")[0][1:6] == ["0.553", "–", "–", "0.735", "–"]
    places = [text.index(part) for part in ("# A title", "Above.", "| ours", "Below.", "Made by")]
    assert places == sorted(places)


def test_prompt_quality_is_in_the_table_when_asked_for(table):
    _, rows = table(results(matrix(prompt_quality=True)))
    assert rows("ours")[0][7:11] == ["0.550 (0.500 to 0.600)", "–", "0.250", "2.000"]
    assert rows(BASELINE)[0][7:11] == ["–"] * 4


def test_each_group_is_left_out_in_turn(table):
    _, rows = table(results(matrix(), GROUPS))
    # Without the liver: c alone, 0.75 over the seeds; without the colon: a and b, 0.6.
    assert rows("ours")[1][1] == "0.600 to 0.750"
    # 0.3 without the liver, (0.4 + 0.66) / 2 without the colon.
    assert rows(BASELINE)[1][1] == "0.300 to 0.530"


def test_what_is_missing_is_said_and_counted(table):
    text, rows = table(results(matrix(), missing={("a", "ours"), ("c", BASELINE)}))
    assert "**3 of 9 measurements are missing**" in text
    assert "ours: a; Otsu + watershed: c" in text
    assert rows("ours")[0][1] == "0.700 (0.650 to 0.750)"


def test_it_is_said_which_alterations_are_missing(table):
    missing = {("a", "ours", BLUR), ("b", "ours"), ("c", BASELINE, None)}
    text, _ = table(results(matrix(alterations=(BLUR, Alteration("jpeg", 10))), missing=missing))
    assert "ours: a (blur 2), b; Otsu + watershed: c (unaltered)." in text


def test_a_row_without_any_cell_has_no_numbers(table):
    _, rows = table(results(matrix(), GROUPS, missing={(image, "ours") for image in IMAGES}))
    assert rows("ours")[0][1:] == ["–"] * 7
    assert rows("ours")[1][1:] == ["–"] * 5


def test_altered_images_have_a_table_of_levels(table):
    text, rows = table(results(matrix(alterations=(BLUR,))))
    assert "## Altered images: blur" in text
    assert rows("AJI at level") == [["AJI at level", "unaltered", "2"]]
    assert rows(BASELINE)[1][1:] == ["0.453", "0.353"]
    # The main table is of the images as they are.
    assert rows(BASELINE)[0][1] == "0.453"


def test_images_are_compared_with_the_baseline_one_by_one(table):
    _, rows = table(results(matrix()))
    # Over the seeds 0.55, 0.65, 0.75 against 0.4, 0.66, 0.3.
    assert rows("ours")[1][1:] == ["2 of 3", "-0.010", "+0.150"]


def test_every_image_has_a_row_when_asked_for(table):
    text, rows = table(results(matrix(by_image=True)))
    assert "## PQ of every image" in text
    assert rows("c") == [["c", "0.750", "0.300"], ["c", "0.650", "0.200"]]


def test_names_cannot_break_the_table(table):
    AJI[("a | b", 0)] = (0.1, 0.2, 0.3)
    try:
        text, _ = table(results(matrix(rows=(Row("a | b", Settings()),), seeds=(0,))))
    finally:
        del AJI[("a | b", 0)]
    assert "| a \\| b | 0.200 |" in text


def test_the_csv_has_a_row_for_every_finished_cell(tmp_path):
    path = tmp_path / "images.csv"
    write_images_csv(path, results(matrix(alterations=(BLUR,)), GROUPS, missing={("a", "ours")}))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3 * 2 - 2 * 2
    assert len({(r["image"], r["row"], r["seed"], r["level"]) for r in rows}) == len(rows)
    one = next(r for r in rows if (r["image"], r["seed"], r["level"]) == ("c", "1", "2.0"))
    assert (one["group"], one["row"], one["alteration"]) == ("colon", "ours", "blur")
    assert (float(one["aji"]), float(one["positive_precision"])) == (0.7, 0.6)
    assert one["negative_precision"] == ""
    assert (one["n_prediction"], one["seconds"], one["encoding_seconds"]) == ("22", "2.0", "30.0")
    plain = next(r for r in rows if r["row"] == BASELINE and r["alteration"] == "")
    assert (plain["seed"], plain["level"], plain["positive_precision"]) == ("", "", "")


# Plots


def swept() -> Matrix:
    rows = (Row("ours", Settings()), Row(BASELINE, None))
    sweeps = (
        Sweep("reference.fraction", (0.4, 0.2), ("ours", BASELINE)),
        Sweep("suppression.method", ("hard", "soft"), (BASELINE, "ours")),
    )
    return matrix(rows=rows, sweeps=sweeps, alterations=(BLUR,))


def test_sweeps_and_alterations_are_drawn(tmp_path):
    paths = write_plots(tmp_path, results(swept()))
    assert [path.name for path in paths] == [
        *("sweep_1_reference_fraction.png", "sweep_2_suppression_method.png"),
        "altered_blur.png",
    ]
    for path in paths:
        picture = skimage.io.imread(path)
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 5


def test_a_plot_shows_what_was_measured(tmp_path):
    (first, *_) = write_plots(tmp_path / "a", results(swept()))
    (other, *_) = write_plots(tmp_path / "b", results(swept(), missing={("a", "ours")}))
    assert first.read_bytes() != other.read_bytes()


def test_rows_without_cells_do_not_stop_the_plots(tmp_path):
    missing = {(image, "ours") for image in IMAGES}
    assert len(write_plots(tmp_path, results(swept(), missing=missing))) == 3


def test_plots_of_an_earlier_matrix_go_and_other_pictures_stay(tmp_path):
    write_plots(tmp_path, results(swept()))
    (tmp_path / "mine.png").write_bytes(b"")
    write_plots(tmp_path, results(matrix(alterations=(BLUR,))))
    assert {path.name for path in tmp_path.iterdir()} == {"mine.png", "altered_blur.png"}


def test_without_matplotlib_nothing_else_is_harmed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError):
        write_plots(tmp_path / "plots", results(swept()))
    assert write_plots(tmp_path / "plots", results(matrix())) == []
    assert not (tmp_path / "plots").exists()
