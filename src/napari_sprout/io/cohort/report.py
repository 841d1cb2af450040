"""``cohort.html``: a report in one file, which opens anywhere and prints."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import cv2
import imagecodecs
import numpy as np
from markupsafe import Markup

from ...errors import ImageError
from ..atomic import replacing
from ..images import eight_bit_rgb
from ..png_jpeg import read_png
from .cohort import Cohort, FinishedSlide
from .distribution import Distribution
from .drawing import Frame, histogram, plain, strip
from .facts import SOFTWARE
from .remarks import left_out, remarks
from .summary import MEASURES, SlideSummary

if TYPE_CHECKING:
    from jinja2 import Template

REPORT: Final = "cohort.html"
_TEMPLATE: Final = "report.html"
_PICTURES: Final[Mapping[str, str]] = MappingProxyType(
    {"thumbnail.png": "the slide", "density.png": "where its nuclei are"}
)
_SIDE: Final = 400
_JPEG_QUALITY: Final = 85
_TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "area_um2": "Area (µm²)",
        "eccentricity": "Eccentricity (0 to 1)",
        "haematoxylin": "Haematoxylin (OD)",
        "eosin": "Eosin (OD)",
        "score": "Score (0 to 2)",
    }
)


def write_report(path: str | Path, cohort: Cohort, made: date) -> None:
    """Write the report of a cohort, slide by slide, so that memory does not grow.

    Parameters
    ----------
    path
        The HTML file; what is there is replaced. It holds all its pictures.
    cohort
        The slides.
    made
        The day to state.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    frames = {
        name: Frame.of(bins, [summary.measures[name] for summary in cohort.summaries])
        for name, bins in MEASURES.items()
    }
    views = [_SlideView(slide, f"slide{n}", frames) for n, slide in enumerate(cohort.finished, 1)]
    chunks = _template().generate(
        cohort=cohort,
        title=cohort.folder.resolve().name,
        slides=views,
        remarks=remarks(cohort),
        strips=_strips(views),
        software=SOFTWARE,
        made=f"{made.day} {made:%B %Y}",
    )
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(chunks)


def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("napari_sprout.io", "cohort"),
        # What a slide is called, and what went wrong with it, is text and never markup.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "spread": _spread, "plain": plain}
    return environment.get_template(_TEMPLATE)


@dataclass(frozen=True)
class _SlideView:
    """A slide as the template sees it; its pictures are made as they are written."""

    slide: FinishedSlide
    identifier: str
    frames: Mapping[str, Frame]

    @property
    def name(self) -> str:
        return self.slide.name

    @property
    def summary(self) -> SlideSummary:
        return self.slide.summary

    @property
    def remarks(self) -> Sequence[str]:
        """What a person should know of this slide, one sentence each."""
        return (*left_out(self.slide), *self.summary.warnings)

    @property
    def in_short(self) -> str:
        """The same for a cell of the table."""
        said = []
        if self.slide.left_out:
            tiles = "tile" if self.slide.left_out == 1 else "tiles"
            said.append(f"{self.slide.left_out} {tiles} left out")
        if self.summary.warnings:
            said.append("see below")
        return "; ".join(said)

    @property
    def time(self) -> str:
        """How long it took: "1 h 05 min", "12 min", "40 s"."""
        seconds = round(self.summary.seconds)
        if seconds < 100:
            return f"{seconds} s"
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"

    def pictures(self) -> list[tuple[str, str | None]]:
        """Return what each picture shows, and its content as a data URI; None if missing."""
        return [(shows, _picture(self.slide.folder / file)) for file, shows in _PICTURES.items()]

    def histograms(self) -> list[tuple[str, Distribution, Markup]]:
        """Return title, numbers and picture of each measurement."""
        measures = self.slide.summary.measures
        return [
            (_TITLES[name], found, histogram(found, self.frames[name]))
            for name, found in measures.items()
        ]


def _strips(views: Sequence[_SlideView]) -> list[tuple[str, Markup]]:
    """Return one picture for each number by which the slides are lined up."""
    density = [(view, view.summary.density_per_mm2) for view in views]
    area = [(view, view.summary.measures["area_um2"].median) for view in views]
    return [
        (title, strip([(view.name, view.identifier, value) for view, value in known]))
        for title, values in (("Nuclei per mm²", density), ("Median area (µm²)", area))
        if (known := [(view, value) for view, value in values if value is not None])
    ]


def _picture(path: Path) -> str | None:
    """Return a picture as a data URI, at most 400 px a side; None if there is none."""
    try:
        pixels = eight_bit_rgb(path, read_png(path, path.read_bytes()))
    except (OSError, ImageError):
        return None
    side = max(pixels.shape[:2])
    if side > _SIDE:
        width, height = (max(1, round(n * _SIDE / side)) for n in pixels.shape[1::-1])
        pixels = np.asarray(
            cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8
        )
    encoded = imagecodecs.jpeg8_encode(pixels, level=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _spread(found: Distribution) -> str:
    """Return the median and the middle half: "35.2 (28.1–44.0)"."""
    if found.median is None or found.p25 is None or found.p75 is None:
        return "–"
    return f"{plain(found.median)} ({plain(found.p25)}–{plain(found.p75)})"
