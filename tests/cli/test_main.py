from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from napari_sprout import __version__
from napari_sprout.cli.main import app
from napari_sprout.core.presets import PRESETS
from napari_sprout.core.settings import Settings
from napari_sprout.errors import ImageError
from napari_sprout.io.settings_file import read_settings

MAIN = "from napari_sprout.cli.main import main; main()"


def test_every_command_is_there_and_explained(run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in ("segment", "demo", "settings", "evaluate", "experiment"):
        assert command in result.stdout
        page = run(command, "-h")
        assert page.exit_code == 0
        assert "Usage" in page.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from napari_sprout.cli.main import app\n"
        "app(['segment', '--help'], standalone_mode=False)\n"
        "heavy = {'numpy', 'torch', 'scipy', 'skimage', 'cv2', 'tifffile', 'napari'}\n"
        "print('loaded:', heavy & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("loaded: set()\n"), done.stderr


def test_without_a_command_the_help_is_shown(run) -> None:
    result = run()
    assert "segment" in result.output
    assert "Traceback" not in result.output


def test_version(run) -> None:
    assert run("--version").stdout == f"napari-sprout {__version__}\n"


def test_an_error_is_one_line_and_no_traceback(run, tmp_path: Path) -> None:
    result = run("segment", tmp_path / "nowhere.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("napari-sprout: error: ")
    assert "nowhere.png' does not exist" in result.stderr


@pytest.mark.parametrize("by_variable", [False, True])
def test_debug_keeps_the_exception(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    if by_variable:
        monkeypatch.setenv("NAPARI_SPROUT_DEBUG", "1")
    flags = () if by_variable else ("--debug",)
    result = run(*flags, "segment", tmp_path / "nowhere.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert isinstance(result.exception, ImageError)


def test_an_operating_system_error_is_one_line(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error", "settings.toml")

    monkeypatch.setattr("napari_sprout.io.settings_file.settings_toml", broken)
    result = run("settings")
    assert result.exit_code == 1
    assert result.stderr == (
        "napari-sprout: error: [Errno 5] Input/output error: 'settings.toml'\n"
    )


def test_an_interruption_has_its_own_exit_code(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_sprout.io.settings_file.settings_toml", interrupted)
    result = run("settings")
    assert result.exit_code == 130
    assert "finished are complete and kept" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes")
def test_a_reader_that_goes_away_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end) as closed:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "settings"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.stderr == ""


def test_printed_settings_are_the_defaults(run) -> None:
    result = run("settings")
    assert result.exit_code == 0
    assert Settings.from_dict(tomllib.loads(result.stdout)) == Settings()
    assert "# Default: " in result.stdout or " Default: " in result.stdout


def test_printed_settings_can_be_those_of_a_preset(run) -> None:
    result = run("settings", "--preset", "paper")
    assert Settings.from_dict(tomllib.loads(result.stdout)) == Settings.preset("paper")
    refused = run("settings", "--preset", "papr")
    assert refused.exit_code == 1
    assert "Did you mean 'paper'?" in refused.stderr


@pytest.mark.parametrize("command", ["segment", "settings"])
def test_the_help_of_an_option_names_every_preset(command: str) -> None:
    options = get_command(app).commands[command].params
    (text,) = (option.help for option in options if option.name == "preset")
    assert all(name in text for name in PRESETS)


def test_settings_are_written_to_a_file_but_never_over_one(run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert run("settings", "-o", path).exit_code == 0
    assert read_settings(path) == Settings()
    path.write_text("seed = 7\n", encoding="utf-8")
    refused = run("settings", "-o", path)
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr
    assert path.read_text(encoding="utf-8") == "seed = 7\n"
    assert run("settings", "-o", path, "--overwrite").exit_code == 0
    assert read_settings(path) == Settings()
