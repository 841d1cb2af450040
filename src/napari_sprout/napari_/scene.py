"""Everything of one session that is to be seen in a viewer, and what a person does to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from ..core.crops import slices
from ..core.edits import Edit
from ..core.instances import Prompt
from .keys import bind_keys, unbind_keys
from .labels_sync import LabelsSync, make_nuclei_layer
from .layers import LayerStore
from .points_sync import PointsSync, fill_points, make_points
from .reference_sync import ReferenceSync
from .release import ButtonWatcher
from .roles import LayerRole, Slot, write_tag
from .shape_tool import ShapeTool, Tool
from .stage_layers import LayerSpec
from .view import Ghost, View, ghost_features, ghost_labels

IMAGE = Slot(LayerRole.IMAGE)
NUCLEI = Slot(LayerRole.NUCLEI)
PROMPTS = Slot(LayerRole.PROMPTS)
SUPPRESSED = Slot(LayerRole.SUPPRESSED)
REFERENCE = Slot(LayerRole.REFERENCE)
DRAWING = Slot(LayerRole.DRAWING)

_EDITED = (PROMPTS, NUCLEI, REFERENCE, DRAWING)


@dataclass(frozen=True)
class Host:
    """Whom the scene tells what a person did.

    Attributes
    ----------
    send
        Given the edits of one act.
    settle
        Called when the mouse was released: what had to wait can be shown now.
    new_id
        Returns an identifier that was never used, at each call.
    pinned
        Returns the nuclei drawn by hand.
    clicked
        Given the role of the layer, the place (y, x) in full-resolution pixels, and
        the modifier keys of a click that was no drag.
    chosen
        Given the identifiers of the points that are selected now.
    drawn
        Given the tool and the (N, 2) corners of a line or region, in full-resolution
        pixels.
    closed
        Called when the image layer was deleted.
    keys
        Has the methods that the table of keys names.
    """

    send: Callable[[tuple[Edit, ...]], None]
    settle: Callable[[], None]
    new_id: Callable[[], int]
    pinned: Callable[[], frozenset[int]]
    clicked: Callable[[LayerRole, tuple[float, float], frozenset[str]], None]
    chosen: Callable[[frozenset[int]], None]
    drawn: Callable[[Tool, NDArray[np.float64]], None]
    closed: Callable[[], None]
    keys: object


class Scene:
    """The layers of one session and their watchers.

    Parameters
    ----------
    viewer
        Where they are shown.
    image
        The image layer.
    session
        Unique name of the session.
    pixel_size
        In um; None if unknown.
    host
        Whom to tell.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        session: str,
        pixel_size: float | None,
        host: Host,
    ) -> None:
        self.viewer = viewer
        self.store = LayerStore(viewer, image, session, self._lost)
        self.labels: NDArray[np.int32] | None = None
        self.prompts: tuple[Prompt, ...] = ()
        self.ghosts: tuple[Ghost, ...] = ()
        self._pixel_size = pixel_size
        self._host = host
        self._points: PointsSync | None = None
        self._nuclei: LabelsSync | None = None
        self._reference: ReferenceSync | None = None
        self._ghosts_stale = False
        self._negatives = True
        self._closed = False
        self._shapes: ShapeTool | None = None
        self._button = ButtonWatcher(viewer)
        viewer.layers.selection.events.active.connect(self._activated)
        write_tag(image, IMAGE, session)

    def show_spec(self, spec: LayerSpec) -> None:
        """Show one picture of a stage."""
        if spec.slot == REFERENCE and self._reference is not None:
            self._reference.show(lambda: self.store.show(spec))
            return
        layer = self.store.show(spec)
        if spec.slot == REFERENCE and isinstance(layer, Labels):
            self._reference = ReferenceSync(layer, self._host.send)
            bind_keys(layer, LayerRole.REFERENCE, self._host.keys)

    def prepare(self, role: LayerRole, shape: tuple[int, ...]) -> None:
        """Make an empty layer for the prompts, nuclei or suppressed candidates to come.

        Parameters
        ----------
        role
            What it is for; a layer that is there stays as it is.
        shape
            Height and width of the image.
        """
        if role is LayerRole.PROMPTS:
            self._points_layer()
        elif role is LayerRole.NUCLEI:
            self._nuclei_layer(shape)
        elif role is LayerRole.SUPPRESSED:
            self._ghost_layer(shape)

    def show_prompts(self, prompts: Sequence[Prompt]) -> None:
        """Show the prompts of a run that has no nuclei yet; they cannot be edited so far."""
        self.prompts = tuple(prompts)
        layer = self._points_layer()
        fill_points(layer, self._seen_prompts())
        layer.editable = False

    def show_negatives(self, shown: bool) -> None:
        """Show the negative points, or take them out of the layer.

        There are many, and they hide the image. In the layer but invisible they could
        still be dragged or deleted by mistake.
        """
        self._negatives = shown
        layer = self.layer(LayerRole.PROMPTS)
        if self._points is not None:
            self._host.settle()
        elif isinstance(layer, Points):
            fill_points(layer, self._seen_prompts())

    def _seen_prompts(self) -> tuple[Prompt, ...]:
        if self._negatives:
            return self.prompts
        return tuple(prompt for prompt in self.prompts if prompt.kind != "negative")

    def show_view(self, view: View, *, complete: bool) -> None:
        """Show a correction as it was when the view was taken.

        Parameters
        ----------
        view
            Of this session, and newer than the last.
        complete
            Whether it shows every label, not only those around a change.
        """
        self.prompts = view.prompts
        self.ghosts = view.ghosts
        if self.labels is None or complete:
            self._show_all_labels(view.labels)
        elif self._nuclei is None:
            self.labels[slices(view.box)] = view.labels
            self._watch_nuclei(self.labels)
        else:
            self._nuclei.show(view.box, view.labels)
        if self._points is None:
            self._watch_points()
        self._show_ghosts()

    def settle(self) -> None:
        """Make prompts and nuclei what the last view says, where no mouse is at work.

        To be called when no edit is under way.
        """
        if self._points is not None and not self._points.dragging:
            self._points.show(self._seen_prompts())
        if self._nuclei is not None:
            self._nuclei.reconcile()

    def layer(self, role: LayerRole) -> Layer | None:
        """Return the layer of a role; None if there is none, or it was deleted."""
        return self.store.image if role is LayerRole.IMAGE else self.store.get(Slot(role))

    def choose_points(self, ids: frozenset[int]) -> None:
        """Select the points with these identifiers, and no others."""
        if self._points is not None:
            self._points.choose(ids)

    def make_active(self, role: LayerRole, mode: str | None = None) -> Layer | None:
        """Select a layer in the layer list, so that mouse and keys work on it."""
        layer = self.layer(role)
        if layer is not None:
            layer.visible = True
            self.viewer.layers.selection.active = layer
            if mode is not None:
                layer.mode = mode
        return layer

    def introduce(self) -> None:
        """Put the points into the person's hand, unless another image is what they work on."""
        self._button.when_up(self._take_over)

    def holds(self, layer: object) -> bool:
        """Whether a layer is the image or one of those that lie over it."""
        return layer is self.store.image or layer in self.store

    def _take_over(self) -> None:
        if self.holds(self.viewer.layers.selection.active):
            self.make_active(LayerRole.PROMPTS, "select")

    def _activated(self, event: Any) -> None:
        active = self.viewer.layers.selection.active
        for sync in (self._points, self._nuclei, self._reference):
            if sync is not None and sync.layer is not active:
                sync.let_go()

    def start_drawing(self, tool: Tool) -> None:
        """Let the person draw a line or a region over the nuclei."""
        if self._shapes is None:
            name = self.store.name("Drawing")
            self._shapes = ShapeTool(name, self._drawn)
            self.store.put(DRAWING, self._shapes.layer)
        self.make_active(LayerRole.DRAWING)
        self._shapes.start(tool)

    def close(self) -> None:
        """Stop watching; the layers stay in the viewer, to be looked at."""
        self._closed = True
        self._button.close()
        self.viewer.layers.selection.events.active.disconnect(self._activated)
        held = [(slot, self.store.get(slot)) for slot in self.store.slots]
        for slot, layer in held:
            if layer is not None:
                unbind_keys(layer, slot.role)
        for sync in (self._points, self._nuclei, self._reference):
            if sync is not None:
                sync.close()
        self._points = self._nuclei = self._reference = None
        self.store.close()
        for slot, layer in held:
            if layer is not None and slot in _EDITED:
                _leave(layer)

    def _show_all_labels(self, labels: NDArray[np.int32]) -> None:
        if self._nuclei is not None and self.labels is not None:
            self._nuclei.show((0, 0, *labels.shape), labels)
            return
        self.labels = labels
        self._watch_nuclei(labels)

    def _nuclei_layer(self, shape: tuple[int, ...]) -> Labels:
        layer = self.store.get(NUCLEI)
        if not isinstance(layer, Labels):
            layer = make_nuclei_layer(shape, self.store.name("Nuclei"))
            self.store.put(NUCLEI, layer)
            self._watch(layer, LayerRole.NUCLEI)
        return layer

    def _watch_nuclei(self, labels: NDArray[np.int32]) -> None:
        layer, host = self._nuclei_layer(labels.shape), self._host
        layer.data[...] = labels
        layer.visible = True
        layer.refresh(extent=False)
        self._nuclei = LabelsSync(
            layer,
            labels,
            new_id=host.new_id,
            pinned=host.pinned,
            send=host.send,
            settle=host.settle,
        )

    def _points_layer(self) -> Points:
        layer = self.store.get(PROMPTS)
        if not isinstance(layer, Points):
            name = self.store.name("Prompts")
            layer = make_points((), name, self._pixel_size)
            self.store.put(PROMPTS, layer)
            bind_keys(layer, LayerRole.PROMPTS, self._host.keys)
        return layer

    def _watch_points(self) -> None:
        layer, host = self._points_layer(), self._host
        layer.editable = True
        self._points = PointsSync(layer, (), host.new_id, host.send, host.settle, host.chosen)
        self._points.show(self._seen_prompts())

    def _ghost_layer(self, shape: tuple[int, ...]) -> None:
        if self.store.get(SUPPRESSED) is not None:
            return
        layer = Labels(
            np.zeros(shape, np.int32),
            name=self.store.name("Suppressed"),
            colormap=DirectLabelColormap(color_dict={0: "transparent", None: "white"}),
            visible=False,
        )
        layer.contour = 1
        self.store.put(SUPPRESSED, layer)
        layer.editable = False
        layer.events.visible.connect(self._fill_ghosts)
        self._watch(layer, LayerRole.SUPPRESSED)

    def _show_ghosts(self) -> None:
        if self.labels is not None:
            self._ghost_layer(self.labels.shape)
            self._ghosts_stale = True
            self._fill_ghosts()

    def _fill_ghosts(self, event: Any = None) -> None:
        """Draw the suppressed candidates, which takes time, only while they are looked at."""
        layer = self.store.get(SUPPRESSED)
        if layer is not None and layer.visible and self._ghosts_stale:
            self._ghosts_stale = False
            layer.data = ghost_labels(self.ghosts, layer.data.shape)
            layer.features = ghost_features(self.ghosts)
            # napari lets every layer with new data be edited.
            layer.editable = False

    def _watch(self, layer: Labels, role: LayerRole) -> None:
        bind_keys(layer, role, self._host.keys)

        def click(layer: Labels, event: Any) -> Iterator[None]:
            moved = False
            yield
            while event.type == "mouse_move":
                moved = True
                yield
            if not moved and str(layer.mode) == "pan_zoom" and not self._closed:
                y, x = (float(value) for value in layer.world_to_data(event.position)[-2:])
                # A canvas names keys by vispy's objects, which have a name, not by strings.
                keys = frozenset(str(getattr(key, "name", key)) for key in event.modifiers)
                self._host.clicked(role, (y, x), keys)

        layer.mouse_drag_callbacks.append(click)

    def _drawn(self, tool: Tool, corners: NDArray[np.float64]) -> None:
        self.make_active(LayerRole.NUCLEI)
        self._host.drawn(tool, corners)

    def _lost(self, slot: Slot | None, layer: Layer) -> None:
        if slot is None:
            self._host.closed()
        elif slot == PROMPTS and self._points is not None and isinstance(layer, Points):
            self._points.close()
            self._points = None
        elif slot == NUCLEI and self._nuclei is not None:
            self._nuclei.close()
            self._nuclei = None
        elif slot == REFERENCE and self._reference is not None:
            self._reference.close()
            self._reference = None
        elif slot == DRAWING:
            self._shapes = None


def _leave(layer: Layer) -> None:
    """Let a layer be looked at only: nobody would keep what is done to it."""
    if isinstance(layer, Points | Shapes):
        # The Delete key works on what is selected, in any mode.
        layer.selected_data = set()
    layer.editable = False
