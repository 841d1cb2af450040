from __future__ import annotations

import numpy as np
import pytest

from fakes import FakeSegmenter
from napari_sprout.core.fit import SlideFit
from napari_sprout.core.fitting import fit_of
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.stage_keys import stage_keys
from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import SyntheticImage, synthetic_he
from napari_sprout.core.tissue import white_level
from napari_sprout.errors import SproutError


@pytest.fixture(scope="module")
def sample() -> SyntheticImage:
    return synthetic_he(shape=(256, 256), n_nuclei=26, seed=3)


def session_on(image: np.ndarray, fit: SlideFit | None = None, **groups: dict) -> Session:
    settings = Settings().with_changes(features={"tile": 128}, **groups)
    return Session(image, settings, mpp=0.25, segmenter=FakeSegmenter(), fit=fit)


def fitted(image: np.ndarray, **groups: dict) -> tuple[Session, SlideFit]:
    session = session_on(image, **groups)
    session.finish()
    return session, fit_of(session, white_level(image, 0.25))


@pytest.mark.parametrize(
    "groups",
    [
        {},
        {"transport": {"method": "cosine"}},
        {"transport": {"method": "balanced"}},
        {"prompts": {"source": "stain"}},
        {"reference": {"kind": "otsu"}},
    ],
)
def test_an_image_judged_by_its_own_fit_gets_its_own_labels(sample, groups) -> None:
    session, fit = fitted(sample.rgb, **groups)
    again = session_on(sample.rgb, fit, **groups)
    again.finish()
    assert len(session.nuclei) > 5
    assert np.array_equal(again.labels, session.labels)
    assert again.output(Stage.STAIN).top == session.output(Stage.STAIN).top


def test_a_part_is_judged_by_the_whole(sample) -> None:
    """Stain, thresholds and activation of a part are those of the same pixels in the whole."""
    session, fit = fitted(sample.rgb)
    part = session_on(np.ascontiguousarray(sample.rgb[:128, :128]), fit)
    part.finish()
    whole, own = session.output(Stage.REFERENCE), part.output(Stage.REFERENCE)
    assert own.threshold == whole.threshold
    # The smoothing sees what lies beyond the border of the part.
    inside = np.s_[:112, :112]
    assert np.array_equal(own.foreground[inside], whole.foreground[inside])
    assert np.array_equal(own.sure_foreground[inside], whole.sure_foreground[inside])
    assert np.array_equal(own.sure_background[inside], whole.sure_background[inside])
    first, second = (s.output(Stage.ACTIVATION) for s in (part, session))
    assert len(first.steps) == 1
    taken = session.output(Stage.PROMPTS).step
    assert first.steps[0].threshold == second.steps[taken].threshold
    tokens = np.s_[:48, :48]
    assert np.allclose(first.assignments[0][tokens], second.assignments[taken][tokens], atol=1e-6)


def test_it_survives_its_arrays(sample) -> None:
    _, fit = fitted(sample.rgb)
    again = SlideFit.from_arrays(fit.to_arrays())
    assert again.key == fit.key
    assert again.vectors == fit.vectors
    assert again.activation is not None
    assert fit.activation is not None
    assert again.activation.rho == fit.activation.rho
    assert again.describe() == fit.describe()


def test_another_fit_is_another_key(sample) -> None:
    _, fit = fitted(sample.rgb)
    arrays = fit.to_arrays()
    arrays["numbers"] = arrays["numbers"] + 1e-9
    assert SlideFit.from_arrays(arrays).key != fit.key


@pytest.mark.parametrize("missing", ["facts", "numbers", "vectors", "potentials"])
def test_damaged_arrays_are_told(sample, missing: str) -> None:
    _, fit = fitted(sample.rgb)
    arrays = fit.to_arrays()
    del arrays[missing]
    with pytest.raises(SproutError, match="damaged or of another version"):
        SlideFit.from_arrays(arrays)


def test_a_blank_part_has_no_nuclei(sample) -> None:
    _, fit = fitted(sample.rgb)
    blank = session_on(np.full((128, 128, 3), 255, np.uint8), fit)
    blank.finish()
    assert blank.nuclei == ()


def test_a_sample_without_stain_fits_as_well(sample) -> None:
    plain = np.full((128, 128, 3), 230, np.uint8)
    _, fit = fitted(plain)
    assert fit.activation is None
    assert SlideFit.from_arrays(fit.to_arrays()).activation is None
    part = session_on(np.ascontiguousarray(sample.rgb[:128, :128]), fit)
    part.finish()
    assert part.output(Stage.PROTOTYPES).usable is False


def test_stages_by_a_fit_are_not_taken_for_the_images_own(sample) -> None:
    _, fit = fitted(sample.rgb)
    own, fits = stage_keys(Settings()), stage_keys(Settings(), fit=fit)
    assert own[Stage.IMAGE] == fits[Stage.IMAGE]
    assert all(own[s] != fits[s] for s in Stage if s is not Stage.IMAGE)
