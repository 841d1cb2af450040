"""How long whole slides take, in how much memory, and what cutting them into tiles costs.

python benchmarks/slides.py IMAGE LABELS -o docs/whole_slides.md

Slides of several sizes are made of IMAGE, mirrored over islands of tissue, and segmented by
``napari-sprout slide`` in processes of their own. Then one piece full of tissue is segmented as
one image and as a slide of tiles, in the same way: the difference is what tiling costs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from report import processor, replace_results

SIDES = (2000, 5000, 10_000, 20_000)
SHARE = 0.05
FULL = 4096
MAIN = "from napari_sprout.cli.main import main; main()"


@dataclass(frozen=True)
class Measured:
    """Wall-clock and processor time in s, and the most memory of one process and of all, GB."""

    seconds: float
    processor_seconds: float
    one: float
    all: float


class Watch:
    """Watches a process and its children: memory several times a second, time at the end."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._one = self._all = 0.0
        self._times: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            sizes = []
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            for one in family:
                try:
                    sizes.append(one.memory_full_info().uss / 1e9)
                    times = one.cpu_times()
                    self._times[one.pid] = times.user + times.system
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self._one = max([self._one, *sizes])
            self._all = max(self._all, sum(sizes))

    def end(self, seconds: float) -> Measured:
        """Stop watching a process that has ended after so many seconds."""
        self._over.set()
        self._thread.join()
        return Measured(seconds, sum(self._times.values()), self._one, self._all)


def run(*arguments: str) -> Measured:
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", MAIN, *arguments])
    watch = Watch(psutil.Process(process.pid))
    code = process.wait()
    measured = watch.end(time.perf_counter() - begin)
    if code:
        sys.exit(f"{' '.join(arguments)} ended with {code}")
    return measured


