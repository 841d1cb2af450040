"""Measurements as a table: CSV for any spreadsheet, Parquet for millions of nuclei."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from ..core.instances import Nucleus
from ..errors import ImageError, OutputError
from .atomic import replacing
from .extras import needed
from .pixel_size import checked_mpp, plausible
from .raster import file_errors_in_words
from .streamed import StreamedFile

ENDINGS: Final = (".csv", ".parquet")

_FIELDS: Final = {
    "id": "id",
    "centroid_y_px": "y",
    "centroid_x_px": "x",
    "area_px": "area",
    "perimeter_px": "perimeter",
    "eccentricity": "eccentricity",
    "mean_haematoxylin": "haematoxylin",
    "mean_eosin": "eosin",
    "predicted_iou": "predicted_iou",
    "stability": "stability",
    "score": "score",
}
"""The columns in pixels, and what of a nucleus they hold."""
_WHOLE: Final = ("id", "area_px")
_NEEDED: Final = ("id", "centroid_y_px", "centroid_x_px", "area_px")
_MICRONS: Final = {
    "centroid_y_um": ("y", 1),
    "centroid_x_um": ("x", 1),
    "area_um2": ("area", 2),
    "perimeter_um": ("perimeter", 1),
}
"""The columns in um: what they hold, and with which power of the pixel size it grows."""
_ROWS: Final = 65_536
"""Rows of a group of a Parquet file, and of a batch that is read."""
_MPP: Final = b"napari-sprout.mpp"


class _Sink(Protocol):
    def add(self, rows: Sequence[Mapping[str, float]]) -> None: ...

    def close(self) -> None: ...


class NucleiTableWriter(StreamedFile[_Sink]):
    """Writes a table row by row; it appears whole when the ``with`` block ends, or not at all.

    Columns: id, centroid_y_px, centroid_x_px, area_px, perimeter_px,
    eccentricity, mean_haematoxylin and mean_eosin (optical density),
    predicted_iou, stability, score; and with `mpp`, centroid_y_um, centroid_x_um,
    area_um2, perimeter_um. CSV carries six significant digits, Parquet all.
    The same rows give the same bytes, whatever the batches.

    Parameters
    ----------
    path
        A name that ends in ``.csv`` or ``.parquet``.
    mpp
        Pixel size in um per px, 0.01 to 20; None leaves out the columns in um.

    Raises
    ------
    OutputError
        If the name ends otherwise; on entering and leaving, if the file cannot be written.
    SettingsError
        If `mpp` is out of range.
    SproutError
        If pyarrow is needed and not installed.
    """

    def __init__(self, path: str | Path, mpp: float | None = None) -> None:
        self._path = Path(path)
        self._mpp = None if mpp is None else checked_mpp(mpp)
        if self._path.suffix.lower() not in ENDINGS:
            raise OutputError(
                f"'{path}' was not written: end the name of a table in .csv or .parquet."
            )
        if is_parquet(self._path):
            needed("pyarrow.parquet")
        super().__init__(path, _table(self._path, self._mpp))

    def add(self, nuclei: Iterable[Nucleus]) -> None:
        """Write one row for each nucleus, in this order."""
        self._out.add([_row(nucleus, self._mpp) for nucleus in nuclei])


@contextmanager
def _table(path: Path, mpp: float | None) -> Iterator[_Sink]:
    make = _Parquet if is_parquet(path) else _Csv
    with replacing(path) as draft, closing(make(draft, list(_row(_EXAMPLE, mpp)), mpp)) as sink:
        yield sink


class _Csv:
    def __init__(self, path: Path, columns: list[str], mpp: float | None) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")
        self._writer.writeheader()

    def add(self, rows: Sequence[Mapping[str, float]]) -> None:
        self._writer.writerows({k: _rounded(v) for k, v in row.items()} for row in rows)

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, columns: list[str], mpp: float | None) -> None:
        self._arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
        kinds = {True: self._arrow.int64(), False: self._arrow.float64()}
        self._schema = self._arrow.schema(
            [(name, kinds[name in _WHOLE]) for name in columns],
            metadata={} if mpp is None else {_MPP: repr(mpp).encode()},
        )
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Mapping[str, float]] = []

    def add(self, rows: Sequence[Mapping[str, float]]) -> None:
        self._waiting += rows
        while len(self._waiting) >= _ROWS:
            self._write(self._waiting[:_ROWS])
            del self._waiting[:_ROWS]

    def close(self) -> None:
        try:
            if self._waiting:
                self._write(self._waiting)
        finally:
            self._writer.close()

    def _write(self, rows: Sequence[Mapping[str, float]]) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(list(rows), schema=self._schema))


def write_nuclei_table(
    path: str | Path, nuclei: Iterable[Nucleus], mpp: float | None = None
) -> None:
    """Write one row per nucleus, whole or not at all; without nuclei, the header alone.

    Parameters
    ----------
    path
        The table, of which :class:`NucleiTableWriter` says what is in it.
    nuclei
        What to write, in this order.
    mpp
        Pixel size in um per px, 0.01 to 20; None leaves out the columns in um.

    Raises
    ------
    OutputError
        If the file cannot be written.
    SettingsError
        If `mpp` is out of range.
    """
    with NucleiTableWriter(path, mpp) as table:
        table.add(nuclei)


def is_parquet(path: Path) -> bool:
    """Whether a table's name ends in ``.parquet``."""
    return path.suffix.lower() == ".parquet"


