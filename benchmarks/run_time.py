"""Time and peak memory of one run, stage by stage, in a process of its own.

python benchmarks/run_time.py IMAGE --threads 2 --runs 3 -o docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from report import processor, replace_results


def measure(path: Path, threads: int, size: int) -> dict:
    """Run one image from file to labels and return seconds and megabytes."""
    begin = time.perf_counter()
    import torch

    from napari_sprout.core.session import Session
    from napari_sprout.io.images import read_image

    torch.set_num_threads(threads)
    loaded = time.perf_counter()
    image = read_image(path)
    session = Session(image.rgb[:size, :size], mpp=image.mpp, device="cpu")
    stages: dict[str, float] = {}
    last = time.perf_counter()
    for progress in session.run():
        now = time.perf_counter()
        stages[progress.stage] = stages.get(progress.stage, 0.0) + now - last
        last = now
    end = time.perf_counter()
    return {
        "stages": stages,
        "imports": loaded - begin,
        "run": end - loaded,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "nuclei": len(session.nuclei),
        "shape": list(image.rgb[:size, :size].shape[:2]),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, default=1000, help="crop to this many px a side")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measure(options.image, options.threads, options.size)))
        return
    runs = []
    for _ in range(options.runs):
        again = [sys.executable, __file__, str(options.image), "--once"]
        again += ["--threads", str(options.threads), "--size", str(options.size)]
        done = subprocess.run(again, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{runs[-1]['run']:.1f} s, {runs[-1]['peak_mb']:.0f} MB", flush=True)

    def middle(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    first = runs[0]
    lines = [
        f"Made by `python benchmarks/run_time.py {options.image} --threads {options.threads} "
        f"--runs {options.runs}` on {processor()}, {options.threads} threads, "
        f"torch {first['torch']}: {first['shape'][0]} x {first['shape'][1]} px, "
        f"{first['nuclei']} nuclei. Median of {len(runs)} runs.\n",
        "| stage | seconds | share |\n|---|---|---|",
    ]
    for stage in first["stages"]:
        seconds = statistics.median(run["stages"][stage] for run in runs)
        lines.append(f"| {stage} | {seconds:.2f} | {100 * seconds / middle('run'):.0f} % |")
    low, high = min(run["run"] for run in runs), max(run["run"] for run in runs)
    lines.append(f"| whole run | {middle('run'):.2f} (from {low:.1f} to {high:.1f}) | |")
    lines.append(f"\nImporting torch and the package: {middle('imports'):.1f} s, once a process.")
    lines.append(f"Peak memory of the process: {middle('peak_mb'):.0f} MB.")
    text = "\n".join(lines)
    print(text)
    if options.output:
        replace_results(options.output, "Performance", text)


if __name__ == "__main__":
    main()
