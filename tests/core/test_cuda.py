"""The same image on both devices, wherever there is a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_sprout.core.metrics import evaluate
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage

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
    assert agreement.dq > 0.9
    assert agreement.sq > 0.95
    assert sessions["cuda"].metadata()["device"].startswith("cuda")
