"""One object per image: settings, stage outputs, and a run that can be watched and stopped."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import SettingsError, StoppedError
from ..models.protocols import FeatureEncoder
from .edits import PaintReference
from .embeddings import EmbeddingStore, TileMemory, embedding_key
from .features import PatchMemory
from .fit import SlideFit
from .given import GivenNuclei, required
from .instances import Nucleus
from .loaded import (
    LoadedModels,
    SegmenterSource,
    encoder_choice,
    encoder_facts,
    segmenter_choice,
)
from .outputs import Nuclei
from .provenance import check_image, check_mpp, describe, warnings
from .settings import SAM, Settings
from .stage_keys import stage_keys
from .stages import STAGES, Context, Stage, needed, patch_grid, tile_grid

_Inputs = tuple[Settings, tuple[PaintReference, ...], GivenNuclei | None, SlideFit | None]


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes
    ----------
    stage
        The stage at work.
    done, total
        Units of work of this stage that are finished, and in all.
    fraction
        Share of the whole run that is finished, 0 to 1.
    """

    stage: Stage
    done: int
    total: int
    fraction: float


class Session:
    """One image on its way from pixels to labelled nuclei.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    settings
        The method's settings; defaults if not given.
    mpp
        Pixel size in um; None if unknown (the method's own, 0.25, is assumed).
    device
        "auto", "cpu", "cuda", ...
    segmenter
        A loaded SAM variant to use instead of the one that the settings name, so
        that several sessions can share one.
    encoder
        The same for the separate encoder; without effect where the settings want none.
    models
        In the place of `device`, `segmenter` and `encoder`: models that are shared with
        other sessions.
    embeddings
        Keeps encoded tiles between sessions, so that an image seen before need not be
        encoded again; the labels are the same with and without it.
    fit
        What was found on a sample of the slide that the image is a part of; it takes the
        place of what the image itself would say.

    Attributes
    ----------
    painted
        What a person has drawn into the reference masks; assign and run again.
    given
        Nuclei made elsewhere, None without any; assign and run again. They are used
        while the setting ``prompts.source`` is "given".

    Raises
    ------
    ImageError
        If the image is not 8-bit RGB of at least 32 px a side.

    Examples
    --------
    >>> session = Session(image)                        # doctest: +SKIP
    >>> for progress in session.run():                  # doctest: +SKIP
    ...     print(progress.stage, progress.fraction)
    >>> session.labels                                  # doctest: +SKIP
    """

    def __init__(
        self,
        image: NDArray[np.uint8],
        settings: Settings | None = None,
        *,
        mpp: float | None = None,
        device: str = "auto",
        segmenter: SegmenterSource | None = None,
        encoder: FeatureEncoder | None = None,
        models: LoadedModels | None = None,
        embeddings: EmbeddingStore | None = None,
        fit: SlideFit | None = None,
    ) -> None:
        check_image(image)
        check_mpp(mpp)
        self.image = np.array(image, order="C")
        self.image.setflags(write=False)
        self.mpp = None if mpp is None else float(mpp)
        self._settings = settings or Settings()
        self.painted: tuple[PaintReference, ...] = ()
        self.given: GivenNuclei | None = None
        self._fit = fit
        self._models = models or LoadedModels(device, segmenter, encoder)
        self._outputs: dict[Stage, tuple[str, Any]] = {}
        self._tiles = TileMemory(embeddings)
        self._patches = PatchMemory()
        self._metadata: dict[str, Any] = {}
        self._known_keys: tuple[_Inputs, dict[Stage, str]] | None = None
        self._image_sha256 = hashlib.sha256(self.image.tobytes()).hexdigest()
        self._runs = 0
        self._stop = threading.Event()

    @property
    def settings(self) -> Settings:
        """The settings; assign new ones and run again: only what they touch is redone."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        if not isinstance(settings, Settings):
            raise SettingsError(f"Settings must be made by Settings(...), not {settings!r}.")
        self._settings = settings
        self._models.release_unless(settings.features)

    def run(self, until: Stage = Stage.NUCLEI) -> Iterator[Progress]:
        """Run the stages that are not up to date, as far as `until`.

        Yields
        ------
        Progress
            After every unit of work. Between two of them the run can be stopped,
            by :meth:`stop` from any thread or by closing the generator; finished
            stages, and tiles already encoded, stay. A run ends by itself when
            another one of the same session begins.

        Raises
        ------
        SettingsError
            If the settings want nuclei made elsewhere, and there are none.
        """
        # Cleared here and not in the generator: a stop before the first unit must count.
        self._stop.clear()
        return self._run(until)

    def _run(self, until: Stage) -> Iterator[Progress]:
        self._runs += 1
        this = self._runs
        settings = self._settings
        stages = needed(until, settings)
        if Stage.PROMPTS in stages and settings.prompts.source == "given":
            required(self.given)
        keys = self._keys(settings)
        whole = sum(STAGES[stage].share for stage in stages)
        before = 0.0
        for stage in stages:
            share = STAGES[stage].share
            total = 1
            if not self._current(stage, keys):
                for done, total in self._make(stage, settings, keys):
                    yield Progress(stage, done, total, (before + share * done / total) / whole)
                    if self._stop.is_set() or self._runs != this:
                        return
            before += share
            yield Progress(stage, total, total, before / whole)
            if self._stop.is_set() or self._runs != this:
                return

    def stop(self) -> None:
        """Ask a run to stop after its present unit of work; callable from any thread."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether the present or last run was asked to stop."""
        return self._stop.is_set()

    def finish(self, until: Stage = Stage.NUCLEI) -> Any:
        """Run as far as `until` without watching, and return that stage's output.

        Raises
        ------
        StoppedError
            If :meth:`stop` ended the run before that stage was made.
        """
        for _ in self.run(until):
            pass
        if not self.is_current(until):
            raise StoppedError(f"The run was stopped before its stage '{until}' was finished.")
        return self.output(until)

    def is_current(self, stage: Stage) -> bool:
        """Whether a stage's output is there and fits the present settings."""
        return self._current(stage, self._keys(self._settings))

    def output(self, stage: Stage) -> Any:
        """Return a stage's last output.

        Raises
        ------
        KeyError
            If the stage has not run.
        """
        if stage not in self._outputs:
            raise KeyError(f"Stage '{stage}' has not run yet: call run(until=Stage.{stage.name}).")
        return self._outputs[stage][1]

    @property
    def result(self) -> Nuclei:
        """The last finished result."""
        result: Nuclei = self.output(Stage.NUCLEI)
        return result

    @property
    def labels(self) -> NDArray[np.int32]:
        """(H, W) int32 label image on the image's own grid; 0 is background."""
        return self.result.labels

    @property
    def nuclei(self) -> tuple[Nucleus, ...]:
        """One measured row for each label."""
        return self.result.nuclei

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about the stages that have run."""
        return warnings(self._made(), self._settings)

    def metadata(self) -> dict[str, Any]:
        """Return what made the labels: enough to make them again bit by bit.

        It is taken when the labels are finished, so later changes of the settings
        do not show in it until they have been run.

        Raises
        ------
        KeyError
            If no run has finished.
        """
        self.output(Stage.NUCLEI)
        return copy.deepcopy(self._metadata)

    def _describe(self, settings: Settings) -> dict[str, Any]:
        """Describe the outputs at hand, which were made with `settings`."""
        outputs = self._made()
        return {
            **describe(outputs, settings, self.given),
            **self._models.facts(settings.features),
            **encoder_facts(settings.features, outputs.get(Stage.ENCODING)),
            "image_sha256": self._image_sha256,
            "mpp": self.mpp,
            "warnings": list(warnings(outputs, settings)),
        }

    def _made(self) -> dict[Stage, Any]:
        return {stage: output for stage, (_, output) in self._outputs.items()}

    def _keys(self, settings: Settings) -> dict[Stage, str]:
        """Return a hash for every stage of all the settings its output depends on."""
        inputs = (settings, self.painted, self.given, self._fit)
        known = self._known_keys
        if known is None or any(a is not b for a, b in zip(known[0], inputs, strict=True)):
            known = self._known_keys = (inputs, stage_keys(*inputs))
        return known[1]

    def _current(self, stage: Stage, keys: dict[Stage, str]) -> bool:
        return stage in self._outputs and self._outputs[stage][0] == keys[stage]

    def _make(
        self, stage: Stage, settings: Settings, keys: dict[Stage, str]
    ) -> Iterator[tuple[int, int]]:
        """Make one stage's output; it is kept only when it is complete."""
        if stage is Stage.ENCODING:
            output = yield from self._encode(settings, keys)
        else:
            output = yield from STAGES[stage].make(self._context(settings, keys))
        if stage is Stage.NUCLEI:
            self._metadata = self._describe(settings)
        self._outputs[stage] = (keys[stage], output)

    def _encode(
        self, settings: Settings, keys: dict[Stage, str]
    ) -> Generator[tuple[int, int], None, Any]:
        """Encode the tiles that the store of embeddings does not have, and let it have them."""
        chosen, context = settings.features, self._context(settings, keys)
        grid = tile_grid(context)
        self._tiles.belong_to(f"{keys[Stage.IMAGE]} {segmenter_choice(chosen)} {grid}")
        if chosen.encoder != SAM:
            cut = patch_grid(context)
            self._patches.belong_to(f"{keys[Stage.IMAGE]} {encoder_choice(chosen)} {cut}")
        else:
            self._patches.belong_to("")
        context = self._context(settings, keys)

        @cache
        def device() -> torch.device:
            return torch.device(self._models.facts(chosen)["device"])

        @cache
        def key() -> str:
            weights = self._models.facts(chosen)["weights_sha256"]
            return embedding_key(context.working.rgb, grid, weights, device())

        self._tiles.recall(key, device)
        output = yield from STAGES[Stage.ENCODING].make(context)
        self._tiles.keep(key)
        return output

    def context(self) -> Context:
        """Return what the stages read: the present outputs and settings, and the model."""
        return self._context(self._settings, self._keys(self._settings))

    def _context(self, settings: Settings, keys: dict[Stage, str]) -> Context:
        return Context(
            self.image,
            self.mpp,
            settings,
            {s: output for s, (key, output) in self._outputs.items() if key == keys[s]},
            lambda: self._models.segmenter(settings.features),
            lambda: self._models.encoder(settings.features),
            self._tiles.tiles,
            self._patches,
            self.painted,
            self.given,
            self._fit,
        )


def segment(
    image: NDArray[np.uint8],
    settings: Settings | None = None,
    *,
    mpp: float | None = None,
    device: str = "auto",
) -> NDArray[np.int32]:
    """Label every nucleus of an H&E image.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    settings
        The method's settings; defaults if not given.
    mpp
        Pixel size in um; None if unknown.
    device
        "auto", "cpu", "cuda", ...

    Returns
    -------
    ndarray
        (H, W) int32; 0 is background.

    Raises
    ------
    ImageError
        If the image is not 8-bit RGB of at least 32 px a side.
    """
    session = Session(image, settings, mpp=mpp, device=device)
    session.finish()
    return session.labels
