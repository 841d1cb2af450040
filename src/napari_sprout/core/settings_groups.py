"""The settings of each stage.

The switches of the paper's ablations (Tables 11, 13, 14 and 15) are values here.
What the paper itself takes for each stands in :mod:`.presets`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import SettingsError, nearest
from ..models import registry
from .settings_fields import Group, setting

SAM: Final = "sam"
"""The encoder that is none of its own: the features are those of the model of the masks."""

SMALLEST_TILE: Final = 128
"""px; smaller ones would take very long."""


@dataclass(frozen=True)
class ImageSettings(Group):
    """The scale at which the method works."""

    name = "image"

    mpp: float = setting(
        0.25, "Pixel size at which the method works; images are rescaled to it.",
        low=0.05, high=4.0, unit="um/px", advanced=True,
    )  # fmt: skip


@dataclass(frozen=True)
class TissueSettings(Group):
    """What counts as tissue; glass, ink and black borders do not."""

    name = "tissue"

    mask_non_tissue: bool = setting(
        True, "Leave out glass, pen marks and black borders before anything else."
    )
    min_od: float = setting(
        0.12, "How much darker than the glass (mean optical density) tissue is.",
        low=0.0, high=2.0, advanced=True,
    )  # fmt: skip


@dataclass(frozen=True)
class StainSettings(Group):
    """Stain vectors (paper 3.1)."""

    name = "stain"

    method: str = setting(
        "vahadane", "Where the colours of haematoxylin and eosin come from.",
        choices=("fixed", "macenko", "vahadane", "given"),
    )  # fmt: skip
    haematoxylin: tuple[float, float, float] = setting(
        (0.65, 0.70, 0.29), "Haematoxylin's colour as optical density (R, G, B), if given by hand.",
        low=0.0, high=1.0, advanced=True,
    )  # fmt: skip
    eosin: tuple[float, float, float] = setting(
        (0.07, 0.99, 0.11), "Eosin's colour as optical density (R, G, B), if given by hand.",
        low=0.0, high=1.0, advanced=True,
    )  # fmt: skip


@dataclass(frozen=True)
class ReferenceSettings(Group):
    """Self-reference masks (paper 3.1; Table 11, first column)."""

    name = "reference"

    kind: str = setting(
        "high_confidence", "Which pixels teach the method what nuclei look like in this image.",
        choices=("high_confidence", "otsu"),
    )  # fmt: skip
    fraction: float = setting(
        0.6, "Share of each side kept as surely nucleus or surely not (the paper's t).",
        low=0.05, high=1.0,
    )  # fmt: skip
    smoothing: float = setting(
        0.5, "Gaussian smoothing of the haematoxylin map before thresholding.",
        low=0.0, high=5.0, unit="um", advanced=True,
    )  # fmt: skip


@dataclass(frozen=True)
class FeatureSettings(Group):
    """Encoder and tiles (paper 3.1 and 3.3)."""

    name = "features"

    segmenter: str = setting("mobile_sam", "The SAM model that draws the masks.")
    segmenter_weights: str = setting(
        "", "File with that model's weights (empty: the ones that come with it).", advanced=True
    )
    tile: int = setting(
        0, "Side of the square tiles that SAM sees (0: as suits the size of the nuclei).",
        low=0, high=1024, multiple=64, unit="px", advanced=True,
    )  # fmt: skip
    overlap: float = setting(
        0.25, "How much neighbouring tiles overlap.", low=0.0, high=0.75, advanced=True
    )
    encoder: str = setting(
        SAM, "The model that tells nuclei from the rest; 'sam' is the one that draws the masks."
    )
    encoder_weights: str = setting(
        "", "File with that model's weights (empty: the ones downloaded for it).", advanced=True
    )
    patch: int = setting(
        128, "Side of the square patches that a model of its own sees.",
        low=64, high=1024, multiple=16, unit="px", advanced=True,
    )  # fmt: skip
    stride: int = setting(
        64, "Distance from patch to patch; half of it takes four times as long.",
        low=8, high=1024, unit="px", advanced=True,
    )  # fmt: skip
    tokens: int = setting(
        16, "How finely a patch is described: so many places a side.",
        low=4, high=64, advanced=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.tile < SMALLEST_TILE:
            raise SettingsError(
                f"Setting 'features.tile' must be 0 or at least {SMALLEST_TILE}, not {self.tile}."
            )
        _check_encoder(self.encoder)
        if self.patch % self.tokens:
            raise SettingsError(
                f"Setting 'features.patch' must be a multiple of 'features.tokens' "
                f"({self.tokens}), not {self.patch}."
            )
        if self.stride > self.patch:
            raise SettingsError(
                f"Setting 'features.stride' must be at most 'features.patch' ({self.patch}), "
                f"not {self.stride}: tissue between the patches would not be seen."
            )


def encoders() -> tuple[str, ...]:
    """Return the names that ``features.encoder`` can have, timm's other networks apart."""
    return (SAM, *(name for name, one in registry.models().items() if one.kind == "encoder"))


