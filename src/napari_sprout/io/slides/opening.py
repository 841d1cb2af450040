"""Slides in: one call for every format, and one sentence for every file that is none."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import tifffile

from ...errors import ImageError, SproutError, UnsuitableImageError
from ..png_jpeg import JPEG_SIGNATURE, PNG_SIGNATURE
from ..raster import MAX_PIXELS, damaged, file_errors_in_words
from ..tiff import TIFF_SIGNATURES, extent, largest_series
from .ome_zarr_reader import OmeZarrSlide, is_rgb_image, is_zarr
from .openslide_reader import GENERIC_TIFF, ScannerSlide, scanner_of
from .plain_reader import PlainSlide
from .protocol import Slide
from .tiff_reader import TiffSlide

SCANNER_SUFFIXES: Final = (
    ".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm",
)  # fmt: skip
"""Endings of files that are opened through OpenSlide."""

_APERIO: Final = "aperio"
_DICOM_SIGNATURE: Final = b"DICM"
_DICOM_HEADER: Final = 65536


def open_slide(path: str | Path, mpp: float | None = None) -> Slide:
    """Open a slide of any format, or an ordinary image as a slide of one resolution.

    The kind is told from the content, not from the name. Read are the metadata
    and the last tile of the full resolution, where a file that was cut short ends;
    of an ordinary image that is no pyramid and not stored in tiles, everything.

    Parameters
    ----------
    path
        The file; or the folder of an OME-Zarr or of one DICOM slide.
    mpp
        Pixel size in um per px, 0.01 to 20, which overrides the file's.

    Raises
    ------
    ImageError
        If it is missing, unreadable, damaged, truncated, or no slide.
    UnsuitableImageError
        If it holds another kind of picture than one H&E image in colour.
    SettingsError
        If `mpp` is out of range.
    SproutError
        If it needs a library of the extra `slides` that is not installed.
    """
    path = Path(path).absolute()
    try:
        with file_errors_in_words(path):
            return _open_folder(path, mpp) if path.is_dir() else _open_file(path, mpp)
    except (SproutError, MemoryError):
        raise
    except Exception as exc:
        raise damaged(path, exc) from exc


def _open_folder(path: Path, mpp: float | None) -> Slide:
    if is_zarr(path):
        return OmeZarrSlide(path, mpp)
    files = list(filter(_is_dicom, sorted(path.iterdir())))
    if not files:
        raise ImageError(
            f"'{path}' is a folder, and neither an OME-Zarr nor a DICOM slide; give a file inside "
            "it."
        )
    slide = ScannerSlide(path, mpp, files[0])
    series = slide.properties.get("dicom.SeriesInstanceUID", "").encode()
    for file in files:
        if series not in _start_of(file, _DICOM_HEADER):
            slide.close()
            raise ImageError(
                f"'{path}' holds several DICOM series; give one of the files of the slide."
            )
    return slide


def _open_file(path: Path, mpp: float | None) -> Slide:
    start = _start_of(path)
    if start.startswith(TIFF_SIGNATURES):
        return _open_tiff(path, mpp)
    if _may_be_scanner(path, start) and scanner_of(path) is not None:
        return ScannerSlide(path, mpp)
    if path.suffix.lower() in SCANNER_SUFFIXES:
        # Of some scanners the file itself is a mere picture of the label.
        raise ImageError(
            f"'{path}' is no slide that can be read; if other files or a folder belong to it, copy "
            "them beside it, otherwise export it again."
        )
    if start.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)):
        return PlainSlide(path, mpp)
    what = "is not a slide or an image that can be read" if start else "is empty"
    raise ImageError(
        f"'{path}' {what}; give a scanner's file (SVS, NDPI, MRXS, SCN, BIF, DICOM), an OME-Zarr, "
        "or a TIFF, PNG or JPEG image."
    )


def _open_tiff(path: Path, mpp: float | None) -> Slide:
    scanner = scanner_of(path) if _installed() else None
    if scanner == _APERIO:
        return _open_aperio(path, mpp)
    if scanner not in {None, GENERIC_TIFF}:
        return ScannerSlide(path, mpp)
    with tifffile.TiffFile(path) as file:
        if scanner is None and _needs_openslide(path, file):
            # Says so if it is not installed; otherwise it does not know a file that was cut.
            scanner_of(path)
            raise damaged(path)
        whole = _is_plain(path, file)
    return PlainSlide(path, mpp) if whole else TiffSlide(path, mpp)


def _needs_openslide(path: Path, file: tifffile.TiffFile) -> bool:
    """Tell the TIFF of a scanner of which only OpenSlide knows all peculiarities."""
    if file.is_ndpi or file.is_scn or file.is_bif or file.is_philips:
        return True
    # What is left of such a file is no reason to believe that it is another.
    return path.suffix.lower() in {".ndpi", ".scn", ".bif"}


def _open_aperio(path: Path, mpp: float | None) -> Slide:
    """Open an SVS so that what was not scanned is white.

    OpenSlide fills it with the coarser level, enlarged, and interpolates between the
    pixels of coarse levels; but it knows a compression that tifffile does not.
    """
    try:
        return TiffSlide(path, mpp)
    except UnsuitableImageError:
        return ScannerSlide(path, mpp)


def _is_plain(path: Path, file: tifffile.TiffFile) -> bool:
    """Tell an image that is read whole from one of which regions are read."""
    series = largest_series(path, file)[1]
    height, width = extent(series.levels[0])
    tiled = bool(series.levels[0].keyframe.is_tiled)
    return len(series.levels) == 1 and not tiled and height * width <= MAX_PIXELS


def is_slide(path: str | Path) -> bool:
    """Tell whether a file is meant to be read as a slide: in parts, at several resolutions.

    It is if it has several resolutions, is of a scanner's format or bears the name of one,
    or is too large to be held in memory as an ordinary image. Little is read; of a file
    that is missing or damaged too far to tell, the answer is False.

    Parameters
    ----------
    path
        A file or folder.
    """
    path = Path(path)
    try:
        if path.is_dir():
            # Another's OME-Zarr may hold labels or fluorescence.
            return is_rgb_image(path) if is_zarr(path) else _holds_dicom(path)
        start = _start_of(path)
        if start.startswith(TIFF_SIGNATURES):
            return _is_tiff_slide(path)
        if start[128:] == _DICOM_SIGNATURE:
            return not _installed() or scanner_of(path) is not None
        return path.suffix.lower() in SCANNER_SUFFIXES
    except Exception:
        return False


def _is_tiff_slide(path: Path) -> bool:
    if path.suffix.lower() in SCANNER_SUFFIXES:
        return True
    with tifffile.TiffFile(path) as file:
        series: Any = largest_series(path, file)[1]
        height, width = extent(series.levels[0])
        if len(series.levels) > 1 or height * width > MAX_PIXELS or file.is_svs:
            return True
    return _installed() and scanner_of(path) not in {None, GENERIC_TIFF}


def _holds_dicom(path: Path) -> bool:
    return any(map(_is_dicom, path.iterdir()))


def _is_dicom(path: Path) -> bool:
    return path.is_file() and _start_of(path)[128:] == _DICOM_SIGNATURE


def _start_of(path: Path, length: int = 132) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


def _may_be_scanner(path: Path, start: bytes) -> bool:
    return start[128:] == _DICOM_SIGNATURE or path.suffix.lower() in SCANNER_SUFFIXES


def _installed() -> bool:
    return find_spec("openslide") is not None
