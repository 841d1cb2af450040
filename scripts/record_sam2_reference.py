"""Record what Meta's own SAM 2 answers, for the tests of ours.

Needs Meta's package: ``SAM2_BUILD_CUDA=0 pip install --no-build-isolation sam2==1.1.0``.
The network is SAM 2.1 tiny with a narrower and shallower image encoder; weights and
pixels are made up, from ``tests/made_up.py``, so that nothing has to be downloaded.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor

TESTS = Path(__file__).resolve().parents[1] / "tests"
CONFIG = "configs/sam2.1/sam2.1_hiera_t.yaml"
SMALL = (
    "++model.image_encoder.trunk.embed_dim=16",
    "++model.image_encoder.trunk.stages=[1,1,2,1]",
    "++model.image_encoder.trunk.global_att_blocks=[3]",
    "++model.image_encoder.neck.backbone_channel_list=[128,64,32,16]",
)
POINTS_XY = np.array([[[100.5, 200.25], [140, 180]], [[400.5, 30.25], [390, 60]]], np.float32)
LABELS = np.array([[1, 0], [1, 1]])
BOXES_XYXY = np.array([[80, 160.5, 160, 260], [360, 10, 440.25, 90]], np.float32)


def main() -> None:
    sys.path.insert(0, str(TESTS))
    from made_up import made_up_image, made_up_weights

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = TESTS / "models" / "data" / "sam2_reference.npz"
    parser.add_argument("-o", "--output", type=Path, default=default)
    output = parser.parse_args().output
    network = build_sam2(
        CONFIG, device="cpu", hydra_overrides_extra=list(SMALL), apply_postprocessing=False
    )
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(made_up_weights(shapes), strict=True)
    predictor = SAM2ImagePredictor(network)
    predictor.set_image(made_up_image(1024))
    fine, coarse = predictor._features["high_res_feats"]
    # A few values of each map are enough.
    found = {
        "embedding": predictor._features["image_embed"][0, ::16, ::8, ::8].numpy(),
        "coarse": coarse[0, ::8, ::16, ::16].numpy(),
        "fine": fine[0, ::4, ::32, ::32].numpy(),
    }
    masks = np.random.default_rng(3).normal(size=(2, 1, 256, 256)).astype(np.float32)
    neither = (None, None)
    for name, asked in {
        "points": (POINTS_XY, LABELS, neither, neither),
        "masks": (POINTS_XY, LABELS, neither, masks),
        "boxes": (neither, neither, BOXES_XYXY, neither),
        "all": (POINTS_XY, LABELS, BOXES_XYXY, masks),
    }.items():
        answers = [answer(predictor, *each) for each in zip(*asked, strict=True)]
        found[f"{name}_logits"] = np.stack([logits[:, ::16, ::16] for logits, _ in answers])
        found[f"{name}_iou"] = np.stack([iou for _, iou in answers])
    names = np.frombuffer(json.dumps(shapes).encode(), np.uint8)
    asked = {"points_xy": POINTS_XY, "labels": LABELS, "boxes_xyxy": BOXES_XYXY}
    np.savez_compressed(output, shapes=names, **asked, **found)
    print(f"{output}: {output.stat().st_size} bytes, torch {torch.__version__}")


def answer(
    predictor: SAM2ImagePredictor,
    points: np.ndarray | None,
    labels: np.ndarray | None,
    box: np.ndarray | None,
    mask: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and the predicted IoU of the single answer and of the three."""
    made = [
        predictor.predict(points, labels, box, mask, multimask_output=multimask)
        for multimask in (False, True)
    ]
    return np.concatenate([one[2] for one in made]), np.concatenate([one[1] for one in made])


if __name__ == "__main__":
    main()
