from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.io
from numpy.typing import NDArray

from napari_sprout.core.coordinates import Scale
from napari_sprout.core.instances import Candidate, Prompt
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.io.stage_images import (
    draw_candidates,
    draw_prompts,
    stage_images,
    write_stage_images,
)


@pytest.fixture(scope="module")
def session(synthetic: SyntheticImage) -> Session:
    """A finished run at half the working pixel size, so that every map is resampled."""
    image = np.ascontiguousarray(synthetic.rgb[:150, :190])
    made = Session(image, mpp=0.5, device="cpu")
    made.finish()
    return made


def test_every_map_lies_on_the_grid_of_the_image(session: Session) -> None:
    maps = dict(stage_images(session))
    assert {array.shape[:2] for array in maps.values()} == {(150, 190)}
    assert maps["tissue"].dtype == np.bool_
    assert maps["haematoxylin"].dtype == np.float32
    assert maps["regions"].dtype == np.int32
    assert maps["prompts"].shape == (150, 190, 3)


def test_there_is_a_map_for_each_step_and_each_prototype(session: Session) -> None:
    scan = session.output(Stage.ACTIVATION)
    names = [name for name, _ in stage_images(session)]
    assert [f"activation_rho_{step.rho:.2f}" for step in scan.steps] == [
        name for name in names if name.startswith("activation_rho")
    ]
    prototypes = session.output(Stage.PROTOTYPES)
    assert len([name for name in names if name.startswith("prototype_")]) == len(prototypes)
    assert len(set(names)) == len(names)


def test_the_chosen_activation_is_that_of_the_step_taken(session: Session) -> None:
    maps = dict(stage_images(session))
    step = session.output(Stage.ACTIVATION).steps[session.output(Stage.PROMPTS).step]
    assert np.array_equal(maps["activation_chosen"], maps[f"activation_rho_{step.rho:.2f}"])


def test_stages_that_have_not_run_or_are_out_of_date_are_left_out(
    synthetic: SyntheticImage,
) -> None:
    session = Session(synthetic.rgb, device="cpu")
    assert list(stage_images(session)) == []
    session.finish(Stage.REFERENCE)
    before = [name for name, _ in stage_images(session)]
    assert before[:3] == ["tissue", "haematoxylin", "eosin"]
    assert len(before) == 7
    session.settings = Settings().with_changes(reference={"fraction": 0.3})
    assert [name for name, _ in stage_images(session)] == before[:3]


def test_files_are_numbered_in_order_and_activation_keeps_its_scale(
    session: Session, tmp_path: Path
) -> None:
    paths = write_stage_images(tmp_path / "new", session)
    maps = list(stage_images(session))
    assert [path.stem for path in paths] == [
        f"{number:02d}_{name}" for number, (name, _) in enumerate(maps, start=1)
    ]
    for path, (name, array) in zip(paths, maps, strict=True):
        if name.startswith("activation"):
            assert np.array_equal(
                skimage.io.imread(path), np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
            )


def grey() -> NDArray[np.uint8]:
    return np.full((40, 60, 3), 128, np.uint8)


def test_prompts_are_drawn_where_they_are_and_told_apart() -> None:
    image = grey()
    drawn = draw_prompts(
        image, (Prompt(1, "positive", 10.2, 20.4, "hand"), Prompt(2, "negative", 30, 50, "hand"))
    )
    assert (image == 128).all()
    changed = np.argwhere((drawn != image).any(-1))
    near_positive = np.abs(changed - (10, 20)).max(1) <= 5
    near_negative = np.abs(changed - (30, 50)).max(1) <= 5
    assert (near_positive | near_negative).all()
    assert near_positive.any()
    assert near_negative.any()
    assert not np.array_equal(drawn[10, 20], drawn[30, 50])


def test_the_outlines_of_overlapping_candidates_are_both_drawn() -> None:
    image = grey()
    scale = Scale((40, 60), (80, 120), 0.25)
    mask = np.ones((20, 20), np.bool_)
    candidates = (
        Candidate(1, (20, 20, 40, 40), mask, 0.9, 0.5),
        Candidate(2, (30, 30, 50, 50), mask, 0.9, 0.5),
    )
    both = (draw_candidates(image, candidates, scale) != image).any(-1)
    alone = [(draw_candidates(image, (one,), scale) != image).any(-1) for one in candidates]
    assert np.array_equal(both, alone[0] | alone[1])
    for drawn, first in zip(alone, (10, 15), strict=True):
        rows, columns = np.nonzero(drawn)
        assert rows.min() == columns.min() == first
        assert rows.max() in (first + 9, first + 10)
        assert not drawn[first + 4, first + 4]


def test_no_candidates_leave_the_image_as_it_is() -> None:
    assert np.array_equal(draw_candidates(grey(), (), Scale((40, 60), (40, 60), 0.25)), grey())
