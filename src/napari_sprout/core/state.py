"""What the correction of one finished run is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .coordinates import Scale
from .crops import Mask, slices
from .explain import Explanation
from .given import GivenNuclei
from .instances import Box, Candidate, Prompt
from .labels import on_full_grid, on_working_grid
from .masks import TileDecoder
from .outputs import Encoded, Nuclei, PromptSet, Stains, WorkingImage
from .settings import Settings
from .stages import Context, Stage, mask_decoder, stained_limit
from .suppression import Rejection
from .tables import MaskTable, PromptTable, RowTable

CERTAIN = 1.0
"""SAM's opinion of a mask that a person drew, where masks compete."""


@dataclass(frozen=True, eq=False)
class Ground:
    """What one finished run leaves for its correction: nothing here ever changes.

    Settings changed since the run, and stages made again since, do not show in it:
    labels, masks and what they are corrected with always belong together.

    Attributes
    ----------
    result
        The run's own result.
    candidates
        The run's own masks, in working pixels.
    prompts
        The run's own prompts and regions.
    settings
        What it was made with.
    scale
        The image's grids.
    decoder
        Decodes further prompts on the tiles.
    concentrations, haematoxylin
        Stain maps, as of :class:`~.outputs.Stains`.
    stained
        Otsu's threshold on the scale of ``Candidate.haematoxylin``.
    token
        Working pixels per token.
    explanation
        What the scan says of every place, if the prompts came from a scan.
    given
        Nuclei made elsewhere, if any were opened.
    """

    result: Nuclei
    candidates: tuple[Candidate, ...]
    prompts: PromptSet
    settings: Settings
    scale: Scale
    decoder: TileDecoder
    concentrations: NDArray[np.float32]
    haematoxylin: NDArray[np.float32]
    stained: float
    token: int
    explanation: Explanation | None
    given: GivenNuclei | None = None

    @classmethod
    def of(cls, context: Context) -> Ground:
        """Gather what a finished run made."""
        outputs = context.outputs
        working: WorkingImage = outputs[Stage.IMAGE]
        prompts: PromptSet = outputs[Stage.PROMPTS]
        encoded: Encoded = outputs[Stage.ENCODING]
        stains: Stains = outputs[Stage.STAIN]
        explanation = None
        if prompts.step is not None:
            explanation = Explanation.of(outputs[Stage.ACTIVATION], prompts.step)
        return cls(
            outputs[Stage.NUCLEI],
            outputs[Stage.MASKS],
            prompts,
            context.settings,
            working.scale,
            mask_decoder(context),
            stains.concentrations,
            stains.haematoxylin,
            stained_limit(context),
            encoded.grid.token,
            explanation,
            context.given,
        )

    @property
    def opened(self) -> GivenNuclei | None:
        """The nuclei made elsewhere, if they are what the run began with."""
        return self.given if self.settings.prompts.source == "given" else None

    @cached_property
    def full_concentrations(self) -> NDArray[np.float32]:
        """(H, W, 2) stain concentrations on the image's own grid."""
        return self.scale.map_to_full(self.concentrations)

    @cached_property
    def min_area(self) -> int:
        """Least visible area of a nucleus, in full-resolution pixels."""
        return self.scale.full_pixels(self.settings.decoding.min_area)

    def to_working(self, y: float, x: float) -> tuple[float, float]:
        """Convert one full-resolution place to working pixels."""
        row, column = self.scale.to_working(np.array([[y, x]]))[0].tolist()
        return row, column

    def competitor(self, drawn: Candidate) -> Candidate:
        """Return a mask drawn on the full grid as it competes with others, in working pixels."""
        box, mask = on_working_grid(drawn.box, drawn.mask, self.scale)
        stain = float(self.haematoxylin[slices(box)][mask].mean(dtype=np.float64))
        return Candidate(drawn.id, box, mask, CERTAIN, stain)


def hand_drawn(ident: int, box: Box, mask: Mask) -> Candidate:
    """Return a mask on the full grid of which SAM has no opinion."""
    return Candidate(ident, box, mask, CERTAIN, math.nan)


@dataclass(frozen=True)
class Served:
    """The negatives given to SAM beside a positive prompt.

    Attributes
    ----------
    y, x
        The positive prompt, in working pixels.
    negatives
        Their ids, nearest first.
    reach
        Distance in working pixels within which another negative would take the
        place of one of them; infinite while there are fewer than asked for.
    """

    y: float
    x: float
    negatives: tuple[int, ...]
    reach: float


