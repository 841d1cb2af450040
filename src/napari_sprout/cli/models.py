"""``napari-sprout models``: what can be chosen, what is here, and how it comes here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..errors import SproutError, SproutWarning, WeightsError

if TYPE_CHECKING:
    from rich.console import Console

    from ..models.registry import Model

_PIPED_WIDTH: Final = 140
_TABLE_WIDTH: Final = 112
"""Narrower terminals get a few lines a model: a table's columns would be cut to pieces."""

models_app = typer.Typer(
    help="The encoders and SAM variants that can be chosen: list, fetch, check, remove.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As in the list.", show_default=False)]
Names = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="As in the list.", show_default=False)
]


@models_app.command("list")
def list_command() -> None:
    """List every model by name, and whether it is on this computer.

    "Tried": these very weights have been run with this program. The others'
    networks have been tested with random numbers in the place of their weights.
    """
    from rich.console import Console

    from ..models.registry import models

    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPED_WIDTH)
    rows = [_row(one) for one in models().values()]
    if console.width >= _TABLE_WIDTH:
        _print_table(console, rows)
    else:
        _print_blocks(console, rows)


@models_app.command("info")
def info_command(name: Name) -> None:
    """Tell what is known of a model: size, licence, where it comes from and lies."""
    from ..models import store
    from ..models.download_errors import megabytes
    from ..models.in_words import size_of
    from ..models.pins import pinned
    from ..models.registry import model

    one = model(name)
    found, expected = one.embedded_path or store.downloaded(one), store.expected_sha256(one)
    note = pinned(one)
    network = f"{one.architecture}, {one.parameters:g} million parameters"
    states = "" if one.sha256 or not expected else " (as of the first download)"
    facts = {
        "Title": one.title,
        "Kind": _KINDS[one.kind],
        "Network": f"{network}, {one.dimension} numbers a token of {one.patch} px",
        "File": f"{one.file_name}, {size_of(one)}",
        "Memory": f"about {megabytes(round(4e6 * one.parameters))} for the weights alone",
        "Licence": f"{one.licence}, {one.page}",
        "Access": _ACCESS[one.gated],
        "From": f"huggingface.co/{one.repository}" if one.repository else "the program itself",
        "Version": one.revision or (note.commit if note else ""),
        "SHA-256": f"{expected}{states}" if expected else "stated by nobody before a download",
        "Tried": "yes" if one.tried else "no: tested with random numbers for weights",
        "Here": str(found) if found else "no",
        "To copy by hand": "" if one.embedded else str(store.own_path(one)),
    }
    for label, fact in facts.items():
        if fact:
            typer.echo(f"{label + ':':17}{fact}")


@models_app.command("download")
def download_command(
    names: Names,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show warnings and errors alone.")
    ] = False,
) -> None:
    """Fetch weights from Hugging Face; this alone uses the network.

    What was interrupted goes on where it stopped. A file counts as right if its
    SHA-256 is the known one, or the one of the first download.
    """
    from ..models import store
    from ..models.in_words import terms_of
    from ..models.registry import model

    def fetch(one: Model) -> None:
        if not quiet and store.downloaded(one) is None and not one.embedded:
            typer.echo(terms_of(one), err=True)
        with _bar(one, quiet=quiet) as progress:
            path = store.download(one, progress)
        if not quiet:
            typer.echo(f"{one.name}: {path}")

    _each([model(name) for name in names], fetch)


@models_app.command("verify")
def verify_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]", help="As in the list.", show_default="all that are here"
        ),
    ] = None,
) -> None:
    """Compute the SHA-256 of weights and compare it with what it should be."""
    from ..models import store
    from ..models.in_words import presence_of
    from ..models.registry import model, models

    def check(one: Model) -> None:
        found = store.verify(one)
        if not found.is_right:
            raise WeightsError(
                f"'{found.path}' is not what it should be (SHA-256 {found.sha256}, expected "
                f"{found.expected}): 'napari-sprout models download {one.name}' fetches it again."
            )
        said = "as it should be" if found.expected else "nobody states what it should be"
        typer.echo(f"{one.name}: SHA-256 {found.sha256}, {said}")

    if names:
        chosen = [model(name) for name in names]
    else:
        chosen = [one for one in models().values() if presence_of(one) != "no"]
    _each(chosen, check)


@models_app.command("path")
def path_command(name: Name) -> None:
    """Print where the weights lie."""
    from ..models import store
    from ..models.registry import model

    typer.echo(store.locate(model(name)))


@models_app.command("remove")
def remove_command(
    name: Name,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Also forget what they were: take the newest next time."),
    ] = False,
) -> None:
    """Delete downloaded weights."""
    from ..models import store
    from ..models.registry import model

    typer.echo(f"'{store.remove(model(name), forget=forget)}' was deleted.")


# Rows

_KINDS: Final = {
    "encoder": "encoder (features alone)",
    "segmenter": "segmenter (features and masks)",
}
_ACCESS: Final = {
    False: "free",
    True: "gated: the licence must first be accepted on its page, with a Hugging Face account",
}


def _row(one: Model) -> dict[str, str]:
    from ..models.download_errors import megabytes
    from ..models.in_words import presence_of, size_of

    return {
        "Name": one.name,
        "Title": one.title,
        "Kind": one.kind,
        "Size": size_of(one),
        "Memory": f"~{megabytes(round(4e6 * one.parameters))}",
        "Licence": one.licence,
        "Gated": "gated" if one.gated else "",
        "Here": presence_of(one),
        "Tried": "tried" if one.tried else "",
    }


def _print_table(console: Console, rows: list[dict[str, str]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    for title in rows[0]:
        right = title in ("Size", "Memory")
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "Title")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row.values()))
    console.print(table)


def _print_blocks(console: Console, rows: list[dict[str, str]]) -> None:
    for row in rows:
        here = {"yes": "here", "no": "not here"}.get(row["Here"], row["Here"])
        facts = (row["Kind"], row["Size"], row["Licence"], row["Gated"], here, row["Tried"])
        # A name cut short cannot be typed again, so it has a line of its own.
        console.print(row["Name"], markup=False, highlight=False, style="bold", overflow="fold")
        for text in (row["Title"], ", ".join(fact for fact in facts if fact)):
            console.print(f"  {text}", markup=False, highlight=False)


# Work


def _each(chosen: Iterable[Model], work: Callable[[Model], None]) -> None:
    """Do something with each model; one that fails is told and does not keep the others from it."""
    failed = False
    for one in chosen:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SproutWarning)
            try:
                work(one)
            except SproutError as error:
                failed = True
                typer.echo(f"napari-sprout: error: {' '.join(str(error).split())}", err=True)
        for warning in caught:
            if issubclass(warning.category, SproutWarning):
                typer.echo(f"napari-sprout: warning: {warning.message}", err=True)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _bar(one: Model, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show bytes and time left on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeLeft(), console=console, redirect_stdout=False) as progress:
        task = progress.add_task(one.name, total=one.size)
        yield lambda done, total: progress.update(task, completed=done, total=total)
