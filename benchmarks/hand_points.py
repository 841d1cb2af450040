"""How good nuclei get when a person clicks every one: the annotated centroids as points.

Every point that the program has placed is deleted and one is added by hand at the
centroid of each annotated nucleus, through the same corrections as in the window.
Nothing else is changed: negative points, tiles and settings are a run's own.

python benchmarks/hand_points.py FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from report import processor
from scipy import ndimage

from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import AddPrompt, DeletePrompts
from napari_sprout.core.instances import Prompt
from napari_sprout.core.metrics import Scores, evaluate
from napari_sprout.core.session import Session
from napari_sprout.io.images import read_image
from napari_sprout.io.labels import read_labels
from napari_sprout.models.weights import load_segmenter

MEASURES = ("aji", "pq", "dq", "sq", "dice")


def by_hand(correction: Correction, truth: np.ndarray) -> None:
    """Delete all positive points, and click on every annotated nucleus."""
    placed = [one.id for one in correction.prompts.values() if one.kind == "positive"]
    correction.apply(DeletePrompts(tuple(placed)))
    numbers = np.unique(truth)[1:]
    for y, x in ndimage.center_of_mass(truth > 0, truth, numbers):
        new = Prompt(correction.new_id(), "positive", float(y), float(x), "hand")
        correction.apply(AddPrompt(new))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    segmenter = load_segmenter("mobile_sam", "cpu")
    found: dict[str, list[Scores]] = {"as run": [], "clicked": []}
    for path in sorted(options.folder.glob("*.png")):
        image, truth = read_image(path), read_labels(path.with_name(f"{path.stem}_labels.tif"))
        session = Session(image.rgb, mpp=image.mpp, segmenter=segmenter)
        session.finish()
        found["as run"].append(evaluate(session.labels, truth.labels))
        correction = Correction(session)
        by_hand(correction, truth.labels)
        found["clicked"].append(evaluate(correction.labels, truth.labels))
        print(path.stem, *(f"{scores[-1].aji:.3f}" for scores in found.values()), flush=True)
    print(f"\nOn {processor()}, mean over {len(found['clicked'])} images.\n")
    print("| | AJI | PQ | DQ | SQ | Dice |\n|---|---|---|---|---|---|")
    for name, scores in found.items():
        means = [float(np.mean([getattr(one, measure) for one in scores])) for measure in MEASURES]
        print(f"| {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |")


if __name__ == "__main__":
    main()
