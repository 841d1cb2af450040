"""One image, its session and its layers: runs, edits, undo, and what is told to the docks."""

from __future__ import annotations

import uuid
from functools import partial

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from psygnal import Signal

from ..core.activation import Scan
from ..core.correction import Change, Correction
from ..core.edits import ChangeSettings, Edit, OpenNuclei, PaintReference, Piece
from ..core.embeddings import EmbeddingStore
from ..core.loaded import SegmenterSource
from ..core.session import Progress, Session
from ..core.settings import Settings
from ..core.stages import Stage
from ..errors import ProjectError, StoppedError
from ..io.project import Project
from .actions import NucleusActions
from .acts import Failure
from .identifiers import FreshIdentifiers
from .image_layer import pixel_size_of, rgb_of
from .jobs import Submit, Work, run_inline
from .reruns import advice, later, may_change_step, outdates_run, run_after
from .roles import LayerRole
from .scene import Host, Scene
from .stage_layers import LayerSpec, activation_specs, chosen_step, stage_specs
from .under_way import Task, UnderWay
from .view import View, take_view
from .work import Message, Notice, Picture, PromptsMade, Shown, StageMade, Whole, Worker


class SessionController:
    """Connects one image layer with its session.

    Heavy work is handed to `submit`; everything else happens in the thread that
    calls, which must be the viewer's.

    Parameters
    ----------
    viewer
        Where the layers are shown.
    image_layer
        An RGB image.
    submit
        Does the heavy work; on the spot by default.
    project
        Where every edit is kept before it is shown; nowhere by default. Its
        pixel size and settings count.
    settings
        The settings to start from, without a project.
    segmenter
        A loaded SAM variant to use instead of the one that the settings name, or what loads it.
    device
        "auto", "cpu", "cuda", ...
    embeddings
        Keeps encoded tiles between sessions.

    Raises
    ------
    ImageError
        If the layer is no image that can be segmented.
    ProjectError
        If the project was made from another image.
    """

    progress = Signal(Progress)
    stage_finished = Signal(Stage)
    changed = Signal(Change)
    failed = Signal(str)
    """What went wrong, in a sentence; nothing was changed by it."""
    warned = Signal(str)
    """What a person should know about a result, or about how it is kept."""
    busy = Signal(bool)
    """True when work begins, False when all of it is done."""
    history_changed = Signal()
    """Undo or redo became possible or impossible, or a run is through."""
    half_restored = Signal(bool)
    """Restoring was cancelled (True) or failed: the owner should close this and the project."""
    image_removed = Signal()
    """The image layer was deleted; the owner should close the controller."""

    def __init__(
        self,
        viewer: ViewerModel,
        image_layer: Image,
        *,
        submit: Submit = run_inline,
        project: Project | None = None,
        settings: Settings | None = None,
        segmenter: SegmenterSource | None = None,
        device: str = "auto",
        embeddings: EmbeddingStore | None = None,
    ) -> None:
        rgb = rgb_of(image_layer)
        mpp = pixel_size_of(image_layer)
        if project is not None:
            if not np.array_equal(project.image.rgb, rgb):
                raise ProjectError(
                    f"The project '{project.folder}' was made from another image than the layer "
                    f"'{image_layer.name}'; choose the layer of that image."
                )
            mpp, settings = project.mpp, project.settings
        self.viewer = viewer
        self.image_layer = image_layer
        self.project = project
        self.uid = uuid.uuid4().hex
        self.session = Session(
            rgb, settings, mpp=mpp, device=device, segmenter=segmenter, embeddings=embeddings
        )
        self.correction = Correction(self.session)
        self.actions = NucleusActions(self)
        self._submit = submit
        fresh = self._fresh = FreshIdentifiers(self.correction.new_id)
        self._worker = Worker(self.correction, project, lambda: fresh.wanted, self.warned.emit)
        self._under_way = UnderWay()
        self._half = False
        self._view: View | None = None
        self._missed = False
        self._introduced = False
        self._rerun: Stage | None = None
        self._closed = False
        self._told: set[str] = set()
        host = Host(
            send=self.apply_all,
            settle=self._settle,
            new_id=self.new_id,
            pinned=lambda: frozenset() if self._view is None else self._view.pinned,
            clicked=self.actions.clicked,
            chosen=self.actions.points_chosen,
            drawn=self.actions.drawn,
            closed=self._image_gone,
            keys=self.actions,
        )
        self.scene = Scene(viewer, image_layer, self.uid, mpp, host)

    # What there is

    @property
    def view(self) -> View | None:
        """What was shown last; None before the first result."""
        return self._view

    @property
    def settings(self) -> Settings:
        """The settings of the next run."""
        return self.session.settings

    @property
    def is_busy(self) -> bool:
        """Whether any work is under way or waiting."""
        return len(self._under_way) > 0

    @property
    def is_running(self) -> bool:
        """Whether a run is under way or waiting."""
        return self._under_way.running

    @property
    def can_undo(self) -> bool:
        """Whether there is anything to take back."""
        return self.correction.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is anything to bring back."""
        return self.correction.can_redo

    @property
    def rhos(self) -> tuple[float, ...]:
        """The transported mass of every step of the scan; empty without one."""
        try:
            scan: Scan = self.session.output(Stage.ACTIVATION)
        except KeyError:
            return ()
        return tuple(step.rho for step in scan.steps)

    @property
    def chosen_step(self) -> int | None:
        """The step of the scan that the prompts come from; None without a scan."""
        return chosen_step(self.session)

    def layer(self, role: LayerRole) -> Layer | None:
        """Return the layer of a role; None if there is none, or it was deleted."""
        return self.scene.layer(role)

    def new_id(self) -> int:
        """Return an identifier that was never used."""
        return self._fresh.new()

    # What can be done

    def run(self, until: Stage = Stage.NUCLEI) -> None:
        """Run what is not up to date, as far as `until`; its layers appear one by one."""
        present = frozenset(self.scene.store.slots)
        self._start(lambda: self._worker.run(until, present), Task.RUN)

    def restore(self) -> None:
        """Bring back everything that was done in the project; to be called first, if at all."""
        self._start(self._worker.restore, Task.RESTORE)

    def cancel(self) -> None:
        """Stop the run within one unit of work; earlier stages stay, and so do waiting edits."""
        self.session.stop()
        self._under_way.cancel()

    def apply(self, edit: Edit) -> None:
        """Apply one edit, and show it when it is done and kept."""
        self.apply_all((edit,))

    def apply_all(self, edits: tuple[Edit, ...]) -> None:
        """Apply edits that are one act of the person: undo takes them back together."""
        if self.is_running and outdates_run(edits):
            # The run under way is about to be out of date.
            self.cancel()
            self._rerun = Stage.NUCLEI
        self._start(self._worker.apply(edits, waits=self._waits))

    def undo(self) -> None:
        """Take back the last act."""
        self._start(self._worker.travel("undo", waits=self._waits))

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._start(self._worker.travel("redo", waits=self._waits))

    def change_settings(self, settings: Settings) -> None:
        """Set the settings of the next run; undo brings back the former ones."""
        if settings != self.session.settings:
            self.apply(ChangeSettings(settings.to_dict()))

    def open_nuclei(self, pieces: tuple[Piece, ...]) -> None:
        """Show nuclei made elsewhere, (id, box, mask) of each, in the place of what there is."""
        # Numbered anew they would be 1, 2 ...
        self._fresh.take_out({*range(1, len(pieces) + 1), *(ident for ident, _, _ in pieces)})
        self.apply(OpenNuclei(pieces))

    def show_step(self, index: int) -> None:
        """Show the activation maps of one step of the scan; nothing is computed anew.

        Parameters
        ----------
        index
            From 0; :attr:`rhos` says how many there are.
        """
        for spec in activation_specs(self.session, index):
            self.scene.show_spec(spec)

    def refuse(self, reason: str) -> None:
        """Tell the person why nothing was done."""
        self.failed.emit(reason)

    def close(self) -> None:
        """Stop runs and let go of the layers, which stay in the viewer.

        Edits that wait were seen already: they are done all the same, to be kept in the
        project, which is to be closed after them.
        """
        if not self._closed:
            self._closed = True
            self._worker.hurry()
            self.session.stop()
            self._under_way.cancel(edits=self.project is None)
            self.scene.close()

    # How it is done

    @property
    def _waits(self) -> bool:
        """Whether what is handed in now has to wait, and so must be on disk before."""
        return self.is_busy and not self._closed

    def _start(self, work: Work, task: Task = Task.EDIT) -> None:
        if self._closed:
            return
        token = self._under_way.begin(task)
        if len(self._under_way) == 1:
            self.busy.emit(True)
        job = self._submit(
            work,
            on_progress=self._heard,
            on_done=partial(self._done, token),
            on_error=partial(self._broken, token),
        )
        self._under_way.accept(token, job)

    def _heard(self, message: Message) -> None:
        if self._closed:
            return
        match message:
            case Progress():
                self.progress.emit(message)
            case Notice():
                self.warned.emit(message.text)
            case Shown():
                self._changed(message)
            case Failure():
                self._failed(message)
            case _:
                self._draw(message)

    def _draw(self, message: Picture | PromptsMade | StageMade | Whole) -> None:
        match message:
            case Picture():
                if isinstance(message.what, LayerSpec):
                    self.scene.show_spec(message.what)
                else:
                    self.scene.prepare(message.what, self.session.image.shape[:2])
                message.shown.set()
            case PromptsMade():
                self.scene.show_prompts(message.prompts)
            case StageMade():
                for slot in message.gone:
                    self.scene.store.remove(slot)
                self.stage_finished.emit(message.stage)
            case Whole():
                self._show(message.view, complete=True)

    def _changed(self, shown: Shown) -> None:
        if shown.view is not None:
            self._show(shown.view, complete=False)
        self.changed.emit(shown.change)
        self._rerun = later(self._rerun, run_after(shown))
        if text := advice(shown):
            self.warned.emit(text)
        if may_change_step(shown) and (step := self.chosen_step) is not None:
            self.show_step(step)

    def _failed(self, failure: Failure) -> None:
        self.failed.emit(failure.reason)
        if isinstance(failure.edit, PaintReference):
            for spec in stage_specs(self.session, Stage.REFERENCE):
                self.scene.show_spec(spec)

    def _done(self, token: object, _: object) -> None:
        if not self._closed:
            self._over(token)

    def _broken(self, token: object, error: BaseException) -> None:
        if self._closed:
            return
        if not isinstance(error, StoppedError):
            self.failed.emit(str(error))
        self._over(token, isinstance(error, StoppedError))

    def _over(self, token: object, cancelled: bool = False) -> None:
        task = self._under_way.end(token)
        if task is Task.RESTORE and self.project is not None:
            left = self.project.waiting.earlier
            self._half = bool(left) or not self.project.keeps(self.correction)
        if task in (Task.RUN, Task.RESTORE):
            self._run_over()
        self._settle()
        if not self.is_busy:
            self.busy.emit(False)
        self.history_changed.emit()
        if self._half and task is Task.RESTORE:
            self.half_restored.emit(cancelled)
        elif self._rerun is not None and not self.is_busy:
            until, self._rerun = self._rerun, None
            self.run(until)

    def _run_over(self) -> None:
        if self._view is not None and not self._introduced:
            self._introduced = True
            self.scene.introduce()
        for text in self.session.warnings:
            if text not in self._told:
                self._told.add(text)
                self.warned.emit(text)

    def _show(self, view: View, complete: bool) -> None:
        self._fresh.add(view.fresh)
        if self._view is not None and view.revision < self._view.revision:
            # An answer that was overtaken; what it alone knew is fetched when all is quiet.
            self._missed = True
            return
        self._view = view
        self.scene.show_view(view, complete=complete)

    def _settle(self) -> None:
        """Make the layers what the correction is, once nothing is under way."""
        if self.is_busy or self._closed or self._half:
            return
        # A run that is cancelled at its very end may have changed the result.
        shown = -1 if self._view is None else self._view.revision
        if self._missed or (self.correction.ready and self.correction.revision > shown):
            self._missed = False
            self._show(take_view(self.correction), complete=True)
        self.scene.settle()

    def _image_gone(self) -> None:
        self.cancel()
        self.image_removed.emit()
