"""How far the work on a region has come, and its nuclei."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import ChangeSettings, RemoveNuclei
from napari_sprout.errors import ProjectError
from napari_sprout.io import history
from napari_sprout.io.journal import Journal
from napari_sprout.io.project import JOURNAL_NAME, Project
from napari_sprout.io.slides.region_results import (
    RegionState,
    bring_up_to_date,
    keep_result,
    result_of,
    state_of,
    work_of,
)
from napari_sprout.io.slides.regions import SlideRegions

BOX = (32, 64, 192, 256)
WorkOn = Callable[..., tuple[Project, Correction]]


def test_what_was_done_is_read_from_the_journal(regions: SlideRegions, work_on: WorkOn) -> None:
    region = regions.region(BOX)
    assert state_of(region) is RegionState.NEW
    project, correction = work_on(BOX, run=False)
    assert state_of(region) is RegionState.NEW
    for _ in history.run(project, correction):
        pass
    assert state_of(region) is RegionState.SEGMENTED
    history.apply(project, correction, ChangeSettings(correction.session.settings.to_dict()))
    assert state_of(region) is RegionState.SEGMENTED
    history.apply(project, correction, RemoveNuclei((int(correction.labels.max()),)))
    assert state_of(region) is RegionState.CORRECTED
    project.close()


def test_nuclei_are_kept_in_pixels_of_the_slide(regions: SlideRegions, work_on: WorkOn) -> None:
    project, correction = work_on(BOX)
    keep_result(project, correction)
    found = result_of(regions.region(BOX))
    assert found is not None
    assert not found.corrected
    whole = np.zeros((256, 384), np.int32)
    for nucleus, (y0, x0, y1, x1), mask in zip(
        found.nuclei, found.boxes.tolist(), found.masks, strict=True
    ):
        whole[y0:y1, x0:x1][mask] = nucleus.id
        assert y0 <= nucleus.y <= y1
        assert x0 <= nucleus.x <= x1
    assert np.array_equal(whole[32:192, 64:256], correction.labels)
    assert np.count_nonzero(whole) == np.count_nonzero(correction.labels) > 0
    project.close()


def test_nuclei_that_are_out_of_date_are_made_again(
    regions: SlideRegions, work_on: WorkOn, fake_type: Any
) -> None:
    region = regions.region(BOX)
    project, correction = work_on(BOX)
    keep_result(project, correction)
    history.apply(project, correction, RemoveNuclei((int(correction.labels.max()),)))
    labels = correction.labels.copy()
    # As if the program had died now.
    project.close()
    assert result_of(region) is None
    assert bring_up_to_date(region, segmenter=fake_type())
    found = result_of(region)
    assert found is not None
    assert found.corrected
    assert {n.id for n in found.nuclei} == set(np.unique(labels)) - {0}


def test_what_is_up_to_date_is_not_made_again(
    regions: SlideRegions, work_on: WorkOn, fake_type: Any
) -> None:
    project, correction = work_on(BOX)
    keep_result(project, correction)
    project.close()
    fake = fake_type()
    assert bring_up_to_date(regions.region(BOX), segmenter=fake)
    assert fake.encoded == 0


def test_a_region_in_which_nothing_was_run_has_no_nuclei(
    regions: SlideRegions, work_on: WorkOn
) -> None:
    project, correction = work_on(BOX, run=False)
    keep_result(project, correction)
    project.close()
    assert not bring_up_to_date(regions.region(BOX))
    assert not regions.region(BOX).result.exists()


def test_nuclei_begun_anew_take_the_place_of_the_older_ones(
    regions: SlideRegions, work_on: WorkOn, quick: Any
) -> None:
    project, correction = work_on(BOX)
    keep_result(project, correction)
    anew = project.folder.with_name(f"{project.folder.stem}-2.sprout")
    image = project.image
    project.close()
    with Project.create(anew, image, quick):
        assert regions.region(BOX).project == anew
    assert work_of(regions.region(BOX)).state is RegionState.NEW
    assert result_of(regions.region(BOX)) is None


def test_damaged_nuclei_are_made_again(
    regions: SlideRegions, work_on: WorkOn, fake_type: Any
) -> None:
    region = regions.region(BOX)
    project, correction = work_on(BOX)
    keep_result(project, correction)
    project.close()
    region.result.write_bytes(region.result.read_bytes()[:200])
    assert result_of(region) is None
    assert bring_up_to_date(region, segmenter=fake_type())
    assert result_of(region) is not None


def test_a_damaged_project_is_told(regions: SlideRegions, work_on: WorkOn) -> None:
    project, _ = work_on(BOX)
    project.close()
    journal = project.folder / JOURNAL_NAME
    journal.write_bytes(b"x" + journal.read_bytes())
    assert state_of(regions.region(BOX)) is RegionState.DAMAGED
    with pytest.raises(ProjectError):
        bring_up_to_date(regions.region(BOX))
    with pytest.raises(ProjectError):
        Journal(journal, project.facts.identity, read_only=True)


def test_an_ordinary_image_keeps_nothing_of_the_kind(
    tmp_path: Any, regions: SlideRegions, work_on: WorkOn, quick: Any
) -> None:
    project, correction = work_on(BOX)
    project.close()
    with Project.create(tmp_path / "copy.sprout", project.image, quick) as elsewhere:
        keep_result(elsewhere, correction)
    keep_result(None, correction)
    assert not regions.region(BOX).result.exists()