def summary_of(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.slide" / "summary.json").read_text())


def growth(folder: Path, texture: np.ndarray, sides: list[int], workers: int) -> list[str]:
    from napari_sprout.io.slides.generator import write_synthetic_slide

    lines = [
        "| slide | tissue, mm2 | tiles with tissue | nuclei | seconds | tiles a second "
        "| s a mm2 of tissue | GB, largest process | GB, all |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for side in sides:
        path = folder / f"side_{side}.tif"
        write_synthetic_slide(path, (side, side), tissue_fraction=SHARE, texture=texture)
        found = run("slide", str(path), "-o", str(folder), "--workers", str(workers), "-q")
        summary = summary_of(folder, path.stem)
        tiles, tissue = summary["tiles"], summary["tissue_mm2"]
        lines.append(
            f"| {side} x {side} px | {tissue:.2f} | {tiles['with_tissue']} of {tiles['total']} "
            f"| {summary['nuclei']} | {found.seconds:.0f} "
            f"| {tiles['with_tissue'] / found.seconds:.2f} | {found.seconds / tissue:.0f} "
            f"| {found.one:.2f} | {found.all:.2f} |"
        )
        print(lines[-1], flush=True)
    return lines


IMAGE = """
import sys, numpy as np, torch
torch.set_num_threads(int(sys.argv[3]))
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.io.images import read_image
from napari_sprout.io.export import Results, export
session = Session(read_image(sys.argv[1]).rgb, Settings(), mpp=0.25, device="cpu")
session.finish()
export(sys.argv[2], "whole", Results(session.labels, session.nuclei, None, 0.25),
       ("csv", "labels"))
print(len(session.nuclei))
"""


def mirrored(values: np.ndarray) -> np.ndarray:
    """Return an array and its mirror images on FULL x FULL px."""
    extra = [(0, FULL - values.shape[0]), (0, FULL - values.shape[1])]
    return np.pad(values, extra + [(0, 0)] * (values.ndim - 2), mode="symmetric")


def accuracy(labels: np.ndarray, truth: np.ndarray) -> str:
    """Return mean AJI and PQ over the copies of the annotated image, each by itself."""
    from napari_sprout.core.metrics import evaluate, mean_scores

    height, width = truth.shape
    whole = mirrored(truth)
    found = mean_scores(
        [
            evaluate(*(np.ascontiguousarray(v[y : y + height, x : x + width]) for v in pair))
            for pair in ((labels, whole),)
            for y in range(0, FULL - height + 1, height)
            for x in range(0, FULL - width + 1, width)
        ]
    )
    return f"{found.aji:.3f} | {found.pq:.3f}"


def overhead(folder: Path, texture: np.ndarray, truth: np.ndarray) -> list[str]:
    """Compare one image with a slide of tiles of the same pixels, one thread each."""
    import tifffile

    from napari_sprout.core.metrics import evaluate
    from napari_sprout.io.label_pyramid import LabelPyramid
    from napari_sprout.io.labels import read_labels

    rgb = mirrored(texture)
    path = folder / "full.tif"
    tifffile.imwrite(path, rgb, tile=(512, 512), compression="zlib", photometric="rgb")
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", IMAGE, str(path), str(folder), "1"])
    watch = Watch(psutil.Process(process.pid))
    if process.wait():
        sys.exit("the image could not be segmented")
    whole = watch.end(time.perf_counter() - begin)
    arguments = ("slide", str(path), "-o", str(folder), "--mpp", "0.25", "-q")
    tiled = run(*arguments, "--workers", "0")
    pyramid = LabelPyramid.open(folder / "full.slide" / "labels.ome.zarr")
    labels = np.asarray(pyramid.read(0, 0, 0, FULL, FULL)).astype(np.int32)
    alone = read_labels(folder / "whole_labels.tif").labels
    scores = evaluate(labels, alone)
    rows = (
        ("one image", whole, scores.n_truth, alone),
        ("tiles", tiled, scores.n_prediction, labels),
    )
    more = tiled.processor_seconds / whole.processor_seconds - 1
    lines = [
        f"{FULL} x {FULL} px full of tissue (the image and its mirror images), one process of one "
        "thread; AJI and PQ against the annotation, over its copies:",
        "",
        "| | seconds | processor seconds | GB | nuclei | AJI | PQ |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {m.seconds:.0f} | {m.processor_seconds:.0f} | {m.one:.2f} | {count} "
            f"| {accuracy(found, truth)} |"
            for name, m, count, found in rows
        ),
        "",
        f"Tiles take {100 * more:+.0f} % of processor time, the sample and the start included. The "
        f"tiles' labels against the image's: AJI {scores.aji:.3f}, F1 at IoU 0.5 {scores.dq:.3f}.",
    ]
    print("\n".join(lines), flush=True)
    return lines


TILE = """
import json, sys, time, numpy as np, torch
torch.set_num_threads(1)
from napari_sprout.core.fitting import fit_of
from napari_sprout.core.loaded import LoadedModels
from napari_sprout.core.session import Session
from napari_sprout.core.tissue import white_level
rgb = np.load(sys.argv[1])
models = LoadedModels("cpu")
first = Session(rgb[:1000, :1000].copy(), mpp=0.25, models=models)
first.finish()
fit = fit_of(first, white_level(rgb, 0.25))
session = Session(rgb, mpp=0.25, models=models, fit=fit)
spent, last = {}, time.process_time()
for step in session.run():
    now = time.process_time()
    spent[step.stage] = spent.get(step.stage, 0.0) + now - last
    last = now
made = {stage: output for stage, (_, output) in session._outputs.items()}
tiles = len(session.context().tiles)
prompts = sum(p.kind == "positive" for p in made["prompts"].prompts)
print(json.dumps({"spent": spent, "tiles": tiles, "prompts": prompts}))
"""
MODEL_STAGES = ("encoding", "masks")
GFLOP_A_TILE, GFLOP_A_PROMPT = 77.5, 0.17
TISSUE_MM2 = (50, 150, 300)
CARD_TFLOPS = 10.0


def one_tile(folder: Path, texture: np.ndarray) -> tuple[list[str], float, float, float]:
    """Measure the stages of one full tile; s a mm2 of the models, of the rest, and TFLOP a mm2."""
    side = 2048 + 2 * 91
    np.save(folder / "tile.npy", mirrored(texture)[:side, :side])
    done = subprocess.run(
        [sys.executable, "-c", TILE, str(folder / "tile.npy")], check=True, capture_output=True
    )
    found = json.loads(done.stdout)
    # A tile stands for what it owns; its halo is what that costs.
    mm2 = (2048 * 0.25 / 1000) ** 2
    models = sum(found["spent"][stage] for stage in MODEL_STAGES) / mm2
    rest = sum(v for k, v in found["spent"].items() if k not in MODEL_STAGES) / mm2
    work = found["tiles"] * GFLOP_A_TILE + found["prompts"] * GFLOP_A_PROMPT
    lines = [
        f"One tile of 512 um full of tissue with its halo ({found['tiles']} tiles of SAM, "
        f"{found['prompts']} points), processor seconds on one thread:",
        "",
        "| " + " | ".join(found["spent"]) + " |",
        "|" + "---|" * len(found["spent"]),
        "| " + " | ".join(f"{v:.2f}" for v in found["spent"].values()) + " |",
        "",
        f"That is {models:.0f} s a mm2 for the two models and {rest:.0f} s for all else.",
    ]
    return lines, models, rest, work / mm2 / 1000


def thousand(models: float, rest: float, tflop: float) -> list[str]:
    """Work out what a thousand slides need from what a mm2 of tissue takes."""
    card = tflop / CARD_TFLOPS

    def days(seconds_a_mm2: float) -> str:
        each = (seconds_a_mm2 * tissue * 1000 / 86400 for tissue in TISSUE_MM2)
        return " | ".join(f"{value:.1f}" for value in each)

    heads = " | ".join(f"{tissue} mm2 a slide" for tissue in TISSUE_MM2)
    lines = [
        f"| days for 1,000 slides of | {heads} |",
        "|---|" + "---|" * len(TISSUE_MM2),
        f"| a server of 16 cores, 16 workers | {days((models + rest) / 16)} |",
        f"| one card, one worker | {days(card + rest)} |",
        f"| one card, 16 workers that share it | {days(max(card, (card + rest) / 16))} |",
        f"| eight cards, eight workers each | {days(max(card / 8, (card + rest) / 64))} |",
    ]
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path, help="an H&E image at 0.25 um per pixel")
    parser.add_argument("labels", type=Path, help="its annotation")
    parser.add_argument("--sides", type=int, nargs="*", default=list(SIDES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where slides go; a temporary one by default")
    parser.add_argument("-o", "--output", type=Path, help="Markdown page whose results to replace")
    arguments = parser.parse_args()

    from napari_sprout.io.images import read_image
    from napari_sprout.io.labels import read_labels

    texture, truth = read_image(arguments.image).rgb, read_labels(arguments.labels).labels
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        sides = " ".join(map(str, arguments.sides))
        made_by = (
            f"Made by `python benchmarks/slides.py {arguments.image} {arguments.labels} "
            f"--sides {sides} --workers {arguments.workers}` on {processor()}."
        )
        lines = [made_by, "", f"## Slides with {SHARE:.0%} tissue", ""]
        lines += growth(folder, texture, arguments.sides, arguments.workers)
        lines += ["", "## What tiling costs", "", *overhead(folder, texture, truth)]
        told, models, rest, tflop = one_tile(folder, texture)
        lines += ["", "## A thousand slides", "", *told, "", *thousand(models, rest, tflop)]
    if arguments.output:
        replace_results(arguments.output, "Whole slides, measured", "\n".join(lines))


if __name__ == "__main__":
    main()
