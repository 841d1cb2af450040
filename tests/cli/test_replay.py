from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import (
    AddPrompt,
    ChooseAnswer,
    DeletePrompts,
    MovePrompt,
    PaintNucleus,
)
from napari_sprout.core.instances import Nucleus, Prompt
from napari_sprout.core.session import Session
from napari_sprout.io import history
from napari_sprout.io.geojson_reader import read_geojson
from napari_sprout.io.images import read_image
from napari_sprout.io.labels import read_labels
from napari_sprout.io.project import Project
from napari_sprout.models import weights
from napari_sprout.models.sam import SamSegmenter


@dataclass(frozen=True)
class Worked:
    """A closed project in which nuclei were corrected, and what came of it."""

    folder: Path
    labels: NDArray[np.int32]
    nuclei: tuple[Nucleus, ...]
    entries: list[Any]


def finish(project: Project, correction: Correction) -> None:
    for _ in history.run(project, correction):
        pass


@pytest.fixture(scope="module")
def worked(
    tmp_path_factory: pytest.TempPathFactory, tissue: NDArray[np.uint8], segmenter: SamSegmenter
) -> Worked:
    folder = tmp_path_factory.mktemp("study")
    skimage.io.imsave(folder / "case.png", tissue)
    with Project.create(folder / "case.sprout", read_image(folder / "case.png"), None, 0.5) as made:
        session = Session(made.image.rgb, made.settings, mpp=made.mpp, segmenter=segmenter)
        correction = Correction(session)
        finish(made, correction)
        first, second, third, *_ = sorted(correction.areas)
        prompt = correction.prompts[first]
        for edit in (
            MovePrompt(first, prompt.y + 3, prompt.x - 2),
            DeletePrompts((second,)),
            ChooseAnswer(third, 2),
            AddPrompt(Prompt(correction.new_id(), "positive", 80.0, 70.0, "hand")),
            PaintNucleus(correction.new_id(), (2, 2, 12, 14), np.ones((10, 12), bool)),
        ):
            history.apply(made, correction, edit)
        history.undo(made, correction)
        history.redo(made, correction)
        entries = list(made.entries)
    return Worked(made.folder, correction.labels.copy(), correction.measure(), entries)


@pytest.fixture
def replay(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, segmenter: SamSegmenter
) -> Callable[..., Any]:
    """Run the command, with a model that is loaded once for all tests."""
    monkeypatch.setattr(weights, "load_segmenter", lambda *_: segmenter)
    return lambda *arguments: run("replay", *arguments)


