from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_sprout.core.session import Progress
from napari_sprout.core.stages import Stage
from napari_sprout.qt.stage_list import StageList, State
from napari_sprout.qt.time_left import TimeLeft
from napari_sprout.qt.wording import duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stages(qtbot: QtBot, clock: Clock) -> StageList:
    made = StageList(clock=clock)
    qtbot.addWidget(made)
    made.show()
    return made


def shown(stages: StageList, stage: Stage) -> tuple[str, str]:
    row = list(Stage).index(stage)
    return stages.item(row, 1).text(), stages.item(row, 2).text()


def test_the_list_follows_a_run_and_tells_how_long_each_stage_took(
    stages: StageList, clock: Clock
) -> None:
    stages.begin()
    stages.advance(Progress(Stage.ENCODING, 0, 9, 0.1))
    clock.now += 3.14
    stages.advance(Progress(Stage.ENCODING, 4, 9, 0.3))
    assert shown(stages, Stage.ENCODING) == ("running (4 of 9)", "3.1 s")
    clock.now += 70
    stages.finish(Stage.ENCODING)
    assert shown(stages, Stage.ENCODING) == ("done", "1 min 13 s")
    assert shown(stages, Stage.MASKS) == ("waiting", "")


def test_a_stopped_run_leaves_what_was_done(stages: StageList, clock: Clock) -> None:
    stages.begin()
    stages.advance(Progress(Stage.IMAGE, 0, 1, 0.0))
    stages.finish(Stage.IMAGE)
    stages.advance(Progress(Stage.ENCODING, 2, 9, 0.1))
    stages.show_state(
        lambda stage: stage is Stage.IMAGE, lambda stage: stage is Stage.IMAGE, list(Stage)
    )
    assert stages.state_of(Stage.IMAGE) is State.DONE
    assert stages.state_of(Stage.ENCODING) is State.STOPPED
    assert stages.state_of(Stage.MASKS) is State.WAITING


def test_stages_that_no_longer_fit_the_settings_say_so(stages: StageList) -> None:
    used = [stage for stage in Stage if stage is not Stage.ACTIVATION]
    stages.show_state(lambda stage: stage is not Stage.NUCLEI, lambda _: True, used)
    assert stages.state_of(Stage.NUCLEI) is State.STALE
    assert stages.state_of(Stage.MASKS) is State.DONE
    assert stages.state_of(Stage.ACTIVATION) is State.UNUSED
    assert not stages.all_done
    stages.show_state(lambda _: True, lambda _: True, used)
    assert stages.all_done


def test_clicking_a_row_chooses_its_stage(stages: StageList, qtbot: QtBot) -> None:
    chosen: list[Stage | None] = []
    stages.chosen.connect(chosen.append)
    assert stages.stage is None
    place = stages.visualItemRect(stages.item(4, 0)).center()
    qtbot.mouseClick(stages.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert chosen == [Stage.ENCODING]
    assert stages.stage is Stage.ENCODING


def test_every_row_fits_without_scrolling(stages: StageList, qtbot: QtBot) -> None:
    qtbot.waitExposed(stages)
    last = stages.visualItemRect(stages.item(len(Stage) - 1, 0))
    assert stages.viewport().rect().contains(last)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (12.2, "12 s"), (60, "1 min 00 s"), (185, "3 min 05 s")]
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_time_left_is_told_once_it_can_be_known(clock: Clock) -> None:
    left = TimeLeft(clock)
    assert left.text(0.0) == ""
    clock.now += 0.5
    assert left.text(0.5) == ""
    clock.now += 9.5
    assert left.text(0.5) == "about 10 s left"
    clock.now += 100
    assert left.text(1.0) == ""


def test_time_left_counts_only_what_this_run_has_done(clock: Clock) -> None:
    left = TimeLeft(clock)
    left.text(0.8)
    clock.now += 10
    assert left.text(0.9) == "about 10 s left"


def test_time_left_does_not_jump_about(clock: Clock) -> None:
    left = TimeLeft(clock)
    left.text(0.0)
    clock.now += 10
    assert left.text(0.5) == "about 10 s left"
    clock.now += 1
    # Taken by itself, this step would say 30 s: 11 s for little more than a quarter.
    assert left.text(0.27) == "about 15 s left"
