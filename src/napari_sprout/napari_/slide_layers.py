"""What lies over a slide in a viewer: the map of what is done, and where its regions are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Shapes
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from ..core.instances import Box
from ..io.slides.region_results import RegionState
from ..io.slides.regions import Region, region_of_image
from .camera import look_at, screen_pixel
from .image_layer import PLACE, is_colour_image, is_slide, place
from .layers import selection_kept
from .readers import SLIDE, image_options
from .region_box import Corners, place_in_words
from .shape_tool import ShapeTool, Tool
from .slide_progress import TO_DO, VALUES

COLOURS: Final[Mapping[RegionState, str]] = MappingProxyType(
    {
        RegionState.NEW: "#ff7a00",
        RegionState.SEGMENTED: "#2aa1ff",
        RegionState.CORRECTED: "#00c853",
        RegionState.DAMAGED: "#ff1744",
    }
)
TO_DO_COLOUR: Final = "#ffe100"
_CHOSEN: Final = "#ff00ff"
_EDGE: Final = 1.5
"""Screen pixels on either side of the edge of a region that its outline covers."""
_ROOM: Final = 0.1
"""How much of its surroundings is seen around a region that is gone to."""

_Lie = tuple[tuple[float, float], tuple[int, int]]


def slide_path(layer: Layer) -> Path | None:
    """Return the file or folder of the slide that a layer shows; None for any other layer."""
    return Path(str(layer.metadata[SLIDE])) if is_slide(layer) else None


def region_of(layer: Layer | None) -> Region | None:
    """Return the region of a slide that a layer shows; None for any other layer."""
    if layer is None or not is_colour_image(layer) or is_slide(layer):
        return None
    path = layer.metadata.get("path")
    return region_of_image(Path(path)) if isinstance(path, str | Path) else None


def make_region_layer(rgb: NDArray[np.uint8], region: Region, mpp: float) -> Image:
    """Return a layer of a region's pixels, still to be laid over its slide."""
    return Image(rgb, **image_options(region_title(region, mpp), mpp, region.image))


def region_title(region: Region, mpp: float) -> str:
    """Return what a region's layer is called."""
    return f"Region {place_in_words(region.box, mpp)}"


