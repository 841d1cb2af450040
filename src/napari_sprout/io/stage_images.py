"""Every intermediate map of a run, on the image's own grid, for looking at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.activation import Scan, prototype_maps
from ..core.coordinates import Scale
from ..core.instances import Candidate, Prompt
from ..core.outputs import Encoded, PromptSet, Stains, WorkingImage
from ..core.reference import ReferenceMasks
from ..core.session import Session
from ..core.stages import Stage
from .atomic import filling
from .overlay import label_colours, to_picture, write_png

Maps = Iterator[tuple[str, NDArray[Any]]]

_POSITIVE: Final = (0, 255, 80)
_NEGATIVE: Final = (255, 210, 0)
_RIM: Final = (0, 0, 0)


def stage_images(session: Session) -> Maps:
    """Yield what each up-to-date stage made, in the order of the method.

    Parameters
    ----------
    session
        A session that has run as far as wanted.

    Yields
    ------
    name
        Such as "haematoxylin" or "activation_rho_0.60".
    array
        On the image's own grid of H x W pixels: a bool mask, a float32 map,
        int32 labels, all (H, W), or a uint8 (H, W, 3) picture with what was
        found drawn on the image. Stain concentrations are in optical density;
        activation, and a prototype's F* (paper 3.2), lie between 0 and 1.
    """
    for stage, maps in _MAPS.items():
        if session.is_current(stage):
            yield from maps(session)


def write_stage_images(folder: str | Path, session: Session) -> tuple[Path, ...]:
    """Write :func:`stage_images` as numbered PNG files into a folder.

    Activation and prototype maps share one grey scale, black being 0 and white
    1, so that they can be compared; other maps are stretched over their own
    range.

    Parameters
    ----------
    folder
        Made if needed; pictures of an earlier run that this one does not have
        are removed.
    session
        A session that has run.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    folder = Path(folder)
    written = []
    with filling(folder) as draft:
        for number, (name, array) in enumerate(stage_images(session), start=1):
            if name.startswith(("activation", "prototype")):
                array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
            path = folder / f"{number:02d}_{name}.png"
            write_png(draft / path.name, to_picture(array))
            written.append(path)
    for path in set(folder.glob("[0-9][0-9]_*.png")) - set(written):
        path.unlink()
    return tuple(written)


def _scale(session: Session) -> Scale:
    working: WorkingImage = session.output(Stage.IMAGE)
    return working.scale


def _nearest(values: NDArray[Any], scale: Scale) -> NDArray[Any]:
    """Resample a mask or labels to the image's own grid."""
    if scale.identity:
        return values
    plain = values.astype(np.uint8) if values.dtype == np.bool_ else values
    size = (scale.full[1], scale.full[0])
    return cv2.resize(plain, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(values.dtype)


def _tissue(session: Session) -> Maps:
    yield "tissue", _nearest(session.output(Stage.TISSUE), _scale(session))


def _stains(session: Session) -> Maps:
    stains: Stains = session.output(Stage.STAIN)
    both = _scale(session).map_to_full(stains.concentrations)
    yield "haematoxylin", both[..., 0]
    yield "eosin", both[..., 1]


def _references(session: Session) -> Maps:
    reference: ReferenceMasks = session.output(Stage.REFERENCE)
    for name in ("foreground", "background", "sure_foreground", "sure_background"):
        yield f"reference_{name}", _nearest(getattr(reference, name), _scale(session))


def _activations(session: Session) -> Maps:
    scan: Scan = session.output(Stage.ACTIVATION)
    for step in scan.steps:
        yield f"activation_rho_{step.rho:.2f}", _scale(session).map_to_full(step.foreground)


def _prompts(session: Session) -> Maps:
    made: PromptSet = session.output(Stage.PROMPTS)
    scale = _scale(session)
    if made.step is not None:
        scan: Scan = session.output(Stage.ACTIVATION)
        yield "activation_chosen", scale.map_to_full(scan.steps[made.step].foreground)
        yield from _prototypes(session, scan, made.step)
    yield "foreground", _nearest(made.foreground, scale)
    yield "regions", _nearest(made.regions, scale)
    yield "prompts", draw_prompts(session.image, made.prompts)


def _prototypes(session: Session, scan: Scan, step: int) -> Maps:
    encoded: Encoded = session.output(Stage.ENCODING)
    grid, scale = encoded.grid, _scale(session)
    for index, coarse in enumerate(prototype_maps(scan, step)):
        padded = cv2.resize(coarse, grid.padded[::-1], interpolation=cv2.INTER_LINEAR)
        inside = np.asarray(padded[: grid.shape[0], : grid.shape[1]], dtype=np.float32)
        nucleus = index < scan.n_foreground
        kind, place = ("nucleus", index) if nucleus else ("rest", index - scan.n_foreground)
        yield f"prototype_{kind}_{place + 1}", scale.map_to_full(inside)


def _candidates(session: Session) -> Maps:
    yield (
        "candidates",
        draw_candidates(session.image, session.output(Stage.MASKS), _scale(session)),
    )


_MAPS: Final[dict[Stage, Callable[[Session], Maps]]] = {
    Stage.TISSUE: _tissue,
    Stage.STAIN: _stains,
    Stage.REFERENCE: _references,
    Stage.ACTIVATION: _activations,
    Stage.PROMPTS: _prompts,
    Stage.MASKS: _candidates,
}


def draw_prompts(rgb: NDArray[np.uint8], prompts: tuple[Prompt, ...]) -> NDArray[np.uint8]:
    """Draw positive prompts as green discs and negative ones as yellow crosses.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8; left as it is.
    prompts
        In full-resolution pixels.
    """
    drawn = rgb.copy()
    for prompt in prompts:
        centre = (round(prompt.x), round(prompt.y))
        if prompt.kind == "positive":
            cv2.circle(drawn, centre, 4, _RIM, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(drawn, centre, 3, _POSITIVE, cv2.FILLED, cv2.LINE_AA)
        else:
            cv2.drawMarker(drawn, centre, _NEGATIVE, cv2.MARKER_TILTED_CROSS, 4, 1)
    return drawn


def draw_candidates(
    rgb: NDArray[np.uint8], candidates: tuple[Candidate, ...], scale: Scale
) -> NDArray[np.uint8]:
    """Draw the outline of every mask, those that overlap included.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8 at full resolution; left as it is.
    candidates
        Masks on the working grid.
    scale
        The image's grids.
    """
    drawn = rgb.copy()
    colours = label_colours(np.array([candidate.id for candidate in candidates], dtype=np.int64))
    for candidate, colour in zip(candidates, colours.tolist(), strict=True):
        y, x = candidate.box[:2]
        outlines, _ = cv2.findContours(
            candidate.mask.astype(np.uint8),
            cv2.RETR_EXTERNAL,
            cv2.CHAIN_APPROX_NONE,
            offset=(x, y),
        )
        for outline in outlines:
            points = scale.to_full(outline[:, 0, ::-1].astype(float))
            line = np.rint(points[:, ::-1]).astype(np.int32)
            cv2.polylines(drawn, [line], isClosed=True, color=colour, thickness=1)
    return drawn
