"""The slides of one viewer: which one is worked on, its regions as images, and their sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from napari.layers import Image
from psygnal import Signal
from qtpy.QtCore import QTimer

from ..core.instances import Box
from ..core.stages import MAX_WORKING_PIXELS
from ..io.slides.region_export import Exported
from ..io.slides.region_results import keep_result, state_after
from ..io.slides.regions import Region
from ..napari_.camera import in_view
from ..napari_.controller import SessionController
from ..napari_.image_layer import is_slide
from ..napari_.region_box import Corners, box_of, refusal
from ..napari_.slide_layers import (
    SlideLayers,
    make_region_layer,
    region_of,
    region_title,
    slide_path,
)
from ..napari_.slide_progress import share_done
from .before_run import working_room
from .draft import Draft
from .keeping import slide_folders
from .open_slide import OpenSlide
from .sessions import Sessions
from .taking_away import take_away

_ZOOMED: Final = 150
"""Milliseconds after which a view counts as no longer being zoomed."""
_OUTSIDE: Final = "The view shows nothing of the slide: move to where the region is to be."
_BUSY: Final = "Wait until what is being done to the slide is over, or cancel it."
_HAS_REGIONS: Final = "The regions of this slide have it."
_OF_THE_SLIDE: Final = "It is the slide's."


@dataclass(eq=False)
class SlideOnDesk:
    """A slide that is open, and what lies over it.

    Attributes
    ----------
    layer
        Its layer.
    open
        The slide itself.
    layers
        The map, the outlines, and its regions.
    """

    layer: Image
    open: OpenSlide
    layers: SlideLayers


class Slides:
    """All slides of one viewer.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    changed = Signal()
    """Something about the slide that is worked on is other than it was."""
    progress = Signal(float, str)

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._desks: dict[Image, SlideOnDesk] = {}
        self._left: SessionController | None = None
        self._closed = False
        self._viewer = sessions.viewer
        self._zoomed = _timer(_ZOOMED, self._fit)
        # Layers are changed in a turn of their own: each takes a moment, and the window answers.
        self._stale = _timer(0, self._show_layers)
        self._camera = getattr(self._viewer, "scene", self._viewer).camera
        self._camera.events.zoom.connect(self._zooming)
        self._viewer.layers.events.inserted.connect(self._inserted)
        self._viewer.layers.events.removed.connect(self._removed)
        sessions.current_changed.connect(self._chosen)
        sessions.history_changed.connect(self._worked)
        self._chosen()

    # What there is

    @property
    def desk(self) -> SlideOnDesk | None:
        """The slide that is chosen, or that the chosen region is of; None without one."""
        layer = self._sessions.layer
        if layer in self._desks:
            return self._desks[layer]
        region = region_of(layer)
        return None if region is None else self._desk_of(region)

    @property
    def chosen(self) -> Region | None:
        """The region that is chosen; None if it is the slide, or no region."""
        return region_of(self._sessions.layer)

    @property
    def share(self) -> float | None:
        """How much of the tissue is segmented, 0 to 1; None as long as nobody knows."""
        desk = self.desk
        found = None if desk is None else desk.open.progress_map()
        return None if found is None else share_done(found)

    # What can be done

    def take_view(self) -> None:
        """Make what is in view a region."""
        if (desk := self.desk) is not None:
            self.take(desk, in_view(self._viewer, desk.layer))

    def draw(self) -> None:
        """Let a person draw a region."""
        if (desk := self.desk) is not None:
            desk.layers.start_drawing()
            self._sessions.say("Draw a rectangle over the slide: press, drag, and let go.")

    def take(self, desk: SlideOnDesk, corners: Corners) -> None:
        """Make a rectangle of a slide a region, unless it is one or cannot be segmented at once.

        Parameters
        ----------
        desk
            The slide.
        corners
            (y0, x0, y1, x1) in its pixels; it may reach beyond it.
        """
        shape, mpp, draft = desk.open.shape, desk.open.mpp, self._sessions.draft
        regions = desk.open.regions
        if shape is None or mpp is None or draft is None or regions is None:
            return
        if desk.open.busy:
            self._sessions.say(_BUSY)
            return
        box = box_of(corners, shape)
        if box is None:
            self._sessions.fail(_OUTSIDE)
            return
        if box in desk.open.states:
            self.go_to(box)
            return
        most, why = _most(draft)
        if text := refusal(box, mpp, draft.settings, most, why):
            self._sessions.fail(text)
            return
        desk.open.read(box, partial(self._add, desk))

    def go_to(self, box: Box) -> None:
        """Bring a region into view and choose it; work that was done in it is brought back."""
        desk = self.desk
        if desk is None or desk.open.regions is None:
            return
        desk.layers.look_at(box)
        region = desk.open.regions.region(box)
        for layer in self._sessions.images:
            if region_of(layer) == region:
                self._sessions.choose(layer)
                self._viewer.layers.selection.active = layer
                return
        if (project := region.project) is not None:
            self._sessions.resume(project)
        elif not desk.open.busy:
            desk.open.load(region, partial(self._add, desk))

    def close_region(self) -> None:
        """Take the chosen region and all its layers out of the viewer; its work is kept."""
        layer, desk = self._sessions.layer, self.desk
        if layer is None or desk is None or self.chosen is None:
            return
        if self._sessions.current is not None:
            self._sessions.restart(layer)
        else:
            take_away(self._viewer, [layer])
        self._sessions.choose(desk.layer)
        self._viewer.layers.selection.active = desk.layer

    def export(
        self, folder: Path, formats: Sequence[str], on_done: Callable[[Exported], None]
    ) -> None:
        """Write the sum of all regions.

        Parameters
        ----------
        folder, formats
            As of :func:`~napari_sprout.io.slides.region_export.export_regions`.
        on_done
            Given what was written.
        """
        desk, draft = self.desk, self._sessions.draft
        if desk is None or draft is None or desk.open.busy:
            return
        segmenter = self._sessions.make_segmenter(draft, self._sessions.warn)
        start = partial(desk.open.export, folder, formats, draft.device, segmenter, on_done)
        waiting = [one for one in self._sessions.registry if region_of(one.image_layer)]
        if not waiting:
            start()

        def kept(controller: SessionController, _: object) -> None:
            waiting.remove(controller)
            if not waiting:
                start()

        for controller in tuple(waiting):
            self._keep(controller, partial(kept, controller))

    def give_pixel_size(self) -> None:
        """Take on the pixel size that a person has given for the slide."""
        desk, draft = self.desk, self._sessions.draft
        if desk is not None and draft is not None and self._sessions.layer is desk.layer:
            desk.open.set_mpp(draft.mpp, draft.settings)
            self.changed.emit()

    def close(self) -> None:
        """Let go of all slides, without waiting; harmless if done already."""
        if self._closed:
            return
        self._closed = True
        self._zoomed.stop()
        self._stale.stop()
        self._camera.events.zoom.disconnect(self._zooming)
        self._viewer.layers.events.inserted.disconnect(self._inserted)
        self._viewer.layers.events.removed.disconnect(self._removed)
        for desk in self._desks.values():
            desk.layers.close()
            desk.open.close()
        self._desks.clear()

    # How it is done

    def _add(self, desk: SlideOnDesk, region: Region, rgb: Any) -> None:
        """Show a region as an image of its own, with what was chosen for what is chosen now."""
        draft, mpp = self._sessions.draft, desk.open.mpp
        if mpp is None or self._desks.get(desk.layer) is not desk:
            return
        layer = make_region_layer(rgb, region, mpp)
        desk.layers.add(layer, region)
        made = self._sessions.draft_of(layer)
        if draft is not None and made is not None:
            made.settings, made.device = draft.settings, draft.device
            made.forget_opened_nuclei()
        self._viewer.layers.selection.active = layer
        self._sessions.current_changed.emit()

    def _desk_of(self, region: Region) -> SlideOnDesk | None:
        folder = region.image.parent.parent
        for desk in self._desks.values():
            regions = desk.open.regions
            if regions is not None and regions.folder == folder:
                return desk
        return None

    def _chosen(self) -> None:
        """Follow a person who chose another image."""
        layer = self._sessions.layer
        if layer is not None and is_slide(layer) and layer not in self._desks:
            self._put_on_desk(layer)
        left, self._left = self._left, self._sessions.current
        if left is not None and left is not self._left and left in self._sessions.registry:
            # Its nuclei are needed when regions are added up, however the program ends.
            self._keep(left, lambda _: None)
        self._show()

    def _put_on_desk(self, layer: Image) -> None:
        path, draft = slide_path(layer), self._sessions.draft_of(layer)
        if path is None or draft is None:
            return
        slide = OpenSlide(path, slide_folders(path))
        layers = SlideLayers(self._viewer, layer, lambda corners: self.take(desk, corners))
        desk = self._desks[layer] = SlideOnDesk(layer, slide, layers)
        slide.changed.connect(partial(self._slide_changed, desk))
        slide.failed.connect(self._sessions.fail)
        slide.progress.connect(partial(self._told, desk))
        slide.open(draft.mpp, draft.settings)

    def _told(self, desk: SlideOnDesk, share: float, what: str) -> None:
        if desk is self.desk:
            self.progress.emit(share, what)

    def _slide_changed(self, desk: SlideOnDesk) -> None:
        draft = self._sessions.draft_of(desk.layer)
        if draft is not None and desk.open.begun:
            draft.mpp, draft.fixed = desk.open.mpp, _HAS_REGIONS
        for layer in self._sessions.images:
            self._adopt(layer)
        self._show()

    def _adopt(self, layer: Image) -> None:
        """Lay a region that was opened as an image by itself over its slide."""
        region = region_of(layer)
        desk = None if region is None else self._desk_of(region)
        draft = self._sessions.draft_of(layer)
        if region is None or desk is None:
            return
        if draft is not None:
            draft.fixed = _OF_THE_SLIDE
        if not desk.layers.holds(layer) and desk.open.mpp is not None:
            layer.name = region_title(region, desk.open.mpp)
            desk.layers.adopt(layer, region)

    def _show(self) -> None:
        """Show what is done of the slide that is worked on, and soon on its layers too."""
        self._stale.start()
        self.changed.emit()

    def _show_layers(self) -> None:
        desk, chosen = self.desk, self.chosen
        if desk is None:
            return
        states = sorted(desk.open.states.items())
        desk.layers.show_regions(states, None if chosen is None else chosen.box)
        if (found := desk.open.progress_map()) is not None and desk.open.overview is not None:
            desk.layers.show_map(found, desk.open.overview.downsample)
            self.changed.emit()

    def _worked(self) -> None:
        """Take note of what was done in the chosen region."""
        desk, region, controller = self.desk, self.chosen, self._sessions.current
        if desk is None or region is None or controller is None or controller.project is None:
            return
        desk.open.refresh(region.box, state_after(controller.project.entries))

    def _keep(self, controller: SessionController, on_done: Callable[[object], None]) -> None:
        keep = partial(keep_result, controller.project, controller.correction)
        self._sessions.work(keep, on_done, controller)

    def _inserted(self, event: Any) -> None:
        if isinstance(event.value, Image):
            self._adopt(event.value)

    def _removed(self, event: Any) -> None:
        desk = self._desks.pop(event.value, None)
        if desk is not None:
            left = desk.layers.own
            desk.layers.close()
            desk.open.close()
            # Not within napari's own removal of the slide.
            QTimer.singleShot(0, lambda: take_away(self._viewer, left))
            self.changed.emit()

    def _zooming(self, event: Any = None) -> None:
        self._zoomed.start()

    def _fit(self) -> None:
        for desk in self._desks.values():
            desk.layers.fit_outlines()


def _timer(milliseconds: int, call: Callable[[], None]) -> QTimer:
    """Return a timer that calls once, so long after it was started last."""
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer


def _most(draft: Draft) -> tuple[int, str]:
    """Return how many working pixels a region may have, and why not more."""
    room = working_room(draft)
    if room < MAX_WORKING_PIXELS:
        return room, "the memory that is free does not suffice"
    return room, f"{MAX_WORKING_PIXELS // 10**6} megapixels are the most"
