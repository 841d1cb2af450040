"""Write a synthetic slide of any size: ``python benchmarks/make_slide.py OUT.tif 20000 20000``.

Islands of synthetic H&E, or of a real image given with ``--texture``, lie on white glass.
Prints the time it took and the peak of memory.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from napari_sprout.io.images import read_image
from napari_sprout.io.slides.generator import write_synthetic_slide
from napari_sprout.io.slides.opening import open_slide
from napari_sprout.io.slides.reduced import thumbnail


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("height", type=int, help="px")
    parser.add_argument("width", type=int, help="px")
    parser.add_argument("--tissue", type=float, default=0.05, help="share of the slide, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mpp", type=float, default=0.25, help="um per px")
    parser.add_argument("--tile", type=int, default=512, help="px")
    parser.add_argument("--compression", choices=["jpeg", "deflate", "lzw", "none"], default="jpeg")
    parser.add_argument("--levels", type=int, help="each four times coarser than the last")
    parser.add_argument("--kind", choices=["generic", "aperio", "ome"], default="generic")
    parser.add_argument("--texture", type=Path, help="an H&E image to use as tissue")
    given = parser.parse_args()
    start = time.perf_counter()
    write_synthetic_slide(
        given.out,
        (given.height, given.width),
        tissue_fraction=given.tissue,
        seed=given.seed,
        mpp=given.mpp,
        tile=given.tile,
        compression=given.compression,
        levels=given.levels,
        kind=given.kind,
        texture=None if given.texture is None else read_image(given.texture).rgb,
    )
    seconds = time.perf_counter() - start
    print(
        f"{given.out}: {given.width} x {given.height} px, {given.out.stat().st_size / 1e6:.1f} MB, "
        f"{seconds:.1f} s, peak {_peak_mb():.0f} MB"
    )
    steps: dict[str, Callable[[], object]] = {
        "opening": lambda: open_slide(given.out).close(),
        "fingerprint": lambda: open_slide(given.out).fingerprint,
        "thumbnail of 1024 px": lambda: thumbnail(open_slide(given.out)),
    }
    for name, step in steps.items():
        print(f"{name}, the file in the system's cache: {1000 * _quickest(step):.0f} ms")


def _quickest(step: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return min(times)


def _peak_mb() -> float:
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):
        return float(memory.peak_wset) / 1e6
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
