"""Two small H&E images of ovarian carcinoma, to try the program on.

Their origin and licence are in NOTICE; ``scripts/cut_samples.py`` makes them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

MPP = 0.5


@dataclass(frozen=True)
class Sample:
    """A sample image.

    Attributes
    ----------
    name
        The file's name without its ending.
    title
        What it shows.
    mpp
        Pixel size in um. It is an estimate: the origin states none. The
        lymphocytes' nuclei measure 16 px across (median), as do nuclei of 7 to
        8 um at the 0.5 um per pixel of a 20x scan.
    """

    name: str
    title: str
    mpp: float = MPP

    @property
    def path(self) -> Path:
        """The PNG file."""
        return Path(str(files(__name__) / f"{self.name}.png"))


SAMPLES = (
    Sample("hgsc_nest", "Tumour nest of a high-grade serous carcinoma, with lymphocytes"),
    Sample("hgsc_stromal", "Stroma of a high-grade serous carcinoma"),
)


def sample_paths() -> tuple[Path, ...]:
    """Return the sample images' files."""
    return tuple(sample.path for sample in SAMPLES)
