"""The stages of a part of a slide, by what was found on a sample of all of it (see :mod:`.fit`)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from .activation import Scan, assigned, run_scan
from .fit import ActivationFit, SlideFit
from .outputs import Encoded, Stains, WorkingImage
from .prototypes import Prototypes, token_share
from .settings import Settings
from .stain import concentrations, optical_density

NO_SCAN = Scan((), np.zeros((0, 0, 0, 0), np.float32), 0, True, np.zeros((0, 0)))
"""Where nothing is stained."""


def fitted_stains(rgb: NDArray[np.uint8], fit: SlideFit) -> Stains:
    """Separate the stains of an (H, W, 3) image by the slide's vectors."""
    amounts = concentrations(optical_density(rgb), fit.vectors)
    relative = np.clip(amounts[..., 0] / fit.top, 0, 1)
    return Stains(fit.vectors, amounts, relative, fit.top, fit.nuclear_diameter)


def fitted_prototypes(encoded: Encoded, fit: SlideFit) -> Prototypes:
    """Return the slide's prototypes where the features are; none where it has none."""
    device = encoded.features.device
    if fit.activation is None:
        return Prototypes(torch.empty((0, encoded.features.shape[0]), device=device), 0)
    made = fit.activation.prototypes
    return Prototypes(made.vectors.to(device), made.n_foreground)


def fitted_scan(
    working: WorkingImage,
    tissue: NDArray[np.bool_],
    encoded: Encoded,
    prototypes: Prototypes,
    fit: ActivationFit,
    settings: Settings,
) -> Scan:
    """Return the one step of the scan that the slide's sample stopped at.

    Every token is transported by the sample's column potentials, so that its row of the
    plan depends on its own features alone; the threshold is the sample's too.
    """
    grid = encoded.grid
    inside = torch.from_numpy(token_share(tissue, grid) > 0).to(encoded.features.device)
    if not bool(inside.any()):
        return NO_SCAN
    potentials = torch.from_numpy(fit.potentials)[None]
    epsilon = settings.transport.epsilon
    weights = assigned(encoded.features, inside, prototypes, potentials, epsilon)
    made = run_scan(
        weights,
        prototypes.n_foreground,
        optical_density(working.rgb),
        tissue,
        grid,
        (fit.rho,),
        settings.activation,
    )
    with closing(made) as steps:
        step = replace(next(steps), threshold=fit.threshold)
    found = weights.cpu().numpy()
    return Scan((step,), found, prototypes.n_foreground, True, fit.potentials[None])
