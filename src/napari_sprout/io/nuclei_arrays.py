"""Measured nuclei and their masks as a few plain arrays, as NumPy files hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..core.crops import Mask
from ..core.instances import Nucleus

_FIELDS: Final = tuple(field.name for field in dataclasses.fields(Nucleus))
_WHOLE: Final = ("id", "area")


def pack(
    nuclei: Sequence[Nucleus], boxes: NDArray[np.int64], masks: Sequence[Mask]
) -> dict[str, NDArray[Any]]:
    """Return nuclei as arrays.

    Parameters
    ----------
    nuclei
        Measured.
    boxes
        (n, 4) the box of each, half open.
    masks
        The mask inside each box.

    Returns
    -------
    dict
        "rows", (n, fields) float64; "boxes"; "bits", the masks one after the other.
    """
    rows = [[float(getattr(n, name)) for name in _FIELDS] for n in nuclei]
    bits = [np.packbits(mask) for mask in masks]
    return {
        "rows": np.array(rows, np.float64).reshape(-1, len(_FIELDS)),
        "boxes": boxes,
        "bits": np.concatenate(bits) if bits else np.zeros(0, np.uint8),
    }


def unpack(
    stored: Mapping[str, NDArray[Any]],
) -> tuple[tuple[Nucleus, ...], NDArray[np.int64], tuple[Mask, ...]]:
    """Return the nuclei, boxes and masks that :func:`pack` was given."""
    rows, boxes, bits = (stored[name] for name in ("rows", "boxes", "bits"))
    masks, begin = [], 0
    for y0, x0, y1, x1 in boxes.tolist():
        shape = (y1 - y0, x1 - x0)
        size = shape[0] * shape[1]
        end = begin + -(-size // 8)
        masks.append(np.unpackbits(bits[begin:end], count=size).reshape(shape).astype(bool))
        begin = end
    return tuple(map(_nucleus, rows.tolist())), boxes, tuple(masks)


def _nucleus(row: list[float]) -> Nucleus:
    values: dict[str, Any] = dict(zip(_FIELDS, row, strict=True))
    return Nucleus(**values | {name: int(values[name]) for name in _WHOLE})