def _check_encoder(name: str) -> None:
    """Refuse an encoder that is not in the registry, unless it is one of timm's."""
    known = encoders()
    if name not in known and not name.startswith(registry.TIMM):
        raise SettingsError(
            f"Unknown encoder '{name}'. {nearest(name, list(known))} Any other of timm's vision "
            f"transformers is written as '{registry.TIMM}' and its name."
        )


@dataclass(frozen=True)
class PrototypeSettings(Group):
    """K-means prototypes (paper Eq. 1)."""

    name = "prototypes"

    clusters: int = setting(3, "Prototypes for nuclei and as many for the rest.", low=1, high=16)


@dataclass(frozen=True)
class TransportSettings(Group):
    """Partial optimal transport and its scan (paper 3.2, Eq. 4; Table 11, third column)."""

    name = "transport"

    method: str = setting(
        "partial", "How image features are matched to the prototypes.",
        choices=("partial", "balanced", "cosine"),
    )  # fmt: skip
    epsilon: float = setting(
        0.05, "Entropic regularisation: larger is softer.", low=1e-3, high=10.0, advanced=True
    )
    kl_weight: float = setting(
        1.0, "How strongly prototypes must share the image evenly.",
        low=1e-3, high=1e4, advanced=True,
    )  # fmt: skip
    rho_start: float = setting(
        0.6, "Share of the image matched at the first step of the scan.", low=0.05, high=1.0
    )
    rho_step: float = setting(
        0.05, "How much more of the image each step of the scan matches.",
        low=0.01, high=0.5, advanced=True,
    )  # fmt: skip
    tolerance: float = setting(
        1e-4, "Largest error of the transported mass at which the solver stops.",
        low=1e-9, high=0.1, advanced=True,
    )  # fmt: skip
    max_iterations: int = setting(
        1000, "Most solver iterations per scan.", low=1, high=1_000_000, advanced=True
    )


@dataclass(frozen=True)
class ActivationSettings(Group):
    """Activation maps and their refinement by a dense CRF (paper 3.2)."""

    name = "activation"

    downsample: int = setting(
        2, "Activation maps are refined at this many working pixels a side.",
        low=1, high=8, unit="px", advanced=True,
    )  # fmt: skip
    crf_iterations: int = setting(
        5, "Mean-field steps that fit activation to the image; 0 turns them off.",
        low=0, high=50, advanced=True,
    )  # fmt: skip
    crf_weight: float = setting(
        3.0, "How strongly neighbouring pixels pull each other.", low=0.0, high=100.0, advanced=True
    )
    crf_radius: int = setting(
        3, "Half width of the neighbourhood, in activation pixels.",
        low=1, high=15, unit="px", advanced=True,
    )  # fmt: skip
    crf_position_sigma: float = setting(
        2.0, "Reach of the neighbourhood, in activation pixels.",
        low=0.1, high=50.0, unit="px", advanced=True,
    )  # fmt: skip
    crf_density_sigma: float = setting(
        0.15, "How alike in stain two pixels must be to pull each other.",
        low=0.001, high=10.0, unit="OD", advanced=True,
    )  # fmt: skip


@dataclass(frozen=True)
class ScanSettings(Group):
    """Where the scan stops (paper 3.2, last paragraph)."""

    name = "scan"

    merge_limit: float = setting(
        0.2, "The scan stops before this share of the first step's regions has flowed into one.",
        low=0.0, high=1.0, advanced=True,
    )  # fmt: skip
    rho: float = setting(
        0.0, "Take the scan's step nearest to this share, not the automatic stop (0: automatic).",
        low=0.0, high=1.0, advanced=True,
    )  # fmt: skip


@dataclass(frozen=True)
class PromptSettings(Group):
    """Point prompts (paper 3.2 and B.6)."""

    name = "prompts"

    source: str = setting(
        "activation", "What places the points: activation, stain, a plain grid, opened nuclei.",
        choices=("activation", "stain", "grid", "given"),
    )  # fmt: skip
    regions: str = setting(
        "stable", "What several outlines agree on, or a single one.", choices=("stable", "single")
    )
    agreement: float = setting(
        0.15, "How much outlines must agree on a nucleus; smaller finds more.", low=0.0, high=1.0
    )
    min_area: float = setting(
        6.0, "Smaller regions get no point.", low=0.0, high=1000.0, unit="um^2"
    )
    split_depth: float = setting(
        0.1, "How deep a waist must be to split a region in two; smaller splits more.",
        low=0.0, high=10.0, unit="um",
    )  # fmt: skip
    smoothing: float = setting(
        0.5, "Smoothing of the distance map before splitting.",
        low=0.0, high=10.0, unit="um", advanced=True,
    )  # fmt: skip
    grid_spacing: float = setting(
        8.0, "Distance between the points of the plain grid.",
        low=1.0, high=200.0, unit="um", advanced=True,
    )  # fmt: skip
    negative_spacing: float = setting(
        6.0, "Distance between negative points.", low=1.0, high=200.0, unit="um", advanced=True
    )
    negative_margin: float = setting(
        1.0, "Negative points stay this far from nuclei.",
        low=0.0, high=50.0, unit="um", advanced=True,
    )  # fmt: skip
    negatives: int = setting(
        1, "Negative points given to SAM beside each positive one (the paper's y).", low=0, high=16
    )


