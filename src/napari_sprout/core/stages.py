"""The stages of the method: what each makes, from what, and when it must be made again.

A stage is a generator of (done, total) units of work that returns its output; it
is a pure function of the outputs it reads and of its settings groups. The table
:data:`STAGES` says which those are, so a changed setting re-runs only what it
touches.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ImageError
from ..models.protocols import FeatureEncoder, PromptableSegmenter
from . import activation, features, labels, masks, prompts, suppression
from .coordinates import Scale
from .edits import PaintReference
from .fit import SlideFit
from .fitted import NO_SCAN, fitted_prototypes, fitted_scan, fitted_stains
from .given import GivenNuclei, given_prompts, required
from .instances import Candidate
from .nuclear_size import matched_tile, nuclear_diameter
from .outputs import Encoded, Nuclei, PromptSet, Stains, WorkingImage
from .prompt_sets import activation_prompts, point_prompts, prompt_set, stain_prompts
from .prototypes import Prototypes, fit_prototypes, token_share
from .reference import ReferenceMasks, paint_reference, reference_masks, reference_masks_at
from .settings import SAM, Settings
from .stain import concentrations, optical_density, stain_vectors
from .tiles import TileGrid
from .tissue import tissue_mask

Units = tuple[int, int]
MIN_WORKING_SIDE = 16
# About 3 GB of arrays; each tile's embedding adds 4 MB.
MAX_WORKING_PIXELS = 50_000_000


class Stage(StrEnum):
    """The stages, in order."""

    IMAGE = "image"
    TISSUE = "tissue"
    STAIN = "stain"
    REFERENCE = "reference"
    ENCODING = "encoding"
    PROTOTYPES = "prototypes"
    ACTIVATION = "activation"
    PROMPTS = "prompts"
    MASKS = "masks"
    NUCLEI = "nuclei"


@dataclass(frozen=True, eq=False)
class Context:
    """What a stage may read: earlier outputs, the settings, and the models.

    `tiles` and `patches` hold what is encoded already; whoever encodes adds to them.
    """

    image: NDArray[np.uint8]
    mpp: float | None
    settings: Settings
    outputs: Mapping[Stage, Any]
    segmenter: Callable[[], PromptableSegmenter]
    encoder: Callable[[], FeatureEncoder]
    tiles: dict[int, Tensor]
    patches: features.PatchMemory
    painted: tuple[PaintReference, ...] = ()
    given: GivenNuclei | None = None
    fit: SlideFit | None = None

    @property
    def working(self) -> WorkingImage:
        """The working image."""
        return self.outputs[Stage.IMAGE]  # type: ignore[no-any-return]

    @property
    def tissue(self) -> NDArray[np.bool_]:
        """The tissue mask, (H, W) bool at working resolution."""
        return self.outputs[Stage.TISSUE]  # type: ignore[no-any-return]


def make_image(context: Context) -> Generator[Units, None, WorkingImage]:
    """Bring the image to the working pixel size.

    Raises
    ------
    ImageError
        If it would be too small to hold a nucleus, or too large for memory.
    """
    settings = context.settings.image
    height, width = context.image.shape[:2]
    scale = Scale.between((height, width), context.mpp, settings.mpp)
    if min(scale.working) < MIN_WORKING_SIDE:
        raise ImageError(
            f"The image is too small: {width} x {height} px at {context.mpp} um/px is less than "
            f"{MIN_WORKING_SIDE} px a side at {settings.mpp} um/px. Check its pixel size."
        )
    if scale.working[0] * scale.working[1] > MAX_WORKING_PIXELS:
        raise ImageError(
            f"The image is too large: {width} x {height} px at {context.mpp} um/px make "
            f"{scale.working[1]} x {scale.working[0]} px at {settings.mpp} um/px. Check its pixel "
            "size, or cut out a region."
        )
    yield 0, 1
    return WorkingImage(scale.image_to_working(context.image), scale)


def make_tissue(context: Context) -> Generator[Units, None, NDArray[np.bool_]]:
    """Mask glass, pen marks and black borders."""
    yield 0, 1
    working = context.working
    white = None if context.fit is None else context.fit.white
    return tissue_mask(working.rgb, context.settings.tissue, working.scale.mpp, white)


def make_stain(context: Context) -> Generator[Units, None, Stains]:
    """Separate the stains (paper 3.1)."""
    yield 0, 1
    if context.fit is not None:
        return fitted_stains(context.working.rgb, context.fit)
    density = optical_density(context.working.rgb)
    tissue = context.tissue
    vectors = stain_vectors(density, tissue, context.settings.stain, seed=context.settings.seed)
    amounts = concentrations(density, vectors)
    inside = amounts[..., 0][tissue]
    top = max(float(np.percentile(inside, 99)), 1e-6) if inside.size else 1.0
    relative = np.clip(amounts[..., 0] / top, 0, 1)
    diameter = nuclear_diameter(amounts[..., 0], tissue, context.working.scale.mpp)
    return Stains(vectors, amounts, relative, top, diameter)


def make_reference(context: Context) -> Generator[Units, None, ReferenceMasks]:
    """Find the image's own sure nuclei and sure background (paper 3.1)."""
    yield 0, 1
    stains: Stains = context.outputs[Stage.STAIN]
    scale, fit = context.working.scale, context.fit
    settings, amounts = context.settings.reference, stains.concentrations[..., 0]
    if fit is None:
        found = reference_masks(amounts, context.tissue, settings, scale.mpp)
    else:
        found = reference_masks_at(
            amounts, context.tissue, settings, scale.mpp, fit.threshold, fit.limits
        )
    return paint_reference(found, context.painted, context.tissue, scale)


