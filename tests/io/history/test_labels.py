from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.edits import ChangeSettings, DeletePrompts
from napari_sprout.errors import SproutError
from napari_sprout.io import history
from napari_sprout.io.labels import read_labels


def test_labels_are_saved_at_any_time_with_where_they_come_from(
    begun, settings, replayed, everything, largest
) -> None:
    project, correction = begun
    path = project.save_labels(correction)
    assert path == project.folder / "labels.tif"
    assert np.array_equal(read_labels(path).labels, correction.labels)
    history.apply(project, correction, DeletePrompts(tuple(largest(correction))))
    read = read_labels(project.save_labels(correction))
    assert np.array_equal(read.labels, correction.labels)
    assert read.mpp == 0.25
    assert read.metadata["file"] == "case.png"
    assert read.metadata["project"] == project.facts.identity
    assert read.metadata["entries"] == 2
    assert read.metadata["settings"] == settings.to_dict()
    assert "rho" in read.metadata
    # They are no source of truth: without them all is there.
    path.unlink()
    assert everything(replayed(project)) == everything(correction)


def test_metadata_are_those_of_the_run_that_undoing_went_back_to(begun, settings, finish) -> None:
    project, correction = begun
    changed = correction.session.settings.with_changes(prompts={"split_depth": 1.0})
    history.apply(project, correction, ChangeSettings(changed.to_dict()))
    finish(project, correction)
    metadata = read_labels(project.save_labels(correction)).metadata
    assert metadata["settings"] == changed.to_dict()
    history.undo(project, correction)
    metadata = read_labels(project.save_labels(correction)).metadata
    assert metadata["settings"] == settings.to_dict()
    assert "rho" not in metadata


def test_there_are_no_labels_before_the_first_run(make) -> None:
    project, correction = make()
    with pytest.raises(SproutError, match="run the segmentation first"):
        project.save_labels(correction)
    assert not (project.folder / "labels.tif").exists()
