"""Why there is a prompt: what the scan said of its place, kept small for as long as a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activation import Scan


@dataclass(frozen=True, eq=False)
class Explanation:
    """What one scan says of every place.

    Attributes
    ----------
    rhos
        The transported mass of each step.
    first
        uint8, on the activation grid: the first step at which a pixel was active;
        ``len(rhos)`` where it never was.
    weights
        (h, w, M) the share of each token's mass that went to each prototype at the
        step taken, times their similarity; 0 to 1.
    n_foreground
        How many of the M prototypes, from the first, stand for nuclei.
    """

    rhos: tuple[float, ...]
    first: NDArray[np.uint8]
    weights: NDArray[np.float32]
    n_foreground: int

    @classmethod
    def of(cls, scan: Scan, step: int) -> Explanation:
        """Extract it from a whole scan, of which `step` was taken."""
        first = np.full(scan.steps[0].foreground.shape, len(scan.steps), dtype=np.uint8)
        for index in reversed(range(len(scan.steps))):
            taken = scan.steps[index]
            first[taken.foreground > taken.threshold] = index
        rhos = tuple(taken.rho for taken in scan.steps)
        return cls(rhos, first, scan.assignments[step].copy(), scan.n_foreground)

    def at(self, y: float, x: float, shape: tuple[int, int], token: int) -> dict[str, Any]:
        """Explain one place.

        Parameters
        ----------
        y, x
            In working pixels.
        shape
            (H, W) of the working image.
        token
            Working pixels per token.

        Returns
        -------
        dict
            "prototype": index of the nucleus prototype that took most of the place;
            "mass": share of it, 0 to 1, that went to nucleus prototypes at the step
            taken; "rho": transported mass at which it first was active, None if it
            never was.
        """
        here = self.weights[int((y + 0.5) // token), int((x + 0.5) // token)]
        nuclei = here[: self.n_foreground]
        row, column = (
            min(int((place + 0.5) * side / whole), side - 1)
            for place, side, whole in zip((y, x), self.first.shape, shape, strict=True)
        )
        step = int(self.first[row, column])
        return {
            "prototype": int(nuclei.argmax()),
            "mass": float(nuclei.sum()),
            "rho": self.rhos[step] if step < len(self.rhos) else None,
        }
