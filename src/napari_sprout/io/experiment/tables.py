"""What an experiment found: one CSV row a cell, and Markdown tables of means."""

from __future__ import annotations

import csv
import dataclasses
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from ...core.baseline import BASELINE
from ..atomic import replacing
from .matrix import METRICS, Alteration, Row
from .summary import QUALITIES, Results, Spread

_PLACE: Final = ("image", "group", "row", "seed", "alteration", "level")
_TIMES: Final = ("seconds", "encoding_seconds")
_QUALITY_TITLES: Final = (
    *("positive points in nuclei", "negative points outside", "nuclei hit"),
    "points in a nucleus hit",
)
_ALTERED_METRICS: Final = ("AJI", "PQ")
_NONE: Final = "–"


def write_images_csv(path: Path, results: Results) -> None:
    """Write a row for every finished cell; what does not apply to it stays empty.

    Parameters
    ----------
    path
        The CSV file.
    results
        What was measured.

    Raises
    ------
    OutputError
        If it cannot be written; what was there before stays.
    """
    counts = ("n_truth", "n_prediction", "true_positives")
    columns = (*_PLACE, *METRICS.values(), *counts, *QUALITIES, *_TIMES)
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for place, cell in results.places.items():
            if cell is None:
                continue
            quality = dataclasses.asdict(cell.quality) if cell.quality else {}
            times = {name: getattr(cell, name) for name in _TIMES}
            values = {
                **place.about(),
                "group": results.groups.get(place.image),
                **dataclasses.asdict(cell.scores),
                **quality,
                **{name: None if s is None else round(s, 3) for name, s in times.items()},
            }
            writer.writerow({name: _plain(value) for name, value in values.items()})


