"""A slide that is an array, for tests of everything but the readers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sprout.io.slides.protocol import Level

WHITE = 255


@dataclass
class ArraySlide:
    """Implements the protocol of a slide over one array; notes what is read of it."""

    rgb: NDArray[np.uint8]
    path: Path
    mpp: float | None = 0.25
    tile: tuple[int, int] = (64, 64)
    reads: list[tuple[int, int, int, int]] = field(default_factory=list)
    format: str = "array"

    @property
    def levels(self) -> tuple[Level, ...]:
        height, width = self.rgb.shape[:2]
        return (Level((height, width), 1.0, self.tile),)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.rgb.tobytes()).hexdigest()

    def read(self, level: int, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        assert level == 0
        self.reads.append((y, x, height, width))
        out = np.full((height, width, 3), WHITE, np.uint8)
        y0, x0 = max(y, 0), max(x, 0)
        y1, x1 = min(y + height, self.rgb.shape[0]), min(x + width, self.rgb.shape[1])
        if y0 < y1 and x0 < x1:
            out[y0 - y : y1 - y, x0 - x : x1 - x] = self.rgb[y0:y1, x0:x1]
        return out

    def close(self) -> None:
        pass