def tile_grid(context: Context) -> TileGrid:
    """Return where the tiles lie: as the settings say, or as suits this image's nuclei."""
    settings, shape = context.settings.features, context.tissue.shape
    if settings.tile:
        return TileGrid.over(shape, settings.tile, settings.overlap)
    stains: Stains = context.outputs[Stage.STAIN]
    side = matched_tile(stains.nuclear_diameter, context.working.scale.mpp)
    return TileGrid.about(shape, side, settings.overlap)


def patch_grid(context: Context) -> TileGrid:
    """Return where the patches of a separate encoder lie (paper B.3)."""
    settings = context.settings.features
    return TileGrid.patches(context.tissue.shape, settings.patch, settings.stride, settings.tokens)


def make_encoding(context: Context) -> Generator[Units, None, Encoded]:
    """Encode every tile that holds tissue, once, and stitch the features (paper 3.1).

    With a separate encoder the features are those of its patches, which come first. The
    tiles are encoded all the same: prompts are decoded on them.
    """
    image, tissue = context.working.rgb, context.tissue
    grid = tile_grid(context)
    wanted = grid.over_tissue(tissue)
    tiles = features.TileEmbeddings(grid, image, context.segmenter, context.tiles)
    if context.settings.features.encoder == SAM:
        yield from _encode_tiles(tiles, wanted, 0)
        return Encoded(tiles, grid, features.stitch(tiles, wanted))
    cut = patch_grid(context)
    patches = context.patches.of(cut, cut.over_tissue(tissue))
    total = len(patches.wanted) + len(wanted)
    for done in patches.fill(image, context.encoder):
        yield done, total
    yield from _encode_tiles(tiles, wanted, len(patches.wanted))
    return Encoded(tiles, cut, patches.features, patches.encoder, patches.weights_sha256)


def _encode_tiles(
    tiles: features.TileEmbeddings, wanted: tuple[int, ...], before: int
) -> Generator[Units, None, None]:
    """Encode tiles, as many at once as suits the device, after so many units of other work."""
    for done in tiles.fill(wanted):
        yield before + done, before + len(wanted)


