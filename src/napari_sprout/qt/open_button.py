"""The button that opens nuclei made elsewhere: from a file, or from a layer of labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton, QWidget

from ..core.edits import Piece
from ..core.pieces import pieces_of
from ..io.nuclei import read_nuclei
from ..napari_.roles import read_tag
from .keeping import image_file
from .parts import button
from .sessions import Sessions

_DOES: Final = (
    "Show nuclei that were outlined by another program (StarDist, Cellpose, QuPath ...) or on "
    "another day, just as they are, and correct them. They take the place of all but locked ones."
)
_KINDS: Final = "Nuclei (*.tif *.tiff *.png *.geojson *.json);;All files (*)"


class OpenButton:
    """Opens nuclei on the chosen image.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    parent
        Where its file dialog belongs.

    Attributes
    ----------
    button
        The button itself.
    menu
        What it offers; made anew whenever it is about to be seen.
    """

    def __init__(self, sessions: Sessions, parent: QWidget) -> None:
        self._sessions = sessions
        self._parent = parent
        self.button: QPushButton = button("Open nuclei…", _DOES, lambda: None)
        self.menu = QMenu(self.button)
        self.menu.setToolTipsVisible(True)
        self.menu.aboutToShow.connect(self.fill)
        self.button.setMenu(self.menu)

    def fill(self) -> None:
        """List where nuclei can come from: a file, and each layer of labels of the image's size."""
        self.menu.clear()
        self._offer("From a file…", "A label image (TIFF, PNG) or QuPath's GeoJSON.", self._file)
        for layer in label_layers(self._sessions):
            text = f"From the layer “{layer.name}”"
            self._offer(text, "The layer itself stays as it is.", partial(self._layer, layer))

    def _offer(self, text: str, tooltip: str, choose: Callable[[], None]) -> None:
        action = self.menu.addAction(text)
        if action is not None:
            action.setToolTip(tooltip)
            action.triggered.connect(lambda: choose())

    def _file(self) -> None:
        image = self._sessions.layer
        if image is None:
            return
        beside = image_file(image)
        folder = "" if beside is None else str(beside.parent)
        name, _ = QFileDialog.getOpenFileName(self._parent, "Open nuclei", folder, _KINDS)
        if name:
            path, shape = Path(name), shape_of(image)
            self._sessions.open_nuclei(lambda tell: read_nuclei(path, shape, tell))

    def _layer(self, layer: Labels) -> None:
        labels = np.array(layer.data)

        def read(tell: Callable[[str], None]) -> tuple[Piece, ...]:
            return pieces_of(labels)

        self._sessions.open_nuclei(read)
        # What is corrected from now on is another layer; this one would only cover it.
        layer.visible = False
        self._sessions.viewer.layers.selection.active = self._sessions.layer


def label_layers(sessions: Sessions) -> list[Labels]:
    """Return the layers of labels that are as large as the chosen image and not our own."""
    image = sessions.layer
    if image is None:
        return []
    shape = shape_of(image)
    return [
        layer
        for layer in sessions.viewer.layers
        if isinstance(layer, Labels)
        and not layer.multiscale
        and np.shape(layer.data) == shape
        and read_tag(layer) is None
    ]


def shape_of(image: Image) -> tuple[int, int]:
    """Return an image's height and width, in px."""
    height, width = np.shape(image.data[0] if image.multiscale else image.data)[:2]
    return int(height), int(width)
