"""Synthetic slides of any size, streamed to disk, on which a run can be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from ...errors import SettingsError
from ..atomic import replacing
from ..pixel_size import checked_mpp
from .islands import GLASS, Islands, synthetic_texture

Compression = Literal["jpeg", "deflate", "lzw", "none"]
Kind = Literal["generic", "aperio", "ome"]

_STEP: Final = 4
_SMALLEST_LONGEST: Final = 2048
_QUALITY: Final = 85
_MIN_TEXTURE: Final = 32

_ENCODERS: Final[dict[str, Callable[[NDArray[np.uint8]], bytes]]] = {
    "jpeg": lambda tile: bytes(
        imagecodecs.jpeg8_encode(
            tile, level=_QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
        )
    ),
    "deflate": lambda tile: bytes(imagecodecs.zlib_encode(tile.tobytes(), level=6)),
    "lzw": lambda tile: bytes(imagecodecs.lzw_encode(tile.tobytes())),
    "none": lambda tile: tile.tobytes(),
}


def write_synthetic_slide(
    path: str | Path,
    shape: tuple[int, int],
    *,
    tissue_fraction: float = 0.05,
    seed: int = 0,
    mpp: float = 0.25,
    tile: int = 512,
    compression: Compression = "jpeg",
    levels: int | None = None,
    kind: Kind = "generic",
    texture: NDArray[np.uint8] | None = None,
) -> None:
    """Write a pyramidal, tiled BigTIFF of synthetic H&E islands on white glass.

    The same arguments give the same pixels. Memory does not grow with the size:
    each tile is made when it is written, from a piece of synthetic tissue that
    is mirrored over and over, so that nuclei lie across the borders of tiles.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    shape
        (H, W) of the full resolution in pixels.
    tissue_fraction
        Share of the slide that is tissue, 0 to 1.
    seed
        Seed of everything random.
    mpp
        Pixel size in um, 0.01 to 20.
    tile
        Side of the tiles in px, a multiple of 16.
    compression
        "jpeg" as scanners do; "deflate", "lzw" and "none" lose nothing.
    levels
        How many resolutions, each four times coarser than the one before; None
        for as many as it takes to come below 2048 px.
    kind
        "generic"; "aperio", as SVS files are made; "ome", OME-TIFF with SubIFDs.
    texture
        (h, w, 3) uint8 of tissue, at least 32 px a side, used instead of synthetic H&E.

    Raises
    ------
    SettingsError
        If a value is out of range.
    OutputError
        If the file cannot be written.
    """
    _check(shape, tissue_fraction, tile, texture)
    mpp = checked_mpp(mpp)
    factors = _factors(shape, levels)
    tissue = synthetic_texture(max(shape), mpp, seed) if texture is None else texture
    islands = Islands(shape, tissue_fraction, tissue, seed)
    writer = _Writer(islands, shape, tile, compression, kind, mpp)
    with replacing(path) as draft:
        writer.write(draft, factors)


class _Writer:
    def __init__(
        self,
        islands: Islands,
        shape: tuple[int, int],
        tile: int,
        compression: Compression,
        kind: Kind,
        mpp: float,
    ) -> None:
        self._islands, self._shape, self._tile, self._kind = islands, shape, tile, kind
        self._mpp = mpp
        self._encode = _ENCODERS[compression]
        per_cm = 1e4 / mpp
        self._options: dict[str, Any] = {
            "dtype": np.uint8,
            "photometric": "rgb",
            "tile": (tile, tile),
            "compression": {"deflate": "adobe_deflate", "none": None}.get(compression, compression),
            "subsampling": (2, 2) if compression == "jpeg" else None,
            "resolution": (per_cm, per_cm),
            "resolutionunit": "CENTIMETER",
        }

    def write(self, path: Path, factors: list[int]) -> None:
        """Write all resolutions, the full one first."""
        ome = self._kind == "ome"
        with tifffile.TiffWriter(path, bigtiff=True, ome=ome) as file:
            for number, factor in enumerate(factors):
                first = number == 0
                file.write(
                    self._tiles(factor),
                    shape=(*self._at(factor), 3),
                    subifds=len(factors) - 1 if ome and first else None,
                    subfiletype=0 if first or self._kind == "aperio" else 1,
                    **self._description(factor),
                    **self._options,
                )
                if first and self._kind == "aperio":
                    self._write_thumbnail(file, factors[-1])

    def _description(self, factor: int) -> dict[str, Any]:
        if self._kind == "ome":
            sizes = {"PhysicalSizeX": self._mpp, "PhysicalSizeY": self._mpp}
            return {"metadata": {"axes": "YXS", **sizes}} if factor == 1 else {}
        if self._kind == "generic":
            return {"metadata": None}
        (height, width), (full_height, full_width) = self._at(factor), self._shape
        size = f"{full_width}x{full_height} [0,0 {full_width}x{full_height}]"
        size += "" if factor == 1 else f" -> {width}x{height}"
        return {
            "metadata": None,
            "description": (
                f"Aperio Image Library v12.0.15 \r\n{size} ({self._tile}x{self._tile}) JPEG/RGB "
                f"Q={_QUALITY}|AppMag = {10 / self._mpp:g}|MPP = {self._mpp:.4f}"
            ),
        }

    def _write_thumbnail(self, file: tifffile.TiffWriter, factor: int) -> None:
        height, width = self._at(factor)
        pixels = self._pixels(factor, 0, 0, min(height, 1024), min(width, 1024))
        file.write(
            _glass(min(height, 1024), min(width, 1024)) if pixels is None else pixels,
            photometric="rgb",
            compression="jpeg",
            description="Aperio Image Library v12.0.15 \r\nthumbnail",
            metadata=None,
        )

    def _at(self, factor: int) -> tuple[int, int]:
        height, width = (max(side // factor, 1) for side in self._shape)
        return height, width

    def _tiles(self, factor: int) -> Iterator[bytes]:
        height, width = self._at(factor)
        glass = self._encode(_glass(self._tile, self._tile))
        for y in range(0, height, self._tile):
            for x in range(0, width, self._tile):
                pixels = self._pixels(factor, y, x, self._tile, self._tile)
                yield glass if pixels is None else self._encode(np.ascontiguousarray(pixels))

    def _pixels(
        self, factor: int, y: int, x: int, height: int, width: int
    ) -> NDArray[np.uint8] | None:
        return self._islands.region(factor, y, x, height, width)


def _glass(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GLASS, dtype=np.uint8)


def _factors(shape: tuple[int, int], levels: int | None) -> list[int]:
    if levels is None:
        levels = 1
        while max(shape) / _STEP ** (levels - 1) > _SMALLEST_LONGEST:
            levels += 1
    if levels < 1 or min(shape) < _STEP ** (levels - 1):
        raise SettingsError(
            f"A slide of {shape[1]} x {shape[0]} px cannot have {levels} resolutions, each four "
            "times coarser than the one before; ask for fewer."
        )
    return [_STEP**number for number in range(levels)]


def _check(
    shape: tuple[int, int], fraction: float, tile: int, texture: NDArray[np.uint8] | None
) -> None:
    if min(shape) < 1:
        raise SettingsError("A synthetic slide needs a height and width of at least 1 pixel.")
    if not 0 <= fraction <= 1:
        raise SettingsError(
            f"The share of tissue of a slide must lie between 0 and 1, not {fraction}."
        )
    if tile < 16 or tile % 16:
        raise SettingsError(f"The side of a slide's tiles must be a multiple of 16, not {tile}.")
    if texture is None:
        return
    fits = texture.ndim == 3 and texture.shape[2] == 3 and texture.dtype == np.uint8
    if not fits or min(texture.shape[:2]) < _MIN_TEXTURE:
        raise SettingsError(
            f"The texture of a slide must be 8 bit RGB of at least {_MIN_TEXTURE} px a side."
        )