class SlideLayers:
    """The layers over one slide; they follow it when it is moved or scaled.

    Parameters
    ----------
    viewer
        Where they are.
    slide
        The slide's layer.
    drawn
        Given the (y0, x0, y1, x1) of a rectangle that a person drew, in pixels of the slide.
    """

    def __init__(self, viewer: ViewerModel, slide: Image, drawn: Callable[[Corners], None]) -> None:
        self.viewer = viewer
        self.slide = slide
        self._drawn = drawn
        self._lie: dict[Layer, _Lie] = {}
        self._map: Labels | None = None
        self._outlines: Shapes | None = None
        self._tool: ShapeTool | None = None
        self._shown: tuple[tuple[tuple[Box, RegionState], ...], Box | None] = ((), None)
        for name in PLACE:
            slide.events[name].connect(self._follow)
        viewer.layers.events.removed.connect(self._removed)

    @property
    def map(self) -> Labels | None:
        """The map of what is done, if it is in the viewer."""
        return self._map

    @property
    def outlines(self) -> Shapes | None:
        """The outlines of the regions, if there are any."""
        return self._outlines

    @property
    def own(self) -> list[Layer]:
        """The layers that mean nothing without the slide: all but the regions."""
        tool = None if self._tool is None else self._tool.layer
        layers = (self._map, self._outlines, tool)
        return [one for one in layers if one is not None and one in self.viewer.layers]

    def show_map(self, found: NDArray[np.uint8], downsample: float) -> None:
        """Show what has become of each place of the slide.

        Parameters
        ----------
        found
            As of :func:`~.slide_progress.progress_map`.
        downsample
            Full-resolution pixels a pixel of it.
        """
        if self._map is None:
            layer = Labels(
                found, name=f"Progress · {self.slide.name}", colormap=_colours(), opacity=0.4
            )
            self._map = layer
            self._insert(layer, self._above(self.slide), ((downsample, downsample), (0, 0)))
        elif not np.array_equal(self._map.data, found):
            self._map.data = found
        # napari lets every layer with new data be edited.
        self._map.editable = False

    def show_regions(
        self, regions: Sequence[tuple[Box, RegionState]], chosen: Box | None = None
    ) -> None:
        """Outline the regions, each in the colour of its state; the chosen one stands out."""
        shown = (tuple(regions), chosen)
        if shown == self._shown:
            return
        self._shown = shown
        if self._outlines is None:
            if not regions:
                return
            layer = Shapes(ndim=2, name=f"Regions · {self.slide.name}", opacity=1)
            self._outlines = layer
            self._insert(layer, len(self.viewer.layers), ((1.0, 1.0), (0, 0)))
        layer = self._outlines
        layer.data = []
        if regions:
            layer.add_rectangles(
                [_corners(box) for box, _ in regions],
                edge_color=[_CHOSEN if box == chosen else COLOURS[s] for box, s in regions],
                edge_width=self._edge(),
                face_color="transparent",
            )
        layer.selected_data = set()
        layer.editable = False

    def adopt(self, layer: Image, region: Region) -> None:
        """Lay a region's layer over the slide, where it was read from."""
        self._lie[layer] = ((1.0, 1.0), (region.box[0], region.box[1]))
        place(layer, self.slide, *self._lie[layer])

    def holds(self, layer: Layer) -> bool:
        """Whether a layer lies over the slide already."""
        return layer in self._lie

    def add(self, layer: Image, region: Region) -> None:
        """Put a region's layer, which is in no viewer yet, over the slide."""
        self.adopt(layer, region)
        below = self.slide if self._map is None else self._map
        self.viewer.layers.insert(self._above(below), layer)

    def start_drawing(self) -> None:
        """Let a person draw a rectangle."""
        if self._tool is None:
            self._tool = ShapeTool(f"New region · {self.slide.name}", self._finished)
            self._insert(self._tool.layer, len(self.viewer.layers), ((1.0, 1.0), (0, 0)))
        self._tool.layer.visible = True
        self._tool.layer.current_edge_width = self._edge()
        self.viewer.layers.selection.active = self._tool.layer
        self._tool.start("rectangle")

    def fit_outlines(self) -> None:
        """Make the outlines as wide on the screen as they were before the view was zoomed."""
        if self._outlines is not None and self._outlines.nshapes:
            self._outlines.edge_width = [self._edge()] * self._outlines.nshapes

    def look_at(self, box: Box) -> None:
        """Bring a region into view, with some of its surroundings."""
        y0, x0, y1, x1 = box
        down, across = _ROOM * (y1 - y0), _ROOM * (x1 - x0)
        look_at(self.viewer, self.slide, (y0 - down, x0 - across, y1 + down, x1 + across))

    def close(self) -> None:
        """Stop following; the layers stay in the viewer."""
        for name in PLACE:
            self.slide.events[name].disconnect(self._follow)
        self.viewer.layers.events.removed.disconnect(self._removed)
        self._lie.clear()

    def _edge(self) -> float:
        return _EDGE * screen_pixel(self.viewer, self.slide)

    def _insert(self, layer: Layer, index: int, lie: _Lie) -> None:
        self._lie[layer] = lie
        place(layer, self.slide, *lie)
        with selection_kept(self.viewer.layers):
            self.viewer.layers.insert(index, layer)

    def _above(self, layer: Layer) -> int:
        return int(self.viewer.layers.index(layer)) + 1

    def _finished(self, tool: Tool, corners: NDArray[np.float64]) -> None:
        self.viewer.layers.selection.active = self.slide
        (y0, x0), (y1, x1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        self._drawn((y0, x0, y1, x1))

    def _follow(self, event: Any = None) -> None:
        for layer, lie in self._lie.items():
            place(layer, self.slide, *lie)

    def _removed(self, event: Any) -> None:
        gone = event.value
        self._lie.pop(gone, None)
        if gone is self._map:
            self._map = None
        elif gone is self._outlines:
            self._outlines, self._shown = None, ((), None)
        elif self._tool is not None and gone is self._tool.layer:
            self._tool = None


def _corners(box: Box) -> NDArray[np.float64]:
    """Return the corners of a box of pixels, which reach half a pixel beyond their centres."""
    y0, x0, y1, x1 = (edge - 0.5 for edge in box)
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])


def _colours() -> DirectLabelColormap:
    colours: dict[int | None, str] = {None: "transparent", 0: "transparent", TO_DO: TO_DO_COLOUR}
    for state in (RegionState.NEW, RegionState.SEGMENTED, RegionState.CORRECTED):
        colours[VALUES[state]] = COLOURS[state]
    return DirectLabelColormap(color_dict=colours)