def make_prototypes(context: Context) -> Generator[Units, None, Prototypes]:
    """Cluster the features under the reference masks (Eq. 1)."""
    yield 0, 1
    encoded: Encoded = context.outputs[Stage.ENCODING]
    if context.fit is not None:
        return fitted_prototypes(encoded, context.fit)
    reference: ReferenceMasks = context.outputs[Stage.REFERENCE]
    return fit_prototypes(
        encoded.features,
        reference.sure_foreground,
        reference.sure_background,
        encoded.grid,
        context.settings.prototypes,
        context.settings.seed,
    )


def make_activation(context: Context) -> Generator[Units, None, activation.Scan]:
    """Transport features to prototypes at every rho and refine the maps (paper 3.2)."""
    settings = context.settings
    encoded: Encoded = context.outputs[Stage.ENCODING]
    prototypes: Prototypes = context.outputs[Stage.PROTOTYPES]
    masses = activation.scan_masses(settings.transport)
    yield 0, len(masses) + 1
    if not prototypes.usable:
        return NO_SCAN
    if context.fit is not None and context.fit.activation is not None:
        known = context.fit.activation
        return fitted_scan(context.working, context.tissue, encoded, prototypes, known, settings)
    grid = encoded.grid
    inside = torch.from_numpy(token_share(context.tissue, grid) > 0)
    weights, potentials, converged = activation.assignments(
        encoded.features, inside.to(encoded.features.device), prototypes, settings.transport
    )
    steps = []
    for step in activation.run_scan(
        weights,
        prototypes.n_foreground,
        optical_density(context.working.rgb),
        context.tissue,
        grid,
        masses,
        settings.activation,
    ):
        steps.append(step)
        yield len(steps), len(masses) + 1
    found = weights.cpu().numpy()
    count = prototypes.n_foreground
    return activation.Scan(tuple(steps), found, count, converged, potentials.numpy())


def make_prompts(context: Context) -> Generator[Units, None, PromptSet]:
    """Place positive and negative points (paper 3.2 and B.6)."""
    yield 0, 1
    settings, tissue = context.settings, context.tissue
    scale = context.working.scale
    reference: ReferenceMasks = context.outputs[Stage.REFERENCE]
    if settings.prompts.source == "given":
        given = required(context.given)
        return given_prompts(given, reference.background, settings.prompts, scale)
    if settings.prompts.source == "grid":
        regions = prompts.grid_regions(tissue, settings.prompts, scale.mpp)
        return prompt_set(regions, np.empty((0, 2)), tissue, scale, "grid", None)
    if settings.prompts.source == "stain":
        return stain_prompts(reference, settings.prompts, scale)
    scan: activation.Scan = context.outputs[Stage.ACTIVATION]
    step = activation.choose_step(scan.steps, settings.scan) if scan.steps else None
    return activation_prompts(scan, step, reference, tissue, settings.prompts, scale)


def mask_decoder(context: Context) -> masks.TileDecoder:
    """Return what decodes prompts on the context's tiles."""
    encoded: Encoded = context.outputs[Stage.ENCODING]
    stains: Stains = context.outputs[Stage.STAIN]
    return masks.TileDecoder(
        context.segmenter,
        encoded.tiles,
        stains.haematoxylin,
        context.settings.decoding,
        context.working.scale.mpp,
    )


def stained_limit(context: Context) -> float:
    """Return Otsu's threshold on the scale of ``Candidate.haematoxylin``."""
    reference: ReferenceMasks = context.outputs[Stage.REFERENCE]
    stains: Stains = context.outputs[Stage.STAIN]
    return reference.threshold / stains.top


def make_masks(context: Context) -> Generator[Units, None, tuple[Candidate, ...]]:
    """Decode every positive prompt with its negatives (paper 3.3)."""
    settings = context.settings
    made: PromptSet = context.outputs[Stage.PROMPTS]
    points = point_prompts(made, context.working.scale, settings.prompts.negatives)
    decoder = mask_decoder(context)
    found: list[Candidate] = []
    done = 0
    yield 0, max(len(points), 1)
    for asked, batch in decoder.decode(points):
        found += batch
        done += asked
        yield done, len(points)
    # What was a nucleus elsewhere is one, however pale.
    stained = 0.0 if settings.prompts.source == "given" else stained_limit(context)
    mpp = context.working.scale.mpp
    return tuple(masks.plausible(found, settings.decoding, mpp, stained))


