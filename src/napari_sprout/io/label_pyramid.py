"""Label images of whole slides: OME-Zarr pyramids of which any part is written and read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import ImageError, OutputError, SettingsError
from .atomic import output_error
from .extras import needed
from .mode_pyramid import halved, level_shapes
from .ome_labels import find_labels, label_attributes
from .ome_metadata import Multiscale
from .pixel_size import checked_mpp
from .raster import damaged
from .slides.ome_zarr_reader import is_zarr
from .windows import read_window

Version = Literal["0.4", "0.5"]

_ZARR_FORMATS: Final[Mapping[str, int]] = {"0.4": 2, "0.5": 3}

_BLOCK: Final = 1024
"""px; side of what is made smaller at once."""


class LabelPyramid:
    """A label image in chunks, with coarser levels, as OME-Zarr.

    Several processes may write at once, each its own chunks. Every chunk is a file of its
    own, and appears whole or not at all: zarr's local store (from 3.1.3 on) writes it beside
    its place and renames it. Chunks without labels have no file. A computer that loses
    power may lose what it wrote last, since nothing waits for the disk.

    Use :meth:`create` or :meth:`open`.

    Attributes
    ----------
    path
        The folder, as it was given.
    mpp
        Pixel size in um; None if unknown.
    """

    def __init__(self, path: Path, mpp: float | None, arrays: list[Any]) -> None:
        self.path = path
        self.mpp = mpp
        self._arrays = arrays

    @classmethod
    def create(
        cls,
        path: str | Path,
        shape: tuple[int, int],
        mpp: float | None,
        *,
        chunk: int = 1024,
        image_name: str = "",
        version: Version = "0.4",
        dtype: DTypeLike = np.uint32,
        overwrite: bool = False,
    ) -> LabelPyramid:
        """Make a label image that is background everywhere.

        Parameters
        ----------
        path
            The folder to make, ending in ``.zarr``.
        shape
            (H, W) of the full resolution.
        mpp
            Pixel size in um, 0.01 to 20; None if unknown.
        chunk
            Side of the chunks in px.
        image_name
            What the labels are called.
        version
            Of OME-Zarr: "0.4" is read by most programs, QuPath among them; "0.5" by newer
            ones.
        dtype
            Of the labels, unsigned.
        overwrite
            Whether an OME-Zarr that is there is deleted first.

        Raises
        ------
        OutputError
            If it cannot be written, or something is there already.
        SettingsError
            If a value is out of range.
        SproutError
            If zarr is not installed.
        """
        path, zarr = Path(path), needed("zarr")
        size = None if mpp is None else checked_mpp(mpp)
        _check(shape, chunk, np.dtype(dtype), version)
        _make_room(path, overwrite)
        levels = {str(number): lengths for number, lengths in enumerate(level_shapes(shape))}
        attributes = label_attributes(image_name or path.stem, list(levels), size, version)
        with _writing(path):
            group = zarr.create_group(
                str(path), zarr_format=_ZARR_FORMATS[version], attributes=attributes
            )
            arrays = [
                group.create_array(
                    name,
                    shape=lengths,
                    chunks=(chunk, chunk),
                    dtype=np.dtype(dtype),
                    fill_value=0,
                    **_storage(version),
                )
                for name, lengths in levels.items()
            ]
        return cls(path, size, arrays)

    @classmethod
    def open(cls, path: str | Path) -> LabelPyramid:
        """Open a label image, ours or another program's.

        Parameters
        ----------
        path
            The folder of the labels; or of an image that holds one label image.

        Raises
        ------
        ImageError
            If it is missing or damaged, or holds no label image or several.
        SproutError
            If zarr is not installed.
        """
        path, zarr = Path(path), needed("zarr")
        group, scales = find_labels(path)
        try:
            arrays = [zarr.open_array(str(group / name), mode="r+") for name in scales.levels]
        except Exception as exc:
            # The bytes are not ours: reading them leads to whatever damage suggests.
            raise damaged(path, exc) from exc
        _check_labels(path, scales, arrays)
        return cls(path, scales.mpp, arrays)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the full resolution."""
        return self.shapes[0]

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(H, W) of every level, the full resolution first."""
        return tuple((int(one.shape[-2]), int(one.shape[-1])) for one in self._arrays)

    @property
    def chunk(self) -> tuple[int, int]:
        """(height, width) of the chunks of the full resolution."""
        height, width = self._arrays[0].chunks[-2:]
        return int(height), int(width)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the labels."""
        kind: np.dtype[Any] = np.dtype(self._arrays[0].dtype)
        return kind

    def write(self, y: int, x: int, labels: NDArray[np.integer[Any]]) -> None:
        """Write whole chunks of the full resolution.

        Parameters
        ----------
        y, x
            The first pixel, where a chunk begins.
        labels
            (h, w), ending where a chunk or the image ends.

        Raises
        ------
        SettingsError
            If it is not made of whole chunks, or a label does not fit.
        OutputError
            If it cannot be written.
        """
        end = (y + labels.shape[0], x + labels.shape[1])
        begin = (y, x)
        for axis, side in enumerate(self.chunk):
            ends = end[axis] == self.shape[axis] or end[axis] % side == 0
            if begin[axis] < 0 or begin[axis] % side or end[axis] > self.shape[axis] or not ends:
                raise SettingsError(
                    f"Labels are written in whole chunks of {self.chunk}, not from {begin} to "
                    f"{end}."
                )
        self._write(0, y, x, labels)

    def _write(self, level: int, y: int, x: int, labels: NDArray[np.integer[Any]]) -> None:
        limits = np.iinfo(self.dtype)
        if labels.size and not limits.min <= labels.min() <= labels.max() <= limits.max:
            raise SettingsError(f"Labels from 0 to {limits.max} can be stored in {self.path}.")
        array = self._arrays[level]
        leading = (0,) * (array.ndim - 2)
        place = (slice(y, y + labels.shape[0]), slice(x, x + labels.shape[1]))
        with _writing(self.path):
            array[(*leading, *place)] = labels.astype(self.dtype, copy=False)

    def read(self, level: int, y: int, x: int, height: int, width: int) -> NDArray[Any]:
        """Return (height, width) labels, (y, x) being the first pixel on that level.

        What lies outside the image is background, 0.

        Raises
        ------
        ImageError
            If a chunk is damaged.
        """
        return read_window(self.path, self._arrays[level], y, x, height, width)

    def blocks(self, level: int = 0, side: int = _BLOCK) -> Iterator[tuple[int, int, int, int]]:
        """Yield (y, x, height, width) of blocks of whole chunks, row by row, over a level.

        Parameters
        ----------
        level
            Which.
        side
            About the side of a block, in px; a chunk at least.
        """
        rows, columns = self.shapes[level]
        high, wide = (one * max(1, side // one) for one in self._arrays[level].chunks[-2:])
        for y in range(0, rows, high):
            for x in range(0, columns, wide):
                yield y, x, min(high, rows - y), min(wide, columns - x)

    def finish(self) -> None:
        """Make the coarser levels anew, block by block.

        A coarse pixel has the label that most of the four pixels under it have; where two
        are equally many, a label rather than background. No label is ever made up.

        Raises
        ------
        OutputError
            If they cannot be written.
        ImageError
            If a chunk is damaged.
        """
        for level in range(1, len(self._arrays)):
            for y, x, height, width in self.blocks(level):
                finer = self.shapes[level - 1]
                tall, across = min(2 * height, finer[0] - 2 * y), min(2 * width, finer[1] - 2 * x)
                labels = self.read(level - 1, 2 * y, 2 * x, tall, across)
                self._write(level, y, x, halved(labels))


def _storage(version: Version) -> Mapping[str, Any]:
    """Return how chunks are stored: the one compression that every reader knows."""
    if version == "0.4":
        blosc = needed("numcodecs").Blosc(cname="zstd", clevel=5, shuffle=1)
        return {"compressors": blosc, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
    codec = needed("zarr.codecs").BloscCodec(cname="zstd", clevel=5, shuffle="shuffle")
    return {"compressors": codec, "dimension_names": ("y", "x")}


def _check(shape: tuple[int, int], chunk: int, dtype: np.dtype[Any], version: str) -> None:
    if min(shape) < 1:
        raise SettingsError(f"A label image needs at least one pixel, not {shape}.")
    if chunk < 16 or chunk > 16384:
        raise SettingsError(f"The side of chunks must be 16 to 16384 px, not {chunk}.")
    if dtype.kind != "u":
        raise SettingsError(f"Labels are stored as unsigned whole numbers, not as {dtype}.")
    if version not in _ZARR_FORMATS:
        raise SettingsError(f"OME-Zarr is written in version 0.4 or 0.5, not {version!r}.")


def _make_room(path: Path, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise OutputError(
            f"'{path}' could not be written: its folder does not exist; create it or choose "
            "another folder."
        )
    if not path.exists():
        return
    if not overwrite:
        raise OutputError(f"'{path}' exists already; delete it or choose another name.")
    if not (is_zarr(path) or (path.is_dir() and not any(path.iterdir()))):
        raise OutputError(
            f"'{path}' exists and is no OME-Zarr, so it is not replaced; choose another name."
        )
    with _writing(path):
        shutil.rmtree(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise output_error(path, exc) from exc


def _check_labels(path: Path, scales: Multiscale, arrays: list[Any]) -> None:
    full = arrays[0]
    if scales.axes[-2:] != ("y", "x") or any(one.ndim != len(scales.axes) for one in arrays):
        raise damaged(path)
    if any(length != 1 for length in full.shape[:-2]) or full.dtype.kind not in "iu":
        raise ImageError(
            f"'{path}' is not a flat label image ({full.dtype.name} of shape {full.shape}); give "
            "the labels, one number a nucleus."
        )
