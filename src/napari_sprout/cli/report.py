"""What a person sees while images are segmented: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress


class Report:
    """Progress over a list of images, on the error stream.

    Parameters
    ----------
    total
        How many images there are.
    quiet
        Show warnings and errors alone.
    """

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._total = total
        self._quiet = quiet
        self._bar = None if quiet else _bar()
        self._task = None if self._bar is None else self._bar.add_task("", total=total)

    def __enter__(self) -> Report:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def progress(self, done: int, fraction: float, what: str) -> None:
        """Show that `done` images, and a `fraction` of the next one, are finished."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done + fraction, description=what)

    def finished(self, index: int, text: str) -> None:
        """Say in one line what came of the image at `index`, counted from 0."""
        if not self._quiet:
            width = len(str(self._total))
            self._say(f"[{index + 1:{width}}/{self._total}] {text}")

    def warning(self, text: str) -> None:
        """Say something that a person should know."""
        self._say(f"napari-sprout: warning: {text}")

    def assumed_size(self, images: str, mpp: float) -> None:
        """Say that images state no pixel size, and which one was taken, um per px."""
        self.warning(
            f"{images}: no pixel size is stated, so {mpp:g} um per pixel was assumed; "
            "if that is wrong, give it with --mpp."
        )

    def error(self, text: str) -> None:
        """Say in one line what went wrong."""
        self._say(f"napari-sprout: error: {text}")

    def _say(self, text: str) -> None:
        line = " ".join(text.split("\n"))
        if self._bar is None:
            typer.echo(line, err=True)
        else:
            # Above the bar; file names are neither markup nor wrapped.
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _bar() -> Progress | None:
    """Return a progress bar, or nothing where there is no terminal to draw it on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    # The speed differs from stage to stage, so it is averaged over minutes.
    return Progress(
        *columns, TimeLeft(), console=console, redirect_stdout=False, speed_estimate_period=600
    )
