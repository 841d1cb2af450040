"""One decoded image file, before anybody decides what its numbers mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from numpy.typing import NDArray

from ..errors import ImageError

MAX_PIXELS: Final = 200_000_000

Alpha = Literal["none", "straight", "premultiplied"]


@dataclass(frozen=True, eq=False)
class Raster:
    """Pixels as stored in a file.

    Attributes
    ----------
    pixels
        Array of shape (Y, X), or (Y, X, S) with S samples a pixel.
    bits
        Bits that each whole number may use: white is ``2**bits - 1``.
    alpha
        What the fourth of four samples is: "none" for no opacity.
    rgb_first
        True if the file says that the first three samples are red, green and blue.
    colormap
        Palette of shape (3, N), uint16, for `pixels` that are indices into it.
    mpp
        Pixel size in um per px, None if the file states no plausible one.
    ome_xml
        The file's OME-XML, empty if it has none.
    """

    pixels: NDArray[Any]
    bits: int
    alpha: Alpha = "none"
    rgb_first: bool = False
    colormap: NDArray[Any] | None = None
    mpp: float | None = None
    ome_xml: str = ""


def damaged(path: Path, exc: BaseException | None = None) -> ImageError:
    """Return the error for a file that ends early or does not decode."""
    detail = f" ({' '.join(str(exc).split())[:120].rstrip('.')})" if exc and str(exc) else ""
    return ImageError(f"'{path}' is damaged or incomplete{detail}; copy or export it again.")


@contextmanager
def file_errors_in_words(path: Path) -> Iterator[None]:
    """Say in a sentence why a file cannot be opened or read.

    Raises
    ------
    ImageError
        In place of what the operating system raises.
    """
    try:
        yield
    except FileNotFoundError as exc:
        raise ImageError(f"'{path}' does not exist; check its name and folder.") from exc
    except PermissionError as exc:
        raise ImageError(
            f"'{path}' may not be read; ask its owner for permission or copy it elsewhere."
        ) from exc
    except OSError as exc:
        raise ImageError(
            f"'{path}' cannot be read ({exc.strerror or exc}); copy it again."
        ) from exc


def check_dimensions(path: Path, height: int, width: int) -> None:
    """Refuse what holds no pixels or would not fit in memory, before it is decoded.

    Raises
    ------
    ImageError
        If a side is zero or there are more than `MAX_PIXELS` pixels.
    """
    if height < 1 or width < 1:
        raise ImageError(f"'{path}' holds no pixels ({width} x {height}); export it again.")
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"'{path}' is too large to be read whole ({width} x {height} px, at most "
            f"{MAX_PIXELS // 1_000_000} megapixels); cut out a region first."
        )
