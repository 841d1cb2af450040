from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from napari_sprout.cli import batch
from napari_sprout.cli.jobs import Job, Outcome
from napari_sprout.cli.main import app
from napari_sprout.core.settings import Settings
from napari_sprout.io.labels import read_labels
from napari_sprout.models import weights
from napari_sprout.models.sam import SamSegmenter
from napari_sprout.samples import SAMPLES


@dataclass(frozen=True)
class Finished:
    """A folder with an image and the results of segmenting it."""

    folder: Path
    result: Result


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tissue: NDArray[np.uint8], segmenter: SamSegmenter
) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    skimage.io.imsave(folder / "case.png", tissue)
    arguments = ["segment", str(folder), "-o", str(folder), "--mpp", "0.5", "--seed", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "load_segmenter", lambda *_: segmenter)
        result = CliRunner().invoke(app, [*arguments, "--stage-images"])
    return Finished(folder, result)


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


# What is written


def test_nuclei_are_found_and_every_result_is_written(finished: Finished) -> None:
    assert finished.result.exit_code == 0, finished.result.output
    labels = read_labels(finished.folder / "case_labels.tif")
    assert labels.labels.shape == (160, 144)
    assert labels.mpp == 0.5
    assert 5 <= len(np.unique(labels.labels)) - 1 <= 30
    assert f"{len(np.unique(labels.labels)) - 1} nuclei in 1 image in " in finished.result.stdout
    assert str(finished.folder) in finished.result.stdout
    assert hidden(finished.folder) == []