def _plain(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return "" if value is None else value


def write_table(path: Path, results: Results, command: str) -> None:
    """Write the tables as Markdown.

    Parameters
    ----------
    path
        The Markdown file.
    results
        What was measured.
    command
        How to measure it again.

    Raises
    ------
    OutputError
        If it cannot be written; what was there before stays.
    """
    matrix = results.matrix
    parts = [f"# {matrix.title}", matrix.text.strip(), *_parts(results), matrix.after.strip()]
    parts.append(f"Made by `{command}`.")
    text = "\n\n".join(part for part in parts if part)
    with replacing(path) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")


def _parts(results: Results) -> Iterator[str]:
    yield _about(results)
    yield _main_table(results)
    yield _missing(results)
    if len(set(results.groups.values())) > 1:
        yield "## Without one group of images"
        yield (
            "The least and the greatest mean as each group in turn is left out: "
            f"{', '.join(sorted(set(results.groups.values())))}."
        )
        yield _table(("", *METRICS), _left_out_rows(results))
    kinds = dict.fromkeys(alteration.kind for alteration in results.matrix.alterations)
    for kind in kinds:
        yield from _altered(results, kind)
    yield from _beside_baseline(results)
    if results.matrix.by_image:
        yield from _by_image(results)


def _about(results: Results) -> str:
    images, seeds = len(results.images), results.matrix.seeds
    text = f"Mean over {images} image{'s' if images != 1 else ''}"
    if len(seeds) == 1:
        return f"{text}, seed {seeds[0]}."
    listed = ", ".join(map(str, seeds))
    return f"{text}; of the seeds {listed} the mean, and from the least to the greatest."


def _main_table(results: Results) -> str:
    quality = _QUALITY_TITLES if results.matrix.prompt_quality else ()
    header = ("", *METRICS, "nuclei found / annotated", *quality, "s / image")
    note = "Seconds are those of all stages but the encoding of the tiles."
    return f"{_table(header, _main_rows(results))}\n\n{note}"


def _main_rows(results: Results) -> Iterator[Sequence[str]]:
    quality = QUALITIES if results.matrix.prompt_quality else ()
    for row in results.matrix.rows:
        ratios = [_spread(results.metric(row, name)) for name in METRICS]
        found = results.total(row, lambda cell: cell.scores.n_prediction).mean
        annotated = results.total(row, lambda cell: cell.scores.n_truth).mean
        counts = _NONE if math.isnan(found) else f"{found:.0f} / {annotated:.0f}"
        points = [_spread(_quality(results, row, name)) for name in quality]
        seconds = results.number(row, lambda cell: cell.seconds).mean
        yield (row.name, *ratios, counts, *points, _number(seconds, 1))
        if row.paper:
            printed = [_number(row.paper.get(name, math.nan)) for name in METRICS]
            yield (f"*{row.name}, in the paper*", *printed, *[_NONE] * (len(quality) + 2))


def _quality(results: Results, row: Row, name: str) -> Spread:
    return results.number(
        row, lambda cell: math.nan if cell.quality is None else getattr(cell.quality, name)
    )


def _missing(results: Results) -> str:
    missing = results.missing()
    if not missing:
        return ""
    cells = sum(cell is None for cell in results.places.values())
    listed = "; ".join(f"{row}: {', '.join(images)}" for row, images in missing.items())
    return (
        f"**{cells} of {len(results.places)} measurements are missing**, so the means are not over "
        f"the same images: {listed}."
    )


def _left_out_rows(results: Results) -> Iterator[Sequence[str]]:
    for row in results.matrix.rows:
        spreads = [results.left_out(row, name) for name in METRICS]
        yield (row.name, *(_range(spread) for spread in spreads))


def _altered(results: Results, kind: str) -> Iterator[str]:
    chosen: list[Alteration | None] = [None]
    chosen += [made for made in results.matrix.alterations if made.kind == kind]
    header = ["", *("unaltered" if made is None else f"{made.level:g}" for made in chosen)]
    yield f"## Altered images: {kind}"
    for name in _ALTERED_METRICS:
        header[0] = f"{name} at level"
        yield _table(
            header,
            (
                (row.name, *(_spread(results.metric(row, name, made)) for made in chosen))
                for row in results.matrix.rows
            ),
        )


def _beside_baseline(results: Results) -> Iterator[str]:
    rows = results.matrix.rows
    baseline = next((row for row in rows if row.settings is None), None)
    if baseline is None or len(rows) == 1:
        return
    yield f"## Image by image against {BASELINE}"
    yield _table(
        ("AJI", "images better", "smallest difference", "median difference"),
        (_against(results, row, baseline) for row in rows if row is not baseline),
    )


def _against(results: Results, row: Row, baseline: Row) -> Sequence[str]:
    gains = [
        results.by_image(row, image, "AJI") - results.by_image(baseline, image, "AJI")
        for image in results.images
    ]
    known = [gain for gain in gains if not math.isnan(gain)]
    if not known:
        return (row.name, _NONE, _NONE, _NONE)
    better = f"{sum(gain > 0 for gain in known)} of {len(known)}"
    return (row.name, better, f"{min(known):+.3f}", f"{statistics.median(known):+.3f}")


def _by_image(results: Results) -> Iterator[str]:
    rows = results.matrix.rows
    for name in _ALTERED_METRICS:
        yield f"## {name} of every image"
        yield _table(
            ("image", *(row.name for row in rows)),
            (
                (image, *(_number(results.by_image(row, image, name)) for row in rows))
                for image in results.images
            ),
        )


# Markdown


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _number(value: float, digits: int = 3) -> str:
    return _NONE if math.isnan(value) else f"{value:.{digits}f}"


def _range(spread: Spread) -> str:
    return _NONE if math.isnan(spread.mean) else f"{spread.low:.3f} to {spread.high:.3f}"


def _spread(spread: Spread) -> str:
    alone = spread.low == spread.high or math.isnan(spread.mean)
    return _number(spread.mean) + ("" if alone else f" ({_range(spread)})")
