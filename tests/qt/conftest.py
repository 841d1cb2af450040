from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import napari.settings
import numpy as np
import pytest
from napari import Viewer
from napari.layers import Layer
from numpy.typing import NDArray
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_sprout.core.settings import Settings
from napari_sprout.core.synthetic import SyntheticImage, synthetic_he
from napari_sprout.io.overlay import write_png
from napari_sprout.napari_.controller import SessionController
from napari_sprout.napari_.roles import LayerRole
from napari_sprout.qt.dock import SproutDock
from napari_sprout.qt.workers import NAME

NO_KEY = Qt.KeyboardModifier.NoModifier
LONG = 30_000
"""Milliseconds that nothing in these tests takes, on however busy a machine."""


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what the plugin writes of itself out of the real home, and a person's preferences."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(napari.settings, "_CFG_PATH", str(folder / "settings.yaml"))
    napari.settings._clear_plugin_settings_cache()
    return folder


@pytest.fixture(scope="session")
def quick() -> Settings:
    """Prompts from the stain alone, on six tiles: soon done, and with units to stop between."""
    return Settings().with_changes(
        stain={"method": "fixed"},
        features={"tile": 128},
        prompts={"source": "stain"},
    )


@pytest.fixture(scope="session")
def scanning(quick: Settings) -> Settings:
    """Three steps of the scan: enough to choose from, and soon done."""
    return quick.with_changes(
        features={"tile": 256},
        transport={"rho_start": 0.6, "rho_step": 0.2},
        activation={"crf_iterations": 1},
        prompts={"source": "activation"},
    )


class Desk:
    """A viewer with the dock, and a person's hands."""

    def __init__(self, viewer: Viewer, qtbot: QtBot, fake_type: Any, settings: Settings) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        _, dock = viewer.window.add_plugin_dock_widget("napari-sprout", "SPROUT")
        assert isinstance(dock, SproutDock)
        self.dock = dock
        self.fakes: list[Any] = []
        self.failures: list[str] = []
        self.said: list[str] = []
        self._fake_type, self._settings = fake_type, settings
        dock.sessions.make_segmenter = self._segmenter
        dock.sessions.failed.connect(self.failures.append)
        dock.sessions.said.connect(self.said.append)
        dock.sessions.warned.connect(self.said.append)

    def _segmenter(self, draft: Any, say: Any) -> Any:
        self.fakes.append(self._fake_type())
        return self.fakes[-1]

    def open(self, path: Path, rgb: NDArray[np.uint8], settings: Settings | None = None) -> Layer:
        """Open an image that is on disk."""
        if not path.exists():
            write_png(path, rgb)
        layer = self.viewer.add_image(rgb, rgb=True, name=path.stem, metadata={"path": str(path)})
        self.dock.sessions.draft.settings = settings or self._settings
        self.dock.segment.show_all()
        return layer

    @property
    def control(self) -> SessionController:
        control = self.dock.sessions.current
        assert control is not None
        return control

    def run(self) -> None:
        """Press Run and wait until all is done."""
        self.dock.segment.run_button.click()
        self.wait_until_done()

    def wait_until_done(self) -> None:
        self.until(lambda: not self.dock.sessions.is_opening)
        self.until(lambda: not self.control.is_busy)

    def until(self, true: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(true, timeout=LONG)

    def layer(self, role: LayerRole) -> Any:
        layer = self.control.layer(role)
        assert layer is not None
        return layer

    @property
    def labels(self) -> NDArray[np.int32]:
        """What the person sees."""
        return np.array(self.layer(LayerRole.NUCLEI).data)

    def prompt(self, ident: int) -> tuple[float, float]:
        prompt = self.control.correction.prompts[ident]
        return prompt.y, prompt.x

    def place(self, layer: Layer, y: float, x: float) -> QPoint:
        """Return where a pixel of a layer is on the canvas."""
        canvas = self.viewer.window._qt_viewer.canvas
        node = canvas.layer_to_visual[layer].node
        column, row, _, w = node.get_transform("visual", "canvas").map([x, y])
        place = QPoint(round(column / w), round(row / w))
        assert canvas.native.rect().contains(place), "nobody could point at it there"
        return place

    def drag(self, layer: Layer, *places: tuple[float, float]) -> None:
        """Press the mouse on the canvas, move it from place to place, and let go."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        path = [self.place(layer, *place) for place in places]
        self.qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=path[0])
        for first, last in pairwise(path):
            for step in range(1, 5) if first != last else ():
                self.qtbot.mouseMove(canvas, first + (last - first) * step / 4)
                QApplication.processEvents()
        self.qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=path[-1])

    def click(self, layer: Layer, y: float, x: float, modifier: Any = NO_KEY) -> None:
        """Click on the canvas, at a place of a layer."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        place = self.place(layer, y, x)
        self.qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, modifier, place)

    def layers_of_ours(self) -> list[Layer]:
        """Return the layers that are there beside the images."""
        images = self.dock.sessions.images
        return [layer for layer in self.viewer.layers if layer not in images]

    def lonely(self) -> int:
        """Return a nucleus with room around it, away from the edge."""
        labels = self.labels
        for ident, prompt in self.control.correction.prompts.items():
            y, x = round(prompt.y), round(prompt.x)
            around = labels[max(y - 28, 0) : y + 29, max(x - 28, 0) : x + 29]
            alone = around.shape == (57, 57) and set(np.unique(around)) == {0, ident}
            if prompt.kind == "positive" and alone:
                return int(ident)
        pytest.fail("no nucleus stands alone in the test image")

    def look_at(self, place: Any) -> None:
        """Bring a tab of the dock to the front."""
        self.dock.tabs.setCurrentWidget(place)

    def close(self) -> None:
        """Close the window, and wait until all that it began has ended."""
        self.viewer.close()
        self.until(lambda: not any(t.name.startswith(NAME) for t in threading.enumerate()))

    def key(self, key: Qt.Key, modifier: Any = NO_KEY) -> None:
        """Press a key over the canvas."""
        self.qtbot.keyClick(self.viewer.window._qt_viewer.canvas.native, key, modifier)


@pytest.fixture
def desk(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot, fake_type: Any, quick: Settings
) -> Callable[..., Desk]:
    """Make a window of its own with the dock opened from the manifest."""

    def make() -> Desk:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1200, 800)
        return Desk(viewer, qtbot, fake_type, quick)

    return make


@pytest.fixture(scope="session")
def sparse() -> SyntheticImage:
    """Few nuclei, so that some have room to be moved."""
    return synthetic_he(shape=(192, 224), n_nuclei=9, seed=3)


@pytest.fixture
def working(desk: Callable[[], Desk], tmp_path: Path, sparse: SyntheticImage) -> Desk:
    """A desk with an image that has been run."""
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    made.run()
    assert made.failures == []
    made.viewer.reset_view()
    return made


@pytest.fixture
def scanned(
    desk: Callable[[], Desk], tmp_path: Path, sparse: SyntheticImage, scanning: Settings
) -> Desk:
    """A desk with an image whose prompts come from the activation scan."""
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb, scanning)
    made.run()
    assert made.failures == []
    made.viewer.reset_view()
    return made
