"""The work on one tile: what a worker does, wherever it runs.

Every function here takes plain values, reads what others have made from the folder that
all workers share, and leaves behind one file, whole or not at all. To do it twice does no
harm and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..._version import __version__
from ...core.coordinates import MIN_SIDE, Scale
from ...core.fit import SlideFit
from ...core.fitting import fit_of
from ...core.instances import Box
from ...core.loaded import LoadedModels
from ...core.seams import Cell, Seams, TileNuclei, around, from_labels, holds
from ...core.session import Session
from ...core.settings import Settings
from ...core.stain import concentrations, optical_density
from ...errors import SproutError
from ..atomic import output_error
from ..slides.protocol import Slide
from ..slides.source import SlideSource
from .grid import SlideGrid, parts
from .records import read_fit, read_record, record_path, write_fit, write_record
from .sample import read_sample

FIT: str = "fit.npz"
FOUND: str = "found"
JOINED: str = "joined"
SPLIT: str = "split"
FOLDERS = (FOUND, JOINED, SPLIT)
"""Of the workers: tiles as segmented, as settled with their neighbours, and marks of those that
are done in quarters."""


class UnfitWorkerError(SproutError):
    """A worker that would give another result: of another version, or with another slide."""


@dataclass(frozen=True)
class TileWork:
    """All that a worker must know to work on any tile of a slide.

    Attributes
    ----------
    source
        The slide.
    folder
        Where the workers' files are.
    labels
        The label image that is painted.
    grid
        Where the tiles lie.
    mpp
        Pixel size of the slide in um.
    settings
        The method's.
    device
        "auto", "cpu", "cuda", ...
    threads
        In which torch computes; the same wherever a slide is worked on, since the last digits
        of sums depend on it.
    models
        Gives the models of a device; by default those that the settings name.
    fingerprint
        Of the slide, which workers must find under its path.
    program
        Version of this program, which workers must have.
    """

    source: SlideSource
    folder: Path
    labels: Path
    grid: SlideGrid
    mpp: float
    settings: Settings
    device: str = "auto"
    threads: int = 1
    models: Callable[[str], LoadedModels] = field(default=LoadedModels)
    fingerprint: str = ""
    program: str = __version__

    def slide(self) -> Slide:
        """Return the slide, open in this process.

        Raises
        ------
        ImageError
            If it cannot be opened.
        UnfitWorkerError
            If it is another one than that of the run.
        """
        return _slide(self.source, self.fingerprint)

    def session(self, rgb: NDArray[np.uint8], fit: SlideFit | None = None) -> Session:
        """Return a session on a part of the slide."""
        models = _models(self.models, _device(self.device))
        return Session(rgb, self.settings, mpp=self.mpp, models=models, fit=fit)


def _device(wanted: str) -> str:
    """Give each of several workers on one computer a graphics card of its own."""
    cards = torch.cuda.device_count() if wanted in ("auto", "cuda") else 0
    if cards < 2:
        return wanted
    from distributed import get_worker

    try:
        number = int(get_worker().name)
    except ValueError:  # no worker, or one that somebody has named
        return wanted
    return f"cuda:{number % cards}"


@lru_cache(maxsize=1)
def _models(make: Callable[[str], LoadedModels], device: str) -> LoadedModels:
    """Return models that are loaded once in a process."""
    return make(device)


@lru_cache(maxsize=2)
def _slide(source: SlideSource, fingerprint: str) -> Slide:
    """Open a slide once in a process; one that has taken its place since is opened anew."""
    slide = source.open()
    if slide.fingerprint != fingerprint:
        slide.close()
        raise UnfitWorkerError(
            f"'{source.path}' is another slide, for one of the workers at least, than when the "
            "run began; give all of them the same file and run the same command again."
        )
    return slide


@lru_cache(maxsize=2)
def _fit(path: Path, _key: str) -> SlideFit:
    return read_fit(path)


def forget() -> None:
    """Let go of models and slides, in the process that runs it."""
    for kept in (_models, _slide, _fit):
        kept.cache_clear()


def _begin(work: TileWork) -> None:
    """Make this process compute as all others do.

    Raises
    ------
    UnfitWorkerError
        If it cannot.
    """
    if work.program != __version__:
        raise UnfitWorkerError(
            f"This is napari-sprout {work.program}, but a worker has version {__version__}; "
            "install the same version for all workers and run the same command again."
        )
    torch.set_num_threads(work.threads)


def mark_path(folder: Path, cell: Cell) -> Path:
    """Return the mark of a tile in a folder of marks."""
    return record_path(folder, cell).with_suffix("")


def mark(folder: Path, cell: Cell) -> None:
    """Note something of a tile, by a file without content.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = mark_path(folder, cell)
    try:
        path.touch()
    except OSError as error:
        raise output_error(path, error) from error


def fit_sample(work: TileWork, white: float, boxes: tuple[Box, ...]) -> None:
    """Find on a sample of the tissue what holds for all of it, and keep it.

    Parameters
    ----------
    work
        The slide.
    white
        Mean optical density of its glass.
    boxes
        From :func:`.sample.sample_boxes`.

    Raises
    ------
    SproutError
        If the slide cannot be read there, or the file not be written.
    """
    _begin(work)
    session = work.session(read_sample(work.slide(), list(boxes)))
    fit = fit_of(session, white)
    write_fit(work.folder / FIT, fit, session.warnings)


