"""A slide as it goes from process to process: its path, and what a person said of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .protocol import Slide


@dataclass(frozen=True)
class SlideSource:
    """Where a slide is; picklable, where an open slide is not.

    Attributes
    ----------
    path
        The file, or the folder of an OME-Zarr or DICOM slide.
    mpp
        Pixel size in um that overrides the slide's own; None to use that.
    """

    path: Path
    mpp: float | None = None

    def open(self) -> Slide:
        """Open it in this process.

        Raises
        ------
        ImageError
            If it is missing, damaged, truncated, or no slide.
        """
        from .opening import open_slide

        return open_slide(self.path, self.mpp)
