from __future__ import annotations

import csv

import numpy as np
import pytest

from fakes import FakeSegmenter
from napari_sprout.core.settings import Settings
from napari_sprout.errors import SproutError, WeightsError
from napari_sprout.io.comparison import (
    PANEL_WIDTH,
    PANELS,
    Choice,
    compare,
    gallery,
    with_models,
    write_comparison_csv,
)
from napari_sprout.io.images import LoadedImage
from napari_sprout.models import weights

SMALL = Settings.from_dict({"features": {"tile": 128}})
CHOICES = [Choice("sam", "mobile_sam"), Choice("sam", "sam_vit_b"), Choice("sam", "sam_vit_l")]


@pytest.fixture
def loaded(synthetic, tmp_path):
    return LoadedImage(synthetic.rgb, 0.25, tmp_path / "image.png", "0" * 64)


@pytest.fixture
def results(loaded, synthetic, monkeypatch):
    """Two models that differ in what they draw, and between them one that is not there."""

    def load(name, device, path):
        assert path is None
        if name == "sam_vit_b":
            raise WeightsError("The weights of 'sam_vit_b' are not on this computer.")
        return FakeSegmenter(radius=13.0 if name == "mobile_sam" else 7.0)

    monkeypatch.setattr(weights, "load_segmenter", load)
    return list(compare(loaded, SMALL, CHOICES, device="cpu", truth=synthetic.labels))


def test_a_model_that_is_missing_is_told_and_the_others_go_on(results):
    assert [one.choice for one in results] == CHOICES
    first, missing, last = results
    assert "not on this computer" in missing.failed
    assert missing.panels == ()
    for one in (first, last):
        assert not one.failed
        assert one.nuclei > 5
        assert one.scores is not None
        assert set(one.seconds) >= {"image", "encoding", "masks", "nuclei"}
    # What differs is the model: smaller discs make smaller nuclei.
    assert last.median_area < first.median_area


def test_the_picture_has_a_row_for_each_choice_and_a_column_for_each_stage(results, synthetic):
    height, width = synthetic.rgb.shape[:2]
    for one in (results[0], results[2]):
        assert len(one.panels) == len(PANELS)
        assert {panel.shape for panel in one.panels} == {(height, width, 3)}
    picture = gallery(results)
    alone = gallery(results[1:2])
    assert picture.dtype == np.uint8
    assert picture.shape[1] >= 3 * width
    assert picture.shape[0] > 2 * height
    # A choice that failed has a line of text in the place of its pictures.
    assert alone.shape[0] < 40
    assert alone.max() == 255


def test_large_images_are_shown_smaller(synthetic, loaded, monkeypatch):
    monkeypatch.setattr(weights, "load_segmenter", lambda *_, **__: FakeSegmenter())
    wide = np.tile(synthetic.rgb, (1, 4, 1))
    image = LoadedImage(wide, 0.25, loaded.path, loaded.sha256)
    (one,) = compare(image, SMALL, CHOICES[:1], device="cpu")
    ratio = wide.shape[0] / wide.shape[1]
    assert one.panels[0].shape[1] == PANEL_WIDTH
    assert one.panels[0].shape[0] == pytest.approx(PANEL_WIDTH * ratio, abs=1)


def test_the_table_has_a_row_for_each_choice(results, tmp_path):
    path = tmp_path / "table.csv"
    write_comparison_csv(path, results)
    with path.open(encoding="utf-8") as file:
        first, missing, last = csv.DictReader(file)
    assert (first["encoder"], first["segmenter"]) == ("sam", "mobile_sam")
    assert int(first["nuclei"]) == results[0].nuclei
    assert float(first["median_area_um2"]) == pytest.approx(results[0].median_area, rel=1e-5)
    stages = [float(first[name]) for name in first if name.startswith("seconds_") and first[name]]
    assert float(first["seconds"]) == pytest.approx(sum(stages), abs=0.1)
    assert first["segmenter_sha256"] == FakeSegmenter.weights_sha256
    assert first["encoder_sha256"] == ""
    assert float(last["aji"]) == pytest.approx(results[2].scores.aji, abs=1e-6)
    assert missing["nuclei"] == ""
    assert missing["seconds"] == ""
    assert "sam_vit_b" in missing["failed"]


def test_a_weights_file_stays_with_the_model_it_is_for():
    tuned = Settings.from_dict({"features": {"segmenter_weights": "tuned.pth"}})
    own, other = (with_models(tuned, choice).features for choice in CHOICES[:2])
    assert own.segmenter_weights == "tuned.pth"
    assert (other.segmenter, other.segmenter_weights) == ("sam_vit_b", "")


def test_a_model_too_large_for_the_memory_is_told_and_the_others_go_on(loaded, monkeypatch):
    def load(name, *_):
        if name == "sam_vit_b":
            raise MemoryError
        return FakeSegmenter()

    monkeypatch.setattr(weights, "load_segmenter", load)
    results = list(compare(loaded, SMALL, CHOICES, device="cpu"))
    assert [bool(one.failed) for one in results] == [False, True, False]
    assert "memory" in results[1].failed


def test_labels_of_another_size_are_refused_before_anything_is_run(loaded):
    with pytest.raises(SproutError, match="5 x 4 px"):
        next(compare(loaded, SMALL, CHOICES, truth=np.zeros((4, 5), np.int32)))


def test_what_a_person_should_know_of_a_result_is_kept(loaded, monkeypatch):
    monkeypatch.setattr(weights, "load_segmenter", lambda *_, **__: FakeSegmenter())
    glass = LoadedImage(np.full((160, 160, 3), 243, np.uint8), 0.25, loaded.path, loaded.sha256)
    (one,) = compare(glass, SMALL, CHOICES[:1], device="cpu")
    assert any("No tissue" in text for text in one.warnings)


def test_glass_alone_gives_a_picture_without_nuclei(loaded, monkeypatch):
    monkeypatch.setattr(weights, "load_segmenter", lambda *_, **__: FakeSegmenter())
    glass = LoadedImage(np.full((160, 160, 3), 243, np.uint8), None, loaded.path, loaded.sha256)
    (one,) = compare(glass, SMALL, CHOICES[:1], device="cpu")
    assert one.nuclei == 0
    assert np.isnan(one.median_area)
    assert gallery([one]).shape[0] > 160
