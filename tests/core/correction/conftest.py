from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import (
    AddPrompt,
    ChangeSettings,
    ChooseAnswer,
    DeletePrompts,
    LockNuclei,
    MergeNuclei,
    MovePrompt,
    PaintNucleus,
    RemoveNuclei,
)
from napari_sprout.core.instances import Candidate, Prompt
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import SyntheticImage, synthetic_he
from napari_sprout.models.protocols import MaskBatch, PromptBatch

VALUES_PER_TOKEN = 4


@pytest.fixture(scope="session")
def crowd() -> SyntheticImage:
    return synthetic_he(shape=(160, 192), n_nuclei=20, seed=11)


@pytest.fixture(scope="session")
def heeding_type(fake_type: type) -> type:
    class Heeding(fake_type):  # type: ignore[misc]
        """The fake, but its masks end halfway to their negatives."""

        def decode(self, embedding: Tensor, prompts: PromptBatch, side: int) -> MaskBatch:
            answer = super().decode(embedding, prompts, side)
            values = torch.arange(prompts.window * VALUES_PER_TOKEN)
            places = prompts.origins[:, :, None] * VALUES_PER_TOKEN + values
            pixels = (places + 0.5) * side / (64 * VALUES_PER_TOKEN) - 0.5

            def distance(column: int) -> Tensor:
                apart = pixels - prompts.points[:, column, :, None]
                return torch.hypot(apart[:, 0, :, None], apart[:, 1, None, :])

            logits = answer.logits
            for column in range(1, prompts.points.shape[1]):
                nearer = distance(column) - distance(0)
                given = (prompts.labels[:, column] == 0)[:, None, None]
                limit = torch.where(given, nearer, torch.full_like(nearer, 1e3))
                logits = torch.minimum(logits, limit[:, None])
            return MaskBatch(logits, answer.iou)

    return Heeding


@pytest.fixture(scope="session")
def settings(small_tiles: Settings) -> Settings:
    return small_tiles.with_changes(prompts={"negatives": 2}, suppression={"threshold": 1.0})


@pytest.fixture(scope="session")
def make_run(
    crowd: SyntheticImage, settings: Settings, heeding_type: type
) -> Callable[..., Session]:
    """Return a finished session."""

    def make(image=None, mpp=None, **changes) -> Session:
        rgb = crowd.rgb if image is None else image
        session = Session(
            rgb, settings.with_changes(**changes), mpp=mpp, segmenter=heeding_type(radius=18.0)
        )
        session.finish()
        return session

    return make


@pytest.fixture(scope="session")
def finished(make_run: Callable[..., Session]) -> Session:
    """A session shared by tests that change neither its settings nor its outputs."""
    return make_run()


@pytest.fixture(scope="session")
def finished_again(make_run: Callable[..., Session]) -> Session:
    """Another session on the same image."""
    return make_run()


@pytest.fixture
def correction(finished: Session) -> Iterator[Correction]:
    before = finished.settings, finished.labels.copy()
    yield Correction(finished)
    assert finished.settings is before[0]
    np.testing.assert_array_equal(finished.labels, before[1])


def _plain(value: Any) -> Any:
    if isinstance(value, Candidate):
        stain, stable = repr(value.haematoxylin), repr(value.stability)
        numbers = (value.id, value.box, value.predicted_iou, stain, stable)
        return (*numbers, value.mask.shape, value.mask.tobytes())
    return value


@pytest.fixture(scope="session")
def everything() -> Callable[[Correction], dict[str, Any]]:
    """Return all that makes up a correction's state, to be compared bit by bit."""

    def describe(correction: Correction) -> dict[str, Any]:
        state = correction.state
        found: dict[str, Any] = {
            "labels": state.labels.tobytes(),
            "settings": correction.session.settings,
            "painted": correction.session.painted,
        }
        for field in dataclasses.fields(state):
            table = getattr(state, field.name)
            if field.name not in ("ground", "labels", "hand_base"):
                found[field.name] = {key: _plain(value) for key, value in table.items()}
        return found

    return describe


@pytest.fixture
def own(make_run: Callable[..., Session]) -> Correction:
    """A correction whose session no other test uses."""
    return Correction(make_run(mpp=0.25))


@pytest.fixture(scope="session")
def changed() -> Callable[..., ChangeSettings]:
    """Return the edit that changes some of a correction's settings."""

    def change(correction: Correction, **groups: dict[str, Any]) -> ChangeSettings:
        return ChangeSettings(correction.session.settings.with_changes(**groups).to_dict())

    return change


@pytest.fixture(scope="session")
def run() -> Callable[[Correction], None]:
    """Run to the end."""

    def finish(correction: Correction) -> None:
        for _ in correction.run():
            pass

    return finish


class HandWork:
    """One of everything that a person does, each to another nucleus."""

    def __init__(self, correction: Correction) -> None:
        ids = sorted(correction.areas, key=correction.areas.get, reverse=True)
        self.moved, self.deleted, self.removed, self.locked, self.answered, *rest = ids
        self.merged, self.into = rest[:2]
        self.added, self.drawn = correction.new_id(), correction.new_id()
        self.negative = correction.new_id()
        self.origins = {i: correction.prompts[i] for i in (self.moved, self.deleted, self.removed)}
        self.place = (150.0, 6.0)
        mask = np.tri(12, dtype=bool)
        self.edits = (
            LockNuclei((self.locked,), True),
            MovePrompt(self.moved, *self.place),
            DeletePrompts((self.deleted,)),
            RemoveNuclei((self.removed,)),
            ChooseAnswer(self.answered, 1),
            AddPrompt(Prompt(self.added, "positive", 5.0, 180.0, "hand")),
            AddPrompt(Prompt(self.negative, "negative", 5.0, 170.0, "hand")),
            PaintNucleus(self.drawn, (140, 170, 152, 182), mask),
            MergeNuclei((self.merged, self.into), self.into),
        )
        for edit in self.edits:
            correction.apply(edit)
        labels = correction.labels
        self.kept = {i: labels == i for i in (self.locked, self.drawn, self.into)}
        self.touched = {
            *(self.moved, self.deleted, self.removed, self.locked, self.answered, self.added),
            *(self.drawn, self.negative, self.merged, self.into),
        }

    def check(self, correction: Correction, mpp: float = 0.25) -> None:
        labels, prompts = correction.labels, correction.prompts
        for ident, pixels in self.kept.items():
            np.testing.assert_array_equal(labels == ident, pixels)
        assert correction.locked == {self.locked}
        assert {self.drawn, self.into} == correction.pinned
        assert prompts[self.moved] == Prompt(self.moved, "positive", *self.place, "hand")
        assert (prompts[self.added].y, prompts[self.added].x) == (5.0, 180.0)
        assert prompts[self.negative].kind == "negative"
        assert {self.moved, self.added, self.answered} <= set(correction.areas)
        assert correction.state.answers == {self.answered: 1}
        for gone in (self.deleted, self.removed, self.merged):
            assert gone not in prompts
            assert gone not in correction.areas
        automatic = [p for p in prompts.values() if p.id not in self.touched]
        assert all(p.source != "hand" for p in automatic)
        for origin in self.origins.values():
            for prompt in automatic:
                if prompt.kind == "positive" and prompt.source != "grid":
                    assert np.hypot(prompt.y - origin.y, prompt.x - origin.x) * mpp > 1.5


@pytest.fixture(scope="session")
def hand_work() -> type[HandWork]:
    return HandWork
