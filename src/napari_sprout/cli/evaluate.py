"""``napari-sprout evaluate``: score label images against reference labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import SproutError

if TYPE_CHECKING:
    from ..core.metrics import Scores

LABEL_SUFFIXES: Final = (".tif", ".tiff", ".btf", ".tf8", ".png")
NAME_ENDINGS: Final = ("_labels", "_label", "_masks", "_mask", "_gt", "_prediction", "_pred")
_NOT_LABELS: Final = "_overlay"
_RATIOS: Final = ("aji", "pq", "dq", "sq", "dice")
_COUNTS: Final = ("n_truth", "n_prediction", "true_positives")
_PIPED_WIDTH: Final = 140


@dataclass(frozen=True)
class _Pair:
    name: str
    prediction: Path
    truth: Path


@dataclass(frozen=True)
class _Pairing:
    """Which files belong together, and which have no partner or more than one."""

    pairs: list[_Pair]
    alone: dict[str, list[str]]
    ambiguous: dict[str, str]


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
    pairing = _pair(prediction, truth)
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


def _check_outputs(csv: Path | None, json: Path | None, pairs: Sequence[_Pair]) -> None:
    outputs = [path.resolve() for path in (csv, json) if path is not None]
    if len(set(outputs)) < len(outputs):
        raise SproutError(f"'{csv}' cannot hold both the CSV and the JSON; give two names.")
    for path in (path for pair in pairs for path in (pair.prediction, pair.truth)):
        if path.resolve() in outputs:
            raise SproutError(f"'{path}' is a label image to read; write the scores elsewhere.")


# Pairing


def _pair(prediction: Path, truth: Path) -> _Pairing:
    for path in (prediction, truth):
        if not path.exists():
            raise SproutError(f"'{path}' does not exist; check its name and folder.")
    if prediction.is_dir() != truth.is_dir():
        folder, file = (prediction, truth) if prediction.is_dir() else (truth, prediction)
        raise SproutError(
            f"'{folder}' is a folder and '{file}' a file; give two label images or two folders."
        )
    if not prediction.is_dir():
        return _Pairing([_Pair(_key(prediction), prediction, truth)], {}, {})
    return _pair_folders(prediction, truth)


def _pair_folders(prediction: Path, truth: Path) -> _Pairing:
    predictions, truths = _label_files(prediction), _label_files(truth)
    shared = sorted(predictions.keys() & truths.keys())
    if not shared:
        raise SproutError(
            f"No label image in '{prediction}' has a partner of the same name in '{truth}'; "
            "rename the files so that, for instance, case1.tif and case1_labels.tif correspond."
        )
    pairs, ambiguous = [], {}
    for name in shared:
        crowd = next((files for files in (predictions[name], truths[name]) if len(files) > 1), None)
        if crowd is None:
            pairs.append(_Pair(name, predictions[name][0], truths[name][0]))
        else:
            ambiguous[name] = (
                f"'{crowd[0].parent}' holds several label images of this name "
                f"({', '.join(path.name for path in crowd)}); keep one."
            )
    alone = {
        "predictions": _names(predictions, shared),
        "references": _names(truths, shared),
    }
    return _Pairing(pairs, alone, ambiguous)


def _names(files: dict[str, list[Path]], shared: Sequence[str]) -> list[str]:
    return [path.name for name in sorted(files.keys() - set(shared)) for path in files[name]]


def _label_files(folder: Path) -> dict[str, list[Path]]:
    """Return the folder's label files under the names by which they are paired.

    Where ``case1.png`` lies beside ``case1_labels.tif``, the former is the
    image that was labelled, and is left out.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        is_label = path.suffix.lower() in LABEL_SUFFIXES and path.is_file()
        if is_label and not path.name.startswith(".") and not _bare(path).endswith(_NOT_LABELS):
            files.setdefault(_key(path), []).append(path)
    for name, paths in files.items():
        named = [path for path in paths if _key(path) != _bare(path)]
        files[name] = named or paths
    return files


def _bare(path: Path) -> str:
    return path.stem.removesuffix(".ome")


def _key(path: Path) -> str:
    """Return the file's name without its format and without one ending like "_labels"."""
    bare = _bare(path)
    for ending in NAME_ENDINGS:
        if bare.lower().endswith(ending) and len(bare) > len(ending):
            return bare[: -len(ending)]
    return bare


# Scores


def _score(pair: _Pair) -> Scores:
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
