"""Seconds and memory that ``napari-sprout convert`` takes, by the size of the slide.

python benchmarks/interchange.py 10240 20480
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.draw import ellipse

from napari_sprout.io.label_pyramid import LabelPyramid

BLOCK = 2048
STEP = 33
CONVERSIONS = (
    ("slide.zarr", "a.zarr"),
    ("slide.zarr", "a.ome.tif"),
    ("slide.zarr", "a.coco.json"),
    ("slide.zarr", "a.parquet"),
    ("slide.zarr", "a.geojson"),
    ("a.ome.tif", "b.zarr"),
    ("a.coco.json", "b.zarr"),
    ("a.geojson", "b.zarr"),
)


def crowd() -> NDArray[np.uint32]:
    """Return nuclei that nearly touch, as a block of labels."""
    labels = np.zeros((BLOCK, BLOCK), np.uint32)
    rng = np.random.default_rng(0)
    places = range(STEP // 2, BLOCK, STEP)
    for number, (y, x) in enumerate(((y, x) for y in places for x in places), 1):
        labels[ellipse(y, x, *rng.integers(5, 13, 2), shape=labels.shape)] = number
    return labels


def make(path: Path, side: int) -> int:
    """Write a label image full of nuclei; return how many there are."""
    pyramid = LabelPyramid.create(path, (side, side), 0.25)
    block, before = crowd(), 0
    for y, x, height, width in pyramid.blocks(side=BLOCK):
        part = block[:height, :width].astype(np.int64)
        pyramid.write(y, x, np.where(part > 0, part + before, 0))
        before += int(block.max())
    pyramid.finish()
    return before


def measured(source: Path, target: Path, side: int) -> tuple[float, float]:
    """Convert in a process of its own; return its seconds and peak memory in MB."""
    command = [str(Path(sys.executable).with_name("napari-sprout")), "convert", "-q"]
    command += [str(source), str(target), "--overwrite", "--image-size", f"{side}x{side}"]
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{source} -> {target} failed")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def main(sides: list[int]) -> None:
    print("| px | nuclei | from | to | seconds | MB |\n|---|---|---|---|---|---|")
    for side in sides:
        folder = Path(tempfile.mkdtemp())
        try:
            nuclei = make(folder / "slide.zarr", side)
            for source, target in CONVERSIONS:
                seconds, memory = measured(folder / source, folder / target, side)
                kinds = " | ".join(f".{name.partition('.')[2]}" for name in (source, target))
                print(f"| {side} | {nuclei:,} | {kinds} | {seconds:.0f} | {memory:.0f} |")
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main([int(side) for side in sys.argv[1:]] or [10240])