class ServedTable(RowTable[Served]):
    """Served negatives by positive id, found by the place of the positive."""

    def __init__(self) -> None:
        super().__init__(3, lambda served: (served.y, served.x, served.reach))

    def reached_from(self, y: float, x: float) -> list[int]:
        """Return the ids of the positives that a negative at (y, x) serves or would serve."""
        row, column, reach = self.rows.T
        return self.where(np.hypot(row - y, column - x) <= reach)


@dataclass(eq=False)
class State:
    """Prompts, masks and labels as they are now, with what a person did to them.

    Attributes
    ----------
    ground
        The run that it corrects.
    labels
        (H, W) int32, full resolution.
    hand_base
        First of the ids kept free for a person.
    regions
        Automatic prompt's id to its region's value in ``ground.prompts.regions``.
    prompts
        All prompts.
    served
        Positive prompt's id to its negatives.
    answers
        Id to SAM's answer that a person chose.
    decoded
        SAM's masks, in working pixels.
    masks
        What competes, in working pixels: drawn or locked masks, else SAM's.
    full
        The same on the full grid, holes filled: what is painted.
    scores, rejected
        The outcome of suppression.
    areas
        Visible pixels of each nucleus; an id that has none is no nucleus.
    pins
        Masks drawn by hand, on the full grid. They and `locks` share no pixel.
    locks
        Masks of locked nuclei, on the full grid.
    removed
        Masks of nuclei that a person removed, on the full grid.
    origins
        Automatic prompts that a person has touched, as they were placed.
    given
        Nuclei made elsewhere, as they were opened, on the full grid.
    kept
        Nuclei that a person let SAM draw again.
    """

    ground: Ground
    labels: NDArray[np.int32]
    hand_base: int
    regions: dict[int, int] = field(default_factory=dict)
    prompts: PromptTable = field(default_factory=PromptTable)
    served: ServedTable = field(default_factory=ServedTable)
    answers: dict[int, int] = field(default_factory=dict)
    decoded: dict[int, Candidate] = field(default_factory=dict)
    masks: MaskTable = field(default_factory=MaskTable)
    full: MaskTable = field(default_factory=MaskTable)
    scores: dict[int, float] = field(default_factory=dict)
    rejected: dict[int, Rejection] = field(default_factory=dict)
    areas: dict[int, int] = field(default_factory=dict)
    pins: dict[int, Candidate] = field(default_factory=dict)
    locks: dict[int, Candidate] = field(default_factory=dict)
    removed: MaskTable = field(default_factory=MaskTable)
    origins: dict[int, Prompt] = field(default_factory=dict)
    given: dict[int, Candidate] = field(default_factory=dict)
    kept: dict[int, bool] = field(default_factory=dict)

    def as_given(self, ident: int) -> bool:
        """Whether a nucleus made elsewhere is pinned as it was opened."""
        pinned = self.pins.get(ident)
        return pinned is not None and pinned is self.given.get(ident)

    def fixed(self, ident: int) -> Candidate | None:
        """Return the mask that a person drew or locked, on the full grid."""
        return self.locks.get(ident) or self.pins.get(ident)

    def chosen(self, ident: int) -> bool:
        """Whether a person said that there is a nucleus: then it is kept, whatever overlaps it."""
        prompt = self.prompts.get(ident)
        by_hand = prompt is not None and prompt.source == "hand"
        said = by_hand or ident in self.answers or ident in self.kept
        return said or self.fixed(ident) is not None

    def effective(self, ident: int) -> tuple[Candidate, Candidate] | None:
        """Return an id's mask in working pixels and on the full grid; None if it has none."""
        fixed = self.fixed(ident)
        if fixed is not None:
            return self.ground.competitor(fixed), fixed
        decoded = self.decoded.get(ident)
        if decoded is None:
            return None
        full = on_full_grid([decoded], self.ground.scale).get(ident)
        return None if full is None else (decoded, full)

    def knows(self, ident: int) -> bool:
        """Whether an id is or was in use."""
        tables = (self.prompts, self.masks, self.pins, self.locks, self.removed, self.origins)
        return any(ident in table for table in tables)