@dataclass(frozen=True)
class DecodingSettings(Group):
    """SAM's masks (paper 3.3)."""

    name = "decoding"

    mask_prompt: str = setting(
        "region", "Whether SAM is also shown the region that proposed the point.",
        choices=("none", "region"),
    )  # fmt: skip
    mask_strength: float = setting(
        4.0, "How firmly the region is suggested, in logits.", low=0.0, high=20.0, advanced=True
    )
    mask_shrink: float = setting(
        0.25, "By how much smaller all around a region is suggested, in whole working pixels.",
        low=0.0, high=5.0, unit="um", advanced=True,
    )  # fmt: skip
    window: int = setting(
        16, "Image tokens a side that SAM looks at around a point; 64 is the whole tile.",
        low=8, high=64, advanced=True,
    )  # fmt: skip
    multimask: str = setting(
        "mean", "SAM's one answer for each point, the best of its three, or the mean of all four.",
        choices=("single", "best", "mean"),
    )  # fmt: skip
    hand_radius: float = setting(
        3.0, "Radius of the nucleus suggested to SAM around a point placed by hand (0: none).",
        low=0.0, high=50.0, unit="um", advanced=True,
    )  # fmt: skip
    smoothing: float = setting(
        0.5, "Spikes thinner than twice this are cut off masks.",
        low=0.0, high=5.0, unit="um", advanced=True,
    )  # fmt: skip
    batch: int = setting(
        0, "Prompts decoded at once (0: as suits the device).", low=0, high=4096, advanced=True
    )
    min_area: float = setting(6.0, "Smaller masks are dropped.", low=0.0, high=1000.0, unit="um^2")
    max_area: float = setting(400.0, "Larger masks are dropped.", low=1.0, high=1e6, unit="um^2")
    min_haematoxylin: float = setting(
        0.85, "Paler masks are dropped; 1 is the limit between stained and unstained.",
        low=0.0, high=2.0,
    )  # fmt: skip


@dataclass(frozen=True)
class SuppressionSettings(Group):
    """Containment-aware soft-NMS (paper 3.3 and D.3; Tables 13, 14 and 15)."""

    name = "suppression"

    method: str = setting(
        "soft", "How overlapping masks compete.", choices=("none", "hard", "soft", "hard+soft")
    )
    decay: str = setting(
        "exponential", "How an overlap lowers the weaker mask's score.",
        choices=("linear", "polynomial", "exponential"), advanced=True,
    )  # fmt: skip
    sigma: float = setting(
        0.5, "Width of the exponential decay.", low=0.01, high=10.0, advanced=True
    )
    overlap_threshold: float = setting(
        0.5, "Box overlap above which hard suppression discards the weaker mask.",
        low=0.0, high=1.0, advanced=True,
    )  # fmt: skip
    score: str = setting(
        "both", "What ranks the masks: SAM's own opinion, the stain inside, or their sum.",
        choices=("none", "sam", "haematoxylin", "both"),
    )  # fmt: skip
    threshold: float = setting(
        0.5, "Masks whose score falls below this are dropped.", low=0.0, high=2.0
    )
    min_visible: float = setting(
        0.5, "A nucleus of which better masks leave less than this share is dropped.",
        low=0.0, high=1.0, advanced=True,
    )  # fmt: skip
    containment: bool = setting(True, "Punish masks that swallow several smaller ones.")
    containment_scale: float = setting(
        0.5, "How hard (the paper's eps_c).", low=0.0, high=10.0, advanced=True
    )
    containment_share: float = setting(
        0.8, "A mask is contained when this share of its area lies inside the other.",
        low=0.5, high=1.0, advanced=True,
    )  # fmt: skip


GROUPS: dict[str, type[Group]] = {
    group.name: group
    for group in (
        ImageSettings,
        TissueSettings,
        StainSettings,
        ReferenceSettings,
        FeatureSettings,
        PrototypeSettings,
        TransportSettings,
        ActivationSettings,
        ScanSettings,
        PromptSettings,
        DecodingSettings,
        SuppressionSettings,
    )
}
