"""The images of one viewer and the session of each: opened, chosen, kept and closed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from napari.components import ViewerModel
from napari.layers import Image
from psygnal import Signal

from ..core.correction import Change
from ..core.edits import Piece
from ..core.session import Progress
from ..core.stages import Stage
from ..errors import SproutError
from ..io.project import Project
from ..napari_.controller import SessionController
from ..napari_.image_layer import is_colour_image
from ..napari_.registry import SessionRegistry
from .before_run import BeforeRun
from .draft import Draft, MakeSegmenter, draft_for, frugal_segmenter
from .keeping import layer_with, new_project, tile_cache
from .preparation import GIVEN_UP, Ending, Preparation, Preparations
from .taking_away import take_away
from .workers import ThreadedSubmit

ReadNuclei = Callable[[Callable[[str], None]], tuple[Piece, ...]]
"""Reads nuclei made elsewhere; given what is told, in a sentence, what a person should know."""

_T = TypeVar("_T")
_RELAYED: Final = ("progress", "stage_finished", "changed", "busy", "history_changed")


class Sessions:
    """Everything that is open in one viewer.

    The signals from `progress` to `history_changed` are those of the chosen image's
    controller; what is said, and what failed, is told of every image.

    Parameters
    ----------
    viewer
        The viewer itself, not napari's proxy of it.
    device
        The device that is chosen at first; that of the person's preferences by default.
    """

    images_changed = Signal()
    current_changed = Signal()
    """Another image was chosen, or its session has begun or ended."""
    progress = Signal(Progress)
    stage_finished = Signal(Stage)
    changed = Signal(Change)
    busy = Signal(bool)
    history_changed = Signal()
    said = Signal(str)
    warned = Signal(str)
    """What a person must know, and should not miss."""
    failed = Signal(str)

    def __init__(self, viewer: ViewerModel, device: str | None = None) -> None:
        self.viewer = viewer
        self.registry = SessionRegistry()
        self.make_segmenter: MakeSegmenter = frugal_segmenter
        self.before = BeforeRun(self.warn, self.fail)
        self._device = device
        self._layer: Image | None = None
        self._drafts: weakref.WeakKeyDictionary[Image, Draft] = weakref.WeakKeyDictionary()
        self._workers: dict[SessionController, ThreadedSubmit] = {}
        self._opening = Preparations()
        self._closed = False
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        viewer.layers.selection.events.active.connect(self._activated)
        if images := self.images:
            active = viewer.layers.selection.active
            self.choose(active if active in images else images[-1])

    # What there is

    @property
    def images(self) -> list[Image]:
        """The layers that can be segmented, from the bottom of the layer list."""
        return [layer for layer in self.viewer.layers if is_colour_image(layer)]

    @property
    def layer(self) -> Image | None:
        """The chosen image; None without one."""
        return self._layer

    @property
    def current(self) -> SessionController | None:
        """The chosen image's controller; None until its session begins."""
        return self.registry.get(self._layer)

    @property
    def draft(self) -> Draft | None:
        """What is chosen for the chosen image; None without one."""
        return None if self._layer is None else self._drafts[self._layer]

    def draft_of(self, layer: Image) -> Draft | None:
        """Return what is chosen for an image; None if it has never been the chosen one."""
        return self._drafts.get(layer)

    @property
    def is_opening(self) -> bool:
        """Whether the chosen image's session is about to begin."""
        return self._opening.concern(self._layer)

    @property
    def is_running(self) -> bool:
        """Whether a run of the chosen image is under way or about to begin."""
        return self.is_opening or (self.current is not None and self.current.is_running)

    # What can be done

    def choose(self, layer: Image) -> None:
        """Choose the image that the docks show."""
        if layer is self._layer or layer not in self.images:
            return
        self._layer = layer
        if layer not in self._drafts:
            begun = self.registry.get(layer) is not None
            self._drafts[layer] = draft_for(layer, self._device, begun=begun)
        self.current_changed.emit()

    def run(self, until: Stage = Stage.NUCLEI) -> None:
        """Run the chosen image as far as `until`, with the settings of its draft."""
        draft, controller = self.draft, self.current
        if draft is None or self._layer is None or self.is_opening:
            return
        if not self.before.allows(draft, self._layer, until):
            return
        if controller is None:
            self._begin(self._layer, draft, lambda: None, lambda made, _: made.run(until))
        else:
            draft.applied = draft.settings
            controller.change_settings(draft.settings)
            controller.run(until)

    def open_nuclei(self, read: ReadNuclei) -> None:
        """Show nuclei made elsewhere on the chosen image, and let them be corrected.

        Parameters
        ----------
        read
            Reads them; called in a thread of its own.
        """
        draft, controller, texts = self.draft, self.current, list[str]()
        if draft is None or self._layer is None or self.is_opening:
            return

        def opened(on: SessionController, pieces: tuple[Piece, ...]) -> None:
            for text in texts:
                self.warn(text)
            draft.open_nuclei(on, pieces)

        if controller is None:
            self._begin(self._layer, draft, lambda: read(texts.append), opened)
        else:
            self.work(lambda: read(texts.append), partial(opened, controller))

    def cancel(self) -> None:
        """Stop the run of the chosen image within one unit of work."""
        if self._opening.call_off_all(self._layer):
            self.current_changed.emit()
        if self.current is not None:
            self.current.cancel()

    def work(
        self,
        work: Callable[[], Any],
        on_done: Callable[[Any], None] = lambda _: None,
        controller: SessionController | None = None,
    ) -> None:
        """Do some `work` with a session, in its thread, when edits are done.

        Parameters
        ----------
        on_done
            Given what it returns, in the window's thread. What it raises is told
            by `failed`.
        controller
            Of the session; of the chosen image's by default.
        """
        if (of := controller or self.current) is not None:
            submit, told = self._workers[of], lambda error: self.fail(str(error))
            submit(work, on_progress=lambda _: None, on_done=on_done, on_error=told)

    def say(self, text: str) -> None:
        """Tell the person something."""
        self.said.emit(text)

    def warn(self, text: str) -> None:
        """Tell the person something that is to be seen until it has been read."""
        self.warned.emit(text)

    def fail(self, text: str) -> None:
        """Tell the person that something came to nothing, and why."""
        self.failed.emit(text)

    def restart(self, *also: Image) -> None:
        """Let go of the chosen image's session, which stays on disk, and take its layers away.

        `also` are taken away first.
        """
        if self.current is not None:
            self._leave(self.current, *also)
            self.current_changed.emit()

    def resume(self, folder: Path) -> None:
        """Open a project folder, with its image, and do again what was done in it."""
        preparation = Preparation(folder=folder)

        def work() -> tuple[Project, list[str]]:
            texts: list[str] = []
            return preparation.opened(Project.open(folder, tell=texts.append)), texts

        def done(opened: tuple[Project, list[str]]) -> None:
            project, texts = opened
            layer = self._layer_of(project)
            self.choose(layer)
            self._open(layer, preparation, project)
            for text in texts:
                self.warn(text)
            if (controller := self.current) is not None:
                controller.restore()

        self._prepare(preparation, work, done)

    def close(self) -> None:
        """Stop all runs within one unit, without waiting; everything done is kept."""
        if self._closed:
            return
        self._closed = True
        layers = self.viewer.layers
        layers.events.inserted.disconnect(self._inserted)
        layers.events.removed.disconnect(self._removed)
        layers.selection.events.active.disconnect(self._activated)
        self._opening.close()
        for controller in list(self._workers):
            self._let_go(controller)

    # How it is done

    def _begin(
        self,
        layer: Image,
        draft: Draft,
        first: Callable[[], _T],
        then: Callable[[SessionController, _T], None],
    ) -> None:
        """Do something `first`, then make a project and a controller for an image, and use it."""
        preparation = Preparation(layer)
        settings, mpp = draft.settings, draft.mpp

        def work() -> tuple[Project | SproutError, _T]:
            found = first()
            try:
                return preparation.made(new_project(layer, mpp, settings)), found
            except SproutError as error:
                return error, found

        def done(made: tuple[Project | SproutError, _T]) -> None:
            project, found = made
            kept = project if isinstance(project, Project) else None
            if isinstance(project, SproutError):
                self.warn(f"What you do cannot be kept on disk. {project}")
            self._open(layer, preparation, kept)
            if (controller := self.registry.get(layer)) is not None:
                then(controller, found)

        self._prepare(preparation, work, done)

    def _prepare(
        self, preparation: Preparation, work: Callable[[], Any], done: Callable[[Any], None]
    ) -> None:
        """Do what comes before a session, away from the window's thread."""

        def failed(error: BaseException) -> None:
            self._opening.call_off(preparation)
            self.fail(str(error))
            self.current_changed.emit()

        self._opening.begin(preparation, work, done, failed)
        self.current_changed.emit()

    def _open(self, layer: Image, preparation: Preparation, project: Project | None) -> None:
        """Make the controller of an image; a person may have gone on to another one."""
        submit = preparation.submit
        self._opening.finish(preparation)
        try:
            if layer not in self.viewer.layers:
                raise SproutError("The image was closed before it could be segmented.")
            if (before := self.registry.get(layer)) is not None:
                self._let_go(before)
            if layer not in self._drafts:
                self.choose(layer)
            draft = self._drafts[layer]
            if project is not None:
                draft.mpp = project.mpp
            if draft.mpp is not None:
                layer.metadata = {**layer.metadata, "mpp": draft.mpp}
            draft.earlier = None
            controller = SessionController(
                self.viewer,
                layer,
                submit=submit,
                project=project,
                settings=draft.settings,
                segmenter=self.make_segmenter(draft, partial(submit.post, self.warn)),
                device=draft.device,
                embeddings=tile_cache(),
            )
        except SproutError as error:
            self._opening.call_off(preparation)
            self.fail(str(error))
        else:
            draft.follow(controller.settings)
            self._take_on(controller, submit)
        self.current_changed.emit()

    def _take_on(self, controller: SessionController, submit: ThreadedSubmit) -> None:
        self.registry.add(controller)
        self._workers[controller] = submit
        for name in _RELAYED:
            getattr(controller, name).connect(self._relay(controller, name))
        controller.warned.connect(self.warn)
        controller.failed.connect(self.fail)
        controller.image_removed.connect(lambda: self._let_go(controller))
        controller.half_restored.connect(lambda cancelled: self._give_up(controller, cancelled))

    def _relay(self, controller: SessionController, name: str) -> Callable[..., None]:
        def tell(*values: Any) -> None:
            draft = self._drafts.get(controller.image_layer)
            if draft is not None and name in ("changed", "history_changed"):
                draft.follow(controller.settings)
            if controller is self.current:
                getattr(self, name).emit(*values)

        return tell

    def _let_go(self, controller: SessionController) -> None:
        """Close a controller without waiting for its thread."""
        submit = self._workers.pop(controller, None)
        if self.registry.get(controller.image_layer) is controller:
            self.registry.close(controller.image_layer)
        if submit is not None:
            self._opening.note(Ending.of(controller, submit))

    def _leave(self, controller: SessionController, *also: Image) -> None:
        """Let go of a controller, and take its layers away."""
        made = [*also, *controller.scene.store.layers]
        self._let_go(controller)
        self._drafts[controller.image_layer].forget_opened_nuclei()
        take_away(self.viewer, made)

    def _give_up(self, controller: SessionController, cancelled: bool) -> None:
        """Let go of work that was brought back in part, and offer it again."""
        self._leave(controller)
        if controller.project is not None:
            self._drafts[controller.image_layer].earlier = controller.project.folder
        if cancelled:
            self.say(GIVEN_UP)
        self.current_changed.emit()

    def _layer_of(self, project: Project) -> Image:
        """Return the layer with a project's image; a new one if there is none."""
        layer = layer_with(project, sorted(self.images, key=lambda one: one is not self._layer))
        if layer not in self.viewer.layers:
            self.viewer.add_layer(layer)
        return layer

    def _inserted(self, event: Any) -> None:
        if is_colour_image(event.value):
            self.images_changed.emit()
            self.choose(event.value)

    def _removed(self, event: Any) -> None:
        if is_colour_image(event.value):
            self.images_changed.emit()
        if event.value is self._layer:
            self._layer = None
            if images := self.images:
                self.choose(images[-1])
            else:
                self.current_changed.emit()

    def _activated(self, event: Any) -> None:
        """Follow a person who goes to another image, or to one of its layers."""
        if (layer := self.viewer.layers.selection.active) is not None:
            # Of what is no image, nothing is chosen.
            owner = self.registry.owner(layer)
            self.choose(layer if owner is None else owner.image_layer)
