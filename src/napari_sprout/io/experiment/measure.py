"""One image through many settings: labelled, scored and timed."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...core.alterations import alter
from ...core.baseline import otsu_watershed
from ...core.embeddings import EmbeddingStore
from ...core.instances import Prompt
from ...core.loaded import LoadedModels, encoder_choice, segmenter_choice
from ...core.metrics import Scores, evaluate
from ...core.outputs import PromptSet
from ...core.prompt_quality import prompt_quality
from ...core.session import Session
from ...core.settings import Settings
from ...core.stages import Stage, needed
from ...errors import ImageError
from ..failures import failure
from ..images import read_image
from ..labels import read_labels
from .cells import Cell
from .plan import Task, Wanted

# The same noise for every row and seed: they are compared on the same images.
_ALTERATION_SEED: Final = 0


@dataclass(frozen=True)
class Measured:
    """A finished cell, and which one it is."""

    wanted: Wanted
    cell: Cell


@dataclass(frozen=True)
class Failed:
    """Cells that could not be measured, and the sentence that says why."""

    cells: tuple[Wanted, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is labelled, and what it is compared with.

    The image may have been altered: its sides are `factor` times those of the truth.
    """

    rgb: NDArray[np.uint8]
    mpp: float | None
    factor: float
    truth: NDArray[np.int32]

    def pixel_size(self, settings: Settings) -> float | None:
        """Return the pixel size of the image at hand in um, None if nothing tells it."""
        if self.factor == 1:
            return self.mpp
        return (self.mpp or settings.image.mpp) / self.factor

    def score(self, labels: NDArray[np.int32]) -> Scores:
        """Score labels of the image at hand on the grid of the truth."""
        rows, columns = (
            ((np.arange(wide) + 0.5) * narrow / wide).astype(np.intp)
            for wide, narrow in zip(self.truth.shape, labels.shape, strict=True)
        )
        return evaluate(labels[np.ix_(rows, columns)], self.truth)

    def on_truth(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """Return points of the image at hand in pixels of the truth."""
        down, across = (
            wide / narrow for wide, narrow in zip(self.truth.shape, self.rgb.shape[:2], strict=True)
        )
        return [
            dataclasses.replace(p, y=(p.y + 0.5) * down - 0.5, x=(p.x + 0.5) * across - 0.5)
            for p in prompts
        ]


class _Watched:
    """A store of embeddings, or none, that notes whether tiles were encoded."""

    def __init__(self, inner: EmbeddingStore | None) -> None:
        self._inner = inner
        self.encoded = False

    def load(self, key: str) -> dict[int, Tensor] | None:
        return None if self._inner is None else self._inner.load(key)

    def save(self, key: str, tiles: Mapping[int, Tensor]) -> None:
        self.encoded = True
        if self._inner is not None:
            self._inner.save(key, tiles)


class Measurer:
    """Measures the cells of tasks, one after the other.

    Parameters
    ----------
    models
        Those that the settings name; they stay loaded from task to task.
    store
        Where encoded tiles are kept.
    debug
        Show the traceback of every error.
    """

    def __init__(
        self,
        models: LoadedModels,
        store: EmbeddingStore | None = None,
        *,
        debug: bool = False,
    ) -> None:
        self._models = models
        self._store = store
        self._debug = debug

    def run(self, task: Task) -> Iterator[Measured | Failed]:
        """Measure a task's cells, the baseline first and the others in their order.

        Yields
        ------
        Measured or Failed
            Every cell is in one of them, as soon as it is known.
        """
        try:
            subject = _subject(task)
        except Exception as error:
            yield self._failed(task, task.cells, error)
            return
        for wanted in task.cells:
            if wanted.settings is None:
                yield self._one(task, wanted, partial(_baseline, wanted, subject))
        chosen = [(w, w.settings) for w in task.cells if w.settings is not None]

        def session_of(pair: tuple[Wanted, Settings]) -> tuple[Any, ...]:
            features = pair[1].features
            models = segmenter_choice(features), encoder_choice(features)
            return (*models, subject.pixel_size(pair[1]))

        for (*_, mpp), alike in groupby(chosen, session_of):
            group = list(alike)
            try:
                self._models.load(group[0][1].features)
                bench = _Bench(subject, mpp, self._models, self._store)
            except Exception as error:
                yield self._failed(task, tuple(wanted for wanted, _ in group), error)
                continue
            for wanted, settings in group:
                yield self._one(task, wanted, partial(bench.run, wanted.key, settings))

    def _one(self, task: Task, wanted: Wanted, cell: Callable[[], Cell]) -> Measured | Failed:
        try:
            return Measured(wanted, cell())
        except Exception as error:
            return self._failed(task, (wanted,), error)

    def _failed(self, task: Task, cells: tuple[Wanted, ...], error: Exception) -> Failed:
        if self._debug:
            traceback.print_exception(error)
        known_as = [str(task.image.truth)]
        return Failed(cells, failure(task.image.image, error, "experiment", known_as))


def _subject(task: Task) -> _Subject:
    image = read_image(task.image.image)
    truth = read_labels(task.image.truth).labels
    if truth.shape != image.rgb.shape[:2]:
        raise ImageError(
            f"'{task.image.truth}' is {_size(truth)} and '{task.image.image}' {_size(image.rgb)}; "
            "give a label image of the same pixels."
        )
    if task.alteration is None:
        return _Subject(image.rgb, image.mpp, 1.0, truth)
    kind, level = task.alteration.kind, task.alteration.level
    rgb, factor = alter(image.rgb, kind, level, _ALTERATION_SEED)
    return _Subject(rgb, image.mpp, factor, truth)


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[1]} x {image.shape[0]} px"


def _baseline(wanted: Wanted, subject: _Subject) -> Cell:
    started = time.perf_counter()
    mpp = subject.pixel_size(Settings())
    labels = otsu_watershed(subject.rgb) if mpp is None else otsu_watershed(subject.rgb, mpp)
    seconds = time.perf_counter() - started
    return Cell(wanted.key, subject.score(labels), None, seconds, None)


class _Bench:
    """One session, led through many settings, with the time that each stage took."""

    def __init__(
        self,
        subject: _Subject,
        mpp: float | None,
        models: LoadedModels,
        store: EmbeddingStore | None,
    ) -> None:
        self._subject = subject
        self._store = _Watched(store)
        self._session = Session(subject.rgb, mpp=mpp, models=models, embeddings=self._store)
        self._seconds: dict[Stage, float] = {}
        self._encoded = False

    def run(self, key: str, settings: Settings) -> Cell:
        """Label the image with these settings and score the labels."""
        session = self._session
        session.settings = settings
        self._run()
        made: PromptSet = session.output(Stage.PROMPTS)
        stages = needed(Stage.NUCLEI, settings)
        return Cell(
            key,
            self._subject.score(session.labels),
            prompt_quality(self._subject.on_truth(made.prompts), self._subject.truth),
            sum(self._seconds[stage] for stage in stages if stage is not Stage.ENCODING),
            self._seconds[Stage.ENCODING] if self._encoded else None,
        )

    def _run(self) -> None:
        """Run what the settings touch, and note how long each stage took."""
        session = self._session
        stale = [
            stage
            for stage in needed(Stage.NUCLEI, session.settings)
            if not session.is_current(stage)
        ]
        self._seconds |= dict.fromkeys(stale, 0.0)
        self._store.encoded = False
        before = time.perf_counter()
        for progress in session.run():
            now = time.perf_counter()
            if progress.stage in stale:
                self._seconds[progress.stage] += now - before
            before = now
        if Stage.ENCODING in stale:
            self._encoded = self._store.encoded
