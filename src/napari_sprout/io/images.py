"""H&E images in: one call for every format, and one sentence for every bad file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..core.coordinates import MIN_SIDE
from ..errors import ImageError, UnsuitableImageError
from .pixel_size import checked_mpp
from .png_jpeg import JPEG_SIGNATURE, PNG_SIGNATURE, read_jpeg, read_png
from .raster import Raster, file_errors_in_words
from .tiff import TIFF_SIGNATURES, read_tiff

IMAGE_SUFFIXES: Final = (".tif", ".tiff", ".btf", ".tf8", ".png", ".jpg", ".jpeg")
OUTPUT_ENDINGS: Final = ("_labels.tif", "_labels.tiff", "_overlay.png")


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An H&E image ready for the core.

    Attributes
    ----------
    rgb
        C-contiguous uint8 array of shape (H, W, 3).
    mpp
        Pixel size in um per px; None if neither the file nor the caller states one.
    path
        The file it came from.
    sha256
        Hash of the file's bytes, in hexadecimal.
    """

    rgb: NDArray[np.uint8]
    mpp: float | None
    path: Path
    sha256: str


def read_image(path: str | Path, mpp: float | None = None) -> LoadedImage:
    """Read an H&E image from a TIFF, OME-TIFF, BigTIFF, PNG or JPEG file.

    The kind of file is told from its first bytes, not its name. Eight bit,
    deeper (scaled to 8 bit, rounded) and 0..1 decimal colours are read, as are
    palettes, separate colour planes, and opacity, which is laid over white. Of
    a pyramid the full-resolution level is read. EXIF orientation is ignored:
    the rows and columns are those stored in the file, so that labels fit it.

    Parameters
    ----------
    path
        The image file.
    mpp
        Pixel size in um per px, 0.01 to 20, which overrides the file's.

    Raises
    ------
    ImageError
        If the file is missing, unreadable, damaged, too large, or not an image.
    UnsuitableImageError
        If the image is too small, not in colour, or one of a stack.
    SettingsError
        If `mpp` is out of range.
    """
    path = Path(path)
    given = None if mpp is None else checked_mpp(mpp)
    raster, digest = read_raster(path)
    try:
        rgb = _to_rgb(path, raster)
    except MemoryError as exc:
        raise _too_large(path) from exc
    return LoadedImage(rgb, raster.mpp if given is None else given, path, digest)


def read_raster(path: Path) -> tuple[Raster, str]:
    """Decode any supported file, and return its pixels and the sha256 of its bytes.

    Raises
    ------
    ImageError
        If the file is missing, unreadable, damaged, too large, or not an image.
    """
    try:
        with file_errors_in_words(path):
            if path.is_dir():
                raise ImageError(f"'{path}' is a folder, not an image; give a file inside it.")
            if path.exists() and not path.is_file():
                raise ImageError(f"'{path}' is not a regular file; give an image file.")
            return _decode(path)
    except MemoryError as exc:
        raise _too_large(path) from exc


def _decode(path: Path) -> tuple[Raster, str]:
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(TIFF_SIGNATURES):
            raster = read_tiff(path)
            file.seek(0)
            return raster, hashlib.file_digest(file, "sha256").hexdigest()
        if not start.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)):
            what = "is not a TIFF, PNG or JPEG image" if start else "is empty"
            raise ImageError(f"'{path}' {what}; export the image again in one of these formats.")
        data = start + file.read()
    read = read_png if data.startswith(PNG_SIGNATURE) else read_jpeg
    return read(path, data), hashlib.sha256(data).hexdigest()


def _too_large(path: Path) -> ImageError:
    return ImageError(f"'{path}' does not fit in this computer's memory; cut out a region first.")


def _to_rgb(path: Path, raster: Raster) -> NDArray[np.uint8]:
    height, width = raster.pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        side, size = ("wide", width) if width <= height else ("high", height)
        raise UnsuitableImageError(
            f"'{path}' is {size} px {side}; an image must be at least {MIN_SIDE} px on each side, "
            "so cut out a larger region."
        )
    rgb = eight_bit_rgb(path, raster)
    if _is_grey(rgb):
        raise _not_colour(path, "is a grayscale image stored as colour")
    return np.ascontiguousarray(rgb)


