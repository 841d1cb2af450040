"""The one place that converts between full-resolution and working pixels.

The method works at a fixed pixel size; images at another are resampled to it and
their labels and prompts come back on the original grid. Both grids use pixel
centres: full = (working + 0.5) / scale - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SAME_SCALE = 0.05
# Pixels a side that an image must have at least.
MIN_SIDE = 32
# Pixel sizes in um that a microscope can have.
MPP_RANGE = (0.01, 20.0)


@dataclass(frozen=True)
class Scale:
    """How one image's full-resolution and working grids relate.

    Attributes
    ----------
    full
        (H, W) of the image as given.
    working
        (H', W') of the image the method works on.
    mpp
        Working pixel size in um.
    """

    full: tuple[int, int]
    working: tuple[int, int]
    mpp: float

    @classmethod
    def between(cls, full: tuple[int, int], mpp: float | None, target: float) -> Scale:
        """Choose the working grid for an image of `full` px at `mpp` um/px (None: `target`).

        Within 5 % of the target an image is used as it is: resampling would cost
        more sharpness than it gains in scale.
        """
        if mpp is None or abs(mpp / target - 1) <= SAME_SCALE:
            return cls(full, full, mpp or target)
        factor = mpp / target
        working = (max(1, round(full[0] * factor)), max(1, round(full[1] * factor)))
        return cls(full, working, target)

    @property
    def identity(self) -> bool:
        """Whether both grids are the same."""
        return self.full == self.working

    def _factors(self) -> NDArray[np.float64]:
        return np.array([w / f for w, f in zip(self.working, self.full, strict=True)])

    def full_pixels(self, area: float) -> int:
        """Convert an area in um^2 to full-resolution pixels, at least 1."""
        full, working = (float(height * width) for height, width in (self.full, self.working))
        return max(1, round(area / self.mpp**2 * full / working))

    def to_working(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert (n, 2) full-resolution (y, x) to working pixels."""
        return (points + 0.5) * self._factors() - 0.5

    def to_full(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert (n, 2) working (y, x) to full-resolution pixels."""
        return (points + 0.5) / self._factors() - 0.5

    def image_to_working(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resample an (H, W, 3) image: area averages down, Lanczos up (as paper B.1)."""
        if self.identity:
            return image
        smaller = self.working[0] < self.full[0]
        method = cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4
        return np.asarray(
            cv2.resize(image, self.working[::-1], interpolation=method), dtype=np.uint8
        )

    def map_to_full(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample an (h, w) or (h, w, c) float map, on any grid over the image, to full."""
        return _resampled(values, self.full)

    def map_to_working(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample an (h, w) or (h, w, c) float map, on any grid over the image, to working."""
        return _resampled(values, self.working)


def _resampled(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resample a map to `shape`: area averages down, linear interpolation up."""
    if values.shape[:2] == shape:
        return values
    method = cv2.INTER_AREA if shape[0] < values.shape[0] else cv2.INTER_LINEAR
    # One channel at a time: OpenCV averages areas of at most four.
    channels = values.reshape(*values.shape[:2], -1)
    resized = [
        cv2.resize(channels[..., i], shape[::-1], interpolation=method)
        for i in range(channels.shape[2])
    ]
    return np.stack(resized, axis=-1).astype(np.float32).reshape(*shape, *values.shape[2:])
