"""Score the classical baseline, Otsu + watershed, on a folder of annotated images.

    python benchmarks/otsu_watershed.py FOLDER

The folder holds ``NAME.png`` beside ``NAME_labels.tif``. The baseline itself is
``napari_sprout.core.baseline``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from napari_sprout.core.baseline import otsu_watershed
from napari_sprout.core.metrics import Scores, evaluate, mean_scores
from napari_sprout.io.images import read_image
from napari_sprout.io.labels import read_labels
from napari_sprout.io.pairing import find_annotated


def show(name: str, score: Scores) -> None:
    values: list[Any] = [score.aji, score.pq, score.dq, score.sq, score.dice]
    print(f"{name:28s}", *(f"{value:6.3f}" for value in values))


def main(folder: Path) -> None:
    print(f"{'image':28s}", *(f"{name:>6s}" for name in ("AJI", "PQ", "DQ", "SQ", "Dice")))
    scores = []
    for pair in find_annotated(folder):
        labels = otsu_watershed(read_image(pair.image).rgb)
        scores.append(evaluate(labels, read_labels(pair.truth).labels))
        show(pair.name, scores[-1])
    show("mean", mean_scores(scores))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python benchmarks/otsu_watershed.py FOLDER")
    main(Path(sys.argv[1]))
