from __future__ import annotations

import numpy as np
import pytest

from napari_sprout.core.activation import prototype_maps
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.errors import StoppedError
from napari_sprout.napari_.jobs import InlineJob, run_inline
from napari_sprout.napari_.roles import LayerRole, Slot
from napari_sprout.napari_.stage_layers import (
    SURE_BACKGROUND,
    SURE_NUCLEUS,
    LayerSpec,
    activation_specs,
    chosen_step,
    nucleus_colours,
    reference_labels,
    stage_specs,
)


@pytest.fixture(scope="module")
def session(synthetic, scanning, fake_type) -> Session:
    """Half the working resolution: the maps' own grids must be laid over the image's."""
    made = Session(synthetic.rgb, scanning, mpp=0.125, segmenter=fake_type())
    made.finish()
    return made


@pytest.fixture(scope="module")
def specs(session) -> dict[Slot, LayerSpec]:
    return {spec.slot: spec for stage in Stage for spec in stage_specs(session, stage)}


def covered(spec: LayerSpec) -> tuple[float, float]:
    """Height and width of a layer, in the image's pixels."""
    return tuple(side * pixel for side, pixel in zip(spec.data.shape, spec.grid, strict=True))


def test_every_layer_covers_the_image(session, specs) -> None:
    height, width = session.image.shape[:2]
    assert len(specs) == 5 + 6
    for spec in specs.values():
        assert height <= covered(spec)[0] < height + spec.grid[0]
        assert width <= covered(spec)[1] < width + spec.grid[1]


def test_maps_keep_their_resolution_and_their_values(session, specs) -> None:
    tissue = specs[Slot(LayerRole.TISSUE)]
    assert np.array_equal(tissue.data, session.output(Stage.TISSUE))
    assert tissue.grid == (2.0, 2.0)
    stains = session.output(Stage.STAIN)
    for role, plane in ((LayerRole.HAEMATOXYLIN, 0), (LayerRole.EOSIN, 1)):
        assert np.array_equal(specs[Slot(role)].data, stains.concentrations[..., plane])
        low, high = specs[Slot(role)].updates["contrast_limits"]
        assert low == 0 < high
    scan, step = session.output(Stage.ACTIVATION), chosen_step(session)
    activation = specs[Slot(LayerRole.ACTIVATION)]
    assert activation.data is scan.steps[step].foreground
    assert activation.grid == (4.0, 4.0)


def test_prototype_maps_say_where_their_tokens_lie(session, specs) -> None:
    scan = session.output(Stage.ACTIVATION)
    coarse = prototype_maps(scan, chosen_step(session))
    factor = session.output(Stage.ENCODING).tiles.grid.token // 2
    for number, values in enumerate(coarse):
        spec = specs[Slot(LayerRole.PROTOTYPE, number)]
        kind = "nuclei" if number < scan.n_foreground else "the rest"
        assert spec.title.endswith(kind)
        rows, columns = (side // factor for side in spec.data.shape)
        blocks = spec.data[: rows * factor, : columns * factor]
        means = blocks.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
        assert np.abs(means - values[:rows, :columns]).max() < 0.15
        assert np.corrcoef(means.ravel(), values[:rows, :columns].ravel())[0, 1] > 0.9


def test_the_reference_is_on_the_image_s_own_grid(session, specs) -> None:
    labels = specs[Slot(LayerRole.REFERENCE)].data
    assert np.array_equal(labels, reference_labels(session))
    assert labels.shape == session.image.shape[:2]
    masks = session.output(Stage.REFERENCE)
    # Two image pixels to a working one, so every second is one of them.
    assert np.array_equal(labels[::2, ::2] == SURE_NUCLEUS, masks.sure_foreground)
    assert np.array_equal(labels[1::2, 1::2] == SURE_BACKGROUND, masks.sure_background)


def test_any_step_of_the_scan_can_be_shown(session) -> None:
    scan = session.output(Stage.ACTIVATION)
    for step, made in enumerate(scan.steps):
        *prototypes, activation = activation_specs(session, step)
        assert len(prototypes) == scan.assignments.shape[-1]
        assert activation.data is made.foreground


def test_neighbouring_nuclei_have_different_colours() -> None:
    colours = nucleus_colours()
    shown = colours.map(np.arange(1, 120))
    assert (shown[:, 3] == 1).all()
    assert np.abs(np.diff(shown[:, :3], axis=0)).sum(axis=1).min() > 0.2
    assert colours.map(0)[3] == 0


# Work done on the spot


def told() -> tuple[list[object], dict[str, object]]:
    heard: list[object] = []
    return heard, {
        "on_progress": lambda step: heard.append(("step", step)),
        "on_done": lambda result: heard.append(("done", result)),
        "on_error": lambda error: heard.append(("error", error)),
    }


def test_a_function_and_a_generator_are_done_on_the_spot() -> None:
    def count():
        yield 1
        yield 2
        return "all"

    heard, callbacks = told()
    run_inline(lambda: 5, **callbacks)
    run_inline(count, **callbacks)
    assert heard == [("done", 5), ("step", 1), ("step", 2), ("done", "all")]


def test_an_error_ends_the_work() -> None:
    error = ValueError("no")

    def fail():
        yield 1
        raise error

    heard, callbacks = told()
    run_inline(fail, **callbacks)
    assert heard == [("step", 1), ("error", error)]


def test_work_can_be_cancelled_between_two_steps() -> None:
    job, closed = InlineJob(), []

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    with pytest.raises(StoppedError):
        job.run(endless, lambda step: job.cancel())
    assert closed == [True]
