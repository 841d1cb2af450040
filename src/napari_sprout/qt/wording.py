"""Plain words for the stages and settings, as they stand in the dock."""

from __future__ import annotations

from ..core.stages import Stage

STAGE_TITLES: dict[Stage, str] = {
    Stage.IMAGE: "Image",
    Stage.TISSUE: "Tissue",
    Stage.STAIN: "Stains",
    Stage.REFERENCE: "Sure nuclei",
    Stage.ENCODING: "Image features",
    Stage.PROTOTYPES: "Prototypes",
    Stage.ACTIVATION: "Activation scan",
    Stage.PROMPTS: "Prompts",
    Stage.MASKS: "Masks",
    Stage.NUCLEI: "Nuclei",
}

STAGE_HELP: dict[Stage, str] = {
    Stage.IMAGE: "Brings the image to the pixel size at which the method works.",
    Stage.TISSUE: "Finds the tissue; glass, pen marks and black borders are left out.",
    Stage.STAIN: "Separates haematoxylin from eosin.",
    Stage.REFERENCE: "Picks the pixels that are surely nucleus or surely not.",
    Stage.ENCODING: "Lets the model look at every tile once. The longest stage.",
    Stage.PROTOTYPES: "Learns from the sure pixels what nuclei look like in this image.",
    Stage.ACTIVATION: "Matches the image to the prototypes, from the surest places on.",
    Stage.PROMPTS: "Puts one point in every nucleus, and points where there is none.",
    Stage.MASKS: "Draws an outline around every point.",
    Stage.NUCLEI: "Chooses between overlapping outlines and numbers the nuclei.",
}

UNITS = {"um/px": "µm/px", "um^2": "µm²", "um": "µm"}

GROUP_TITLES = {
    "image": "Image",
    "seed": "Random numbers",
    "tissue": "Tissue",
    "stain": "Stains",
    "reference": "Sure nuclei",
    "features": "Image features",
    "prototypes": "Prototypes",
    "transport": "Matching",
    "activation": "Activation maps",
    "scan": "Where the scan stops",
    "prompts": "Prompts",
    "decoding": "Masks",
    "suppression": "Overlaps",
}

_LABELS = {
    "mpp": "working pixel size",
    "mask_non_tissue": "leave out what is not tissue",
    "min_od": "least optical density",
    "kind": "chosen by",
    "fraction": "share kept",
    "kl_weight": "evenness",
    "max_iterations": "most iterations",
    "rho": "fixed share (rho)",
    "rho_start": "first share (rho)",
    "rho_step": "step of the share",
    "crf_iterations": "CRF steps",
    "crf_weight": "CRF weight",
    "crf_radius": "CRF radius",
    "crf_position_sigma": "CRF reach",
    "crf_density_sigma": "CRF stain likeness",
    "source": "points from",
    "regions": "outlines compared",
    "agreement": "least agreement",
    "min_area": "smallest area",
    "max_area": "largest area",
    "min_haematoxylin": "least haematoxylin",
    "multimask": "answers",
    "negatives": "negatives each",
    "negative_spacing": "spacing of negatives",
    "negative_margin": "margin of negatives",
    "window": "tokens seen",
    "batch": "decoded at once",
    "score": "ranked by",
    "threshold": "least score",
    "sigma": "width of decay",
    "containment": "punish swallowing masks",
    "containment_scale": "how hard",
    "containment_share": "counts as swallowed",
    "segmenter": "SAM model",
    "segmenter_weights": "SAM weights file",
    "encoder_weights": "encoder weights file",
}


def setting_label(name: str, unit: str) -> str:
    """Return a field's label: "Smallest area (µm²)" for "min_area" in "um^2"."""
    words = _LABELS.get(name, name.replace("_", " "))
    text = words[:1].upper() + words[1:]
    return f"{text} ({UNITS.get(unit, unit)})" if unit else text


def duration(seconds: float) -> str:
    """Return how long something took: "0.4 s", "12 s", "3 min 05 s"."""
    return f"{seconds:.1f} s" if seconds < 10 else whole_seconds(seconds)


def whole_seconds(seconds: float) -> str:
    """Return a time without fractions: "1 s", "12 s", "3 min 05 s"."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
