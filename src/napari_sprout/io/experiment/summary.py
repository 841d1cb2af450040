"""Means over the images of each row, and how far they spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...core.metrics import mean_scores
from .cells import Cell
from .matrix import METRICS, Alteration, Matrix, Row
from .plan import Place, Wanted

QUALITIES = ("positive_precision", "negative_precision", "nuclei_hit", "positives_per_nucleus")


@dataclass(frozen=True)
class Spread:
    """A mean, and the least and the greatest of what it is the mean of; NaN without any."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise values; NaN among them do not count."""
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return cls(math.nan, math.nan, math.nan)
        return cls(sum(known) / len(known), min(known), max(known))


class Results:
    """The finished cells of a matrix, by where they stand.

    Parameters
    ----------
    matrix
        What was compared.
    places
        Every cell of it.
    finished
        The measurements by key.
    images
        The names of the images.
    groups
        The group of each image, if they have any.
    """

    def __init__(
        self,
        matrix: Matrix,
        places: Mapping[Place, Wanted],
        finished: Mapping[str, Cell],
        images: Sequence[str],
        groups: Mapping[str, str] | None = None,
    ) -> None:
        self.matrix = matrix
        self.images = list(images)
        self.groups = dict(groups or {})
        self.places = {place: finished.get(wanted.key) for place, wanted in places.items()}

    def seeds(self, row: Row) -> tuple[int | None, ...]:
        """Return the seeds with which a row is measured; one None for the baseline."""
        return (None,) if row.settings is None else self.matrix.seeds

    def cells(
        self,
        row: Row,
        seed: int | None,
        alteration: Alteration | None = None,
        without: str | None = None,
    ) -> dict[str, Cell]:
        """Return a row's finished cells by image, leaving out those of the group `without`."""
        found = {
            image: self.places[Place(image, row.name, seed, alteration)]
            for image in self.images
            if without is None or self.groups.get(image) != without
        }
        return {image: cell for image, cell in found.items() if cell is not None}

    def metric(
        self,
        row: Row,
        name: str,
        alteration: Alteration | None = None,
        without: str | None = None,
    ) -> Spread:
        """Summarise over the seeds a metric's mean over the images.

        Parameters
        ----------
        row
            Which row.
        name
            One of :data:`~.matrix.METRICS`.
        alteration
            On which images; None for the images as they are.
        without
            The group of images to leave out.
        """

        def mean(cells: Sequence[Cell]) -> float:
            value: float = getattr(mean_scores([cell.scores for cell in cells]), METRICS[name])
            return value

        return self._over_seeds(row, mean, alteration, without)

    def number(self, row: Row, value: Callable[[Cell], float]) -> Spread:
        """Summarise over the seeds the mean over the images of any number of a cell."""
        return self._over_seeds(row, lambda cells: Spread.of([value(cell) for cell in cells]).mean)

    def total(self, row: Row, value: Callable[[Cell], float]) -> Spread:
        """Summarise over the seeds the sum over the images of any number of a cell."""
        return self._over_seeds(row, lambda cells: float(sum(value(cell) for cell in cells)))

    def _over_seeds(
        self,
        row: Row,
        value: Callable[[Sequence[Cell]], float],
        alteration: Alteration | None = None,
        without: str | None = None,
    ) -> Spread:
        found = []
        for seed in self.seeds(row):
            cells = list(self.cells(row, seed, alteration, without).values())
            if cells:
                found.append(value(cells))
        return Spread.of(found)

    def left_out(self, row: Row, name: str) -> Spread:
        """Summarise a metric's mean over the images as each group in turn is left out."""
        names = sorted(set(self.groups.values()))
        return Spread.of([self.metric(row, name, without=group).mean for group in names])

    def by_image(self, row: Row, image: str, name: str) -> float:
        """Return a metric's mean over the seeds on one image; NaN if it is missing."""
        found = []
        for seed in self.seeds(row):
            cell = self.cells(row, seed).get(image)
            if cell is not None:
                found.append(float(getattr(cell.scores, METRICS[name])))
        return Spread.of(found).mean

    def missing(self) -> dict[str, list[str]]:
        """Return for every row that lacks cells the images it lacks, each once, in order.

        An image that is not lacking in every alteration is followed by those in which it
        is: "case1 (unaltered, blur 2)".
        """
        found: dict[str, dict[str, dict[Alteration | None, None]]] = {}
        for place, cell in self.places.items():
            if cell is None:
                found.setdefault(place.row, {}).setdefault(place.image, {})[place.alteration] = None
        return {
            row: [self._lacking(image, tuple(lacking)) for image, lacking in images.items()]
            for row, images in found.items()
        }

    def _lacking(self, image: str, lacking: Sequence[Alteration | None]) -> str:
        if set(lacking) == {None, *self.matrix.alterations}:
            return image
        return f"{image} ({', '.join(str(made or 'unaltered') for made in lacking)})"
