"""How long decoding takes on a busy computer: one batch after another or several at once.

python benchmarks/busy.py IMAGE

The same prompts on the same tile, in batches, decoded one batch after the other, in a
thread in which torch has threads of its own, and several batches at once, in threads in
which torch computes alone (core/threads.py), on a quiet computer and beside as many
programs that do nothing but count as there are threads.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from napari_sprout.core.settings import Settings
from napari_sprout.core.threads import in_threads
from napari_sprout.io.images import read_image
from napari_sprout.models.frame import window_origins
from napari_sprout.models.protocols import PromptBatch
from napari_sprout.models.weights import load_segmenter

SIDE = 576
BATCHES, BATCH = 16, 8
TIMES = 5


@contextmanager
def others(count: int) -> Iterator[None]:
    """Have other programs keep the processor busy."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    segmenter = load_segmenter("mobile_sam", "cpu")
    embedding = segmenter.encode(np.ascontiguousarray(read_image(options.image).rgb[:SIDE, :SIDE]))
    window = Settings().decoding.window
    torch.manual_seed(0)

    def batch() -> PromptBatch:
        points = torch.rand(BATCH, 2, 2) * (SIDE - 1)
        labels = torch.tensor([[1, 0]]).expand(BATCH, -1)
        return PromptBatch(points, labels, window_origins(points[:, 0], SIDE, window), window)

    batches = [batch() for _ in range(BATCHES)]

    def decode(one: PromptBatch) -> torch.Tensor:
        return segmenter.decode(embedding, one, SIDE).logits

    ways: dict[str, Callable[[], list[torch.Tensor]]] = {
        "one after another": lambda: [decode(one) for one in batches],
        "a batch a thread": lambda: list(in_threads(decode, batches)),
    }
    first, second = (way() for way in ways.values())
    print(f"The same masks: {all(map(torch.equal, first, second))}")
    for beside in (0, options.threads):
        with others(beside):
            for name, way in ways.items():
                taken = []
                for _ in range(TIMES):
                    begin = time.perf_counter()
                    way()
                    taken.append(1000 * (time.perf_counter() - begin) / (BATCHES * BATCH))
                print(f"{beside} programs beside it, {name}: {statistics.median(taken):.1f} ms")


if __name__ == "__main__":
    main()
