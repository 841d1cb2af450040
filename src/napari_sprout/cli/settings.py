"""``napari-sprout settings``: every setting with its meaning, as a file to start from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OutputError

if TYPE_CHECKING:
    from ..core.settings import Settings

PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Named choice of all settings: default, or paper for the method as published.",
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings", metavar="FILE", help="Settings in TOML; see 'napari-sprout settings'."
    ),
]


def settings_command(
    preset: PresetName = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace FILE if it exists.")] = False,
) -> None:
    """Print all settings, explained, at their default values, as TOML.

    Save it, change what you need, delete the rest, and give the file to
    "napari-sprout segment --settings". With --preset they have the values of that
    preset; a file with a line preset = "paper" above its first group names only
    what is to differ from it.
    """
    from ..core.settings import Settings
    from ..io.atomic import replacing
    from ..io.settings_file import settings_toml

    text = settings_toml(Settings.preset("default" if preset is None else preset))
    if output is None:
        typer.echo(text, nl=False)
        return
    if output.exists() and not overwrite:
        raise OutputError(
            f"'{output}' exists already; choose another name, or give --overwrite to replace it."
        )
    with replacing(output) as temporary:
        temporary.write_text(text, encoding="utf-8")


def chosen_settings(path: Path | None, preset: str | None, seed: int | None) -> Settings:
    """Return the settings that a command was asked for.

    Raises
    ------
    SettingsError
        For an unknown preset, a file that is no settings file, or prompts from nuclei
        made elsewhere, which the command line has none of.
    """
    from ..core.settings import Settings
    from ..io.settings_file import read_settings

    if path is None:
        settings = Settings.preset("default" if preset is None else preset)
    else:
        settings = read_settings(path, preset)
    if settings.prompts.source == "given":
        from ..core.given import required

        required(None)
    return settings if seed is None else dataclasses.replace(settings, seed=seed)
