"""SAM as segment-anything offers it, with the weights that this program uses."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam

from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.models.mobile_sam import build
from napari_sprout.models.state import read_state
from napari_sprout.models.weights import embedded_path, weights_sha256


def plain_sam() -> Any:
    """Return segment-anything's own model around MobileSAM's parts."""
    network = build(read_state(embedded_path(), weights_sha256("mobile_sam"))[0])
    network.image_encoder.img_size = 1024
    parts = (network.image_encoder, network.prompt_encoder, network.mask_decoder)
    return Sam(*parts).eval()


def automatic_masks(sam: Any, rgb: np.ndarray) -> tuple[float, int]:
    """Return the seconds and the masks of SAM's automatic mode at 32 points a side."""
    generator = SamAutomaticMaskGenerator(sam, points_per_side=32)
    begin = time.perf_counter()
    with torch.inference_mode():
        found = generator.generate(rgb)
    return time.perf_counter() - begin, len(found)


def one_at_a_time(sam: Any, rgb: np.ndarray, mpp: float | None) -> tuple[float, float, int]:
    """Ask SAM's predictor for each prompt of a run, in its tile: seconds to encode, to decode."""
    session = Session(rgb, mpp=mpp, device="cpu")
    session.finish(Stage.PROMPTS)
    grid = session.output(Stage.ENCODING).tiles.grid
    made = [p for p in session.output(Stage.PROMPTS).prompts if p.kind == "positive"]
    scale = session.output(Stage.IMAGE).scale
    points = scale.to_working(np.array([(p.y, p.x) for p in made]))
    owners = grid.most_central(points)
    working = session.output(Stage.IMAGE).rgb
    predictor, encoding, decoding = SamPredictor(sam), 0.0, 0.0
    with torch.inference_mode():
        for index, origin in enumerate(grid.origins):
            begin = time.perf_counter()
            predictor.set_image(grid.cut(working, index))
            begun = time.perf_counter()
            for y, x in points[owners == index] - origin:
                predictor.predict(np.array([[x, y]]), np.array([1]))
            encoding += begun - begin
            decoding += time.perf_counter() - begun
    return encoding, decoding, len(points)