def make_nuclei(context: Context) -> Generator[Units, None, Nuclei]:
    """Resolve overlapping masks, assemble the label image and measure it (paper D.3)."""
    yield 0, 1
    candidates: tuple[Candidate, ...] = context.outputs[Stage.MASKS]
    stains: Stains = context.outputs[Stage.STAIN]
    working = context.working
    resolved = suppression.suppress(candidates, context.settings.suppression)
    by_id = {candidate.id: candidate for candidate in candidates}
    scale = working.scale
    on_full = labels.on_full_grid((by_id[ident] for ident, _ in resolved.kept), scale)
    visible = [(ident, score) for ident, score in resolved.kept if ident in on_full]
    min_area = scale.full_pixels(context.settings.decoding.min_area)
    full, covered = labels.assemble(
        on_full,
        visible,
        scale.full,
        min_area,
        min_visible=context.settings.suppression.min_visible,
    )
    covered += [ident for ident, _ in resolved.kept if ident not in on_full]
    amounts = scale.map_to_full(stains.concentrations)
    nuclei = labels.measure(full, amounts, by_id, resolved.scores)
    full.setflags(write=False)
    return Nuclei(full, tuple(nuclei), resolved, tuple(sorted(covered)))


@dataclass(frozen=True)
class StageSpec:
    """How a stage is made, what it reads, and its share of a typical run."""

    make: Callable[[Context], Generator[Units, None, Any]]
    reads: tuple[Stage, ...]
    groups: tuple[str, ...]
    share: float


STAGES: dict[Stage, StageSpec] = {
    Stage.IMAGE: StageSpec(make_image, (), ("image",), 0.005),
    Stage.TISSUE: StageSpec(make_tissue, (Stage.IMAGE,), ("tissue",), 0.01),
    Stage.STAIN: StageSpec(make_stain, (Stage.TISSUE,), ("stain", "seed"), 0.01),
    Stage.REFERENCE: StageSpec(make_reference, (Stage.STAIN,), ("reference",), 0.005),
    Stage.ENCODING: StageSpec(make_encoding, (Stage.TISSUE, Stage.STAIN), ("features",), 0.5),
    Stage.PROTOTYPES: StageSpec(
        make_prototypes, (Stage.ENCODING, Stage.REFERENCE), ("prototypes", "seed"), 0.02
    ),
    Stage.ACTIVATION: StageSpec(
        make_activation, (Stage.PROTOTYPES,), ("transport", "activation"), 0.1
    ),
    Stage.PROMPTS: StageSpec(
        make_prompts, (Stage.REFERENCE, Stage.ACTIVATION), ("prompts", "scan"), 0.05
    ),
    Stage.MASKS: StageSpec(make_masks, (Stage.PROMPTS, Stage.ENCODING), ("decoding",), 0.25),
    Stage.NUCLEI: StageSpec(make_nuclei, (Stage.MASKS,), ("suppression",), 0.05),
}


def reads(stage: Stage, settings: Settings) -> tuple[Stage, ...]:
    """Return the stages that `stage` reads directly under these settings.

    Prompts from the stain, a plain grid or nuclei made elsewhere need no activation map, and
    tiles of a given side no look at the nuclei.
    """
    direct = STAGES[stage].reads
    if stage is Stage.ENCODING and settings.features.tile:
        return tuple(s for s in direct if s is not Stage.STAIN)
    if stage is Stage.PROMPTS and settings.prompts.source != "activation":
        return tuple(s for s in direct if s is not Stage.ACTIVATION)
    return direct


def needed(until: Stage, settings: Settings) -> tuple[Stage, ...]:
    """Return the stages that `until` rests on, itself included, in order."""
    found: set[Stage] = set()

    def visit(stage: Stage) -> None:
        if stage not in found:
            found.add(stage)
            for earlier in reads(stage, settings):
                visit(earlier)

    visit(until)
    return tuple(stage for stage in Stage if stage in found)
