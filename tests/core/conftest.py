from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import FakeSegmenter
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.models.protocols import PromptableSegmenter


@pytest.fixture
def fake() -> FakeSegmenter:
    made = FakeSegmenter()
    assert isinstance(made, PromptableSegmenter)
    return made


@pytest.fixture(scope="session")
def small_tiles() -> Settings:
    """Six tiles on the synthetic image, so that encoding has units to stop between.

    What a test of the session counts on is fixed here, not left to the defaults.
    """
    return Settings().with_changes(
        stain={"method": "fixed"},
        features={"tile": 128, "overlap": 0.5},
        transport={"method": "partial", "rho_start": 0.6, "rho_step": 0.05},
        prompts={"source": "activation", "regions": "single"},
        decoding={"smoothing": 0.0, "window": 24},
    )


@pytest.fixture
def make_session(
    synthetic: SyntheticImage, small_tiles: Settings
) -> Callable[..., tuple[Session, FakeSegmenter]]:
    """Make a session on the synthetic image, with a segmenter of its own that counts."""

    def make(image=None, settings=None, mpp=None, **changes) -> tuple[Session, FakeSegmenter]:
        segmenter = FakeSegmenter()
        chosen = (settings or small_tiles).with_changes(**changes)
        rgb = synthetic.rgb if image is None else image
        return Session(rgb, chosen, mpp=mpp, segmenter=segmenter), segmenter

    return make


@pytest.fixture(scope="session")
def expected(
    synthetic: SyntheticImage, small_tiles: Settings, fake_type: type[FakeSegmenter]
) -> NDArray[np.int32]:
    """Labels of an uninterrupted run of what `make_session` makes."""
    session = Session(synthetic.rgb, small_tiles, segmenter=fake_type())
    session.finish()
    labels = session.labels.copy()
    labels.flags.writeable = False
    return labels
