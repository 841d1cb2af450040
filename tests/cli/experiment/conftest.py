from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import skimage.io
from typer.testing import CliRunner, Result

import fakes
from napari_sprout.cli.main import app
from napari_sprout.core.synthetic import synthetic_he
from napari_sprout.io.experiment import workers
from napari_sprout.io.labels import write_labels
from napari_sprout.models import weights

MATRIX = """
title = "Masks"
base = { stain = { method = "fixed" }, features = { tile = 128 } }
baseline = true

[[row]]
name = "soft"

[[row]]
name = "hard"
settings = { suppression = { method = "hard" } }

[[sweep]]
setting = "reference.fraction"
values = [0.4, 0.5]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    for seed, name in enumerate(("one", "two")):
        made = synthetic_he(shape=(112, 128), n_nuclei=4, seed=seed, touching=0)
        skimage.io.imsave(path / f"{name}.png", made.rgb, check_contrast=False)
        write_labels(path / f"{name}_labels.tif", made.labels)
    return path


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "m.toml"
    path.write_text(MATRIX, encoding="utf-8")
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> fakes.FakeSegmenter:
    made = fakes.FakeSegmenter()
    monkeypatch.setattr(weights, "load_segmenter", lambda *_: made)
    # Small images gain nothing from threads, which get in the way of tests run beside.
    monkeypatch.setattr(workers, "cores", lambda: 1)
    return made


@pytest.fixture
def experiment(
    fake: fakes.FakeSegmenter, matrix: Path, folder: Path, tmp_path: Path
) -> Callable[..., Result]:
    """Run the command in this process, with a segmenter of known answers."""

    def run(*more: object, out: str = "out") -> Result:
        options = ("-o", tmp_path / out, "--processes", "1", "--device", "cpu", *more)
        words = ["experiment", matrix, folder, *options]
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


def cells(folder: Path) -> dict[str, object]:
    """Return what was measured, without how long it took."""
    lines = (folder / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return {cell["key"]: (cell["image"], cell["scores"], cell["quality"]) for cell in found}
