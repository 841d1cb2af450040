from __future__ import annotations

import json
import math

import numpy as np
import pytest

from napari_sprout._version import __version__
from napari_sprout.core.settings import Settings
from napari_sprout.errors import ResultsError, SettingsError
from napari_sprout.io.cohort.summary import (
    MEASURES,
    LeftOutTile,
    Method,
    SlideFacts,
    SummaryBuilder,
    Tiles,
    read_summary,
    write_summary,
)
from napari_sprout.io.slides.protocol import Level
from slide_summaries import many, nucleus, summarised


def test_what_is_written_is_read_back(tmp_path):
    tile = LeftOutTile(1024, 2048, 1024, 1024, "It did not fit in memory.")
    made = summarised(left_out=[tile], warnings=["Pale stain."])
    path = write_summary(tmp_path, made)
    assert path == tmp_path / "summary.json"
    assert read_summary(tmp_path) == made
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_numbers_are_those_of_the_nuclei():
    nuclei = many(1000)
    made = summarised(nuclei=nuclei, mpp=0.5, tissue_mm2=4.0)
    areas = [0.25 * n.area for n in nuclei]
    area = made.measures["area_um2"]
    assert (made.nuclei, made.density_per_mm2) == (1000, 250.0)
    assert area.mean == pytest.approx(np.mean(areas))
    assert abs(area.median - np.median(areas)) < 1.0
    scores = made.measures["score"]
    assert scores.mean == pytest.approx(np.mean([n.score for n in nuclei]))
    assert set(made.measures) == set(MEASURES)


def test_batches_in_any_order_give_the_same_file(tmp_path):
    nuclei = many(300)
    slide, method = SlideFacts("a", "svs", "cd", 0.25, (10, 10)), Method.of(Settings(), {})
    written = []
    for batches in ([nuclei], [nuclei[200:], [], nuclei[:200]]):
        builder = SummaryBuilder(slide)
        for batch in batches:
            builder.add(batch)
        written.append(write_summary(tmp_path, builder.summary(method, 1e6, Tiles(1, 1))))
        written[-1] = written[-1].read_bytes()
    assert written[0] == written[1]


def test_a_slide_without_tissue_has_no_density(tmp_path):
    made = summarised(nuclei=[], tissue_mm2=0.0)
    write_summary(tmp_path, made)
    again = read_summary(tmp_path)
    assert again == made
    assert again.density_per_mm2 is None
    assert again.measures["area_um2"].median is None


def test_nuclei_drawn_by_hand_have_no_score():
    made = summarised(nuclei=[nucleus(1), nucleus(2, score=math.nan)])
    assert made.measures["score"].missing == 1
    assert made.measures["score"].mean == pytest.approx(1.5)
    assert made.measures["area_um2"].n == 2


def test_the_method_names_a_preset_only_if_nothing_was_changed():
    assert Method.of(Settings(), {}).preset == "default"
    assert Method.of(Settings.preset("paper"), {}).preset == "paper"
    assert Method.of(Settings().with_changes(seed=3), {}).preset is None
    assert Method.of(Settings(), {}).software == f"napari-sprout {__version__}"


class OpenSlide:
    format, fingerprint = "aperio", "ef56"
    levels = (Level((70, 90), 1.0), Level((35, 45), 2.0))


def test_facts_come_from_the_open_slide():
    facts = SlideFacts.of("case", OpenSlide(), 0.5)
    assert facts == SlideFacts("case", "aperio", "ef56", 0.5, (70, 90))
    with pytest.raises(SettingsError, match="pixel size"):
        SlideFacts.of("case", OpenSlide(), 250)


def test_counts_stand_on_one_line_and_names_stay_as_they_are(tmp_path):
    path = write_summary(tmp_path, summarised(name="a [ 1, 2 ]", warnings=["x [ 3 ]\n[\n4 ]"]))
    assert len(path.read_text().splitlines()) < 200
    again = read_summary(tmp_path)
    assert (again.name, again.warnings) == ("a [ 1, 2 ]", ("x [ 3 ]\n[\n4 ]",))


def test_a_slide_that_is_not_finished_is_told(tmp_path):
    with pytest.raises(ResultsError, match=r"not finished.*napari-sprout slide"):
        read_summary(tmp_path)


def rewritten(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("nuclei"),
        lambda v: v.update(nuclei=3),
        lambda v: v.update(format="another"),
        lambda v: v.update(tissue_mm2=-1),
        lambda v: v.update(tissue_mm2=math.nan),
        lambda v: v.update(measures=[]),
        lambda v: v["measures"].pop("score"),
        lambda v: v["measures"]["score"]["histogram"].update(high=3.0),
        lambda v: v["measures"]["score"]["histogram"]["counts"].append(0),
        lambda v: v["slide"].update(mpp=0),
        lambda v: v["slide"].update(shape=[5]),
        lambda v: v["tiles"].update(left_out=[{"y": 1}]),
        lambda v: v.update(version="one"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change):
    path = write_summary(tmp_path, summarised())
    rewritten(path, change)
    with pytest.raises(ResultsError, match=r"summary\.json' is damaged.*--overwrite"):
        read_summary(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_summary_is_named(tmp_path, content):
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(ResultsError, match=r"summary\.json' is damaged"):
        read_summary(tmp_path)


def test_a_later_version_is_not_taken_for_damage(tmp_path):
    path = write_summary(tmp_path, summarised())
    rewritten(path, lambda values: values.update(version=2, measures="elsewhere"))
    with pytest.raises(ResultsError, match="later version"):
        read_summary(tmp_path)
