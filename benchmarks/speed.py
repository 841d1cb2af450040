"""How long a run takes, stage by stage, against what the machine could do and against plain SAM.

python benchmarks/speed.py IMAGE --threads 2 -o docs/performance.md

All in one run, so that the numbers can be compared: the machine's own speed (matrix
products and copies), a whole run in a process of its own, SAM's automatic masks and
its predictor asked one prompt at a time with the same weights, and how time and
memory grow with the image and with the number of prompts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from report import processor, replace_results

GROWTH = (500, 1000, 2000, 4000)
PROMPTS = (10, 100, 1000, 10_000)
EDITS = ("drag a point", "delete a point", "add a point")


def timed(work: Callable[[], Any], times: int = 3) -> float:
    """Return the median of several times, s, after one that does not count."""
    work()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def of_size(rgb: np.ndarray, side: int) -> np.ndarray:
    """Return an image of `side` px: a part of this one, or it and its mirror images."""
    height, width = rgb.shape[:2]
    extra = [(0, max(side - height, 0)), (0, max(side - width, 0)), (0, 0)]
    return np.ascontiguousarray(np.pad(rgb, extra, mode="symmetric")[:side, :side])


# One run, in a process of its own


def peak_memory() -> float:
    """Return the most memory that this process had since it was last asked, MB of 10^6 (Linux).

    Not by getrusage: a process begins there with what its parent had.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return peak * 1024 / 1e6


def edits(session: Any, what: str, count: int = 40) -> float:
    """Return the median time of a correction in the core, ms: tiles are encoded already."""
    from napari_sprout.core.correction import Correction
    from napari_sprout.core.edits import AddPrompt, DeletePrompts, MovePrompt
    from napari_sprout.core.instances import Prompt

    correction = Correction(session)
    kept = [correction.prompts[number] for number in np.unique(session.labels)[1:].tolist()]
    chosen = np.random.default_rng(0).choice(len(kept), count, replace=False)
    taken = []
    for point in (kept[index] for index in chosen):
        new = Prompt(correction.new_id(), "positive", point.y + 2, point.x + 1, "hand")
        edit = {
            "drag a point": MovePrompt(point.id, point.y + 2, point.x + 1),
            "delete a point": DeletePrompts((point.id,)),
            "add a point": AddPrompt(new),
        }[what]
        begin = time.perf_counter()
        correction.apply(edit)
        taken.append(1000 * (time.perf_counter() - begin))
        correction.undo()
    return statistics.median(taken)


def measure(path: Path, threads: int, side: int, preset: str) -> dict[str, Any]:
    """Run one image from file to labels; seconds and megabytes."""
    begin = time.perf_counter()
    from napari_sprout.core.ahead import import_at_once

    import_at_once()
    import torch

    from napari_sprout.core.session import Session
    from napari_sprout.core.settings import Settings
    from napari_sprout.core.stages import Stage
    from napari_sprout.io.images import read_image

    torch.set_num_threads(threads)
    loaded = time.perf_counter()
    image = read_image(path)
    rgb = of_size(image.rgb, side)
    begun = time.perf_counter()
    session = Session(rgb, Settings.preset(preset), mpp=image.mpp, device="cpu")
    stages: dict[str, float] = {}
    peaks: dict[str, float] = {}
    last = begun
    for progress in session.run():
        now = time.perf_counter()
        stages[progress.stage] = stages.get(progress.stage, 0.0) + now - last
        peaks[progress.stage] = max(peaks.get(progress.stage, 0.0), peak_memory())
        last = time.perf_counter()
    took = time.perf_counter() - begun
    prompts = session.output(Stage.PROMPTS).prompts
    return {
        "stages": stages,
        "peaks": peaks,
        "imports": loaded - begin,
        "run": took,
        "edits": {name: edits(session, name) for name in EDITS} if side == 1000 else {},
        "nuclei": len(session.nuclei),
        "prompts": sum(prompt.kind == "positive" for prompt in prompts),
        "tiles": len(session.output(Stage.ENCODING).tiles.grid.origins),
        "side": session.output(Stage.ENCODING).tiles.grid.side,
        "torch": torch.__version__,
    }


def in_a_process(options: argparse.Namespace, side: int, preset: str = "default") -> dict[str, Any]:
    """Return what :func:`measure` says in a process that has done nothing before."""
    again = [sys.executable, __file__, str(options.image), "--once", str(side)]
    again += ["--threads", str(options.threads), "--preset", preset]
    done = subprocess.run(again, capture_output=True, text=True, check=True)
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{side} px, {preset}: {made['run']:.1f} s, {most_memory(made):.0f} MB", flush=True)
    return made


# The machine, and what the arithmetic costs on it