def _row(nucleus: Nucleus, mpp: float | None) -> dict[str, float]:
    row: dict[str, float] = {name: getattr(nucleus, field) for name, field in _FIELDS.items()}
    if mpp is not None:
        for name, (field, power) in _MICRONS.items():
            row[name] = getattr(nucleus, field) * mpp**power
    return row


def _rounded(value: Any) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


_EXAMPLE: Final = Nucleus(1, 0.0, 0.0, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class NucleiTable:
    """A table of nuclei.

    Attributes
    ----------
    nuclei
        In the order of its rows.
    mpp
        Pixel size in um; None if the table has no columns in um. A CSV states it to the
        six digits of its columns alone.
    """

    nuclei: tuple[Nucleus, ...]
    mpp: float | None


def read_nuclei_table(path: str | Path) -> NucleiTable:
    """Read a table by :class:`NucleiTableWriter`; columns of others are passed over.

    Parameters
    ----------
    path
        A name that ends in ``.csv`` or ``.parquet``. Of the columns in pixels, the id, the
        centroid and the area must be there; others are NaN where they are not.

    Raises
    ------
    ImageError
        If the file is missing, damaged, or no such table.
    SproutError
        If pyarrow is needed and not installed.
    """
    nuclei = tuple(itertools.chain.from_iterable(nuclei_batches(path)))
    return NucleiTable(nuclei, table_mpp(path))


def nuclei_batches(path: str | Path) -> Iterator[list[Nucleus]]:
    """Read a table as :func:`read_nuclei_table`, a bounded number of rows at a time."""
    path = Path(path)
    done = 0
    for rows in _batches(path):
        nuclei = []
        for row in rows:
            done += 1
            nuclei.append(_nucleus(path, done, row))
        yield nuclei


def table_mpp(path: str | Path) -> float | None:
    """Return the pixel size that a table states, in um; None if it states none.

    Raises
    ------
    ImageError
        If the file is missing, damaged, or no such table.
    """
    path = Path(path)
    if is_parquet(path):
        with _readable(path):
            stated = (needed("pyarrow.parquet").read_schema(path).metadata or {}).get(_MPP)
        if stated is not None:
            return plausible(_number(stated.decode("ascii", "replace")))
    for rows in _batches(path):
        for row in rows:
            area, microns = (_number(row.get(name)) for name in ("area_px", "area_um2"))
            if area > 0 and microns > 0:
                return plausible(float(f"{math.sqrt(microns / area):.5g}"))
            return None
    return None


def _number(text: Any) -> float:
    try:
        return math.nan if text in (None, "") else float(text)
    except ValueError:
        return math.nan


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say of whatever arises in reading a table that the file is missing or damaged."""
    try:
        with file_errors_in_words(path):
            yield
    except (ValueError, csv.Error) as exc:
        raise ImageError(f"'{path}' is damaged or no table ({exc}); write it again.") from exc


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    if path.suffix.lower() not in ENDINGS:
        raise ImageError(f"'{path}' is no table: give a file that ends in .csv or .parquet.")
    with _readable(path):
        yield from _parquet_rows(path) if is_parquet(path) else _csv_rows(path)


def _csv_rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        _check_columns(path, rows.fieldnames or ())
        while batch := list(itertools.islice(rows, _ROWS)):
            yield batch


def _parquet_rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    with needed("pyarrow.parquet").ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names)
        for batch in file.iter_batches(_ROWS):
            yield batch.to_pylist()


def _check_columns(path: Path, names: Iterable[str]) -> None:
    if missing := [name for name in _NEEDED if name not in set(names)]:
        raise ImageError(
            f"'{path}' is no table of nuclei: it has no column '{missing[0]}'; give one that this "
            "program wrote."
        )


def _nucleus(path: Path, number: int, row: Mapping[str, Any]) -> Nucleus:
    values: dict[str, Any] = {field: _number(row.get(name)) for name, field in _FIELDS.items()}
    for name in _WHOLE:
        value = values[_FIELDS[name]]
        if not (value > 0 and value.is_integer()):
            raise ImageError(
                f"'{path}' is damaged: {name} in row {number} is not a whole number from 1; write "
                "the table again."
            )
        values[_FIELDS[name]] = int(value)
    return Nucleus(**values)
