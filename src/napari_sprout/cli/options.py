"""Options that mean the same in several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder for the results; made if needed.",
        show_default=False,
    ),
]
Geojson = Annotated[
    bool, typer.Option("--geojson", help="Also save the outlines as GeoJSON for QuPath.")
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1, mps.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of encoded tiles (20 GB at most): images seen before are done sooner.",
        show_default="none are kept",
    ),
]
Mpp = Annotated[
    float | None,
    typer.Option(help="Pixel size in um, if the files state none or a wrong one."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors alone.")]
