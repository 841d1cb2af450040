"""The layers of one session: held by reference, laid over the image, made anew when deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from napari.components import LayerList, ViewerModel
from napari.layers import Image, Labels, Layer

from .image_layer import PLACE, place
from .roles import Slot, remove_tag, write_tag
from .stage_layers import LayerSpec


class LayerStore:
    """Owns the layers that one session adds to a viewer.

    Parameters
    ----------
    viewer
        Where the layers are.
    image
        The image layer that they lie over; they follow its scale, translation,
        rotation, shear, affine and units.
    session
        Unique name of the session, written into each layer's metadata.
    on_lost
        Called with the slot and the layer when a person has deleted one; with
        None for the slot if it was the image layer.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        session: str,
        on_lost: Callable[[Slot | None, Layer], None],
    ) -> None:
        self.viewer = viewer
        self.image = image
        self.session = session
        self._on_lost = on_lost
        self._held: dict[Slot, tuple[Layer, tuple[float, float]]] = {}
        for name in PLACE:
            image.events[name].connect(self._follow)
        viewer.layers.events.removed.connect(self._removed)

    def get(self, slot: Slot) -> Layer | None:
        """Return the layer of a slot; None if there is none, or it was deleted."""
        return self._held[slot][0] if slot in self._held else None

    def __contains__(self, layer: object) -> bool:
        return any(layer is held for held, _ in self._held.values())

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots that have a layer."""
        return tuple(self._held)

    @property
    def layers(self) -> list[Layer]:
        """The layers that lie over the image."""
        return [layer for layer, _ in self._held.values()]

    def put(self, slot: Slot, layer: Layer, grid: tuple[float, float] = (1.0, 1.0)) -> None:
        """Add a new layer over the image, in its place among the session's others.

        Parameters
        ----------
        slot
            What it is for.
        layer
            A layer that is in no viewer yet.
        grid
            Height and width of its pixels, in the image's pixels.
        """
        self.remove(slot)
        write_tag(layer, slot, self.session)
        place(layer, self.image, grid)
        layers = self.viewer.layers
        below = [self.image, *(held for s, (held, _) in self._held.items() if s.rank < slot.rank)]
        above = 1 + max((layers.index(one) for one in below if one in layers), default=-1)
        with selection_kept(layers):
            layers.insert(above, layer)
        self._held[slot] = (layer, grid)

    def show(self, spec: LayerSpec) -> Layer:
        """Show a stage's picture, in its layer or in a new one.

        A layer that is there keeps its name, colours and visibility.
        """
        layer = self.get(spec.slot)
        if layer is None:
            layer = self._made(spec)
            self.put(spec.slot, layer, spec.grid)
        else:
            layer.data = spec.data
            self._held[spec.slot] = (layer, spec.grid)
            place(layer, self.image, spec.grid)
            for name, value in spec.updates.items():
                setattr(layer, name, value)
        return layer

    def name(self, title: str) -> str:
        """Return the name of a new layer: what it shows, and which image if there are several."""
        images = [one for one in self.viewer.layers if isinstance(one, Image) and one.rgb]
        return title if len(images) < 2 else f"{title} · {self.image.name}"

    def remove(self, slot: Slot) -> None:
        """Remove a layer that no longer shows anything."""
        held = self._held.pop(slot, None)
        if held is not None and held[0] in self.viewer.layers:
            self.viewer.layers.remove(held[0])

    def close(self) -> None:
        """Let go of the layers: they stay in the viewer, as layers like any other."""
        for name in PLACE:
            self.image.events[name].disconnect(self._follow)
        self.viewer.layers.events.removed.disconnect(self._removed)
        for layer, _ in self._held.values():
            remove_tag(layer)
        remove_tag(self.image)
        self._held.clear()

    def _made(self, spec: LayerSpec) -> Layer:
        kind = Labels if spec.kind == "labels" else Image
        return kind(spec.data, name=self.name(spec.title), **spec.options, **spec.updates)

    def _follow(self, event: Any = None) -> None:
        for layer, grid in self._held.values():
            place(layer, self.image, grid)

    def _removed(self, event: Any) -> None:
        gone = event.value
        if gone is self.image:
            self._on_lost(None, gone)
        for slot, (layer, _) in list(self._held.items()):
            if layer is gone:
                del self._held[slot]
                self._on_lost(slot, gone)


@contextmanager
def selection_kept(layers: LayerList) -> Iterator[None]:
    """Keep napari from selecting a new layer: the person's own choice stays.

    To put the selection back afterwards would do, but napari builds up the
    controls of the layer for each time that it is selected.
    """
    selected, active = set(layers.selection), layers.selection.active
    activates = getattr(layers, "_activate_on_insert", None)
    if activates is not None:
        layers._activate_on_insert = False
    try:
        yield
    finally:
        if activates is not None:
            layers._activate_on_insert = activates
        if set(layers.selection) != selected:
            layers.selection.clear()
            layers.selection.update(selected)
            layers.selection.active = active
