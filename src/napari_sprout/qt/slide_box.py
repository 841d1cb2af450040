"""The box for a slide: its regions, what is done of it, and its result."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFrame,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QProgressBar,
    QVBoxLayout,
)

from ..core.instances import Box
from ..io.slides.region_export import FORMATS, Exported
from ..io.slides.region_results import RegionState
from ..napari_.region_box import extent, place_in_words
from ..napari_.slide_layers import COLOURS
from .parts import allow, button, heading, note, row
from .sessions import Sessions
from .slides import SlideOnDesk, Slides

_LISTED: Final = 96
"""Height of the list in px: some four regions, and the others by scrolling."""
_OPENING: Final = "The slide is being opened."
_NO_SIZE: Final = (
    "This slide does not say how large its pixels are. Give their size below first: most 40x "
    "scans have 0.25 µm, 20x scans 0.5 µm."
)
_LOOKING: Final = "Looking for tissue…"
_WAIT: Final = "Wait until that is done, or cancel it."
_STATES: Final = {
    RegionState.NEW: "not segmented yet",
    RegionState.SEGMENTED: "segmented",
    RegionState.CORRECTED: "corrected",
    RegionState.DAMAGED: "cannot be read",
}


class SlideBox(QFrame):
    """To be seen only while a slide, or a region of one, is worked on.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self.slides = Slides(sessions)
        self._rows: list[tuple[Box, RegionState, str]] = []
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.note = note()
        self.note.setTextFormat(Qt.TextFormat.PlainText)
        self.from_view = button(
            "Region from view", "Make what is in view a region to work on.", self.slides.take_view
        )
        self.draw = button(
            "Draw region", "Draw a rectangle over the slide: a region to work on.", self.slides.draw
        )
        self.list = QListWidget()
        self.list.setFixedHeight(_LISTED)
        self.list.setToolTip("A double click goes there, with the work that was done.")
        self.list.itemActivated.connect(self._go_to)
        self.progress_map = QCheckBox("Tissue and progress")
        self.progress_map.setToolTip(
            "Show over the slide which tissue is still to be done (yellow), read (orange), "
            "segmented (blue) and corrected (green)."
        )
        self.progress_map.toggled.connect(self._toggle_map)
        self.leave = button(
            "Close region",
            "Take this region and its layers away, to free memory. Its work is kept.",
            self.slides.close_region,
        )
        self.export = button(
            "Export the slide…",
            "Write the nuclei of all regions as those of one slide: a label pyramid, outlines for "
            "QuPath, and a table. Where regions overlap, no nucleus counts twice.",
            self._export,
        )
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.cancel = button("Cancel", "Stop soon; nothing half done stays.", self._cancel)
        self._lay_out()
        self.slides.changed.connect(self.show_slide)
        self.slides.progress.connect(self._advance)
        sessions.busy.connect(lambda _: self.show_slide())
        self.show_slide()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(heading("Slide"))
        layout.addWidget(self.note)
        layout.addLayout(row(self.from_view, self.draw))
        layout.addWidget(self.list)
        layout.addLayout(row(self.progress_map, self.leave))
        layout.addWidget(self.export)
        layout.addLayout(row(self.bar, self.cancel))

    # What is shown

    def show_slide(self) -> None:
        """Show the slide that is worked on."""
        desk = self.slides.desk
        self.setVisible(desk is not None)
        if desk is None:
            return
        self.note.setText(self._status(desk))
        self._show_list(desk)
        map_ = desk.layers.map
        self.progress_map.blockSignals(True)
        self.progress_map.setChecked(map_ is not None and map_.visible)
        self.progress_map.blockSignals(False)
        allow(self.progress_map, "" if map_ is not None else "The tissue is not known yet.")
        self._show_buttons(desk)

    def _status(self, desk: SlideOnDesk) -> str:
        slide = desk.open
        if slide.problem:
            return slide.problem
        if slide.shape is None:
            return _OPENING
        if slide.mpp is None:
            return _NO_SIZE
        count = len(slide.states)
        regions = f"{count} region{'' if count == 1 else 's'}"
        share, seen = self.slides.share, slide.overview
        if seen is not None and not seen.tissue.any():
            return f"{regions}. No tissue was found on this slide."
        return f"{regions}. {_LOOKING}" if share is None else f"{regions}. {_done(share)}"

    def _show_list(self, desk: SlideOnDesk) -> None:
        mpp, states = desk.open.mpp, sorted(desk.open.states.items())
        rows = (
            [] if mpp is None else [(box, state, _line(box, state, mpp)) for box, state in states]
        )
        if rows != self._rows:
            self._rows = rows
            self.list.clear()
            for box, state, text in rows:
                item = QListWidgetItem(_icon(state), text)
                item.setData(Qt.ItemDataRole.UserRole, box)
                self.list.addItem(item)
        chosen = self.slides.chosen
        boxes = [box for box, _, _ in rows]
        known = chosen is not None and chosen.box in boxes
        self.list.setCurrentRow(boxes.index(chosen.box) if known and chosen else -1)

    def _show_buttons(self, desk: SlideOnDesk) -> None:
        slide = desk.open
        busy = bool(slide.busy)
        self.bar.setVisible(busy)
        self.cancel.setVisible(busy)
        why_not = slide.problem or (_OPENING if slide.shape is None else "")
        why_not = why_not or ("" if slide.mpp is not None else _NO_SIZE)
        why_not = why_not or (_WAIT if busy else "")
        for one in (self.from_view, self.draw):
            allow(one, why_not)
        running = any(one.is_running for one in self._sessions.registry)
        if not any(state.done for state in slide.states.values()):
            why_not = why_not or "No region is segmented yet."
        allow(self.export, why_not or ("Wait until the run is over." if running else ""))
        chosen = self.slides.chosen is not None
        not_now = "Wait until the run is over." if self._sessions.is_running else ""
        allow(self.leave, not_now if chosen else "Choose a region first.")

    def _advance(self, share: float, what: str) -> None:
        self.bar.setValue(round(1000 * share))
        self.bar.setFormat(f"{what} %p %")

    # What a person does

    def _go_to(self, item: QListWidgetItem) -> None:
        box: Box = tuple(item.data(Qt.ItemDataRole.UserRole))
        self.slides.go_to(box)

    def _toggle_map(self, shown: bool) -> None:
        desk = self.slides.desk
        if desk is not None and desk.layers.map is not None:
            desk.layers.map.visible = shown

    def _cancel(self) -> None:
        if (desk := self.slides.desk) is not None:
            desk.open.cancel()

    def _export(self) -> None:
        desk = self.slides.desk
        if desk is None or desk.open.regions is None:
            return
        start = str(desk.open.regions.folder.parent)
        name = QFileDialog.getExistingDirectory(self, "Export the slide to", start)
        if name and self._may_replace(Path(name), desk.open.regions.folder.stem):
            self.slides.export(Path(name), tuple(FORMATS), self._exported)

    def _may_replace(self, folder: Path, stem: str) -> bool:
        there = [f"{stem}{end}" for end in FORMATS.values() if (folder / f"{stem}{end}").exists()]
        if not there:
            return True
        text = "These are there already: " + ", ".join(there) + ". Replace them?"
        asked = QMessageBox.question(self, "Export the slide", text)
        return asked == QMessageBox.StandardButton.Yes

    def _exported(self, done: Exported) -> None:
        regions = f"{done.regions} region{'' if done.regions == 1 else 's'}"
        where = done.paths[0].parent
        self._sessions.say(f"{done.nuclei} nuclei of {regions} were written to {where}.")


def _done(share: float) -> str:
    """Return the share of the tissue that is done; what is little is not told as nothing."""
    text = "< 1 %" if 0 < share < 0.01 else f"{int(100 * share)} %"
    return f"{text} of the tissue is segmented."


def _line(box: Box, state: RegionState, mpp: float) -> str:
    return f"{extent(box, mpp)} at {place_in_words(box, mpp)}: {_STATES[state]}"


def _icon(state: RegionState) -> QIcon:
    pixels = QPixmap(12, 12)
    pixels.fill(QColor(COLOURS[state]))
    return QIcon(pixels)