def gemm_rate() -> float:
    """Return how many floating-point operations a second float32 matrix products reach.

    By the quicker of torch and OpenVINO: which that is depends on who made the processor.
    """
    import torch

    from napari_sprout.models.openvino_graph import openvino, ops

    size = [2048, 2048]
    a, b = torch.randn(size), torch.randn(size)
    left, right = (ops.parameter(size, np.float32) for _ in range(2))
    product = openvino.Model([ops.matmul(left, right, False, False)], [left, right], "product")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    request = openvino.Core().compile_model(product, "CPU", options).create_infer_request()
    ways = (lambda: a @ b, lambda: request.infer([a.numpy(), b.numpy()], share_inputs=True))
    return float(2 * 2048**3 / min(timed(way, 15) for way in ways))


def copy_rate() -> float:
    """Return the bytes a second that are read and written in a copy of 256 MB."""
    import torch

    a = torch.randn(64_000_000)
    b = torch.empty_like(a)
    return 2 * a.nbytes / timed(lambda: b.copy_(a), 5)


def operations(work: Callable[[], Any]) -> int:
    """Return the floating-point operations of all products in some work."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return int(counter.get_total_flops())


def encoder_operations() -> int:
    """Return those of one tile: of the encoder as it is published, where all can be counted."""
    import torch

    from napari_sprout.models.mobile_sam import ImageEncoder

    encoder = ImageEncoder().eval()
    return operations(lambda: encoder(torch.zeros(1, 3, 1024, 1024)))


class Prompts:
    """Any number of prompts on one encoded tile, as a run decodes them."""

    def __init__(self, segmenter: Any, tile: np.ndarray) -> None:
        import torch

        self.segmenter, self.side = segmenter, tile.shape[0]
        self.embedding = segmenter.encode(tile)
        self.torch = torch

    def decode(self, count: int, batch: int = 8) -> None:
        """Decode so many prompts: a point, a negative point and a mask prompt each."""
        from napari_sprout.core.settings import Settings
        from napari_sprout.models.frame import window_origins
        from napari_sprout.models.protocols import PromptBatch

        torch, window = self.torch, Settings().decoding.window
        for begin in range(0, count, batch):
            n = min(batch, count - begin)
            points = torch.rand(n, 2, 2) * (self.side - 1)
            labels = torch.tensor([[1, 0]]).expand(n, -1)
            masks = torch.full((n, 4 * window, 4 * window), -4.0)
            origins = window_origins(points[:, 0], self.side, window)
            self.segmenter.decode(
                self.embedding, PromptBatch(points, labels, origins, window, masks), self.side
            )


# The report


def stage_table(runs: list[dict[str, Any]], work: dict[str, float], rate: float) -> list[str]:
    """Return time, share and memory of every stage, and how far it is from its products alone."""
    whole = statistics.median(run["run"] for run in runs)
    lines = ["| stage | seconds | share | peak MB | GFLOP | products alone | ratio |"]
    lines.append("|---|---|---|---|---|---|---|")
    for stage in runs[0]["stages"]:
        seconds = statistics.median(run["stages"][stage] for run in runs)
        peak = statistics.median(run["peaks"][stage] for run in runs)
        ends = "| | |"
        if stage in work:
            floor = work[stage] / rate
            ends = f"{work[stage] / 1e9:.0f} | {floor:.2f} s | {seconds / floor:.2f} |"
        share = 100 * seconds / whole
        lines.append(f"| {stage} | {seconds:.2f} | {share:.0f} % | {peak:.0f} | {ends}")
    low, high = min(run["run"] for run in runs), max(run["run"] for run in runs)
    rest = statistics.median(
        run["run"] - sum(run["stages"][stage] for stage in work) for run in runs
    )
    return [
        *lines,
        f"| whole run | {whole:.2f} ({low:.1f} to {high:.1f}) | | {most_memory(runs[0]):.0f} "
        "| | | |",
        f"\nAll but {' and '.join(work)}: {rest:.2f} s.",
    ]


def most_memory(run: dict[str, Any]) -> float:
    """Return the most that any stage took, MB."""
    return max(run["peaks"].values())


def machine(options: argparse.Namespace, rate: float) -> str:
    """Return what was run, and on what."""
    import torch

    return (
        f"Made by `python benchmarks/speed.py {options.image} --threads {options.threads} "
        f"--runs {options.runs}` on {processor()}, {options.threads} threads, torch "
        f"{torch.__version__}: float32 matrix products {rate / 1e9:.0f} GFLOP/s, copies "
        f"{copy_rate() / 1e9:.1f} GB/s."
    )


def stages(options: argparse.Namespace, runs: list[dict[str, Any]], rate: float) -> list[str]:
    """Report whole runs, and how far encoding and decoding are from their products alone."""
    from napari_sprout.io.images import read_image
    from napari_sprout.models.weights import load_segmenter

    first = runs[0]
    rgb = of_size(read_image(options.image).rgb, first["side"])
    segmenter = load_segmenter("mobile_sam", "cpu")
    seconds = timed(lambda: segmenter.encode(rgb), 5)
    tile, prompts = encoder_operations(), Prompts(segmenter, rgb)
    prompts.decode(4)  # what is made once a tile does not count
    work = {
        "encoding": first["tiles"] * tile,
        # In fours, which torch decodes: it cannot count what OpenVINO does.
        "masks": first["prompts"] * operations(lambda: prompts.decode(8, batch=4)) / 8,
    }
    imports = statistics.median(run["imports"] for run in runs)
    return [
        "\n## One run\n",
        f"1000 x 1000 px, {first['tiles']} tiles of {first['side']} px, {first['prompts']} "
        f"prompts, {first['nuclei']} nuclei; the median of {len(runs)} runs, each in a new "
        "process. The products alone are what the stage's convolutions and matrix products "
        "would take at the rate above.\n",
        *stage_table(runs, work, rate),
        f"\nImporting torch and the package: {imports:.1f} s, once a process.",
        f"\nThe encoder by itself, warm: {seconds:.2f} s a tile of {tile / 1e9:.1f} GFLOP, "
        f"{seconds * rate / tile:.2f} times its products.",
        *[f"\nDecoding {count} prompts on one tile: {line}" for count, line in many(prompts)],
        "\nOne correction in the core, its tile encoded already:\n",
        "| | ms (median of 40) |\n|---|---|",
        *[
            f"| {name} | {statistics.median(run['edits'][name] for run in runs):.0f} |"
            for name in EDITS
        ],
    ]


def many(prompts: Prompts) -> list[tuple[int, str]]:
    """Report decoding by the number of prompts."""
    found = []
    for count in PROMPTS:
        seconds = timed(lambda n=count: prompts.decode(n), 1)
        found.append((count, f"{seconds:.2f} s, {1000 * seconds / count:.1f} ms each."))
    return found


def against_sam(options: argparse.Namespace, ours: float) -> list[str]:
    """Report the same image with plain SAM."""
    from plain_sam import automatic_masks, one_at_a_time, plain_sam

    from napari_sprout.io.images import read_image

    paper = in_a_process(options, 1000, "paper")["run"]
    sam, image = plain_sam(), read_image(options.image)
    rgb = of_size(image.rgb, 1000)
    automatic, masks = automatic_masks(sam, rgb)
    encoding, decoding, count = one_at_a_time(sam, rgb, image.mpp)
    return [
        "\n## Against plain SAM with the same weights\n",
        "| | seconds | times ours |\n|---|---|---|",
        f"| this program, the whole run | {ours:.1f} | 1 |",
        f'| the same, preset "paper" | {paper:.1f} | {paper / ours:.1f} |',
        f"| SAM's automatic masks, 32 points a side, the image as one frame ({masks} masks) | "
        f"{automatic:.1f} | {automatic / ours:.1f} |",
        f"| SAM's predictor, our tiles and our {count} points, one at a time | "
        f"{encoding + decoding:.1f} (encoding {encoding:.1f}, decoding {decoding:.1f}) | "
        f"{(encoding + decoding) / ours:.1f} |",
    ]


def growth(options: argparse.Namespace) -> list[str]:
    """Report whole runs of larger and smaller images."""
    lines = [
        "\n## With the image's size\n",
        "| image | seconds | s a megapixel | peak MB | nuclei |\n|---|---|---|---|---|",
    ]
    for side in GROWTH:
        made = in_a_process(options, side)
        lines.append(
            f"| {side} x {side} px | {made['run']:.1f} | {made['run'] / (side**2 / 1e6):.1f} | "
            f"{most_memory(made):.0f} | {made['nuclei']} |"
        )
    return lines


def report(options: argparse.Namespace) -> list[str]:
    """Measure everything, and return the lines of the report."""
    import torch

    torch.set_num_threads(options.threads)
    runs = [in_a_process(options, 1000) for _ in range(options.runs)]
    rate = gemm_rate()
    return [
        machine(options, rate),
        *stages(options, runs, rate),
        *against_sam(options, statistics.median(run["run"] for run in runs)),
        *growth(options),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--preset", default="default", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        made = measure(options.image, options.threads, options.once, options.preset)
        print(json.dumps(made))
        return
    text = "\n".join(report(options))
    print(text)
    if options.output:
        replace_results(options.output, "Performance", text)


if __name__ == "__main__":
    main()