def test_the_table_has_a_row_for_each_label(finished: Finished) -> None:
    labels = read_labels(finished.folder / "case_labels.tif").labels
    with (finished.folder / "case_nuclei.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["id"]) for row in rows} == set(np.unique(labels)) - {0}
    for row in rows:
        pixels = np.count_nonzero(labels == int(row["id"]))
        assert int(float(row["area_px"])) == pixels
        assert float(row["area_um2"]) == pytest.approx(pixels * 0.25, rel=1e-4)


def test_the_overlay_is_the_image_with_outlines_on_its_nuclei(
    finished: Finished, tissue: NDArray[np.uint8]
) -> None:
    labels = read_labels(finished.folder / "case_labels.tif").labels
    drawn = (skimage.io.imread(finished.folder / "case_overlay.png") != tissue).any(-1)
    assert drawn.any()
    assert not (drawn & (labels == 0)).any()


def test_the_label_file_says_what_made_it(finished: Finished) -> None:
    metadata = read_labels(finished.folder / "case_labels.tif").metadata
    assert metadata["file"] == "case.png"
    assert metadata["seed"] == 3
    assert metadata["settings"]["seed"] == 3
    assert metadata["mpp"] == 0.5
    assert metadata["weights_sha256"] == weights.weights_sha256("mobile_sam")
    json.dumps(metadata)


def test_the_intermediate_maps_are_pictures_of_the_image_size(finished: Finished) -> None:
    paths = sorted((finished.folder / "case_stages").iterdir())
    names = [path.stem.split("_", 1)[1] for path in paths]
    for expected in ("tissue", "haematoxylin", "eosin", "reference_sure_foreground", "regions"):
        assert expected in names
    for expected in ("activation_rho_0.60", "activation_chosen", "prompts", "candidates"):
        assert expected in names
    assert any(name.startswith("prototype_nucleus") for name in names)
    assert {skimage.io.imread(path).shape[:2] for path in paths} == {(160, 144)}


def test_results_in_the_folder_of_the_images_are_not_taken_for_images(
    finished: Finished, run, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    result = run("segment", folder, "-o", folder)
    assert result.exit_code == 0
    assert (
        result.stderr == "[1/1] case.png: skipped, it is finished already (--overwrite redoes it)\n"
    )
    assert "0 images (1 skipped)" in result.stdout


def test_a_file_that_is_missing_makes_an_image_unfinished(
    finished: Finished, run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    (folder / "case_nuclei.csv").unlink()
    asked: list[Path] = []

    def segment_image(job: Job, *_: object) -> Outcome:
        asked.append(job.image)
        return Outcome(0, (), None)

    monkeypatch.setattr(batch, "segment_image", segment_image)
    run("segment", folder, "-o", folder)
    assert asked == [folder / "case.png"]


def test_overwriting_replaces_results_and_old_pictures(run, blank, tmp_path: Path) -> None:
    image, out = blank(), tmp_path / "out"
    (out / "blank_stages").mkdir(parents=True)
    (out / "blank_stages" / "99_old.png").write_bytes(b"old")
    (out / "blank_stages" / "note.txt").write_text("mine")
    for name in ("blank_labels.tif", "blank_overlay.png", "blank_nuclei.csv"):
        (out / name).write_bytes(b"old")
    skipped = run("segment", image, "-o", out, "--stage-images")
    assert "skipped" in skipped.stderr
    assert (out / "blank_labels.tif").read_bytes() == b"old"
    assert run("segment", image, "-o", out, "--stage-images", "--overwrite").exit_code == 0
    assert not read_labels(out / "blank_labels.tif").labels.any()
    assert (out / "blank_nuclei.csv").read_text().startswith("id,")
    assert not (out / "blank_stages" / "99_old.png").exists()
    assert (out / "blank_stages" / "note.txt").exists()


def test_settings_come_from_the_file_and_the_seed_from_the_option(
    run, blank, tmp_path: Path
) -> None:
    settings = tmp_path / "mine.toml"
    settings.write_text("seed = 5\n[prompts]\nnegatives = 2\n", encoding="utf-8")
    out = tmp_path / "out"
    run("segment", blank(), "-o", out, "--settings", settings, "--seed", "9")
    metadata = read_labels(out / "blank_labels.tif").metadata
    assert metadata["settings"]["prompts"]["negatives"] == 2
    assert metadata["seed"] == 9


def test_settings_lie_over_the_preset_and_both_are_written(run, blank, tmp_path: Path) -> None:
    settings = tmp_path / "mine.toml"
    settings.write_text("[prompts]\nnegatives = 3\n", encoding="utf-8")
    plain, changed = tmp_path / "plain", tmp_path / "changed"
    run("segment", blank(), "-o", plain, "--preset", "paper")
    run("segment", blank(), "-o", changed, "--preset", "paper", "--settings", settings)
    paper = Settings.preset("paper")
    for out, expected in (
        (plain, paper),
        (changed, paper.with_changes(prompts={"negatives": 3})),
    ):
        metadata = read_labels(out / "blank_labels.tif").metadata
        assert Settings.from_dict(metadata["settings"]) == expected


def test_quiet_says_nothing_when_all_is_well(run, blank, tmp_path: Path) -> None:
    blank()
    shutil.copy(SAMPLES[0].path, tmp_path / "done.png")
    for name in ("done_labels.tif", "done_overlay.png", "done_nuclei.csv"):
        (tmp_path / name).write_bytes(b"")
    result = run("segment", tmp_path / "done.png", "-o", tmp_path, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_a_missing_pixel_size_is_pointed_out_once(run, blank, tmp_path: Path) -> None:
    images = [blank(name) for name in ("a.png", "b.png", "c.png")]
    result = run("segment", *images, "-o", tmp_path / "out")
    (line,) = [line for line in result.stderr.splitlines() if "--mpp" in line]
    assert "a.png and 2 others" in line
    assert "0.25 um" in line
    stated = run("segment", *images, "-o", tmp_path / "out", "--overwrite", "--mpp", "0.5")
    assert "pixel size" not in stated.stderr


def test_a_terminal_gets_a_bar_and_names_are_shown_as_they_are(
    run, blank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = run("segment", blank("slide[bold]7.png"), "-o", tmp_path / "out")
    assert "slide[bold]7.png: 0 nuclei" in result.stderr
    assert "100%" in result.stderr


# What is refused before anything is computed


def test_two_images_with_the_same_results_are_both_named(run, blank, tmp_path: Path) -> None:
    images = blank("one/case.png"), blank("two/case.jpg")
    result = run("segment", *images, "-o", tmp_path / "out")
    assert result.exit_code == 1
    for image in images:
        assert str(image) in result.stderr
    assert not (tmp_path / "out").exists()


def test_results_never_replace_an_image(run, blank, tmp_path: Path) -> None:
    images = blank("case.png"), blank("case_overlay.png")
    before = images[1].read_bytes()
    result = run("segment", *images, "-o", tmp_path, "--overwrite")
    assert result.exit_code == 1
    assert "would overwrite the image" in result.stderr
    assert images[1].read_bytes() == before


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_that_cannot_be_written_is_refused_at_once(
    run, blank, tmp_path: Path, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "segment_image", lambda *_: pytest.fail("computed for nothing"))
    obstacle = tmp_path / "file"
    obstacle.write_text("not a folder")
    result = run("segment", blank(), "-o", obstacle / "out" if inside else obstacle)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "file" in result.stderr


def test_write_protected_results_are_kept(
    run, blank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = blank()
    protected = tmp_path / "blank_labels.tif"
    protected.write_bytes(b"precious")
    protected.chmod(0o444)
    if os.access(protected, os.W_OK):
        pytest.skip("the superuser may write anything")
    result = run("segment", image, "-o", tmp_path, "--overwrite")
    assert result.exit_code == 1
    assert "write-protected" in result.stderr
    assert protected.read_bytes() == b"precious"
    assert not (tmp_path / "blank_nuclei.csv").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--mpp", "500", "pixel size must be a number from 0.01 to 20"),
        ("--mpp", "nan", "pixel size must be a number from 0.01 to 20"),
        ("--seed", "-1", "'seed'"),
        ("--settings", "missing.toml", "missing.toml' does not exist"),
    ],
)
def test_a_bad_option_is_explained(
    run, blank, tmp_path: Path, option: str, value: str, message: str
) -> None:
    result = run("segment", blank(), "-o", tmp_path / "out", option, value)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_setting_brings_up_the_nearest_name(run, blank, tmp_path: Path) -> None:
    settings = tmp_path / "mine.toml"
    settings.write_text("[prompts]\nnegativs = 2\n", encoding="utf-8")
    result = run("segment", blank(), "-o", tmp_path / "out", "--settings", settings)
    assert result.exit_code == 1
    assert "negativs" in result.stderr
    assert "'negatives'" in result.stderr
    assert "mine.toml" in result.stderr


def test_an_unknown_device_is_refused(blank, tmp_path: Path) -> None:
    arguments = ["segment", str(blank()), "-o", str(tmp_path / "out"), "--device", "abacus"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "Device 'abacus' is not available" in result.stderr


def test_damaged_weights_are_refused(
    blank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "weights.safetensors"
    data = bytearray(weights.embedded_path().read_bytes()[:100_000])
    data[50_000] ^= 1
    damaged.write_bytes(data)
    monkeypatch.setattr(weights, "embedded_path", lambda: damaged)
    result = CliRunner().invoke(app, ["segment", str(blank()), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert f"{damaged} are damaged" in result.stderr
    assert "install napari-sprout again" in result.stderr
    assert not list((tmp_path / "out").iterdir())
