from __future__ import annotations

import pytest
from napari._app_model import get_app_model
from napari._qt.widgets.qt_command_palette import _enabled
from npe2 import PluginManager
from qtpy.QtWidgets import QFileDialog

from napari_sprout.qt.dock import SproutDock

OPENED = "SPROUT (SPROUT)"


def execute(command: str) -> None:
    """Choose a command in the palette or a menu."""
    get_app_model().commands.execute_command(f"napari-sprout.{command}").result()


@pytest.fixture
def window(make_napari_viewer):
    return make_napari_viewer(show=True).window


def the_dock(window) -> SproutDock:
    """Return the one dock of a window."""
    (dock,) = [one for one in window.dock_widgets.values() if isinstance(one, SproutDock)]
    return dock


def shown(window) -> str:
    dock = the_dock(window)
    assert dock.isVisible()
    return dock.tabs.tabText(dock.tabs.currentIndex())


@pytest.mark.parametrize(
    ("command", "tab"),
    [("open_dock", "Segment"), ("run", "Segment"), ("review", "Review"), ("export", "Export")],
)
def test_a_command_opens_the_dock_where_it_is_needed(window, command, tab):
    assert OPENED not in window.dock_widgets
    execute(command)
    assert shown(window) == tab
    execute(command)
    assert shown(window) == tab


def test_the_plugins_menu_hides_the_dock_that_a_command_opened(window):
    execute("open_dock")
    get_app_model().commands.execute_command("napari-sprout.dock")
    assert not the_dock(window).isVisible()
    execute("review")
    assert shown(window) == "Review"


def test_a_dock_that_was_opened_otherwise_is_used(desk):
    made = desk()
    execute("export")
    assert the_dock(made.viewer.window) is made.dock
    assert made.dock.tabs.currentWidget() is made.dock.export


def test_run_segments_the_chosen_image_and_never_cancels(desk, tmp_path, sparse):
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    execute("run")
    assert made.dock.sessions.is_running
    execute("run")
    assert made.dock.sessions.is_running
    made.wait_until_done()
    assert made.control.view is not None
    assert made.labels.max() > 0


def test_run_says_what_is_missing(window, capsys):
    execute("run")
    assert not the_dock(window).sessions.is_running
    assert "Open an H&E image first" in capsys.readouterr().out


def test_open_project_asks_for_a_folder_and_goes_on(desk, working, tmp_path, monkeypatch):
    labels, folder = working.labels, working.control.project.folder
    working.close()
    made = desk()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(folder))
    execute("open_project")
    made.wait_until_done()
    assert made.failures == []
    assert (made.labels == labels).all()


def test_help_opens_the_window_with_the_keys(window):
    execute("help")
    assert the_dock(window)._help.isVisible()


def test_the_palette_offers_what_can_be_done_and_nothing_that_wants_a_file(window):
    app = get_app_model()
    items = app.menus.get_menu(app.menus.COMMAND_PALETTE_ID)
    ours = [item.command for item in items if item.command.id.startswith("napari-sprout.")]
    offered = {command.id.split(".")[1] for command in ours if _enabled(command, {})}
    contributed = PluginManager.instance().get_manifest("napari-sprout").contributions
    inner = {one.command.split(".")[1] for one in (*contributed.readers, *contributed.writers)}
    named = {command.id.split(".")[1] for command in contributed.commands}
    samples = {one.command.split(".")[1] for one in contributed.sample_data}
    assert offered == named - inner - samples | {one.key for one in contributed.sample_data}
    assert {"open_dock", "run", "review", "export", "open_project", "help"} <= offered


def test_the_menus_have_the_commands(window):
    app = get_app_model()

    def titles(menu: str) -> set[str]:
        items = app.menus.get_menu(menu)
        return {item.command.title for item in items if hasattr(item, "command")}

    assert {"Run on the chosen image (SPROUT)", OPENED} <= titles("napari/layers/segment")
    assert {"Open a project… (SPROUT)", "Export the nuclei… (SPROUT)"} <= titles(
        "napari/file/io_utilities"
    )
    assert OPENED in titles("napari/plugins")
