"""The regions of a slide that a person works on, in one folder beside the slide.

``NAME.sprout-slide/`` holds ``slide.json`` (which slide, its size and pixel size) and
``regions/``. There every region has its pixels as read from the slide, in a TIFF file
that no compression has altered, and beside it its project folder like any image: what is
done in a region needs the slide no more, and is kept even if the slide moves away. A
region is known by where it lies: ``Y_X_HEIGHT_WIDTH.tif``, in full-resolution pixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from ...core.instances import Box
from ...errors import ProjectError
from ..atomic import replacing, writable_folder
from ..pixel_size import checked_mpp, plausible
from ..project import default_folder
from ..project_folders import is_numbered, last_changed, numbered, projects_at
from .protocol import Slide

SUFFIX: Final = ".sprout-slide"
FACTS_NAME: Final = "slide.json"
REGIONS: Final = "regions"
_FORMAT: Final = "napari-sprout regions of a slide"
_VERSION: Final = 1
_NAME: Final = re.compile(r"(\d+)_(\d+)_(\d+)_(\d+)")
_BAND_PIXELS: Final = 4_000_000
"""Of a region, about how many pixels are read at once."""


@dataclass(frozen=True)
class RegionsFacts:
    """Which slide regions belong to.

    Attributes
    ----------
    name
        Of the slide's file, for a person.
    fingerprint
        Tells it from other slides, wherever it lies.
    shape
        (H, W) at full resolution.
    mpp
        Pixel size in um of the slide and all its regions.
    """

    name: str
    fingerprint: str
    shape: tuple[int, int]
    mpp: float

    @classmethod
    def of(cls, slide: Slide, mpp: float) -> RegionsFacts:
        """Return those of an open slide, with the pixel size that counts."""
        return cls(slide.path.name, slide.fingerprint, slide.levels[0].shape, checked_mpp(mpp))


@dataclass(frozen=True)
class Region:
    """A region of a slide on disk.

    Attributes
    ----------
    box
        (y0, x0, y1, x1) in full-resolution pixels, half open.
    image
        The file with its pixels.
    """

    box: Box
    image: Path

    @property
    def project(self) -> Path | None:
        """The project folder that was worked on last; None if nothing has been begun."""
        return max(projects_at(default_folder(self.image)), key=last_changed, default=None)

    @property
    def result(self) -> Path:
        """The file of its nuclei, as they were when the region was last left."""
        return self.image.with_suffix(".nuclei.npz")


class SlideRegions:
    """The folder of a slide's regions.

    Parameters
    ----------
    folder
        ``NAME.sprout-slide``; it need not be there yet.
    facts
        Which slide.
    """

    def __init__(self, folder: Path, facts: RegionsFacts) -> None:
        self.folder = folder
        self.facts = facts

    @classmethod
    def at(cls, bases: Iterable[Path], facts: RegionsFacts) -> SlideRegions:
        """Return the folder of a slide: the one that is there, else one that is yet to be.

        Nothing is written. Where another slide's regions lie under the same name, a
        number follows the name.

        Parameters
        ----------
        bases
            Where it may be, the place for a new one first.
        facts
            Which slide. If there are regions already, their pixel size counts.
        """
        bases = tuple(bases)
        known = cls.known(bases, facts.fingerprint)
        return cls.new(bases[0], facts) if known is None else known

    @classmethod
    def new(cls, base: Path, facts: RegionsFacts) -> SlideRegions:
        """Return a folder that is yet to be, numbered if its name is taken."""
        return cls(next(one for one in numbered(base) if not one.exists()), facts)

    @classmethod
    def known(cls, bases: Iterable[Path], fingerprint: str) -> SlideRegions | None:
        """Return the folder of a slide if it is there, None if not.

        Parameters
        ----------
        bases
            Where it may be.
        fingerprint
            Of the slide.

        Raises
        ------
        ProjectError
            If it is damaged, or made by a later version.
        """
        for folder in (folder for base in bases for folder in _made(base)):
            facts = read_facts(folder)
            if facts.fingerprint == fingerprint:
                return cls(folder, facts)
        return None

    @property
    def begun(self) -> bool:
        """Whether there is anything on disk."""
        return (self.folder / FACTS_NAME).exists()

    def regions(self) -> tuple[Region, ...]:
        """Return the regions on disk, in reading order."""
        try:
            files = list((self.folder / REGIONS).glob("*.tif"))
        except OSError:
            return ()
        found = [region for file in files if (region := region_of_image(file)) is not None]
        return tuple(sorted(found, key=lambda region: region.box))

    def region(self, box: Box) -> Region:
        """Return the region of a box, whether it is on disk or not."""
        y0, x0, y1, x1 = box
        return Region(box, self.folder / REGIONS / f"{y0}_{x0}_{y1 - y0}_{x1 - x0}.tif")

    def add(self, slide: Slide, box: Box) -> Generator[float, None, NDArray[np.uint8]]:
        """Read a region from the slide and keep its pixels.

        Parameters
        ----------
        slide
            The slide, open.
        box
            Where; within the slide.

        Yields
        ------
        float
            The finished share, below 1. Closing the generator leaves nothing behind.

        Returns
        -------
        numpy.ndarray
            (h, w, 3) uint8, C-contiguous.

        Raises
        ------
        ImageError
            If the slide cannot be read there.
        OutputError
            If the file cannot be written.
        """
        region = self.region(box)
        y0, x0, y1, x1 = box
        height, width = y1 - y0, x1 - x0
        rgb = np.empty((height, width, 3), np.uint8)
        tile = slide.levels[0].tile[0]
        band = max(_BAND_PIXELS // width // tile, 1) * tile
        # Bands end where the slide's tiles do, so that each is decoded once.
        edges = [y0, *range((y0 // band + 1) * band, y1, band), y1]
        for first, last in pairwise(edges):
            rgb[first - y0 : last - y0] = slide.read(0, first, x0, last - first, width)
            yield 0.9 * (last - y0) / height
        self._begin()
        _write(region.image, rgb, self.facts, box)
        return rgb

    def _begin(self) -> None:
        """Make the folder, and say in it which slide it is of."""
        writable_folder(self.folder / REGIONS)
        if not self.begun:
            values = {"format": _FORMAT, "version": _VERSION, **asdict(self.facts)}
            with replacing(self.folder / FACTS_NAME) as temporary:
                temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def default_slide_folder(slide: Path) -> Path:
    """Return the folder that belongs beside a slide: its name with ``.sprout-slide``."""
    return default_folder(slide).with_suffix(SUFFIX)


def region_of_image(file: Path) -> Region | None:
    """Return the region whose pixels a file holds; None for any other file."""
    place = file.parent
    if place.name != REGIONS or place.parent.suffix != SUFFIX or file.suffix != ".tif":
        return None
    match = _NAME.fullmatch(file.stem)
    if match is None:
        return None
    y, x, height, width = map(int, match.groups())
    return Region((y, x, y + height, x + width), file)


def read_facts(folder: Path) -> RegionsFacts:
    """Read which slide a folder of regions belongs to.

    Raises
    ------
    ProjectError
        If that is missing, damaged, or of a later version.
    """
    path = folder / FACTS_NAME
    try:
        values: Any = json.loads(path.read_bytes())
        if values["format"] != _FORMAT:
            raise ValueError
        if values["version"] > _VERSION:
            raise ProjectError(
                f"'{folder}' was made by a later version of this program; install that version to "
                "go on with it."
            )
        height, width = map(int, values["shape"])
        mpp = plausible(float(values["mpp"]))
        if mpp is None:
            raise ValueError
        return RegionsFacts(str(values["name"]), str(values["fingerprint"]), (height, width), mpp)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ProjectError(
            f"'{path}' is missing or damaged, so nothing says which slide its regions belong to; "
            "restore it from a backup."
        ) from exc


def _made(base: Path) -> Iterator[Path]:
    """Yield the folders of slides of one name that are there."""
    try:
        found = sorted(base.parent.iterdir())
    except OSError:
        return
    yield from (one for one in found if is_numbered(one, base) and (one / FACTS_NAME).is_file())


def _write(path: Path, rgb: NDArray[np.uint8], facts: RegionsFacts, box: Box) -> None:
    per_cm = 1e4 / facts.mpp
    # TIFF knows no other letters.
    name = facts.name.encode("ascii", "backslashreplace").decode()
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            rgb,
            photometric="rgb",
            tile=(512, 512),
            compression="adobe_deflate",
            predictor=True,
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            software="napari-sprout",
            description=f"Region of {name} at y={box[0]}, x={box[1]}",
            metadata=None,
        )
