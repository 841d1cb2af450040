"""Named choices of all settings: the defaults, and the paper's own method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ..errors import SettingsError, nearest

Values = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """One choice of all settings.

    Attributes
    ----------
    title
        Its name as a person reads it.
    sentence
        What it is, for a person who has to choose.
    values
        Nested mappings, as of :meth:`.Settings.from_dict`; what is absent is default.
    """

    title: str
    sentence: str
    values: Values


def find_preset(name: object) -> Preset:
    """Return a preset by its name.

    Raises
    ------
    SettingsError
        For an unknown name, with the nearest one.
    """
    if not isinstance(name, str):
        raise SettingsError(f"'preset' must be the name of a preset, not {name!r}.")
    if name not in PRESETS:
        raise SettingsError(f"Unknown preset '{name}'. {nearest(name, list(PRESETS))}")
    return PRESETS[name]


# Every setting is named, so that this stays the paper's method whatever the defaults
# become. "Silent": the paper says nothing of it, and the comment says what was taken.
_PAPER: Final[Values] = {
    # Its images are at 40x (B.1).
    "image": {"mpp": 0.25},
    "tissue": {
        # No mask of glass or ink is mentioned.
        "mask_non_tissue": False,
        # Without effect while nothing is masked.
        "min_od": 0.12,
    },
    "stain": {
        # A stain matrix of "the H&E absorbance profiles" (3.1): Ruifrok & Johnston's.
        "method": "fixed",
        # Without effect with fixed vectors; the same ones.
        "haematoxylin": [0.65, 0.70, 0.29],
        "eosin": [0.07, 0.99, 0.11],
    },
    "reference": {
        "kind": "high_confidence",
        # The high-confidence mask ratio t (B.3, Figure 9a).
        "fraction": 0.6,
        # Otsu's threshold is taken of the concentration itself (3.1).
        "smoothing": 0.0,
    },
    "features": {
        # The model that comes with the program; the paper has SAM's large one, and Virchow2.
        "segmenter": "mobile_sam",
        "segmenter_weights": "",
        # Patches of SAM and their overlap (B.3, Figure 9f).
        "tile": 512,
        "overlap": 0.5,
        # That model's features; Virchow2 must be fetched first ('encoder' = "virchow2").
        "encoder": "sam",
        "encoder_weights": "",
        # Of a separate encoder: patches of 128 px, 64 apart (B.3).
        "patch": 128,
        "stride": 64,
        # Silent: what the networks of 14 px a token make of their usual 224 px.
        "tokens": 16,
    },
    # K (B.3, Figure 9d).
    "prototypes": {"clusters": 3},
    "transport": {
        "method": "partial",
        # Silent on epsilon and lambda: those of the first version of this program.
        "epsilon": 0.05,
        "kl_weight": 1.0,
        # The initial OT weight and the stride of the scan (B.3, Figures 9b and 9c).
        "rho_start": 0.6,
        "rho_step": 0.05,
        # Silent: so tight that less would change no point.
        "tolerance": 1e-4,
        "max_iterations": 1000,
    },
    "activation": {
        # The refined maps have the image's own size (3.2).
        "downsample": 1,
        # A DenseCRF (3.2). Silent on all of its parameters: five steps, and a reach of 1 um.
        "crf_iterations": 5,
        "crf_weight": 3.0,
        "crf_radius": 6,
        "crf_position_sigma": 4.0,
        "crf_density_sigma": 0.15,
    },
    "scan": {
        # "Once multiple compact regions merge" (3.2). Silent on how many: a fifth of them.
        "merge_limit": 0.2,
        # Stops by itself.
        "rho": 0.0,
    },
    "prompts": {
        "source": "activation",
        # One watershed of the one map (3.2).
        "regions": "single",
        # Without effect on a single map.
        "agreement": 0.15,
        # Silent: smaller regions are taken for noise, as no nucleus is.
        "min_area": 6.0,
        # Local maxima of the distance transform are the seeds (B.6): no smoothing, no depth.
        "split_depth": 0.0,
        "smoothing": 0.0,
        # Without effect but for the ablation without a colour prior. Silent.
        "grid_spacing": 8.0,
        # Uniform over the "expanded background masks with an additional stride" (3.2): no
        # margin. Silent on the stride: about a small nucleus.
        "negative_spacing": 6.0,
        "negative_margin": 0.0,
        # y (B.3, Figure 9e).
        "negatives": 2,
    },
    "decoding": {
        # SAM is given points and nothing else (3.3).
        "mask_prompt": "none",
        # Without effect without a mask prompt.
        "mask_strength": 4.0,
        "mask_shrink": 0.0,
        # SAM's own decoder: it sees the whole patch.
        "window": 64,
        # Silent: one answer, as SAM's authors advise for several points on one object.
        "multimask": "single",
        # A point placed by hand is a point and nothing else, too.
        "hand_radius": 0.0,
        # Masks are taken as SAM draws them, of whatever size and stain.
        "smoothing": 0.0,
        "min_area": 0.0,
        "max_area": 1e6,
        "min_haematoxylin": 0.0,
        # Changes the speed alone.
        "batch": 32,
    },
    "suppression": {
        # Containment-aware soft-NMS (3.3, Algorithm 3; the best rows of Tables 13, 14 and 15).
        "method": "soft",
        "decay": "exponential",
        # Silent: sigma of soft-NMS's authors (Bodla et al. 2017).
        "sigma": 0.5,
        # Without effect without hard suppression.
        "overlap_threshold": 0.5,
        "score": "both",
        # Silent on tau: the best masks score 1 to 2, their doubles a seventh of that.
        "threshold": 0.5,
        # What survives is kept, however little of it is to be seen.
        "min_visible": 0.0,
        "containment": True,
        # Silent on eps_c and on what counts as contained.
        "containment_scale": 0.5,
        "containment_share": 0.8,
    },
    # The paper averages three repeats.
    "seed": 0,
}

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "default": Preset(
            "Default", "What gives the best results with the model that comes with the program.", {}
        ),
        "paper": Preset(
            "As in the paper",
            "The method as its paper describes it, slower and with this model less accurate.",
            _PAPER,
        ),
    }
)
