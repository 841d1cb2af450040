from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import MovePrompt, OpenNuclei, RefineNuclei
from napari_sprout.core.session import Session
from napari_sprout.io import history
from napari_sprout.io.images import read_image
from napari_sprout.io.labels import read_labels
from napari_sprout.io.nuclei import read_nuclei
from napari_sprout.io.project import Project
from napari_sprout.models import weights
from napari_sprout.models.sam import SamSegmenter


def test_opened_nuclei_are_replayed_from_the_project_alone(
    tmp_path: Path,
    run: Callable[..., Any],
    tissue: NDArray[np.uint8],
    segmenter: SamSegmenter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weights, "load_segmenter", lambda *_: segmenter)
    skimage.io.imsave(tmp_path / "case.png", tissue)
    assert run("segment", tmp_path / "case.png", "-o", tmp_path / "first").exit_code == 0
    source = tmp_path / "first" / "case_labels.tif"
    labels = read_labels(source).labels
    with Project.create(tmp_path / "case.sprout", read_image(tmp_path / "case.png")) as made:
        correction = Correction(Session(made.image.rgb, made.settings, segmenter=segmenter))
        history.apply(made, correction, OpenNuclei(read_nuclei(source, labels.shape)))
        for _ in history.run(made, correction):
            pass
        np.testing.assert_array_equal(correction.labels, labels)
        first, second, *_ = sorted(correction.areas)
        prompt = correction.prompts[first]
        history.apply(made, correction, MovePrompt(first, prompt.y + 2, prompt.x))
        history.apply(made, correction, RefineNuclei((second,)))
        expected = correction.labels.copy()
    assert not np.array_equal(expected, labels)
    source.unlink()
    result = run("replay", tmp_path / "case.sprout", "-o", tmp_path / "again")
    assert result.exit_code == 0, result.output
    again = read_labels(tmp_path / "again" / "case_labels.tif")
    np.testing.assert_array_equal(again.labels, expected)
    assert again.metadata["nuclei_given"] == len(np.unique(labels)) - 1


def test_the_command_line_has_no_nuclei_to_begin_with(
    tmp_path: Path, run: Callable[..., Any], blank: Callable[..., Path]
) -> None:
    settings = tmp_path / "mine.toml"
    settings.write_text('[prompts]\nsource = "given"\n', encoding="utf-8")
    result = run("segment", blank(), "-o", tmp_path / "out", "--settings", settings)
    assert result.exit_code != 0
    assert "no nuclei were opened" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()
