"""How much of a graphics card a run uses: images a second, and the share of its matrix rate.

python benchmarks/gpu.py IMAGE [--device cuda] [--half] -o REPORT.md

Whole runs of one 1000 x 1000 px image in one process, one after the other, with the model
loaded once; the encoder by itself by the number of tiles at once; the decoder by itself by
the number of prompts at once. The share is that of the products of encoder and decoder in
what the device's own float32 (with --half: float16) matrix products reach in the same time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import processor
from speed import Prompts, encoder_operations, of_size, operations

from napari_sprout.core.metrics import evaluate
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.io.images import read_image
from napari_sprout.models.weights import load_segmenter, resolve_device

SIDE = 1000
TILE = 576
AT_ONCE = (1, 2, 4, 8, 16)
PROMPTS = (8, 32, 128, 256)
COUNT = 1024
NETWORKS = ("encoding", "masks")


def settled(device: torch.device) -> None:
    """Wait for what a device was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def timed(work: Callable[[], Any], device: torch.device, times: int = 5) -> float:
    """Return the median of several times, s, after one that does not count."""
    taken = []
    for _ in range(times + 1):
        settled(device)
        begin = time.perf_counter()
        work()
        settled(device)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of the device's matrix products."""
    side = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / timed(lambda: a @ b, device, 10)


def run(rgb: np.ndarray, mpp: float | None, segmenter: Any) -> tuple[Session, dict[str, float]]:
    """Return a whole run and the seconds of its stages."""
    session = Session(rgb, mpp=mpp, segmenter=segmenter, device=str(segmenter.device))
    stages: dict[str, float] = {}
    last = time.perf_counter()
    for progress in session.run():
        settled(segmenter.device)
        now = time.perf_counter()
        stages[progress.stage] = stages.get(progress.stage, 0.0) + now - last
        last = now
    return session, stages


def whole(options: argparse.Namespace, segmenter: Any, rate: float) -> list[str]:
    """Report whole runs of one image, one after the other."""
    image = read_image(options.image)
    rgb = of_size(image.rgb, SIDE)
    runs = [run(rgb, image.mpp, segmenter) for _ in range(options.runs + 1)]
    last = runs[-1][0]
    stages = {
        stage: statistics.median(each[stage] for _, each in runs[1:]) for stage in runs[-1][1]
    }
    seconds = statistics.median(sum(each.values()) for _, each in runs[1:])
    tiles = len(last.output(Stage.ENCODING).tiles.grid.origins)
    prompts = sum(one.kind == "positive" for one in last.output(Stage.PROMPTS).prompts)
    products = tiles * encoder_operations() + prompts * decoder_operations(rgb)
    there = sum(stages[stage] for stage in NETWORKS)
    return [
        f"\n## Whole runs, {SIDE} x {SIDE} px\n",
        f"{1 / seconds:.2f} images a second: {seconds:.2f} s each, {tiles} tiles, {prompts} "
        f"prompts; {100 * products / seconds / rate:.1f} % of the device's matrix rate over the "
        f"whole run, {100 * products / there / rate:.1f} % while it encodes and decodes.\n",
        "| stage | seconds |\n|---|---|",
        *[f"| {stage} | {taken:.3f} |" for stage, taken in stages.items()],
        *compared(last, rgb, image.mpp, segmenter.device),
    ]


def compared(session: Session, rgb: np.ndarray, mpp: float | None, device: Any) -> list[str]:
    """Hold a device's nuclei against the processor's."""
    if device.type == "cpu":
        return []
    other, _ = run(rgb, mpp, load_segmenter("mobile_sam", "cpu"))
    return [f"\nAgainst the processor's nuclei: AJI {evaluate(session.labels, other.labels).aji}."]


def decoder_operations(rgb: np.ndarray) -> float:
    """Return those of one prompt."""
    prompts = Prompts(load_segmenter("mobile_sam", "cpu"), np.ascontiguousarray(rgb[:TILE, :TILE]))
    return operations(lambda: prompts.decode(8)) / 8


def encoder(segmenter: Any, tile: np.ndarray, rate: float) -> list[str]:
    """Report the encoder by itself."""
    each = encoder_operations()
    lines = [
        "\n## The encoder by itself\n",
        "| tiles at once | tiles a second | share of the matrix rate |\n|---|---|---|",
    ]
    most = AT_ONCE if segmenter.device.type != "cpu" else AT_ONCE[:2]
    for count in most:
        tiles = np.repeat(tile[None], count, 0)
        seconds = timed(lambda t=tiles: segmenter.encode_batch(t), segmenter.device) / count
        share = 100 * each / seconds / rate
        lines.append(f"| {count} | {1 / seconds:.1f} | {share:.0f} % |")
    return lines


def decoder(segmenter: Any, tile: np.ndarray) -> list[str]:
    """Report the decoder by itself."""
    prompts = Prompts(segmenter, tile)
    lines = [
        "\n## The decoder by itself\n",
        "| prompts at once | prompts a second |\n|---|---|",
    ]
    for batch in PROMPTS:
        seconds = timed(lambda n=batch: prompts.decode(COUNT, n), segmenter.device, 2)
        lines.append(f"| {batch} | {COUNT / seconds:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--half", action="store_true", help="products of float16")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    device = resolve_device(options.device)
    rate = matrix_rate(device, torch.float16 if options.half else torch.float32)
    segmenter = load_segmenter("mobile_sam", device, half=options.half)
    tile = of_size(read_image(options.image).rgb, TILE)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    lines = [
        f"Made by `python benchmarks/gpu.py {options.image.name} --device {options.device} "
        f"--runs {options.runs}{' --half' if options.half else ''}` on {name}, torch "
        f"{torch.__version__}: matrix products {rate / 1e12:.2f} TFLOP/s; {segmenter.batch} "
        "tiles at once.",
        *whole(options, segmenter, rate),
        *encoder(segmenter, tile, rate),
        *decoder(segmenter, tile),
    ]
    print("\n".join(lines))
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
