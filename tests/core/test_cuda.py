"""The same image on both devices, wherever there is a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_sprout.core.metrics import evaluate
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.io.images import read_image
from napari_sprout.models.weights import load_segmenter

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@needs_cuda
def test_both_devices_find_the_same_nuclei(synthetic):
    sessions = {
        device: Session(synthetic.rgb, mpp=0.25, device=device) for device in ("cpu", "cuda")
    }
    for session in sessions.values():
        session.finish()
    scans = [session.output(Stage.ACTIVATION) for session in sessions.values()]
    for cpu, gpu in zip(scans[0].steps, scans[1].steps, strict=True):
        assert np.abs(cpu.foreground - gpu.foreground).mean() < 0.01
    agreement = evaluate(sessions["cuda"].labels, sessions["cpu"].labels)
    assert agreement.aji >= 0.98
    assert sessions["cuda"].metadata()["device"].startswith("cuda")


@needs_cuda
def test_a_card_segments_tissue_as_the_processor_does(monuseg_dev):
    """Its last digits are others, and TF32 rounds its convolutions: a few nuclei may change."""
    rgb = read_image(monuseg_dev / "TCGA-21-5784-01Z-00-DX1.png").rgb[:600, :600]
    found = {}
    for device in ("cpu", "cuda"):
        session = Session(rgb, mpp=0.25, device=device)
        session.finish()
        found[device] = session.labels
    assert evaluate(found["cuda"], found["cpu"]).aji >= 0.98


@needs_cuda
def test_several_tiles_at_once_and_one_by_one_find_the_same_nuclei(synthetic, small_tiles):
    found = []
    for batch in (8, 1):
        segmenter = load_segmenter("mobile_sam", "cuda")
        segmenter.batch = batch
        session = Session(synthetic.rgb, small_tiles, mpp=0.25, segmenter=segmenter)
        session.finish()
        found.append(session.labels)
    assert evaluate(*found).aji >= 0.98
