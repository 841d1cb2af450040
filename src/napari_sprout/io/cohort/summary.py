"""``summary.json``: what a cohort needs to know of a slide, written once it is finished."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ...core.instances import Nucleus
from ...errors import ResultsError
from ..atomic import replacing
from .distribution import Bins, Distribution, DistributionBuilder
from .facts import LeftOutTile, Method, SlideFacts, Tiles

__all__ = [
    "MEASURES",
    "SLIDE_FOLDER",
    "SUMMARY",
    "LeftOutTile",
    "Method",
    "SlideFacts",
    "SlideSummary",
    "SummaryBuilder",
    "Tiles",
    "read_summary",
    "write_summary",
]

SUMMARY: Final = "summary.json"
SLIDE_FOLDER: Final = ".slide"
_FORMAT: Final = "napari-sprout slide summary"
_VERSION: Final = 1
_UM2_PER_MM2: Final = 1e6
# A line each would make a list of a thousand counts unreadable. No string holds a line break.
_LIST_OF_COUNTS: Final = re.compile(r"\[\n[\s\d,]+\]")

MEASURES: Final[Mapping[str, Bins]] = MappingProxyType(
    {
        "area_um2": Bins(0.0, 500.0, 1000),
        "eccentricity": Bins(0.0, 1.0, 200),
        # Optical density; deconvolution also gives values a little below zero.
        "haematoxylin": Bins(-0.5, 5.0, 550),
        "eosin": Bins(-0.5, 5.0, 550),
        "score": Bins(0.0, 2.0, 200),
    }
)
"""What is summarised, and the bins, which must never change within one version."""


@dataclass(frozen=True)
class SlideSummary:
    """A finished slide in a few numbers.

    Attributes
    ----------
    slide
        Which slide.
    method
        What made it.
    tissue_mm2
        Area of the tissue, in mm^2.
    nuclei
        How many there are.
    measures
        The distribution of each of :data:`MEASURES`.
    tiles
        How the slide was divided, and what is missing.
    warnings
        What a person should know, one sentence each.
    seconds
        How long it took, all runs together.
    """

    slide: SlideFacts
    method: Method
    tissue_mm2: float
    nuclei: int
    measures: Mapping[str, Distribution]
    tiles: Tiles
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The slide's name."""
        return self.slide.name

    @property
    def density_per_mm2(self) -> float | None:
        """Nuclei per mm^2 of tissue; None without tissue."""
        return self.nuclei / self.tissue_mm2 if self.tissue_mm2 > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "slide": self.slide.to_dict(),
            "method": self.method.to_dict(),
            "tissue_mm2": self.tissue_mm2,
            "nuclei": self.nuclei,
            "density_per_mm2": self.density_per_mm2,
            "measures": {name: found.to_dict() for name, found in self.measures.items()},
            "tiles": self.tiles.to_dict(),
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SlideSummary:
        """Read what :meth:`to_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else.
        """
        measures = {name: Distribution.from_dict(values["measures"][name]) for name in MEASURES}
        nuclei, tissue = int(values["nuclei"]), float(values["tissue_mm2"])
        for name, found in measures.items():
            if found.histogram.bins != MEASURES[name] or found.n + found.missing != nuclei:
                raise ValueError(f"'{name}' does not belong to {nuclei} nuclei.")
        if not (math.isfinite(tissue) and tissue >= 0):
            raise ValueError(f"The tissue cannot be {tissue} mm^2.")
        return cls(
            SlideFacts.from_dict(values["slide"]),
            Method.from_dict(values["method"]),
            tissue,
            nuclei,
            measures,
            Tiles.from_dict(values["tiles"]),
            tuple(str(text) for text in values["warnings"]),
            float(values["seconds"]),
        )


class SummaryBuilder:
    """Summarises nuclei that come in batches, in any order, in memory that does not grow.

    The result is the same to the last digit, whatever the order and the batches.

    Parameters
    ----------
    slide
        The slide to which they belong.
    """

    def __init__(self, slide: SlideFacts) -> None:
        self._slide = slide
        self._nuclei = 0
        self._measures = {name: DistributionBuilder(bins) for name, bins in MEASURES.items()}

    def add(self, nuclei: Sequence[Nucleus]) -> None:
        """Take some more of the slide's nuclei, each of them once."""
        um2 = self._slide.mpp**2
        value: dict[str, Callable[[Nucleus], float]] = {
            "area_um2": lambda nucleus: nucleus.area * um2,
            "eccentricity": lambda nucleus: nucleus.eccentricity,
            "haematoxylin": lambda nucleus: nucleus.haematoxylin,
            "eosin": lambda nucleus: nucleus.eosin,
            "score": lambda nucleus: nucleus.score,
        }
        for name, builder in self._measures.items():
            builder.add(map(value[name], nuclei))
        self._nuclei += len(nuclei)

    def summary(
        self,
        method: Method,
        tissue_um2: float,
        tiles: Tiles,
        warnings: Sequence[str] = (),
        seconds: float = 0.0,
    ) -> SlideSummary:
        """Return the summary of all nuclei so far.

        Parameters
        ----------
        method
            What made them.
        tissue_um2
            Area of the tissue, in um^2.
        tiles
            How the slide was divided.
        warnings
            What a person should know, one sentence each; what is said twice is kept once.
        seconds
            How long it took, all runs together.
        """
        return SlideSummary(
            self._slide,
            method,
            tissue_um2 / _UM2_PER_MM2,
            self._nuclei,
            {name: builder.distribution() for name, builder in self._measures.items()},
            tiles,
            tuple(dict.fromkeys(warnings)),
            round(seconds, 3),
        )


def write_summary(folder: str | Path, summary: SlideSummary) -> Path:
    """Write a slide's summary into its folder, whole or not at all.

    Whoever finds it takes the slide for finished: it is to be written last.

    Parameters
    ----------
    folder
        The slide's folder, which exists.
    summary
        What to write.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = Path(folder) / SUMMARY
    text = json.dumps(summary.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    text = _LIST_OF_COUNTS.sub(lambda found: "".join(found[0].split()), text)
    with replacing(path) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
    return path


def read_summary(folder: str | Path) -> SlideSummary:
    """Read the summary in a slide's folder.

    Raises
    ------
    ResultsError
        If it is missing, unreadable, damaged, or of a later version.
    """
    path = Path(folder) / SUMMARY
    try:
        values = json.loads(path.read_bytes(), parse_constant=_not_json)
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ValueError("another format")
        version = int(values["version"])
        if version <= _VERSION:
            return SlideSummary.from_dict(values)
    except FileNotFoundError as exc:
        raise ResultsError(
            f"The slide '{path.parent}' is not finished: it has no '{SUMMARY}'; run "
            "'napari-sprout slide' on it again."
        ) from exc
    except OSError as exc:
        raise ResultsError(
            f"'{path}' cannot be read ({exc.strerror or exc}); ask for permission or copy the "
            "results elsewhere."
        ) from exc
    except (KeyError, TypeError, ValueError, RecursionError) as exc:
        raise ResultsError(
            f"'{path}' is damaged; run 'napari-sprout slide' on the slide again with --overwrite."
        ) from exc
    raise ResultsError(
        f"'{path}' was written by a later version of this program; install that version to read it."
    )


def _not_json(constant: str) -> float:
    raise ValueError(constant)