def segment_tile(work: TileWork, key: str, cell: Cell, *, split: bool = False) -> int:
    """Find the nuclei of a tile and keep them in the folder of what was found.

    Parameters
    ----------
    work
        The slide.
    key
        Of the fit, which a process keeps.
    cell
        The tile.
    split
        Do its quarters one by one, in a third of the memory.

    Returns
    -------
    int
        How many were found.

    Raises
    ------
    SproutError
        If the slide cannot be read there, or the file not be written.
    """
    _begin(work)
    fit = _fit(work.folder / FIT, key)
    grid, core = work.grid, work.grid.core(cell)
    if split:
        quarters = {c: _found_in(work, fit, cell, box, c) for c, box in parts(core)}
        seams = Seams(lambda c: quarters.get(c, TileNuclei(c)))
        pieces = [seams.resolve(c)[0] for c in quarters]
        rows = [
            (n, part.box(i), part.masks[i], holds(core, n.y, n.x))
            for part in pieces
            for i, n in enumerate(part.nuclei)
            if holds(core, n.y, n.x, grid.margin)
        ]
        found = TileNuclei.of(cell, rows)
    else:
        found = _found_in(work, fit, cell, core, cell)
    write_record(work.folder / FOUND, found)
    return int(found.owned.sum())


def _found_in(work: TileWork, fit: SlideFit, cell: Cell, core: Box, known_as: Cell) -> TileNuclei:
    """Find the nuclei that a tile, or a part of it, owns, or that lie just outside of it."""
    grid = work.grid
    y0, x0, y1, x1 = grid.region(cell, core)
    if min(y1 - y0, x1 - x0) < MIN_SIDE:
        # Of a part that holds next to no tissue.
        return TileNuclei(known_as)
    session = work.session(work.slide().read(0, y0, x0, y1 - y0, x1 - x0), fit)
    session.finish()
    rows = from_labels(session.labels, session.nuclei, (y0, x0), core)
    near = (row for row in rows if holds(core, row[0].y, row[0].x, grid.margin))
    return TileNuclei.of(known_as, near)


def join_tile(work: TileWork, cell: Cell) -> int:
    """Settle a tile's nuclei with those around it and keep them, numbered from 1.

    Returns
    -------
    int
        How many there are.

    Raises
    ------
    SproutError
        If a file cannot be read or written.
    """
    _begin(work)
    found = lru_cache(maxsize=64)(lambda c: read_record(work.folder / FOUND, c))
    scale = Scale.between(work.grid.shape, work.mpp, work.settings.image.mpp)
    kept, trimmed = Seams(found).resolve(
        cell,
        scale.full_pixels(work.settings.decoding.min_area),
        work.settings.suppression.min_visible,
    )
    vectors = read_fit(work.folder / FIT).vectors if trimmed.any() else None
    rows = []
    for i, nucleus in enumerate(kept.nuclei):
        values: dict[str, Any] = {"id": i + 1}
        if vectors is not None and trimmed[i]:
            y0, x0, y1, x1 = kept.box(i)
            rgb = work.slide().read(0, y0, x0, y1 - y0, x1 - x0)
            amounts = concentrations(optical_density(rgb), vectors)[kept.masks[i]]
            means = amounts.mean(axis=0, dtype=np.float64).tolist()
            values |= dict(zip(("haematoxylin", "eosin"), means, strict=True))
        row = type(nucleus)(**{**vars(nucleus), **values})
        rows.append((row, kept.box(i), kept.masks[i], bool(kept.owned[i])))
    write_record(work.folder / JOINED, TileNuclei.of(cell, rows))
    return len(rows)


def paint_tile(work: TileWork, cell: Cell, before: dict[Cell, int]) -> None:
    """Paint a tile's part of the label image.

    Parameters
    ----------
    work
        The slide.
    cell
        The tile.
    before
        How many nuclei the tiles before each one have, for this tile and those around it.

    Raises
    ------
    SproutError
        If a file cannot be read or written.
    """
    from ..label_pyramid import LabelPyramid

    _begin(work)
    y0, x0, y1, x1 = core = work.grid.core(cell)
    labels = np.zeros((y1 - y0, x1 - x0), np.uint32)
    for other in (cell, *around(cell)):
        if other in before:
            _paint(labels, core, read_record(work.folder / JOINED, other), before[other])
    LabelPyramid.open(work.labels).write(y0, x0, labels)


def _paint(labels: NDArray[np.uint32], core: Box, nuclei: TileNuclei, before: int) -> None:
    for i, nucleus in enumerate(nuclei.nuclei):
        box = nuclei.box(i)
        top, left = max(box[0], core[0]), max(box[1], core[1])
        bottom, right = min(box[2], core[2]), min(box[3], core[3])
        if top < bottom and left < right:
            here = labels[top - core[0] : bottom - core[0], left - core[1] : right - core[1]]
            mask = nuclei.masks[i][top - box[0] : bottom - box[0], left - box[1] : right - box[1]]
            here[mask] = before + nucleus.id
