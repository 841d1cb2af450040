from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.errors import StoppedError
from napari_sprout.napari_.controller import SessionController
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.napari_.work import Picture


class Mouse:
    """Sends a layer what napari's canvas sends it: press, moves, release."""

    def _event(self, kind: str, place: Any, keys: tuple[str, ...], button: int = 1) -> Any:
        world = tuple(float(value) for value in place)
        return read_only_mouse_event(
            type=kind,
            is_dragging=kind == "mouse_move",
            position=world,
            pos=np.array(world[::-1]),
            modifiers=list(keys),
            view_direction=None,
            up_direction=None,
            dims_displayed=[0, 1],
        )

    def press(self, layer: Layer, place: Any, keys: tuple[str, ...] = ()) -> None:
        mouse_press_callbacks(layer, self._event("mouse_press", place, keys))

    def move(self, layer: Layer, place: Any, keys: tuple[str, ...] = ()) -> None:
        mouse_move_callbacks(layer, self._event("mouse_move", place, keys))

    def release(self, layer: Layer, place: Any, keys: tuple[str, ...] = ()) -> None:
        mouse_release_callbacks(layer, self._event("mouse_release", place, keys))

    def drag(self, layer: Layer, *places: Any, keys: tuple[str, ...] = ()) -> None:
        self.press(layer, places[0], keys)
        for place in places[1:]:
            self.move(layer, place, keys)
        self.release(layer, places[-1], keys)

    def click(self, layer: Layer, place: Any, keys: tuple[str, ...] = ()) -> None:
        self.drag(layer, place, keys=keys)


@dataclass
class Later:
    """A Submit that does nothing until it is told to, so that a test can act in between."""

    waiting: list[tuple[Any, ...]] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)

    def __call__(
        self,
        work: Callable[[], Any],
        *,
        on_progress: Callable[[Any], None],
        on_done: Callable[[Any], None],
        on_error: Callable[[BaseException], None],
    ) -> Any:
        number = id(work)
        self.waiting.append((number, work, on_progress, on_done, on_error))
        outer = self

        class Job:
            def cancel(self) -> None:
                outer.cancelled.add(number)

        return Job()

    def do(self) -> list[Callable[[], None]]:
        """Do the oldest work; returns what remains to be told about it, in order."""
        number, work, on_progress, on_done, on_error = self.waiting.pop(0)
        if number in self.cancelled:
            return [partial(on_error, StoppedError("It was stopped."))]
        told: list[Callable[[], None]] = []
        steps = work()
        while True:
            try:
                step = next(steps)
            except StopIteration as finished:
                return [*told, partial(on_done, finished.value)]
            except Exception as error:
                return [*told, partial(on_error, error)]
            if isinstance(step, Picture):
                step.shown.set()
            told.append(partial(on_progress, step))

    def finish(self) -> None:
        """Do and tell everything."""
        while self.waiting:
            for tell in self.do():
                tell()


@dataclass
class Opened:
    """A controller with its parts at hand, and what it said."""

    control: SessionController
    fake: Any
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    changes: list[Any] = field(default_factory=list)
    stages: list[Any] = field(default_factory=list)
    busy: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.control.failed.connect(self.failures.append)
        self.control.warned.connect(self.warnings.append)
        self.control.changed.connect(self.changes.append)
        self.control.stage_finished.connect(self.stages.append)
        self.control.busy.connect(self.busy.append)

    @property
    def viewer(self) -> ViewerModel:
        return self.control.viewer

    @property
    def points(self) -> Any:
        return self.control.layer(LayerRole.PROMPTS)

    @property
    def nuclei(self) -> Any:
        return self.control.layer(LayerRole.NUCLEI)

    @property
    def labels(self) -> Any:
        """The session's own labels, as they are now."""
        return self.control.correction.labels

    def row(self, ident: int) -> int:
        return list(self.points.features["id"]).index(ident)

    def place(self, ident: int) -> Any:
        """Where a nucleus is, (y, x) in pixels."""
        return np.argwhere(self.labels == ident).mean(axis=0)

    def check(self) -> None:
        """Layers and session say the same, and nobody is at work."""
        correction = self.control.correction
        np.testing.assert_array_equal(self.nuclei.data, self.labels)
        assert not np.shares_memory(self.nuclei.data, self.labels)
        shown = {
            ident: (kind, *place)
            for ident, kind, place in zip(
                self.points.features["id"],
                self.points.features["kind"],
                self.points.data.tolist(),
                strict=True,
            )
        }
        assert len(shown) == len(self.points.data)
        assert shown == {p.id: (p.kind, p.y, p.x) for p in correction.prompts.values()}
        negative = [kind == "negative" for kind in self.points.features["kind"]]
        assert [str(symbol) for symbol in self.points.symbol] == [
            "cross" if no else "disc" for no in negative
        ]
        assert not self.control.is_busy


@pytest.fixture(scope="session")
def scanning() -> Settings:
    """Three steps of the scan: enough to see every layer, and soon done."""
    return Settings().with_changes(
        stain={"method": "fixed"},
        features={"tile": 256},
        transport={"rho_start": 0.6, "rho_step": 0.2},
        activation={"crf_iterations": 1},
    )


@pytest.fixture(scope="session")
def quick(scanning: Settings) -> Settings:
    """Prompts from the stain alone, which takes a tenth of a second."""
    return scanning.with_changes(prompts={"source": "stain"})


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def mouse() -> Mouse:
    return Mouse()


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def new_id() -> Callable[[], int]:
    numbers = iter(range(1000, 2000))
    return lambda: next(numbers)


@pytest.fixture
def image_layer(viewer: ViewerModel, synthetic: SyntheticImage) -> Image:
    return viewer.add_image(synthetic.rgb, rgb=True, name="tissue.png")


@pytest.fixture
def open_session(
    image_layer: Image, viewer: ViewerModel, quick: Settings, fake_type: Any
) -> Iterator[Callable[..., Opened]]:
    """Make a controller; without `run=False` it has run."""
    made: list[Opened] = []

    def make(layer: Image | None = None, run: bool = True, **options: Any) -> Opened:
        fake = options.pop("segmenter", None) or fake_type()
        options.setdefault("settings", quick)
        control = SessionController(viewer, layer or image_layer, segmenter=fake, **options)
        made.append(Opened(control, fake))
        if run:
            control.run()
            made[-1].check()
        return made[-1]

    yield make
    for opened in made:
        opened.control.close()


@pytest.fixture
def opened(open_session: Callable[..., Opened]) -> Opened:
    made = open_session()
    # Tests paint and add points around (69, 61).
    assert not made.labels[40:98, 32:90].any()
    return made
