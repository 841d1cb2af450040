"""``segment --cache``: encoded tiles are kept, and used when the image comes again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.io
from typer.testing import CliRunner

from fakes import FakeSegmenter
from napari_sprout.cli.main import app
from napari_sprout.core.synthetic import synthetic_he
from napari_sprout.io.labels import read_labels
from napari_sprout.models import weights


@pytest.fixture
def segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, int]]:
    skimage.io.imsave(tmp_path / "case.png", synthetic_he((300, 300), seed=2).rgb)

    def segment(*options: str) -> tuple[Any, int]:
        fake = FakeSegmenter()
        monkeypatch.setattr(weights, "load_segmenter", lambda *_: fake)
        arguments = ["segment", str(tmp_path / "case.png"), "-o", str(tmp_path / "out")]
        result = CliRunner().invoke(app, [*arguments, "--overwrite", "--mpp", "0.25", *options])
        assert result.exit_code == 0, result.output
        return result, fake.encoded

    return segment


def test_an_image_seen_before_is_not_encoded_again(segment, tmp_path: Path) -> None:
    assert segment("--cache", str(tmp_path / "tiles"))[1] > 0
    first = read_labels(tmp_path / "out" / "case_labels.tif").labels
    assert segment("--cache", str(tmp_path / "tiles"))[1] == 0
    again = read_labels(tmp_path / "out" / "case_labels.tif").labels
    assert first.any()
    assert np.array_equal(first, again)


def test_nothing_is_kept_unasked(segment, tmp_path: Path) -> None:
    assert segment()[1] == segment()[1] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.png", "out"]


def test_a_cache_that_cannot_be_written_is_told_of_and_the_image_done(
    segment, tmp_path: Path
) -> None:
    (tmp_path / "tiles").write_text("a file, not a folder")
    result, encoded = segment("--cache", str(tmp_path / "tiles"))
    assert encoded > 0
    assert "could not be kept" in result.stderr
    assert (tmp_path / "out" / "case_labels.tif").exists()
