"""What a person must know stays to be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sprout.core.edits import RemoveNuclei
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.errors import OutputError
from napari_sprout.qt import keeping
from napari_sprout.qt.notices import NOT_KEPT, NOT_YET
from napari_sprout.qt.preferences import Preferences


def seen(desk: Any) -> str:
    """What can be read above the progress bar."""
    notices = desk.dock.status.notices
    texts = [
        label.text().replace("\u200b", "")
        for label in (notices.lasting, notices.unread)
        if label.isVisible()
    ]
    return "\n".join(texts)


def test_nothing_takes_up_room_while_all_is_well(working: Any) -> None:
    assert not working.dock.status.notices.isVisible()
    assert working.dock.status.message.text().startswith("Done")


def test_that_nothing_is_kept_is_to_be_seen_for_as_long_as_it_is_so(
    desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    chosen = Preferences("auto", tmp_path / "file" / "work", 0)
    monkeypatch.setattr(keeping, "preferences", lambda: chosen)
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    assert seen(made) == ""
    width = made.dock.minimumSizeHint().width()
    made.run()
    assert made.dock.status.message.text().startswith("Done")
    assert "cannot be kept on disk" in seen(made)
    assert str(tmp_path / "file" / "work") in seen(made)
    assert NOT_KEPT in seen(made)
    assert made.dock.minimumSizeHint().width() <= width
    made.dock.status.notices.read.click()
    made.run()
    assert seen(made) == NOT_KEPT
    # Another image is kept; and this one too, begun anew with room for it.
    monkeypatch.setattr(keeping, "preferences", Preferences)
    first = made.dock.sessions.layer
    made.open(tmp_path / "other.png", np.ascontiguousarray(sparse.rgb[::-1]))
    made.run()
    assert seen(made) == ""
    made.dock.sessions.choose(first)
    assert seen(made) == NOT_KEPT
    made.dock.sessions.restart()
    assert seen(made) == ""


def test_that_a_run_is_not_written_down_yet_is_to_be_seen_until_it_is(working: Any) -> None:
    project = working.control.project
    append = project.append

    def full(entry: Any) -> int:
        if entry["kind"] == "run":
            raise OutputError("The disk is full.")
        return int(append(entry))

    project.append = full
    working.dock.segment.form.groups["decoding"].widgets["min_area"].value = 21.0
    working.run()
    assert working.dock.status.message.text().startswith("Done")
    assert "The disk is full." in seen(working)
    working.dock.status.notices.read.click()
    assert seen(working) == NOT_YET
    # There is room again.
    project.append = append
    working.control.apply(RemoveNuclei((working.lonely(),)))
    working.wait_until_done()
    assert seen(working) == ""
    assert [entry["kind"] for entry in project.entries[-2:]] == ["run", "edit"]


def test_a_warning_of_a_run_is_there_until_it_is_read(
    desk: Callable[[], Any], tmp_path: Path
) -> None:
    made = desk()
    made.open(tmp_path / "glass.png", np.full((192, 224, 3), 245, np.uint8))
    made.run()
    assert made.dock.status.message.text().startswith("Done: 0 nuclei")
    assert "No tissue was found" in seen(made)
    made.dock.segment.form.groups["decoding"].widgets["min_area"].value = 21.0
    made.run()
    assert "No tissue was found" in seen(made)
    made.dock.status.notices.read.click()
    assert seen(made) == ""
    assert not made.dock.status.notices.isVisible()


def test_that_the_end_of_the_journal_was_torn_is_there_after_all_is_done_again(
    working: Any, desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage
) -> None:
    journal = working.control.project.folder / "journal.jsonl"
    working.close()
    with journal.open("ab") as file:
        file.write(b'{"torn')
    again = desk()
    again.open(tmp_path / "case.png", sparse.rgb)
    again.dock.segment.earlier.go_on.click()
    again.wait_until_done()
    assert again.said
    assert all(text in seen(again) for text in again.said)


def test_many_warnings_are_read_a_few_at_a_time_and_none_is_lost(working: Any) -> None:
    texts = [f"Warning {number}." for number in range(1, 6)]
    for text in (*texts, texts[0]):
        working.dock.sessions.warn(text)
    assert seen(working).splitlines() == [*texts[:3], "(2 more)"]
    working.dock.status.notices.read.click()
    assert seen(working).splitlines() == texts[3:]
    working.dock.status.notices.read.click()
    assert seen(working) == ""


def test_the_end_of_a_run_with_changed_settings_is_told(working: Any) -> None:
    working.dock.sessions.say("Something of before.")
    working.dock.segment.form.groups["decoding"].widgets["min_area"].value = 21.0
    working.run()
    assert working.dock.status.message.text().startswith("Done")


def test_what_failed_during_a_run_is_still_to_be_read_after_it(working: Any) -> None:
    working.dock.sessions.progress.connect(
        lambda _: working.failures or working.control.refuse("That cannot be done.")
    )
    working.dock.segment.form.groups["decoding"].widgets["min_area"].value = 21.0
    working.run()
    assert working.failures == ["That cannot be done."]
    assert working.dock.status.message.text() == "That cannot be done."
