"""What is found once on a sample of a slide, so that all of its parts are judged alike.

An image by itself is its own reference (paper 3.1): stain vectors, thresholds, prototypes
and the transport's column masses are found on it. The parts of a slide are no such
images. One may hold glass alone, another nothing but lymphocytes, and a nucleus must not
look otherwise because of what else lies in its part. So these are found on a sample of
the slide's tissue, and then taken as given. What is left depends on a pixel's
surroundings alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import SproutError
from .prototypes import Prototypes
from .stain import StainVectors

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class ActivationFit:
    """How features are matched, found on a sample.

    Attributes
    ----------
    prototypes
        On the CPU.
    rho
        Transported mass of the step that the scan stopped at.
    potentials
        (M + 1,) float64 of the prototypes and the slack (:func:`.transport.shares`).
    threshold
        Between active and not, on the refined map.
    """

    prototypes: Prototypes
    rho: float
    potentials: NDArray[np.float64]
    threshold: float


@dataclass(frozen=True, eq=False)
class SlideFit:
    """What a sample of a slide's tissue says of all of it.

    Attributes
    ----------
    white
        Mean optical density of the glass.
    vectors
        The stain vectors.
    top
        99th percentile of haematoxylin over tissue, in optical density.
    nuclear_diameter
        Of a typical nucleus, um; NaN where the stain shows too few.
    threshold, limits
        Of :class:`.reference.ReferenceMasks`, in optical density.
    activation
        None where nothing was stained, or the settings want no activation map.
    """

    white: float
    vectors: StainVectors
    top: float
    nuclear_diameter: float
    threshold: float
    limits: tuple[float, float]
    activation: ActivationFit | None

    @cached_property
    def key(self) -> str:
        """Hash of all values, in hexadecimal."""
        digest = hashlib.sha256()
        for name, values in sorted(self.to_arrays().items()):
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return arrays that hold all of it exactly, by name; see :meth:`from_arrays`."""
        vectors = self.vectors
        facts = {"format": _FORMAT, "source": vectors.source, "note": vectors.note}
        numbers = [self.white, self.top, self.nuclear_diameter, self.threshold, *self.limits]
        found: dict[str, NDArray[Any]] = {
            "facts": np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8),
            "numbers": np.array(numbers, np.float64),
            "vectors": vectors.matrix.T,
        }
        if self.activation is not None:
            active = self.activation
            found["prototypes"] = active.prototypes.vectors.numpy()
            found["potentials"] = active.potentials
            split = (active.prototypes.n_foreground, active.rho, active.threshold)
            found["activation"] = np.array(split, np.float64)
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> SlideFit:
        """Return what :meth:`to_arrays` took apart.

        Raises
        ------
        SproutError
            If another version of the program wrote it, or it is damaged.
        """
        try:
            facts = json.loads(bytes(arrays["facts"]))
            if facts["format"] != _FORMAT:
                raise ValueError(facts["format"])
            white, top, diameter, threshold, low, high = arrays["numbers"].tolist()
            haematoxylin, eosin = arrays["vectors"].tolist()
            vectors = StainVectors(haematoxylin, eosin, facts["source"], facts["note"])
            activation = _activation(arrays) if "prototypes" in arrays else None
        except (KeyError, ValueError) as error:
            raise SproutError(
                "What was found on the sample of the slide's tissue is damaged or of another "
                f"version of this program ({error!r})."
            ) from error
        return cls(white, vectors, top, diameter, threshold, (low, high), activation)

    def describe(self) -> dict[str, Any]:
        """Return plain values for a record of what made a result."""
        active, diameter = self.activation, self.nuclear_diameter
        return {
            "key": self.key,
            "stain_vectors": self.vectors.matrix.T.tolist(),
            "stain_source": self.vectors.source,
            "threshold": self.threshold,
            "nuclear_diameter_um": None if math.isnan(diameter) else diameter,
            "rho": None if active is None else active.rho,
        }


def _activation(arrays: Mapping[str, NDArray[Any]]) -> ActivationFit:
    n_foreground, rho, threshold = arrays["activation"].tolist()
    vectors: Tensor = torch.from_numpy(np.array(arrays["prototypes"], np.float32))
    prototypes = Prototypes(vectors, int(n_foreground))
    return ActivationFit(prototypes, rho, np.array(arrays["potentials"], np.float64), threshold)
