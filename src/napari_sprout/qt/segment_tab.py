"""The Segment tab: one button to run, the stages, the scan, the settings."""

from __future__ import annotations

from typing import Final

from qtpy.QtWidgets import QHBoxLayout, QMessageBox

from ..core.session import Session
from ..core.settings import Settings
from ..core.stages import STAGES, Stage, needed, reads
from ..napari_.image_layer import is_slide
from .before_run import CHOOSE_REGION
from .earlier_box import EarlierBox
from .fold import Fold
from .image_form import NO_IMAGE, ImageForm
from .missing_box import MissingBox
from .open_button import OpenButton
from .parts import Tab, allow, button
from .scan_box import ScanBox
from .sessions import Sessions
from .settings_form import SettingsForm
from .slide_box import SlideBox
from .stage_list import StageList

_DECIDE: Final = "Choose above first whether to go on with your earlier work."
_NONE_OPENED: Final = (
    "The points are to come from opened nuclei: open some, or choose something else under All "
    "settings, Prompts, Points from."
)
_RUNNING: Final = "Wait until the run is over, or cancel it."
_RUN: Final = "Find and outline all nuclei. Only what is not up to date is computed."
_CANCEL: Final = "Stop soon; the stages that are done stay."


class SegmentTab(Tab):
    """Runs the chosen image.

    Parameters
    ----------
    sessions
        The viewer's sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._stopping = False
        self.earlier = EarlierBox(sessions)
        self.slide = SlideBox(sessions)
        self.image = ImageForm(sessions)
        self.form = SettingsForm()
        self.missing = MissingBox(sessions, self.form.open_models)
        self.stages = StageList()
        self.scan = ScanBox(sessions)
        self.run_button = button("Run", _RUN, self._run_or_cancel)
        self.run_button.setMinimumHeight(40)
        font = self.run_button.font()
        font.setBold(True)
        font.setPointSizeF(1.3 * font.pointSizeF())
        self.run_button.setFont(font)
        self.run_to = button(
            "Run to here", "Run as far as the selected stage, to look at what it makes.", self._to
        )
        self.run_from = button(
            "Run on from here",
            "Make what is out of date, from the selected stage on. Your corrections stay.",
            sessions.run,
        )
        self.restart = button(
            "Start over…", "Begin this image anew. What you did stays on disk.", self._restart
        )
        self.opening = OpenButton(sessions, self)
        self.open_button = self.opening.button
        line = QHBoxLayout()
        for one in (self.run_to, self.run_from, self.restart):
            line.addWidget(one)
        self.lines.addWidget(self.slide)
        self.lines.addWidget(self.earlier)
        self.lines.addWidget(self.run_button)
        self.lines.addWidget(self.missing)
        self.lines.addWidget(self.open_button)
        self.lines.addWidget(self.image)
        self.lines.addWidget(self.stages)
        self.lines.addLayout(line)
        self.lines.addWidget(self.scan)
        tooltip = "How each stage of the method works. The defaults fit most images."
        self.settings_fold = Fold("All settings", self.form, tooltip=tooltip)
        self.lines.addWidget(self.settings_fold)
        self.lines.addStretch()
        self._connect()
        self.show_all()

    def _connect(self) -> None:
        self.form.changed.connect(self._edited)
        self.form.models_changed.connect(self.missing.show_draft)
        self.image.changed.connect(self._edited)
        self.image.sized.connect(self.slide.slides.give_pixel_size)
        self.slide.slides.changed.connect(self.image.show_draft)
        self.earlier.decided.connect(self.show_all)
        self.stages.chosen.connect(lambda _: self._show_buttons())
        self._sessions.current_changed.connect(self._show_other)
        self._sessions.before.refused.connect(self._show_missing)
        self._sessions.progress.connect(self.stages.advance)
        self._sessions.stage_finished.connect(self.stages.finish)
        self._sessions.busy.connect(self._busy)
        self._sessions.history_changed.connect(self.show_all)

    def show_all(self) -> None:
        """Show the chosen image and its session."""
        draft = self._sessions.draft
        self.earlier.show_draft()
        self.image.show_draft()
        self.missing.show_draft()
        self.scan.show_scan()
        if draft is not None:
            self.form.value = draft.settings
        self._show_stages()
        self._show_buttons()

    def _show_missing(self) -> None:
        """Show what keeps a run from beginning: a file may have gone since it was looked for."""
        self.form.show_models()
        self.missing.models.setFocus()
        self.ensureWidgetVisible(self.missing)

    def _show_other(self) -> None:
        """Show another image, or another session of the same."""
        self.stages.forget()
        self.show_all()

    def _show_stages(self) -> None:
        controller, draft = self._sessions.current, self._sessions.draft
        if controller is not None and draft is not None and not controller.is_running:
            session = controller.session
            touched = touched_stages(session.settings, draft.settings)
            self.stages.show_state(
                lambda stage: stage not in touched and session.is_current(stage),
                lambda stage: was_made(session, stage),
                needed(Stage.NUCLEI, draft.settings),
            )

    def _show_buttons(self) -> None:
        sessions, stage = self._sessions, self.stages.stage
        running = sessions.is_running
        self._stopping = self._stopping and running
        self.run_button.setText("Cancel" if running else "Run")
        self.run_button.setProperty("does", _CANCEL if running else _RUN)
        no_run = NO_IMAGE if sessions.layer is None else _DECIDE if self.earlier.asks else ""
        if is_slide(sessions.layer):
            no_run = f"This is a slide: {CHOOSE_REGION}"
        stopping = "It stops after the step it is at." if self._stopping else ""
        allow(self.open_button, _RUNNING if running else no_run)
        no_run = no_run or self._none_opened()
        allow(self.run_button, stopping if running else no_run)
        why_not = _RUNNING if running else no_run
        if not why_not and stage is None:
            why_not = "Select a stage in the list first."
        fresh = not why_not and stage is not None and self.stages.is_done(stage)
        same = "This stage is up to date: made again it would be the same. Change a setting first."
        allow(self.run_to, why_not or (same if fresh else ""))
        allow(self.run_from, why_not or (same if fresh and self.stages.all_done else ""))
        begun = sessions.current is not None
        allow(self.restart, "" if begun else "Nothing has been begun yet.")

    def _none_opened(self) -> str:
        """Return why nothing can be run if the points are to come from nuclei made elsewhere."""
        draft, controller = self._sessions.draft, self._sessions.current
        if draft is None or draft.settings.prompts.source != "given":
            return ""
        given = None if controller is None else controller.session.given
        return _NONE_OPENED if given is None else ""

    def _busy(self, busy: bool) -> None:
        controller = self._sessions.current
        if busy and controller is not None and controller.is_running:
            self.stages.begin()
        if not busy:
            self._stopping = False
        self.show_all()

    # What a person does

    def _run_or_cancel(self) -> None:
        if self._sessions.is_running:
            self._stopping = True
            self._sessions.cancel()
        else:
            self._sessions.run()
        self._show_buttons()

    def _to(self) -> None:
        if self.stages.stage is not None:
            self._sessions.run(self.stages.stage)

    def _edited(self, settings: Settings) -> None:
        if (draft := self._sessions.draft) is not None:
            draft.settings = settings
        self.show_all()

    def _restart(self) -> None:
        controller = self._sessions.current
        if controller is None:
            return
        if controller.can_undo:
            project = controller.project
            where = "" if project is None else f" It stays in {project.folder}."
            asked = QMessageBox.question(self, "Start over", f"Leave the work so far?{where}")
            if asked != QMessageBox.StandardButton.Yes:
                return
        self._sessions.restart()


def touched_stages(before: Settings, after: Settings) -> frozenset[Stage]:
    """Return the stages that would have to be made again if the settings were changed."""
    old, new = before.to_dict(), after.to_dict()
    touched: set[Stage] = set()
    for stage in Stage:
        own = any(old[group] != new[group] for group in STAGES[stage].groups)
        if own or touched.intersection(reads(stage, after)):
            touched.add(stage)
    return frozenset(touched)


def was_made(session: Session, stage: Stage) -> bool:
    """Whether a stage has an output, up to date or not."""
    try:
        session.output(stage)
    except KeyError:
        return False
    return True
