"""What every stage made, as arrays with the colours in which a person can read them.

Maps keep their own resolution: napari stretches them over the image, so nothing
is resampled, and showing a stage costs next to nothing. What a person paints on
is on the image's own grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal

import cv2
import numpy as np
from napari.utils.colormaps import Colormap, CyclicLabelColormap, DirectLabelColormap
from numpy.typing import NDArray

from ..core.activation import Scan, activation_shape, choose_step, prototype_maps
from ..core.coordinates import Scale
from ..core.outputs import Encoded, PromptSet, Stains, WorkingImage
from ..core.reference import ReferenceMasks
from ..core.session import Session
from ..core.stages import Stage
from ..io.overlay import label_colours
from .roles import LayerRole, Slot

SURE_NUCLEUS: Final = 1
SURE_BACKGROUND: Final = 2
"""The two values of the reference layer; 0 is neither."""

_COLOURS: Final = 127


@dataclass(frozen=True, eq=False)
class LayerSpec:
    """One layer to be shown.

    Attributes
    ----------
    slot
        What it is for.
    kind
        The sort of napari layer.
    title
        Its name, without the image's.
    data
        (h, w) array on the layer's own grid.
    grid
        Height and width of one of its pixels, in the image's pixels.
    options
        How it looks when it is first made; later a person's choice stays.
    updates
        What is set again whenever the data are.
    """

    slot: Slot
    kind: Literal["image", "labels"]
    title: str
    data: NDArray[Any]
    grid: tuple[float, float] = (1.0, 1.0)
    options: dict[str, Any] = field(default_factory=dict)
    updates: dict[str, Any] = field(default_factory=dict)


def stage_specs(session: Session, stage: Stage) -> Iterator[LayerSpec]:
    """Yield the layers of a stage that has run; none for a stage without a picture.

    The prompts and the nuclei, which a person edits, are not among them.
    """
    make = _MAKERS.get(stage)
    if make is not None:
        yield from make(session)


def slots_of(stage: Stage, slots: Iterable[Slot]) -> tuple[Slot, ...]:
    """Return those of `slots` that a stage's layers fill."""
    return tuple(slot for slot in slots if slot.role in _ROLES.get(stage, ()))


def activation_specs(session: Session, step: int) -> Iterator[LayerSpec]:
    """Yield the activation map of one step of the scan, and each prototype's share of it.

    Parameters
    ----------
    session
        A session whose activation stage has run.
    step
        Index of the step, from 0.
    """
    scan: Scan = session.output(Stage.ACTIVATION)
    encoded: Encoded = session.output(Stage.ENCODING)
    scale = _scale(session)
    shown = scan.steps[step]
    tokens = encoded.grid
    shape = shown.foreground.shape
    factor = _factor(session, tokens.shape, (shape[0], shape[1]))
    size = (tokens.padded[1] // factor, tokens.padded[0] // factor)
    grid = _grid(scale, float(factor))
    for index, coarse in enumerate(prototype_maps(scan, step)):
        nucleus = index < scan.n_foreground
        place = index if nucleus else index - scan.n_foreground
        title = f"Prototype {place + 1} of {'nuclei' if nucleus else 'the rest'}"
        data = np.asarray(
            cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]
        )
        look = _heat("magma" if nucleus else "viridis")
        yield LayerSpec(Slot(LayerRole.PROTOTYPE, index), "image", title, data, grid, look)
    yield LayerSpec(
        Slot(LayerRole.ACTIVATION), "image", "Activation", shown.foreground, grid, _heat("inferno")
    )


def chosen_step(session: Session) -> int | None:
    """Return the step of the scan that the prompts come from; None if they come from elsewhere."""
    if session.settings.prompts.source != "activation":
        return None
    try:
        scan: Scan = session.output(Stage.ACTIVATION)
    except KeyError:
        return None
    if not scan.steps:
        return None
    if session.is_current(Stage.PROMPTS):
        made: PromptSet = session.output(Stage.PROMPTS)
        if made.step is not None:
            return made.step
    return choose_step(scan.steps, session.settings.scan)


