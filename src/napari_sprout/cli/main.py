"""``napari-sprout``: the commands, and what a person sees when one fails."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .._version import __version__
from ..errors import SproutError
from .cohort import cohort_command
from .compare import compare_command
from .convert import convert_command
from .demo import demo_command
from .evaluate import evaluate_command
from .experiment import experiment_command
from .models import models_app
from .replay import replay_command
from .segment import segment_command
from .settings import settings_command
from .slide import slide_command


class Commands(TyperGroup):
    """The group of all commands, which tells errors in one line and gives exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; with ``--debug`` an error keeps its traceback."""
        try:
            result = super().invoke(ctx)
            # A closed pipe must be noticed here, not while the interpreter shuts down.
            sys.stdout.flush()
        except KeyboardInterrupt:
            typer.echo(
                "\nnapari-sprout: interrupted; results that were finished are complete and kept.",
                err=True,
            )
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise  # typer ends quietly
        except (SproutError, OSError, MemoryError) as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"napari-sprout: error: {_one_line(error)}", err=True)
            raise typer.Exit(1) from None
        return result


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "The computer's memory is full; close other programs or cut out a region."
    return " ".join(str(error).split())


app = typer.Typer(
    name="napari-sprout",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-sprout {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="NAPARI_SPROUT_DEBUG",
            help="Show where in the program an error arose.",
        ),
    ] = False,
) -> None:
    """Label every nucleus of H&E images, without training and without a network."""


app.command("segment")(segment_command)
app.command("slide")(slide_command)
app.command("demo")(demo_command)
app.command("settings")(settings_command)
app.command("evaluate")(evaluate_command)
app.command("experiment")(experiment_command)
app.command("cohort")(cohort_command)
app.command("compare")(compare_command)
app.command("convert")(convert_command)
app.command("replay")(replay_command)
app.add_typer(models_app, name="models")


def _terminate(signum: int, _frame: object) -> None:
    # An exception, unlike the signal's default, lets temporary files be removed.
    raise SystemExit(128 + signum)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminate)
    app()
