"""Accuracy on a folder of annotated images, image by image, beside Otsu + watershed.

    python benchmarks/accuracy.py ../shared/monuseg_dev -o docs/accuracy.md

The folder holds NAME.png and NAME_labels.tif. Every variant runs on the same
tile embeddings; the first is the default settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from report import replace_results

from napari_sprout.core.baseline import BASELINE, otsu_watershed
from napari_sprout.core.metrics import Scores, evaluate, mean_scores
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.io.images import read_image
from napari_sprout.io.labels import read_labels
from napari_sprout.models.weights import load_segmenter

DEFAULT = "default"
VARIANTS: dict[str, dict] = {
    DEFAULT: {},
    "regions of a single map": {"prompts": {"regions": "single"}},
    "masks as SAM draws them": {"decoding": {"smoothing": 0.0}},
    "points alone (no mask prompt)": {"decoding": {"mask_prompt": "none"}},
    "fixed stain vectors": {"stain": {"method": "fixed"}},
    "cosine similarity, no transport": {"transport": {"method": "cosine"}},
    "balanced transport": {"transport": {"method": "balanced"}},
    "watershed on the stain alone": {"prompts": {"source": "stain"}, "reference": {"kind": "otsu"}},
}
COLUMNS = ("AJI", "PQ", "DQ", "SQ", "Dice")


def score_image(task: tuple[Path, int, list[str]]) -> tuple[str, dict[str, Scores]]:
    """Score variants and the baseline on one image."""
    path, seed, variants = task
    torch.set_num_threads(1)
    image = read_image(path)
    truth = read_labels(path.with_name(f"{path.stem}_labels.tif")).labels
    session = Session(image.rgb, mpp=image.mpp, segmenter=load_segmenter(device="cpu"))
    scores = {}
    for name in variants:
        session.settings = Settings(seed=seed).with_changes(**VARIANTS[name])
        session.finish()
        scores[name] = evaluate(session.labels, truth)
    scores[BASELINE] = evaluate(otsu_watershed(image.rgb), truth)
    return path.stem, scores


def row(name: str, scores: Scores) -> str:
    values = (scores.aji, scores.pq, scores.dq, scores.sq, scores.dice)
    numbers = " | ".join(f"{value:.3f}" for value in values)
    return f"| {name} | {numbers} | {scores.n_prediction} / {scores.n_truth} |"


def report(results: dict[str, dict[str, Scores]], command: str) -> Iterator[str]:
    names = sorted(results)
    variants = [name for name in (*VARIANTS, BASELINE) if name in results[names[0]]]
    header = "| " + " | ".join(["", *COLUMNS, "nuclei found / annotated"]) + " |"
    rule = "|---" * (len(COLUMNS) + 2) + "|"
    yield f"Made by `{command}`.\n"
    yield f"## Mean over {len(names)} images\n"
    yield f"{header}\n{rule}"
    for variant in variants:
        yield row(variant, mean_scores([results[name][variant] for name in names]))
    yield "\n## Image by image: default beside Otsu + watershed\n"
    yield (
        "| image | AJI | PQ | Dice | baseline AJI | baseline PQ | baseline Dice |\n"
        + "|---" * 7
        + "|"
    )
    for name in names:
        ours, base = results[name][DEFAULT], results[name][BASELINE]
        yield (
            f"| {name} | {ours.aji:.3f} | {ours.pq:.3f} | {ours.dice:.3f} "
            f"| {base.aji:.3f} | {base.pq:.3f} | {base.dice:.3f} |"
        )
    gains = [results[n][DEFAULT].aji - results[n][BASELINE].aji for n in names]
    yield (
        f"\nThe default beats the baseline's AJI on {sum(g > 0 for g in gains)} of {len(names)} "
        f"images; the smallest difference is {min(gains):+.3f}, the median {np.median(gains):+.3f}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write the tables to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    images = sorted(options.folder.glob("*.png"))
    results = {}
    with get_context("spawn").Pool(options.processes) as pool:
        chosen = [DEFAULT, *(name for name in options.variants if name != DEFAULT)]
        tasks = [(path, options.seed, chosen) for path in images]
        for name, scores in pool.imap_unordered(score_image, tasks):
            results[name] = scores
            print(row(name, scores[DEFAULT]), flush=True)
    command = f"python benchmarks/accuracy.py {options.folder} --seed {options.seed}"
    if chosen != list(VARIANTS):
        command += " --variants " + " ".join(f'"{name}"' for name in chosen)
    text = "\n".join(report(results, command))
    print(text)
    if options.output:
        replace_results(options.output, "Accuracy", text)


if __name__ == "__main__":
    main()
