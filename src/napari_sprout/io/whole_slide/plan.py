"""What a run of a slide is of: what must be the same for another to go on with it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..._version import __version__
from ...core.settings import Settings
from ...core.tissue import tissue_mask, white_level
from ...errors import ImageError, OutputError
from ..atomic import output_error, replacing
from ..cohort.summary import SUMMARY
from ..slides.protocol import Slide
from ..slides.reduced import thumbnail
from .grid import SlideGrid
from .work import FOLDERS, FOUND

WORK: Final = "work"
"""The folder inside it that holds the workers' own (:func:`work_folder`)."""

RUN: Final = "run.json"
LOCK: Final = ".lock"
TIME: Final = "seconds"
COMPLETE: Final = "complete"
"""The mark that all tiles are joined and painted."""
LABELS: Final = "labels.ome.zarr"
CSV, PARQUET, GEOJSON = "nuclei.csv", "nuclei.parquet", "nuclei.geojson"
THUMBNAIL, DENSITY = "thumbnail.png", "density.png"
RESULTS: Final = (SUMMARY, LABELS, CSV, PARQUET, GEOJSON, THUMBNAIL, DENSITY)
"""What a run writes; the summary is the first to go and the last to come."""

OVERVIEW_UM: Final = 8.0
"""um; pixel size of the overview in which tissue is sought, or coarser."""
MOST_OVERVIEW: Final = 8192


@dataclass(frozen=True, eq=False)
class Overview:
    """A slide at a glance.

    Attributes
    ----------
    rgb
        (h, w, 3) uint8.
    downsample
        Full-resolution pixels a pixel of it.
    tissue
        (h, w) bool.
    white
        Mean optical density of the glass.
    tissue_um2
        Area of the tissue, um^2.
    """

    rgb: NDArray[np.uint8]
    downsample: float
    tissue: NDArray[np.bool_]
    white: float
    tissue_um2: float


def overview(slide: Slide, mpp: float, settings: Settings) -> Overview:
    """Look at a slide as a whole.

    Parameters
    ----------
    slide
        The slide.
    mpp
        Its pixel size in um.
    settings
        How tissue is told from glass.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    longest = max(slide.levels[0].shape)
    wanted = min(longest, MOST_OVERVIEW, max(1024, round(longest * mpp / OVERVIEW_UM)))
    rgb, downsample = thumbnail(slide, wanted)
    size = mpp * downsample
    tissue = tissue_mask(rgb, settings.tissue, size)
    area = float(np.count_nonzero(tissue)) * size**2
    return Overview(rgb, downsample, tissue, white_level(rgb, size), area)


def pixel_size(slide: Slide, given: float | None) -> float:
    """Return a slide's pixel size in um: what a person says, else what the slide says.

    Raises
    ------
    ImageError
        If neither says anything: a slide's is never guessed.
    """
    if given is not None:
        return given
    if slide.mpp is None:
        raise ImageError(
            f"'{slide.path}' states no pixel size, and a guess would make every measurement "
            "wrong: give it with --mpp (0.25 for most 40x scans, 0.5 for 20x)."
        )
    return slide.mpp


def same_run(folder: Path, facts: dict[str, Any], overwrite: bool) -> None:
    """Make a slide's folder that of this run, and keep what an earlier one of it has finished.

    Parameters
    ----------
    folder
        The slide's results.
    facts
        All that decides the result: the slide, its pixel size, the settings, the tiles, the
        weights and the version of the program.
    overwrite
        Throw away what is of another run.

    Raises
    ------
    OutputError
        If there are results of another run, with what differs.
    """
    known = _known(folder)
    facts = json.loads(json.dumps(facts))
    if overwrite or known is None:
        clear(folder)
        with replacing(folder / RUN) as temporary:
            temporary.write_text(json.dumps(facts, indent=2, sort_keys=True), encoding="utf-8")
    elif known != facts:
        other = [name for name in facts if known.get(name) != facts[name]]
        raise OutputError(
            f"'{folder}' holds results of another run (other {', '.join(other) or 'facts'}); give "
            "another folder, or --overwrite to replace them."
        )


def work_folder(folder: Path, facts: dict[str, Any]) -> Path:
    """Return the folder of a run's workers, made with all that is in it.

    No two runs share one: a worker of a cluster may still be at a tile for a run that was
    ended and replaced, and what it leaves must not be taken for a tile of the new one.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    work = folder / WORK / key[:12]
    try:
        for name in FOLDERS:
            (work / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(work, error) from error
    return work


def _known(folder: Path) -> dict[str, Any] | None:
    """Return the facts of the run whose results are here; None if there are none."""
    try:
        found = json.loads((folder / RUN).read_bytes())
    except FileNotFoundError:
        return {} if any((folder / name).exists() for name in RESULTS) else None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def clear(folder: Path) -> None:
    """Delete what a run has left in a slide's folder.

    The summary goes before all else: a folder with a summary is whole. Then goes what says
    that a result needs no more work, then the results.

    Raises
    ------
    OutputError
        If something cannot be deleted.
    """
    for name in dict.fromkeys((SUMMARY, WORK, *RESULTS, RUN)):
        delete(folder / name)


def delete(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, if it is there.

    Raises
    ------
    OutputError
        If it cannot be deleted.
    """
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


def clear_work(work: Path) -> None:
    """Delete what workers have left and nobody needs again, once the results are there.

    The joined tiles stay: other results can be written from them.
    """
    (work / COMPLETE).touch()
    shutil.rmtree(work / FOUND, ignore_errors=True)


def run_facts(
    slide: Slide, mpp: float, settings: Settings, grid: SlideGrid, weights: Mapping[str, str]
) -> dict[str, Any]:
    """Return all that decides the result of a slide, plain values."""
    return {
        "program": __version__,
        "slide": slide.fingerprint,
        "pixel size": mpp,
        "settings": settings.to_dict(),
        "tiles": {"side": grid.side, "halo": grid.halo},
        "weights": dict(weights),
    }
