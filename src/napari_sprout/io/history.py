"""What the journal's entries mean: doing things so that they are kept, and doing them again.

Kinds of entries:

- ``{"kind": "run", "settings": {...}, "software": name, "outcome": {...}}``; "outcome", which
  version 0.1.0 did not write, says what it came to, see :mod:`.outcome`
- ``{"kind": "edit", "edit": {...}}``, see :mod:`napari_sprout.core.edits`
- ``{"kind": "undo"}`` and ``{"kind": "redo"}``
- ``{"kind": "failed", "entry": n}``: entry n was written down but came to nothing
- ``{"kind": "reviewed", ...}``: has no effect on labels

Edits, "undo" and "redo" may say which act of the person they belong to, see :mod:`.acts`.

An edit is written down first and done then, so a full disk stops a person before,
not after, the work. If it turns out to be impossible, "failed" follows; if the
program dies before that, doing the edit again meets the same end or completes it.
A run is written down when its result takes the place of the one before, so one
that was cancelled, or that took the program down, is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar, cast

from ..core.correction import Change, Correction
from ..core.edits import Edit, edit_from_json, edit_to_json
from ..core.loaded import SegmenterSource
from ..core.session import Progress, Session
from ..core.settings import Settings
from ..core.stages import Stage
from ..errors import ProjectError, SproutError, StoppedError, warn
from .acts import Part, left_over
from .outcome import SOFTWARE, check_outcome, outcome_of
from .project import Project

_T = TypeVar("_T")
# A run takes about as long as this many edits.
_RUN_SHARE: Final = 50


def run(
    project: Project,
    correction: Correction,
    until: Stage = Stage.NUCLEI,
    tell: Callable[[str], None] = warn,
) -> Generator[Progress, None, None]:
    """Run the stages that are not up to date, and keep that in the journal.

    Settings should be changed by :class:`.ChangeSettings` alone, or not at all.

    Parameters
    ----------
    project
        Where it is kept.
    correction
        What to run, with the settings of its session.
    until
        The last stage.
    tell
        Called with a sentence if the finished run cannot be written down now; by
        default that is a SproutWarning. The run will be written down before the next
        edit is, or else that edit is refused.

    Yields
    ------
    Progress
        As of :meth:`Correction.run`; closing the generator stops the run.

    Raises
    ------
    ProjectError
        If there are corrections that the journal does not know, or not all that it
        knows was done to this correction.
    StoppedError
        If :meth:`Session.stop` ended the run.
    """
    _check_known(project, correction)
    # Called here and not in the generator: a stop before the first unit must count.
    return _run(project, correction, until, correction.run(until), tell)


def _run(
    project: Project,
    correction: Correction,
    until: Stage,
    steps: Iterator[Progress],
    tell: Callable[[str], None],
) -> Generator[Progress, None, None]:
    kept = any(entry.get("kind") == "run" for entry in project.entries)
    with closing(cast("Generator[Progress, None, None]", steps)):
        before = correction.revision
        for step in steps:
            # During a run nothing else changes the result.
            if correction.revision != before:
                before, kept = correction.revision, True
                _keep_run(project, correction, tell)
            yield step
        # The result changes after the last step.
        if correction.revision != before or (not kept and correction.ready):
            _keep_run(project, correction, tell)
    _check_finished(correction, until)


def _keep_run(project: Project, correction: Correction, tell: Callable[[str], None]) -> None:
    """Write down the run that made the present result."""
    settings = correction.state.ground.settings.to_dict()
    outcome = outcome_of(correction)
    entry = {"kind": "run", "settings": settings, "software": SOFTWARE, "outcome": outcome}
    project.keep_alone(correction)
    try:
        project.append(entry)
    except SproutError as exc:
        # Whatever the reason, edits of its nuclei make no sense without it.
        project.owe(entry)
        tell(f"The run is finished but not saved yet, and cannot be corrected until it is. {exc}")


def _lacks_run(project: Project, correction: Correction) -> bool:
    """Tell whether there is a result that the journal knows nothing of."""
    return correction.ready and all(entry.get("kind") != "run" for entry in project.entries)


def _check_known(project: Project, correction: Correction, part: Part | None = None) -> None:
    """Refuse to keep what follows other corrections than those that are in the journal."""
    earlier = {entry.get("act") for entry in project.waiting.earlier}
    if correction.can_undo and not project.entries:
        raise ProjectError(
            f"The project '{project.folder}' was made after corrections that are not in it; open "
            "the image again, make the project, and correct it then."
        )
    # Acts wait in order: before this one there are others that were not brought back.
    too_soon = part is not None and bool(earlier) and part.act not in earlier
    if too_soon or not project.keeps(correction):
        raise ProjectError(
            f"Here not all that was done in '{project.folder}' has been done again, so nothing "
            "can be added to it; open it again."
        )


def apply(project: Project, correction: Correction, edit: Edit, part: Part | None = None) -> Change:
    """Do an edit, and keep it in the journal.

    Parameters
    ----------
    project, correction
        Where it is kept, and what it is done to.
    edit
        The edit.
    part
        Of which act it is, unless it is one by itself that had not to wait.

    Raises
    ------
    OutputError
        If it cannot be written down; nothing was done.
    ProjectError
        If the journal does not know the result that is to be corrected, or that
        result is not what all its entries make.
    SproutError
        If the edit is impossible; nothing was done.
    """
    with project.turn:
        project.pay()
        _check_known(project, correction, part)
        if _lacks_run(project, correction):
            raise ProjectError(
                f"The project '{project.folder}' does not know the run that made these nuclei; "
                "run it once more, and correct it then."
            )
        entry = {"kind": "edit", "edit": edit_to_json(edit)}
        with _kept(project, correction, entry, part):
            return correction.apply(edit)


def undo(project: Project, correction: Correction, part: Part | None = None) -> Change | None:
    """Undo the last edit, and keep that in the journal; None if there is nothing to undo."""
    with project.turn:
        if not correction.can_undo:
            return None
        _check_known(project, correction, part)
        with _kept(project, correction, {"kind": "undo"}, part):
            return correction.undo()


def redo(project: Project, correction: Correction, part: Part | None = None) -> Change | None:
    """Redo what was undone last, and keep that in the journal; None if there is nothing."""
    with project.turn:
        if not correction.can_redo:
            return None
        _check_known(project, correction, part)
        with _kept(project, correction, {"kind": "redo"}, part):
            return correction.redo()


def _check_finished(correction: Correction, until: Stage) -> None:
    if not correction.session.is_current(until):
        raise StoppedError(f"The run was stopped before its stage '{until}' was finished.")


@contextmanager
def _kept(
    project: Project, correction: Correction, entry: Mapping[str, Any], part: Part | None
) -> Iterator[None]:
    """Write an entry down before the body, and mark it if that fails or is stopped."""
    number = project.append(entry if part is None else {**entry, **part.to_json()})
    project.keep_alone(correction)
    try:
        yield
    except BaseException:
        try:
            project.append({"kind": "failed", "entry": number})
        except SproutError:
            # Nothing may follow an entry that came to nothing and is not marked so.
            project.close()
            raise
        raise


# Replay


def replay(
    project: Project,
    progress: Callable[[float, str], None] | None = None,
    *,
    device: str = "auto",
    segmenter: SegmenterSource | None = None,
) -> Correction:
    """Do again everything that was done in a project: the same labels, bit by bit.

    Parameters
    ----------
    project
        The project, open for writing or reading.
    progress
        Called with the finished share, 0 to 1, and what is being done. It may
        raise to stop.
    device, segmenter
        As for :class:`~napari_sprout.core.session.Session`.

    Raises
    ------
    ProjectError
        If an entry cannot be done again, naming it; or if a run comes to other nuclei
        than those that were corrected: then no later entry was done.

    Warns
    -----
    SproutWarning
        If another version of the program ran the stages and did not write down what they
        came to, if outlines differ on this computer, if the program died in the middle of
        the last change and that turns out to be impossible, or if there are changes that
        still wait to be done: they are not in the result.
    """
    session = Session(
        project.image.rgb, project.settings, mpp=project.mpp, device=device, segmenter=segmenter
    )
    correction = Correction(session)
    for fraction, what in replaying(project, correction):
        if progress is not None:
            progress(fraction, what)
    if waiting := left_over(project):
        warn(
            f"What was done last in '{project.folder}', while a run was under way, is not in the "
            f"result ({len(waiting)} still to do): open the project in napari to have it done."
        )
    return correction


def replaying(
    project: Project, correction: Correction, tell: Callable[[str], None] = warn
) -> Generator[tuple[float, str], None, None]:
    """Do as :func:`replay` does, on a new session's correction, step by step.

    Parameters
    ----------
    project, correction
        What was done, and what it is done to again.
    tell
        Called with what :func:`replay` warns of.

    Yields
    ------
    tuple of float and str
        The finished share, 0 to 1, and what is being done. If they are not taken to
        the end, nothing can be added to the project with this correction.
    """
    if correction.ready or correction.can_undo or correction.can_redo:
        raise ProjectError(
            f"'{project.folder}' can be done again on an untouched image alone; open it again."
        )
    entries = project.entries
    failed = {entry.get("entry") for entry in entries if entry.get("kind") == "failed"}
    _tell_of_version(project, tell)
    doubts: set[str] = set()
    shares = [_RUN_SHARE if entry.get("kind") == "run" else 1 for entry in entries]
    whole, done = sum(shares), 0
    for number, (entry, share) in enumerate(zip(entries, shares, strict=True), 1):
        try:
            for fraction, what in _again(entry, correction) if number not in failed else ():
                yield (done + share * fraction) / whole, what
        except StoppedError:
            raise
        except SproutError as exc:
            # A run was written down when it was finished, so it was not impossible.
            if number < len(entries) or entry.get("kind") == "run":
                raise ProjectError(
                    f"Entry {number} of {len(entries)} of '{project.folder}' cannot be done again: "
                    f"{exc}"
                ) from exc
            _leave_out(project, number, exc, tell)
        if entry.get("kind") == "run" and number not in failed:
            doubt = check_outcome(project, entry, correction)
            if doubt is not None and doubt not in doubts:
                doubts.add(doubt)
                tell(doubt)
        done += share
        if number == len(entries):
            # Before the last step is told: whoever stops there has all of it.
            project.begin_keeping(correction)
        yield done / whole, "replaying"


def _again(entry: Mapping[str, Any], correction: Correction) -> Iterator[tuple[float, str]]:
    """Do one entry again."""
    kind = entry.get("kind")
    if kind == "run":
        correction.session.settings = Settings.from_dict(_member(entry, "settings", dict))
        for step in correction.run():
            yield step.fraction, step.stage
        _check_finished(correction, Stage.NUCLEI)
    elif kind == "edit":
        correction.apply(edit_from_json(_member(entry, "edit", dict)))
    elif kind in ("undo", "redo"):
        change = correction.undo() if kind == "undo" else correction.redo()
        if change is None:
            raise ProjectError(f"there is nothing to {kind}.")
    elif kind not in ("failed", "reviewed"):
        raise ProjectError(f"its kind, {kind!r}, is not known to this version.")


def _member(entry: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    value = entry.get(name)
    if not isinstance(value, kind):
        raise ProjectError(f"it has no valid member '{name}'.")
    return value


def _leave_out(
    project: Project, number: int, reason: SproutError, tell: Callable[[str], None]
) -> None:
    """Say that the last entry comes to nothing, as it did or would have when it was made."""
    tell(
        f"The last change in '{project.folder}' was left out, since the program ended before it "
        f"was done and it is impossible: {reason}"
    )
    if not project.read_only:
        project.append({"kind": "failed", "entry": number})


def _tell_of_version(project: Project, tell: Callable[[str], None]) -> None:
    unchecked = (entry for entry in project.entries if "outcome" not in entry)
    makers = {str(entry["software"]) for entry in unchecked if "software" in entry}
    if others := sorted(makers - {SOFTWARE}):
        tell(
            f"The project '{project.folder}' was made with {', '.join(others)}, and whether "
            f"{SOFTWARE} draws the same nuclei cannot be checked; see that your corrections are "
            "where you made them."
        )
