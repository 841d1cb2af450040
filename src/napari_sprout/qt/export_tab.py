"""The Export tab: results as files, and the folder in which the work is kept."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from qtpy.QtCore import QStandardPaths
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLineEdit,
    QMessageBox,
)

from ..io.export import export, result_path, results_of
from ..io.project import SUFFIX
from ..io.slides.regions import region_of_image
from ..napari_.slide_layers import region_of
from .keeping import copy_project, image_file, make_folder, may_write_beside
from .parts import OneLine, Tab, allow, button, heading, note, open_folder, row
from .sessions import Sessions

_FORMATS: Final = {
    "labels": ("Label image (.tif)", "Every nucleus with its own number, for further software."),
    "overlay": ("Picture with outlines (.png)", "The outlines drawn on the image, to look at."),
    "csv": ("Table (.csv)", "One row a nucleus: place, size, shape, stain."),
    "geojson": ("QuPath (.geojson)", "Outlines to drop on the same image in QuPath."),
}
_NOT_YET: Final = "There are no nuclei yet: press Run in the Segment tab."
_REGION: Final = (
    "This is a region of a slide: these files are of it alone, in its own pixels. For the whole "
    "slide, in the slide's pixels, press Export the slide… in the Segment tab."
)
_RUNNING: Final = "Wait until the run is over."


class ExportTab(Tab):
    """Writes the chosen image's results.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._written: Path | None = None
        self._writers: dict[Path, str] = {}
        self._folder_chosen = False
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("Choose a folder")
        self.folder.textEdited.connect(self._typed)
        self.folder.textChanged.connect(lambda _: self._show_buttons())
        self.choose = button("Choose…", "Choose the folder to write to.", self._choose)
        self.formats: dict[str, QCheckBox] = {}
        for name, (text, tooltip) in _FORMATS.items():
            box = QCheckBox(text)
            box.setToolTip(tooltip)
            box.setChecked(True)
            box.toggled.connect(lambda _: self._show_buttons())
            self.formats[name] = box
        self.export_button = button("Export", "Write the chosen files.", self._export)
        self.export_button.setMinimumHeight(36)
        self.region = note(_REGION)
        self.written = note("Nothing has been exported yet.")
        self.show_written = button(
            "Open folder", "Show the last export in the file manager.", self._open_written
        )
        self.kept = OneLine()
        self.show_kept = button(
            "Open folder", "Show the project folder in the file manager.", self._open_kept
        )
        self.copy = button(
            "Save a copy…", "Copy the project folder as it is now, to hand on.", self._copy
        )
        self.open = button(
            "Open project…", "Go on with work of an earlier day, corrections and all.", self._open
        )
        self._lay_out()
        sessions.current_changed.connect(self._attach)
        sessions.busy.connect(lambda _: self._show_buttons())
        sessions.history_changed.connect(self._show_buttons)
        sessions.failed.connect(lambda _: self._show_buttons())
        self._attach()

    def _lay_out(self) -> None:
        self.lines.addWidget(heading("Results"))
        self.lines.addLayout(row(self.folder, self.choose))
        for box in self.formats.values():
            self.lines.addWidget(box)
        self.lines.addWidget(self.region)
        self.lines.addWidget(self.export_button)
        self.lines.addWidget(self.written)
        self.lines.addWidget(self.show_written)
        self.lines.addSpacing(12)
        self.lines.addWidget(heading("Project"))
        self.lines.addWidget(note("Everything you do is kept as you do it, in this folder:"))
        self.lines.addWidget(self.kept)
        self.lines.addLayout(row(self.show_kept, self.copy, self.open))
        self.lines.addStretch()

    # What a person does

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export to", self.folder.text())
        if folder:
            self._folder_chosen = True
            self.folder.setText(folder)

    def _typed(self) -> None:
        self._folder_chosen = True

    def _export(self) -> None:
        controller = self._sessions.current
        if controller is None:
            return
        folder, stem = Path(self.folder.text()), self._stem()
        formats = [name for name, box in self.formats.items() if box.isChecked()]
        correction, project, writer = controller.correction, controller.project, controller.uid
        present = [
            path.name
            for path in _paths(folder, stem, formats)
            if path.exists() and self._writers.get(path.resolve()) != writer
        ]
        if present and not self._may_replace(present):
            return

        def work() -> tuple[Path, ...]:
            make_folder(folder)
            # Only now have the edits that were waiting been done and written down.
            origin = None if project is None else project.origin
            return export(folder, stem, results_of(correction, origin), formats)

        allow(self.export_button, "Writing…")
        self._sessions.work(work, partial(self._exported, writer))

    def _may_replace(self, names: list[str]) -> bool:
        text = "These files are there already: " + ", ".join(names) + ". Replace them?"
        asked = QMessageBox.question(self, "Export", text)
        return asked == QMessageBox.StandardButton.Yes

    def _exported(self, writer: str, paths: tuple[Path, ...]) -> None:
        # What a session itself wrote it may replace, until another session has.
        self._writers.update((path.resolve(), writer) for path in paths)
        self._written = paths[0].parent
        names = "<br>".join(path.name for path in paths)
        self.written.setText(f"Last export, in {self._written}:<br>{names}")
        self._sessions.say(f"{len(paths)} files were written to {self._written}.")
        self._show_buttons()

    def _open_written(self) -> None:
        if self._written is not None:
            open_folder(str(self._written))

    def _open_kept(self) -> None:
        controller = self._sessions.current
        if controller is not None and controller.project is not None:
            open_folder(str(controller.project.folder))

    def _copy(self) -> None:
        controller = self._sessions.current
        if controller is None or (project := controller.project) is None:
            return
        start = str(project.folder.with_name(f"{project.name}-copy{SUFFIX}"))
        name, _ = QFileDialog.getSaveFileName(self, "Save a copy of the project", start)
        if name:
            folder = Path(name)
            if folder.suffix != SUFFIX:
                folder = folder.with_name(folder.name + SUFFIX)
            self._sessions.work(
                lambda: copy_project(project, folder),
                lambda _: self._sessions.say(f"The project was copied to {folder}."),
            )

    def _open(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Open a project folder (its name ends in .sprout)"
        )
        if folder:
            self._sessions.resume(Path(folder))

    # What is shown

    def _attach(self) -> None:
        """Show the places of the chosen image."""
        layer, controller = self._sessions.layer, self._sessions.current
        file = None if layer is None else image_file(layer)
        if file is not None and not self._folder_chosen:
            self.folder.setText(str(_export_folder(file)))
        self.region.setVisible(region_of(layer) is not None)
        project = None if controller is None else controller.project
        nowhere = "nowhere yet: it begins with the first run" if controller is None else "nowhere"
        self.kept.setText(str(project.folder) if project is not None else f"({nowhere})")
        self._show_buttons()

    def _show_buttons(self) -> None:
        controller = self._sessions.current
        ready = controller is not None and controller.view is not None
        why_not = "" if ready else _NOT_YET
        if self._sessions.is_running:
            why_not = _RUNNING
        if not why_not and not Path(self.folder.text()).is_absolute():
            why_not = "Choose a folder to write to."
        if not why_not and not any(box.isChecked() for box in self.formats.values()):
            why_not = "Choose at least one kind of file."
        allow(self.export_button, why_not)
        allow(self.show_written, "" if self._written else "Nothing has been exported yet.")
        kept = controller is not None and controller.project is not None
        nothing = "" if kept else "Nothing is kept yet: press Run in the Segment tab."
        allow(self.show_kept, nothing)
        allow(self.copy, nothing)
        allow(self.open, _RUNNING if self._sessions.is_running else "")

    def _stem(self) -> str:
        """Return what the names of the files begin with."""
        controller, layer = self._sessions.current, self._sessions.layer
        if controller is not None and controller.project is not None:
            return controller.project.name
        return "nuclei" if layer is None else layer.name


def _paths(folder: Path, stem: str, formats: list[str]) -> list[Path]:
    return [result_path(folder, stem, name) for name in formats]


def _export_folder(file: Path) -> Path:
    """Return where the results of an image go unless a person says otherwise."""
    if region_of_image(file) is not None:
        # Beside the slide's folder, not in it.
        file = file.parent.parent
    if may_write_beside(file):
        return file.parent
    documents = QStandardPaths.StandardLocation.DocumentsLocation
    return Path(QStandardPaths.writableLocation(documents))
