"""``napari-sprout evaluate``: score label images against reference labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import SproutError
from ..io.pairing import Pair, pair_labels

if TYPE_CHECKING:
    from ..core.metrics import Scores

_RATIOS: Final = ("aji", "pq", "dq", "sq", "dice")
_COUNTS: Final = ("n_truth", "n_prediction", "true_positives")
_PIPED_WIDTH: Final = 140


def evaluate_command(
    prediction: Annotated[
        Path,
        typer.Argument(
            metavar="PRED", help="Predicted label image, or a folder of them.", show_default=False
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="GT", help="Reference label image, or a folder of them.", show_default=False
        ),
    ],
    csv: Annotated[
        Path | None, typer.Option(help="Also write one row an image to this CSV file.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write every score and their mean to this JSON file.")
    ] = None,
) -> None:
    """Score segmentations against reference labels: AJI, PQ, DQ, SQ and Dice.

    PRED and GT are two label images, or two folders in which files are paired
    by name: endings such as "_labels", "_mask" or "_gt" do not count, so that
    case1_labels.tif belongs to case1.png. The last row is the mean over images.
    """
    pairing = pair_labels(prediction, truth)
    _check_outputs(csv, json, pairing.pairs)
    for side, names in pairing.alone.items():
        if names:
            typer.echo(f"Without a partner among the {side}: {', '.join(names)}", err=True)
    scores: dict[str, Scores] = {}
    failed = dict(pairing.ambiguous)
    for pair in pairing.pairs:
        try:
            scores[pair.name] = _score(pair)
        except SproutError as exc:
            failed[pair.name] = str(exc)
    for name, reason in failed.items():
        typer.echo(f"{name}: {reason}", err=True)
    if scores:
        _show(scores)
        if csv is not None:
            _write_csv(csv, scores)
        if json is not None:
            _write_json(json, scores, pairing.alone, failed)
    if failed:
        raise typer.Exit(1)


def _check_outputs(csv: Path | None, json: Path | None, pairs: Sequence[Pair]) -> None:
    outputs = [path.resolve() for path in (csv, json) if path is not None]
    if len(set(outputs)) < len(outputs):
        raise SproutError(f"'{csv}' cannot hold both the CSV and the JSON; give two names.")
    for path in (path for pair in pairs for path in (pair.prediction, pair.truth)):
        if path.resolve() in outputs:
            raise SproutError(f"'{path}' is a label image to read; write the scores elsewhere.")


# Scores


def _score(pair: Pair) -> Scores:
    from ..core.metrics import evaluate
    from ..io.labels import read_labels

    prediction, truth = read_labels(pair.prediction).labels, read_labels(pair.truth).labels
    if prediction.shape != truth.shape:
        raise SproutError(
            f"'{pair.prediction}' is {_size(prediction.shape)} and '{pair.truth}' "
            f"{_size(truth.shape)}; give label images of the same region at the same scale."
        )
    return evaluate(prediction, truth)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} px"


def _show(scores: dict[str, Scores]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..core.metrics import mean_scores

    table = Table(box=box.SIMPLE)
    # A name cut short cannot be found again, so a long one runs over several lines.
    table.add_column("Image", overflow="fold")
    titles = ("AJI", "PQ", "DQ", "SQ", "Dice", "Reference", "Predicted", "Matched")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)

    def row(name: str, score: Scores, style: str = "") -> None:
        ratios = [f"{getattr(score, ratio):.4f}" for ratio in _RATIOS]
        counts = [str(getattr(score, count)) for count in _COUNTS]
        table.add_row(Text(name), *ratios, *counts, style=style)

    for name, score in scores.items():
        row(name, score)
    table.add_section()
    images = "1 image" if len(scores) == 1 else f"{len(scores)} images"
    row(f"Mean of {images}", mean_scores(list(scores.values())), style="bold")
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPED_WIDTH)
    console.print(table)


def _as_row(score: Scores) -> dict[str, Any]:
    ratios = {name: round(getattr(score, name), 6) for name in _RATIOS}
    return {**ratios, **{name: getattr(score, name) for name in _COUNTS}}


def _write_csv(path: Path, scores: dict[str, Scores]) -> None:
    import csv

    from ..io.atomic import replacing

    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, ["image", *_RATIOS, *_COUNTS])
        writer.writeheader()
        writer.writerows({"image": name, **_as_row(score)} for name, score in scores.items())


def _write_json(
    path: Path,
    scores: dict[str, Scores],
    alone: dict[str, list[str]],
    failed: dict[str, str],
) -> None:
    import json

    from ..core.metrics import mean_scores
    from ..io.atomic import replacing

    report = {
        "images": {name: _as_row(score) for name, score in scores.items()},
        "mean": _as_row(mean_scores(list(scores.values()))),
        "unpaired": alone,
        "failed": failed,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
