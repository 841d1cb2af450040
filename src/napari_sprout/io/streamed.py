"""Files that are written part by part, and appear whole at the end or not at all."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from ..errors import OutputError

T = TypeVar("T")


class StreamedFile(Generic[T]):
    """A file that is written in a ``with`` block.

    Parameters
    ----------
    path
        The file.
    opening
        Opens what is written to, and finishes or discards it; made with
        :func:`~.atomic.replacing`.
    """

    def __init__(self, path: str | Path, opening: AbstractContextManager[T]) -> None:
        self._path = Path(path)
        self._opening = opening
        self._opened: T | None = None

    def __enter__(self) -> Self:
        self._opened = self._opening.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._opened = None
        return self._opening.__exit__(kind, error, trace)

    @property
    def _out(self) -> T:
        if self._opened is None:
            raise OutputError(f"'{self._path}' is not open for writing.")
        return self._opened
