"""``napari-sprout settings``: every setting with its meaning, as a file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import OutputError

PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Named choice of all settings: default, or paper for the method as published.",
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
