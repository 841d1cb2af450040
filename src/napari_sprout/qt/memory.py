"""A model that makes do with little memory: smaller batches first, then the processor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.protocols import MaskBatch, PromptableSegmenter, PromptBatch

CPU = torch.device("cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the GPU or the machine ran out."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())


class FrugalSegmenter:
    """A segmenter that asks for less when its device runs out of memory.

    Tiles are then encoded and prompts decoded in halves, and those in halves again.
    Where even a single one is too much, the model moves to the CPU for good. What
    was done already is kept; the answers are the same ones.

    Parameters
    ----------
    load
        Loads the segmenter for a device; called when the model is first needed.
    device
        Where it computes at first.
    say
        Told, once for each retreat, in a sentence for a person. It is called in
        the thread that does the work.
    """

    def __init__(
        self,
        load: Callable[[torch.device], PromptableSegmenter],
        device: torch.device,
        say: Callable[[str], None],
    ) -> None:
        self._load = load
        self._say = say
        self._home = self._device = device
        self._inner: PromptableSegmenter | None = None
        self._most: int | None = None
        self._most_tiles: int | None = None

    @property
    def _model(self) -> PromptableSegmenter:
        if self._inner is None:
            self._inner = self._load(self._device)
        return self._inner

    @property
    def name(self) -> str:
        """Short name, as in the settings."""
        return self._model.name

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, in hexadecimal."""
        return self._model.weights_sha256

    @property
    def device(self) -> torch.device:
        """Where it computes now."""
        return self._device

    @property
    def batch(self) -> int:
        """How many tiles may be encoded at once."""
        return min(self._model.batch, self._most_tiles or self._model.batch)

    def encode_batch(self, tiles: NDArray[np.uint8]) -> Tensor:
        """Encode n square RGB tiles (n, side, side, 3) to (n, d, t, t) features.

        They lie on the first device even after a retreat: all tiles' features are
        blended into one map, and without the model there is room for them.
        """
        try:
            return self._model.encode_batch(tiles).to(self._home)
        except (RuntimeError, MemoryError) as error:
            if not self._can_retreat(error):
                raise
        # Out of the handler: the traceback holds on to the memory that was short.
        if len(tiles) > 1:
            self._most_tiles = len(tiles) // 2
            self._free()
            self._say(
                "The graphics card ran out of memory: "
                f"{self._most_tiles} tiles are encoded at once from now on, not {len(tiles)}."
            )
            halves = np.array_split(tiles, [self._most_tiles, 2 * self._most_tiles])
            return torch.cat([self.encode_batch(half) for half in halves if len(half)])
        self._retreat()
        return self._model.encode_batch(tiles).to(self._home)

    def decode(self, embedding: Tensor, prompts: PromptBatch, side: int) -> MaskBatch:
        """Answer prompts on an encoded tile of `side` working pixels."""
        step = self._most or max(len(prompts), 1)
        parts: list[MaskBatch] = []
        begin = 0
        while begin < max(len(prompts), 1):
            try:
                part = prompts.part(begin, begin + step)
                answer = self._model.decode(embedding.to(self._device), part, side)
            except (RuntimeError, MemoryError) as error:
                if not self._can_retreat(error):
                    raise
            else:
                parts.append(answer)
                begin += step
                continue
            step = self._halve(min(step, len(prompts)))
        return _joined(parts)

    def _can_retreat(self, error: BaseException) -> bool:
        return is_out_of_memory(error) and self._device.type != "cpu"

    def _halve(self, step: int) -> int:
        """Return a smaller number of prompts to decode at once."""
        if step <= 1:
            self._retreat()
            return 1
        self._most = step // 2
        self._free()
        self._say(
            "The graphics card ran out of memory: "
            f"{self._most} prompts are decoded at once from now on, not {step}."
        )
        return self._most

    def _retreat(self) -> None:
        """Go on without the graphics card."""
        self._inner = None
        self._free()
        self._device = CPU
        self._say("The graphics card ran out of memory: the processor goes on, more slowly.")

    def _free(self) -> None:
        if self._device.type == "cuda" and torch.cuda.is_available():
            torch.cuda.empty_cache()


def _joined(parts: list[MaskBatch]) -> MaskBatch:
    """Return the parts as one batch, on the device of the last."""
    if len(parts) == 1:
        return parts[0]
    device = parts[-1].logits.device
    return MaskBatch(
        torch.cat([part.logits.to(device) for part in parts]),
        torch.cat([part.iou.to(device) for part in parts]),
    )