def eight_bit_rgb(path: Path, raster: Raster) -> NDArray[np.uint8]:
    """Return the colours of a raster, eight bits a channel, what is transparent over white.

    Parameters
    ----------
    path
        The file it came from, for the message.
    raster
        All of an image, or a part of it.

    Returns
    -------
    numpy.ndarray
        (H, W, 3) uint8.

    Raises
    ------
    UnsuitableImageError
        If it has too few or too many channels, or stores colours as other numbers.
    """
    pixels, bits = raster.pixels, raster.bits
    if raster.colormap is not None:
        indices = pixels if pixels.ndim == 2 else pixels[..., 0]
        pixels, bits = _apply_palette(raster.colormap, indices)
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    if samples < 3:
        raise _not_colour(path, "is a grayscale image")
    if samples > 4 or (samples == 4 and raster.alpha == "none" and not raster.rgb_first):
        raise _not_colour(path, f"has {samples} channels")
    rgb = _to_uint8(path, pixels[..., :3], bits)
    if samples == 4 and raster.alpha != "none":
        opacity = _to_uint8(path, pixels[..., 3:], bits)
        rgb = over_white(rgb, opacity, premultiplied=raster.alpha == "premultiplied")
    return rgb


def _not_colour(path: Path, what: str) -> UnsuitableImageError:
    return UnsuitableImageError(
        f"'{path}' {what}; the stains can only be told apart in an RGB colour image of H&E, "
        "so export the colour image."
    )


def _apply_palette(colormap: NDArray[Any], indices: NDArray[Any]) -> tuple[NDArray[Any], int]:
    # Some programs fill the 16 bit palette with 8 bit colours; libtiff reads those as such too.
    bits = 16 if int(colormap.max()) > 255 else 8
    return np.moveaxis(colormap, 0, -1)[indices], bits


def _to_uint8(path: Path, values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if values.dtype.kind == "f":
        return _unit_to_uint8(path, values)
    if values.dtype.kind != "u" or bits > 16:
        raise UnsuitableImageError(
            f"'{path}' stores its colours as {values.dtype.name}; export it with 8 bits a channel."
        )
    if bits == 8:
        return np.asarray(values, dtype=np.uint8)
    # Scaled and rounded by table; for 16 bits this is division by 257.
    white = 2**bits - 1
    levels = ((np.arange(white + 1, dtype=np.int64) * 510 + white) // (2 * white)).astype(np.uint8)
    return np.asarray(levels.take(values, mode="clip"))


def _unit_to_uint8(path: Path, values: NDArray[Any]) -> NDArray[np.uint8]:
    if not np.isfinite(values).all():
        raise ImageError(
            f"'{path}' holds pixels that are not numbers (NaN or infinite); export it again."
        )
    low, high = float(values.min()), float(values.max())
    if low < -1e-6 or high > 1 + 1e-6:
        raise UnsuitableImageError(
            f"'{path}' holds decimal colours from {low:g} to {high:g}, where 0 to 1 is "
            "expected; export it with 8 bits a channel."
        )
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), dtype=np.uint8)


def over_white(
    rgb: NDArray[np.uint8], opacity: NDArray[np.uint8], *, premultiplied: bool
) -> NDArray[np.uint8]:
    """Lay (H, W, 3) colours of (H, W, 1) opacity, both uint8, over white."""
    white = 255 - opacity.astype(np.uint16)
    if premultiplied:
        return np.asarray(np.minimum(rgb + white, 255), dtype=np.uint8)
    # At most 255 * 255 + 127, which 16 bits hold.
    mixed = (rgb * opacity.astype(np.uint16) + 255 * white + 127) // 255
    return np.asarray(mixed, dtype=np.uint8)


def _is_grey(rgb: NDArray[np.uint8]) -> bool:
    """Tell whether the channels are equal everywhere, though not a blank sheet of one value."""
    first = rgb[..., 0]
    if not (np.array_equal(first, rgb[..., 1]) and np.array_equal(first, rgb[..., 2])):
        return False
    return bool(first.min() != first.max())


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """List image files: files as given, folders replaced by the images directly in them.

    In a folder, files whose suffix is in `IMAGE_SUFFIXES` count, sorted by
    name; hidden files and results of this program (`OUTPUT_ENDINGS`) do not.
    A file named twice is listed once.

    Raises
    ------
    ImageError
        If a path does not exist, or a folder cannot be listed or holds no images.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        try:
            found.update(dict.fromkeys(_images_at(path)))
        except OSError as exc:
            reason = exc.strerror or exc
            raise ImageError(f"'{path}' cannot be opened ({reason}); ask for permission.") from exc
    return list(found)


def _images_at(path: Path) -> list[Path]:
    if path.is_dir():
        return _images_in(path)
    if not path.exists():
        raise ImageError(f"'{path}' does not exist; check its name and folder.")
    return [path]


def _images_in(folder: Path) -> list[Path]:
    files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    images = [file for file in files if _is_input(file.name.lower())]
    if not images:
        raise ImageError(
            f"The folder '{folder}' holds no images; give one with TIFF, PNG or JPEG files."
        )
    return images


def _is_input(name: str) -> bool:
    ours = name.startswith(".") or name.endswith(OUTPUT_ENDINGS)
    return name.endswith(IMAGE_SUFFIXES) and not ours
