from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from numpy.typing import NDArray
from skimage import io
from typer.testing import CliRunner, Result

from napari_sprout.cli.evaluate import evaluate_command
from napari_sprout.core.metrics import evaluate, mean_scores
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.errors import SproutError
from napari_sprout.io.labels import write_labels


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(evaluate_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def labels(synthetic: SyntheticImage) -> NDArray[np.int32]:
    return synthetic.labels


@pytest.fixture
def shifted(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.roll(labels, 3, axis=0)


@pytest.fixture
def folders(
    tmp_path: Path, labels: NDArray[np.int32], shifted: NDArray[np.int32]
) -> tuple[Path, Path]:
    predictions, truths = tmp_path / "predictions", tmp_path / "truths"
    predictions.mkdir()
    truths.mkdir()
    write_labels(predictions / "one_labels.tif", labels)
    write_labels(predictions / "two_labels.tif", shifted)
    write_labels(truths / "one.ome.tif", labels)
    io.imsave(truths / "two_GT.png", labels.astype(np.uint16), check_contrast=False)
    return predictions, truths


def cells(line: str) -> list[str]:
    return line.split()


def test_two_files_are_scored_in_a_table(
    tmp_path: Path, labels: NDArray[np.int32], shifted: NDArray[np.int32]
) -> None:
    write_labels(tmp_path / "mine.tif", shifted)
    write_labels(tmp_path / "other.tif", labels)
    result = run(tmp_path / "mine.tif", tmp_path / "other.tif")
    expected = evaluate(shifted, labels)
    assert result.exit_code == 0
    row = next(line for line in result.stdout.splitlines() if "mine" in line)
    assert cells(row)[1:] == [
        f"{expected.aji:.4f}",
        f"{expected.pq:.4f}",
        f"{expected.dq:.4f}",
        f"{expected.sq:.4f}",
        f"{expected.dice:.4f}",
        str(expected.n_truth),
        str(expected.n_prediction),
        str(expected.true_positives),
    ]


def test_folders_are_paired_whatever_the_endings_and_averaged(
    folders: tuple[Path, Path],
    labels: NDArray[np.int32],
    shifted: NDArray[np.int32],
) -> None:
    result = run(*folders)
    mean = mean_scores([evaluate(labels, labels), evaluate(shifted, labels)])
    assert result.exit_code == 0
    assert result.stderr == ""
    names = [cells(line)[0] for line in result.stdout.splitlines() if line.strip()]
    assert [name for name in names if name in {"one", "two", "Mean"}] == ["one", "two", "Mean"]
    last = next(line for line in result.stdout.splitlines() if "Mean of 2 images" in line)
    assert f"{mean.aji:.4f}" in cells(last)
    assert f"{mean.pq:.4f}" in cells(last)


def test_csv_has_a_row_an_image(
    folders: tuple[Path, Path],
    tmp_path: Path,
    shifted: NDArray[np.int32],
    labels: NDArray[np.int32],
) -> None:
    path = tmp_path / "scores.csv"
    assert run(*folders, "--csv", path).exit_code == 0
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["one", "two"]
    assert (float(rows[0]["aji"]), float(rows[0]["pq"])) == (1.0, 1.0)
    expected = evaluate(shifted, labels)
    assert float(rows[1]["aji"]) == pytest.approx(expected.aji, abs=1e-6)
    assert int(rows[1]["true_positives"]) == expected.true_positives


def test_json_has_every_image_and_the_mean(folders: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    assert run(*folders, "--json", path).exit_code == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    assert list(report["images"]) == ["one", "two"]
    for metric in ("aji", "pq", "dq", "sq", "dice"):
        values = [image[metric] for image in report["images"].values()]
        assert report["mean"][metric] == pytest.approx(np.mean(values), abs=2e-6)
    assert report["failed"] == {}


def test_files_without_a_partner_are_named_and_the_rest_is_scored(
    folders: tuple[Path, Path], tmp_path: Path, labels: NDArray[np.int32]
) -> None:
    write_labels(folders[0] / "three_labels.tif", labels)
    write_labels(folders[1] / "four_mask.tif", labels)
    result = run(*folders, "--json", tmp_path / "scores.json")
    assert result.exit_code == 0
    assert "among the predictions: three_labels.tif" in result.stderr
    assert "among the references: four_mask.tif" in result.stderr
    assert "Mean of 2 images" in result.stdout
    report = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert report["unpaired"] == {
        "predictions": ["three_labels.tif"],
        "references": ["four_mask.tif"],
    }


def test_the_labelled_image_and_the_overlay_beside_the_labels_are_left_alone(
    folders: tuple[Path, Path], synthetic: SyntheticImage
) -> None:
    io.imsave(folders[0] / "two.png", synthetic.rgb)
    io.imsave(folders[0] / "two_overlay.png", synthetic.rgb)
    (folders[1] / "notes.txt").write_text("not an image")
    result = run(*folders)
    assert result.exit_code == 0
    assert result.stderr == ""


def test_a_bad_pair_is_reported_and_the_others_still_scored(
    folders: tuple[Path, Path], tmp_path: Path, labels: NDArray[np.int32]
) -> None:
    tifffile.imwrite(folders[1] / "bad.tif", labels[:-5].astype(np.uint16))
    write_labels(folders[0] / "bad.tif", labels)
    (folders[0] / "broken.tif").write_bytes(b"II*\0 nothing more")
    write_labels(folders[1] / "broken.tif", labels)
    result = run(*folders, "--json", tmp_path / "scores.json")
    assert result.exit_code == 1
    height, width = labels.shape
    assert f"is {width} x {height} px and" in result.stderr
    assert f"{width} x {height - 5} px" in result.stderr
    assert "broken.tif" in result.stderr
    assert "Traceback" not in result.output
    assert "Mean of 2 images" in result.stdout
    report = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert set(report["failed"]) == {"bad", "broken"}
    assert set(report["images"]) == {"one", "two"}


def test_two_candidates_for_one_name_are_not_guessed_between(
    folders: tuple[Path, Path], labels: NDArray[np.int32]
) -> None:
    write_labels(folders[0] / "one_mask.tif", labels)
    result = run(*folders)
    assert result.exit_code == 1
    assert "one_labels.tif, one_mask.tif" in result.stderr
    assert "Mean of 1 image" in result.stdout


def test_only_bad_pairs_leave_no_table_and_no_file(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_bytes(b"nothing")
    result = run(tmp_path / "a.tif", tmp_path / "b.tif", "--csv", tmp_path / "scores.csv")
    assert result.exit_code == 1
    assert "a.tif" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "scores.csv").exists()


def test_folders_without_a_common_name_are_refused(
    tmp_path: Path, labels: NDArray[np.int32]
) -> None:
    for folder, name in (("left", "a.tif"), ("right", "b.tif")):
        (tmp_path / folder).mkdir()
        write_labels(tmp_path / folder / name, labels)
    with pytest.raises(SproutError, match=r"No label image in .*left"):
        evaluate_command(tmp_path / "left", tmp_path / "right")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SproutError, match=r"nowhere\.tif' does not exist"):
        evaluate_command(tmp_path / "nowhere.tif", tmp_path)


def test_a_file_and_a_folder_do_not_pair(tmp_path: Path, labels: NDArray[np.int32]) -> None:
    write_labels(tmp_path / "a.tif", labels)
    with pytest.raises(SproutError, match="two label images or two folders"):
        evaluate_command(tmp_path / "a.tif", tmp_path)


def test_a_label_image_is_never_overwritten_by_its_scores(
    tmp_path: Path, labels: NDArray[np.int32]
) -> None:
    path = tmp_path / "a.tif"
    write_labels(path, labels)
    before = path.read_bytes()
    with pytest.raises(SproutError, match="elsewhere"):
        evaluate_command(path, path, csv=path)
    with pytest.raises(SproutError, match="two names"):
        evaluate_command(path, path, csv=tmp_path / "x", json=tmp_path / "x")
    with pytest.raises(SproutError, match="elsewhere"):
        evaluate_command(tmp_path, tmp_path, json=path)
    assert path.read_bytes() == before


def test_names_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, labels: NDArray[np.int32]
) -> None:
    path = tmp_path / "slide[bold]7[green].tif"
    write_labels(path, labels)
    assert "slide[bold]7[green]" in run(path, path).stdout


def test_importing_the_command_loads_nothing_heavy() -> None:
    code = (
        "import sys, napari_sprout.cli.evaluate; "
        "print({'numpy', 'torch', 'tifffile', 'skimage'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
