"""The window with all models: what they are, whether they are here, and how they come here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from psygnal import Signal
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QMessageBox,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ..errors import SproutError
from ..models import store
from ..models.download_errors import megabytes
from ..models.in_words import presence_of, size_of, terms_of
from ..models.pins import models_folder
from ..models.registry import Model, models
from .fetching import Fetching
from .parts import allow, button, note

COLUMNS: Final = ("Model", "Kind", "Size", "Licence", "Here", "Tried")
_KINDS: Final = {"encoder": "encoder", "segmenter": "SAM"}
_INTRO: Final = (
    "SPROUT works as it is: the model that is built in is enough. Nothing comes from the network "
    "until you press Download."
)
_UNTRIED: Final = "Nobody has seen a result of SPROUT with these weights yet."
_FETCHING: Final = "Wait until the download is over, or cancel it."
_HERE: Final = "It is on this computer already."
_PARTS: Final = 1000


class ModelsDialog(QDialog):
    """Lists all models, fetches and removes their weights.

    Parameters
    ----------
    parent
        What it lies over.
    """

    changed = Signal()
    """The weights of a model have come or gone."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("SPROUT: models")
        self._models = list(models().values())
        self._fetching = Fetching()
        self.table = _table(len(self._models))
        self.table.itemSelectionChanged.connect(self._show_chosen)
        self.about, self.message = note(), note()
        for text in (self.about, self.message):
            text.setTextFormat(Qt.TextFormat.PlainText)
            text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.bar = QProgressBar()
        self.bar.setRange(0, _PARTS)
        self.download = button(
            "Download…", "Fetch its weights; you see the licence first.", self._download
        )
        self.cancel = button("Cancel", "Stop the download; what has come is kept.", self._cancel)
        self.remove = button("Remove…", "Delete its weights from this computer.", self._remove)
        self.licence = button(
            "Open licence page", "Show the model's page in the web browser.", self._open_page
        )
        self.leave = button("Close", "Close this window.", self.reject)
        self._lay_out()
        self.resize(760, 640)
        self.show_models()
        self.table.selectRow(0)
        self.destroyed.connect(self._fetching.close)

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        for one in (self.download, self.cancel, self.remove, self.licence):
            one.setAutoDefault(False)
            line.addWidget(one)
        line.addStretch()
        line.addWidget(self.leave)
        layout = QVBoxLayout(self)
        layout.addWidget(note(_INTRO))
        layout.addWidget(self.table, 1)
        for widget in (self.about, self.bar, self.message):
            layout.addWidget(widget)
        layout.addLayout(line)
        self.bar.hide()
        self.message.hide()

    # What there is

    @property
    def is_fetching(self) -> bool:
        """Whether a download is under way."""
        return self._fetching.under_way

    @property
    def chosen(self) -> Model:
        """The model of the selected row."""
        return self._models[max(0, self.table.currentRow())]

    def choose(self, name: str) -> None:
        """Select a model's row, if there is one."""
        for row, one in enumerate(self._models):
            if one.name == name:
                self.table.selectRow(row)

    def show_models(self) -> None:
        """Look again at what is on this computer."""
        for row, one in enumerate(self._models):
            for column, text in enumerate(_cells(one)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"'{one.name}' in settings files")
                if COLUMNS[column] == "Size":
                    item.setTextAlignment(
                        int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                    )
                self.table.setItem(row, column, item)
        self._show_chosen()

    def _show_chosen(self) -> None:
        one, there = self.chosen, presence_of(self.chosen)
        lines = [terms_of(one)]
        lines.append(
            f"About {megabytes(round(4e6 * one.parameters))} of memory for its weights alone. "
            f"In settings files: {one.name}."
        )
        if not one.tried:
            lines.append(_UNTRIED)
        lines.append(_place(one))
        self.about.setText("\n".join(line for line in lines if line))
        busy = _FETCHING if self.is_fetching else ""
        allow(self.download, busy or (_HERE if there in ("built in", "yes") else ""))
        allow(self.cancel, "" if self.is_fetching else "Nothing is being fetched.")
        allow(self.remove, busy or _why_stays(one))

    # What a person does

    def _download(self) -> None:
        one = self.chosen
        asked = QMessageBox.question(self, "Download", f"{terms_of(one)}\n\nDownload it now?")
        if asked != QMessageBox.StandardButton.Yes or self.is_fetching:
            return
        self._say("")
        self._advance(one, 0, one.size)
        self.bar.show()
        self._fetching.begin(one, partial(self._advance, one), self._fetched, self._failed)
        self._show_chosen()

    def _advance(self, one: Model, done: int, total: int) -> None:
        self.bar.setValue(round(_PARTS * min(1.0, done / max(1, total))))
        come = megabytes(done) if done else "0 MB"
        self.bar.setFormat(f"{one.title}: {come} of {megabytes(total)}")

    def _fetched(self, path: Path) -> None:
        self._over(f"It is here: {path}")

    def _failed(self, error: BaseException) -> None:
        self._over(str(error))

    def _over(self, text: str) -> None:
        self.bar.hide()
        self._say(text)
        self.show_models()
        self.changed.emit()

    def _cancel(self) -> None:
        self._fetching.stop()
        allow(self.cancel, "It is being stopped.")

    def _remove(self) -> None:
        one = self.chosen
        text = f"Delete the weights of {one.title} from this computer?"
        if QMessageBox.question(self, "Remove", text) != QMessageBox.StandardButton.Yes:
            return
        try:
            self._over(f"'{store.remove(one)}' was deleted.")
        except SproutError as error:
            self._over(str(error))

    def _open_page(self) -> None:
        QDesktopServices.openUrl(QUrl(self.chosen.page))

    def reject(self) -> None:
        """Close, and stop a download if the person says so."""
        if self.is_fetching:
            text = "A download is under way. Stop it? What has come is kept, to go on with later."
            if QMessageBox.question(self, "Close", text) != QMessageBox.StandardButton.Yes:
                return
            self._fetching.stop()
        super().reject()

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))


def _table(rows: int) -> QTableWidget:
    made = QTableWidget(rows, len(COLUMNS))
    made.setHorizontalHeaderLabels(list(COLUMNS))
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    made.setWordWrap(False)
    made.setTabKeyNavigation(False)
    for header in (made.verticalHeader(), made.horizontalHeader()):
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setHighlightSections(False)
    if (numbers := made.verticalHeader()) is not None:
        numbers.hide()
    if (titles := made.horizontalHeader()) is not None:
        titles.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return made


def _cells(one: Model) -> tuple[str, ...]:
    """Return a model's row, as of :data:`COLUMNS`."""
    licence = f"{one.licence}, gated" if one.gated else one.licence
    there: str = presence_of(one)
    if there == "no" and _has_begun(one):
        there = "in part"
    return (
        one.title, _KINDS[one.kind], size_of(one), licence, there, "yes" if one.tried else "no"
    )  # fmt: skip


def _place(one: Model) -> str:
    """Say where a model's weights lie, or would."""
    if one.embedded:
        return ""
    try:
        there = store.downloaded(one)
    except SproutError as error:
        return str(error)
    return f"It lies here: {there}" if there else f"It would be kept in {models_folder()}."


def _has_begun(one: Model) -> bool:
    own = store.own_path(one)
    return own.with_name(f"{own.name}.part").exists()


def _why_stays(one: Model) -> str:
    """Return why a model cannot be removed; "" if it can."""
    if one.embedded:
        return "It is part of SPROUT."
    there = presence_of(one) == "yes" or _has_begun(one)
    return "" if there else "Nothing of it is on this computer."
