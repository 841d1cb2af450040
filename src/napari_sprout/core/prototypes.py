"""K-means prototypes of nucleus and of everything else (paper 3.1, Eq. 1)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from .settings import PrototypeSettings
from .tiles import TileGrid

MAX_SAMPLES = 20_000


@dataclass(frozen=True, eq=False)
class Prototypes:
    """Class prototypes, foreground first.

    Attributes
    ----------
    vectors
        (M, d) float32, M = 2K at most (fewer where a mask has fewer tokens).
    n_foreground
        How many of them, from the first, stand for nuclei.
    """

    vectors: Tensor
    n_foreground: int

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    @property
    def usable(self) -> bool:
        """Whether both classes have at least one prototype."""
        return 0 < self.n_foreground < len(self)


def token_share(mask: NDArray[np.bool_], grid: TileGrid) -> NDArray[np.float32]:
    """Resize a working-resolution mask to feature resolution.

    Parameters
    ----------
    mask
        (H, W) bool.
    grid
        The tile grid; its padding counts as outside the mask.

    Returns
    -------
    ndarray
        (h, w) float32, the share of each token's pixels that lie in the mask.
    """
    padded = np.zeros(grid.padded, dtype=np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    h, w = grid.tokens
    blocks = padded.reshape(h, grid.token, w, grid.token)
    share: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return share


def sure_tokens(share: NDArray[np.float32], wanted: int) -> NDArray[np.bool_]:
    """Return the tokens that stand for a mask: more than half inside it.

    Nuclei smaller than a token never fill half of one; where fewer than `wanted`
    tokens qualify, the `wanted` fullest that touch the mask at all are taken.
    """
    tokens: NDArray[np.bool_] = share > 0.5
    if np.count_nonzero(tokens) < wanted:
        fullest = np.argsort(-share, axis=None, kind="stable")[:wanted]
        tokens = np.zeros_like(tokens)
        tokens.flat[fullest] = True
        tokens &= share > 0
    return tokens


def _centres(samples: NDArray[np.float32], clusters: int, seed: int) -> NDArray[np.float32]:
    """Cluster (n, d) samples; at most `clusters` centres, none from no samples."""
    # Here, not above: scikit-learn takes long to import.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    k = min(clusters, len(np.unique(samples, axis=0)) if len(samples) <= clusters else clusters)
    if k == 0:
        return samples[:0]
    if len(samples) > MAX_SAMPLES:
        chosen = np.random.default_rng(seed).choice(len(samples), MAX_SAMPLES, replace=False)
        samples = samples[np.sort(chosen)]
    # One thread: scikit-learn adds partial sums in the order threads finish.
    with threadpool_limits(1), warnings.catch_warnings():
        # Features that are all alike give fewer clusters than asked for: not a fault here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(k, init="k-means++", n_init=4, random_state=seed).fit(samples)
    centres: NDArray[np.float32] = np.unique(fitted.cluster_centers_.astype(np.float32), axis=0)
    return centres


def fit_prototypes(
    features: Tensor,
    foreground: NDArray[np.bool_],
    background: NDArray[np.bool_],
    grid: TileGrid,
    settings: PrototypeSettings,
    seed: int,
) -> Prototypes:
    """Cluster the features under each self-reference mask (Eq. 1).

    Parameters
    ----------
    features
        (d, h, w) stitched features F.
    foreground, background
        (H, W) bool self-reference masks M_fg and M_bg at working resolution.
    grid
        The tile grid that links both resolutions.
    settings
        K, the clusters of each class.
    seed
        Seed of k-means++.

    Returns
    -------
    Prototypes
        Foreground first; not ``usable`` if a mask is empty.
    """
    rows = features.flatten(1).T.cpu().numpy()
    centres = []
    for mask in (foreground, background):
        tokens = sure_tokens(token_share(mask, grid), 4 * settings.clusters)
        centres.append(_centres(rows[tokens.ravel()], settings.clusters, seed))
    vectors = torch.from_numpy(np.concatenate(centres)).to(features.device)
    return Prototypes(vectors, len(centres[0]))