@pytest.fixture
def quick(blank: Callable[..., Path], replay: Callable[..., Any]) -> Path:
    """A project on bare glass: it replays at once."""
    path = blank()
    with Project.create(path.with_suffix(".sprout"), read_image(path)) as project:
        finish(project, Correction(Session(project.image.rgb, project.settings)))
    return project.folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_labels_are_those_that_were_corrected_by_hand(
    worked: Worked, replay, tmp_path: Path
) -> None:
    before = contents(worked.folder)
    result = replay(worked.folder, "-o", tmp_path, "--geojson")
    assert result.exit_code == 0, result.output
    assert f"{len(worked.nuclei)} nuclei in 1 image in " in result.stdout
    assert sorted(contents(tmp_path)) == [
        "case_labels.tif",
        "case_nuclei.csv",
        "case_nuclei.geojson",
        "case_overlay.png",
    ]
    read = read_labels(tmp_path / "case_labels.tif")
    assert np.array_equal(read.labels, worked.labels)
    assert read.mpp == 0.5
    assert read.metadata["file"] == "case.png"
    assert read.metadata["corrected"] is True
    assert read.metadata["entries"] == len(worked.entries)
    outlines = read_geojson(tmp_path / "case_nuclei.geojson", worked.labels.shape)
    assert np.array_equal(outlines, worked.labels)
    with (tmp_path / "case_nuclei.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == [nucleus.id for nucleus in worked.nuclei]
    assert contents(worked.folder) == before


def test_a_project_open_elsewhere_and_moved_replays_the_same(
    worked: Worked, replay, tmp_path: Path
) -> None:
    moved = shutil.copytree(worked.folder.parent, tmp_path / "moved")
    with Project.open(moved / "case.sprout") as project:
        result = replay(moved / "case.sprout", "-o", tmp_path / "out")
        assert result.exit_code == 0, result.output
        project.append({"kind": "reviewed"})
    assert np.array_equal(read_labels(tmp_path / "out/case_labels.tif").labels, worked.labels)


def test_results_are_replaced_only_when_asked(quick: Path, replay, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "blank_nuclei.csv").write_text("mine")
    result = replay(quick, "-o", out)
    assert result.exit_code == 1
    assert "blank_nuclei.csv' exists already" in result.stderr
    assert "--overwrite" in result.stderr
    assert contents(out) == {"blank_nuclei.csv": b"mine"}
    assert replay(quick, "-o", out, "--overwrite").exit_code == 0
    assert len(contents(out)) == 3


def test_what_a_person_should_know_is_said_in_one_line_each(
    quick: Path, replay, tmp_path: Path
) -> None:
    journal = quick / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"n":2,"ki')
    result = replay(quick, "-o", tmp_path / "out", "--quiet")
    assert result.exit_code == 0
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("napari-sprout: warning: ") for line in lines)
    assert any("was cut off" in line for line in lines)
    assert any("No tissue was found" in line for line in lines)
    # It is only read.
    assert journal.read_bytes().endswith(b'"ki')


def no_project(folder: Path) -> None:
    shutil.rmtree(folder)


def changed_image(folder: Path) -> None:
    other = np.full((64, 80, 3), 244, np.uint8)
    skimage.io.imsave(folder.with_suffix(".png"), other, check_contrast=False)


def missing_image(folder: Path) -> None:
    folder.with_suffix(".png").unlink()


def damaged_journal(folder: Path) -> None:
    journal = folder / "journal.jsonl"
    journal.write_bytes(b"garbage\n" + journal.read_bytes())


def nothing_run(folder: Path) -> None:
    (folder / "journal.jsonl").write_bytes(b"")


def impossible_entry(folder: Path) -> None:
    with Project.open(folder) as project:
        project.append({"kind": "undo"})
        project.append({"kind": "reviewed"})


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (no_project, "does not exist"),
        (changed_image, "has changed since the project"),
        (missing_image, "was not found"),
        (damaged_journal, "Line 1 of 2"),
        (nothing_run, "has no nuclei yet"),
        (impossible_entry, "Entry 2 of 3"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(
    quick: Path, replay, tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    harm(quick)
    result = replay(quick, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("napari-sprout: error: ")
    assert reason in line
    assert str(quick) in line
    assert not list((tmp_path / "out").glob("*"))


def test_the_replayed_project_names_its_project(quick: Path, replay, tmp_path: Path) -> None:
    replay(quick, "-o", tmp_path / "out")
    metadata = read_labels(tmp_path / "out" / "blank_labels.tif").metadata
    facts = json.loads((quick / "project.json").read_text())
    assert metadata["project"] == facts["identity"]
    assert metadata["file_sha256"] == facts["image"]["file_sha256"]


def test_nuclei_that_another_version_draws_otherwise_are_refused(
    quick: Path, replay, tmp_path: Path
) -> None:
    with Project.open(quick) as project:
        entry = dict(project.entries[0])
        other = {"software": "napari-sprout 0.1.9", "outcome": {"prompts": "0", "labels": "0"}}
        project.append({**entry, **other})
    before = contents(quick)
    result = replay(quick, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "made by napari-sprout 0.1.9" in result.stderr
    assert 'pip install "napari-sprout==0.1.9"' in result.stderr
    assert list((tmp_path / "out").iterdir()) == []
    assert contents(quick) == before
