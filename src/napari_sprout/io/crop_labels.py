"""Shapes that may overlap, as one label image of which any part is painted when asked for."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..core.crops import Mask, common, meet, slices, within
from ..core.instances import Box
from ..errors import ImageError

Shape = tuple[int | None, Sequence[tuple[Box, Mask]]]

LARGEST_LABEL: Final = 2**31 - 1

_BIN: Final = 1024
"""px; side of the squares in which shapes are looked for."""


class CropLabels:
    """A label image made of crops; where two overlap, the smaller one lies on top.

    Of each shape it keeps a bit a pixel.

    Parameters
    ----------
    shape
        (H, W) of the image.
    shapes
        Of each shape the label that it asks for, if any, and its parts: boxes and masks,
        inside the image. A label that several ask for is the first one's; the others get the
        lowest free numbers.
    """

    def __init__(self, shape: tuple[int, int], shapes: Iterable[Shape]) -> None:
        self.shape = shape
        names: list[int | None] = []
        areas: list[int] = []
        parts: list[tuple[int, Box, NDArray[np.uint8]]] = []
        for index, (name, crops) in enumerate(shapes):
            names.append(name)
            areas.append(sum(int(np.count_nonzero(mask)) for _, mask in crops))
            parts += [(index, box, np.packbits(mask)) for box, mask in crops if mask.any()]
        numbers = _numbers(names)
        self._count = len(names)
        # Largest first, so that smaller ones come to lie on top.
        parts.sort(key=lambda part: -areas[part[0]])
        self._parts = [(numbers[index], box, bits) for index, box, bits in parts]
        self._places: dict[tuple[int, int], list[int]] = defaultdict(list)
        for rank, (_, box, _) in enumerate(self._parts):
            for place in _bins(box):
                self._places[place].append(rank)

    def __len__(self) -> int:
        """Return the number of shapes, those included that cover no pixel."""
        return self._count

    @property
    def empty(self) -> bool:
        """Whether no shape covers a pixel."""
        return not self._parts

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.int32]:
        """Return (height, width) labels, (y, x) being the first pixel; 0 is background."""
        window = (y, x, y + height, x + width)
        out = np.zeros((height, width), np.int32)
        found = {i for place in _bins(window) for i in self._places.get(place, ())}
        for rank in sorted(found):
            label, box, bits = self._parts[rank]
            if meet(box, window):
                shape = (box[2] - box[0], box[3] - box[1])
                mask = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
                both = common(box, window)
                out[slices(within(both, window))][mask[slices(within(both, box))]] = label
        return out

    def whole(self, path: Path, tell: Callable[[str], None]) -> NDArray[np.int32]:
        """Return all labels, and tell of shapes that cover no pixel.

        Raises
        ------
        ImageError
            If none of the shapes lies in the image.
        """
        labels = self.read(0, 0, *self.shape)
        check_covered(path, len(self), len(np.unique(labels[labels > 0])), self.shape, tell)
        return labels


def check_covered(
    path: Path, total: int, visible: int, shape: tuple[int, int], tell: Callable[[str], None]
) -> None:
    """Tell how many of all shapes in a file cover no pixel of an image of (H, W).

    Raises
    ------
    ImageError
        If none does.
    """
    size = f"{shape[1]} x {shape[0]} px"
    if total and not visible:
        raise ImageError(
            f"None of the {total} shapes in '{path}' lies in this image ({size}); give the file "
            "that was exported from it, at full resolution."
        )
    if visible < total:
        tell(
            f"{total - visible} of the {total} shapes in '{path}' were left out: they cover no "
            f"pixel of this image ({size}) or lie under others."
        )


def _bins(box: Box) -> Iterable[tuple[int, int]]:
    rows = range(box[0] // _BIN, (box[2] - 1) // _BIN + 1)
    return itertools.product(rows, range(box[1] // _BIN, (box[3] - 1) // _BIN + 1))


def _numbers(names: Sequence[int | None]) -> list[int]:
    """Return a label for each shape: its name where no earlier one has it, else a free one."""
    owners: dict[int, int] = {}
    for index, name in enumerate(names):
        if name is not None:
            owners.setdefault(name, index)
    free = (number for number in itertools.count(1) if number not in owners)
    return [
        name if name is not None and owners[name] == index else next(free)
        for index, name in enumerate(names)
    ]