def reference_labels(session: Session) -> NDArray[np.uint8]:
    """Return the high-confidence masks on the image's own grid.

    Returns
    -------
    ndarray
        (H, W) uint8: 1 is surely nucleus, 2 surely not, 0 neither.
    """
    masks: ReferenceMasks = session.output(Stage.REFERENCE)
    scale = _scale(session)
    labels = np.zeros(scale.working, np.uint8)
    labels[masks.sure_background] = SURE_BACKGROUND
    labels[masks.sure_foreground] = SURE_NUCLEUS
    if scale.identity:
        return labels
    return np.asarray(
        cv2.resize(labels, scale.full[::-1], interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8
    )


def nucleus_colours() -> CyclicLabelColormap:
    """Return the colours of nuclei: those of the exported overlay, far from H&E's own."""
    bright = label_colours(np.arange(1, _COLOURS + 1)) / 255
    opaque = np.concatenate([bright, np.ones((len(bright), 1))], axis=1)
    return CyclicLabelColormap(
        colors=np.concatenate([np.zeros((1, 4)), opaque]).astype(np.float32), name="nuclei"
    )


def _scale(session: Session) -> Scale:
    working: WorkingImage = session.output(Stage.IMAGE)
    return working.scale


def _grid(scale: Scale, factor: float = 1.0) -> tuple[float, float]:
    """Size, in the image's pixels, of a pixel of `factor` working pixels."""
    return (
        factor * scale.full[0] / scale.working[0],
        factor * scale.full[1] / scale.working[1],
    )


def _factor(session: Session, working: tuple[int, int], small: tuple[int, int]) -> int:
    """Working pixels a side of an activation pixel, though the setting may have changed since."""
    likely: int = session.settings.activation.downsample
    for factor in chain([likely], range(1, 65)):
        if activation_shape(working, factor) == small:
            return factor
    return likely


def _heat(name: str) -> dict[str, Any]:
    return {
        "colormap": name,
        "contrast_limits": (0.0, 1.0),
        "opacity": 0.6,
        "interpolation2d": "linear",
        "visible": False,
    }


def _fade(name: str, colour: tuple[float, float, float]) -> Colormap:
    """From white, where there is no stain, to the stain's colour."""
    return Colormap([[1.0, 1.0, 1.0, 1.0], [*colour, 1.0]], name=name)


def _tissue(session: Session) -> Iterator[LayerSpec]:
    colours = DirectLabelColormap(color_dict={None: "transparent", 1: "#2e9e5b"})
    yield LayerSpec(
        Slot(LayerRole.TISSUE),
        "labels",
        "Tissue",
        session.output(Stage.TISSUE).astype(np.uint8),
        _grid(_scale(session)),
        {"colormap": colours, "opacity": 0.3, "visible": False},
    )


def _stains(session: Session) -> Iterator[LayerSpec]:
    stains: Stains = session.output(Stage.STAIN)
    grid = _grid(_scale(session))
    for role, plane, colour in (
        (LayerRole.HAEMATOXYLIN, 0, (0.18, 0.12, 0.45)),
        (LayerRole.EOSIN, 1, (0.80, 0.16, 0.42)),
    ):
        data = np.ascontiguousarray(stains.concentrations[..., plane])
        # Every 4th pixel is plenty for a percentile.
        top = stains.top if plane == 0 else float(np.percentile(data[::2, ::2], 99))
        name = str(role)
        yield LayerSpec(
            Slot(role),
            "image",
            name.capitalize(),
            data,
            grid,
            {"colormap": _fade(name, colour), "visible": False},
            {"contrast_limits": (0.0, max(top, 1e-3))},
        )


def _reference(session: Session) -> Iterator[LayerSpec]:
    colours = DirectLabelColormap(
        color_dict={None: "transparent", SURE_NUCLEUS: "#ffb000", SURE_BACKGROUND: "#00b0c8"}
    )
    yield LayerSpec(
        Slot(LayerRole.REFERENCE),
        "labels",
        "High confidence",
        reference_labels(session),
        options={"colormap": colours, "opacity": 0.5, "visible": False},
    )


def _activation(session: Session) -> Iterator[LayerSpec]:
    step = chosen_step(session)
    if step is not None:
        yield from activation_specs(session, step)


_SCAN_ROLES: Final = (LayerRole.PROTOTYPE, LayerRole.ACTIVATION)
_ROLES: Final[dict[Stage, tuple[LayerRole, ...]]] = {
    Stage.TISSUE: (LayerRole.TISSUE,),
    Stage.STAIN: (LayerRole.HAEMATOXYLIN, LayerRole.EOSIN),
    Stage.REFERENCE: (LayerRole.REFERENCE,),
    Stage.ACTIVATION: _SCAN_ROLES,
    Stage.PROMPTS: _SCAN_ROLES,
}
_MAKERS: Final[dict[Stage, Callable[[Session], Iterator[LayerSpec]]]] = {
    Stage.TISSUE: _tissue,
    Stage.STAIN: _stains,
    Stage.REFERENCE: _reference,
    Stage.ACTIVATION: _activation,
    # The prompts' own settings say where the scan stops: the maps shown follow.
    Stage.PROMPTS: _activation,
}
