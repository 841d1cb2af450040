"""One image with several models: stages side by side in a picture, numbers in a table."""

from __future__ import annotations

import csv
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.activation import Scan
from ..core.metrics import Scores, evaluate
from ..core.outputs import PromptSet
from ..core.session import Session
from ..core.settings import Settings
from ..core.stages import Stage
from ..errors import SproutError
from .atomic import replacing
from .failures import failure
from .images import LoadedImage
from .overlay import overlay, to_picture
from .stage_images import draw_prompts

Picture = NDArray[np.uint8]

PANELS: Final = ("activation", "points", "nuclei")
PANEL_WIDTH: Final = 640
"""Widest panel, px; smaller images keep their size."""
_STRIP: Final = 26
_GAP: Final = 6
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_COLUMNS: Final = (
    *("encoder", "segmenter", "encoder_sha256", "segmenter_sha256"),
    *("points", "nuclei", "median_area_um2", "seconds"),
)


@dataclass(frozen=True)
class Choice:
    """Which models to segment with, by their names in the settings."""

    encoder: str
    segmenter: str

    def __str__(self) -> str:
        return self.segmenter if self.encoder == "sam" else f"{self.encoder} + {self.segmenter}"


@dataclass(frozen=True, eq=False)
class Compared:
    """What came of an image with one choice of models.

    Attributes
    ----------
    choice
        The models.
    panels
        A picture for each of :data:`PANELS`, all of one size; empty if it failed.
    points, nuclei
        How many there are.
    median_area
        Of the nuclei, um^2; NaN without any, or where the pixel size is not known.
    seconds
        By stage.
    scores
        Against the reference labels, if there are any.
    sha256
        Of the encoder's weights, empty where the SAM's features were used, and of the SAM's.
    warnings
        What a person should know of the result.
    failed
        Why there is no result; empty otherwise.
    """

    choice: Choice
    panels: tuple[Picture, ...] = ()
    points: int = 0
    nuclei: int = 0
    median_area: float = math.nan
    seconds: dict[str, float] | None = None
    scores: Scores | None = None
    sha256: tuple[str, str] = ("", "")
    warnings: tuple[str, ...] = ()
    failed: str = ""


def compare(
    image: LoadedImage,
    settings: Settings,
    choices: Sequence[Choice],
    *,
    device: str = "auto",
    truth: NDArray[np.integer] | None = None,
    progress: Callable[[int, float, str], None] = lambda *_: None,
) -> Iterator[Compared]:
    """Segment an image with each choice of models in turn.

    Parameters
    ----------
    image
        The image.
    settings
        Everything but the models.
    choices
        The models.
    device
        Where to compute.
    truth
        (H, W) reference labels.
    progress
        Called with how many choices are done, the share of the next, and its stage.

    Yields
    ------
    Compared
        One for each choice; a model that cannot be had, or does not fit in memory, is told in
        it, and the others go on.

    Raises
    ------
    SproutError
        If the reference labels are of another size than the image.
    """
    if truth is not None and truth.shape != image.rgb.shape[:2]:
        raise SproutError(
            f"The reference labels are {truth.shape[1]} x {truth.shape[0]} px and '{image.path}' "
            f"{image.rgb.shape[1]} x {image.rgb.shape[0]} px; give labels of the same pixels."
        )
    for number, choice in enumerate(choices):
        try:
            session = Session(
                image.rgb, with_models(settings, choice), mpp=image.mpp, device=device
            )
            seconds = _run(session, partial(progress, number))
            made = _compared(choice, session, seconds, truth)
        except Exception as error:
            told = str(error) if isinstance(error, SproutError) else ""
            made = Compared(choice, failed=told or failure(image.path, error, "compare"))
        yield made


def with_models(settings: Settings, choice: Choice) -> Settings:
    """Return settings with other models; a weights file stays only with the model it is for."""
    own = settings.features
    same_encoder, same_sam = choice.encoder == own.encoder, choice.segmenter == own.segmenter
    features = replace(
        own,
        encoder=choice.encoder,
        encoder_weights=own.encoder_weights if same_encoder else "",
        segmenter=choice.segmenter,
        segmenter_weights=own.segmenter_weights if same_sam else "",
    )
    return replace(settings, features=features)


def _run(session: Session, progress: Callable[[float, str], None]) -> dict[str, float]:
    """Run all stages, and return the seconds of each."""
    seconds: dict[str, float] = {}
    last = time.perf_counter()
    for step in session.run():
        now = time.perf_counter()
        seconds[step.stage] = seconds.get(step.stage, 0.0) + now - last
        last = now
        progress(step.fraction, step.stage)
    return seconds


def _compared(
    choice: Choice,
    session: Session,
    seconds: dict[str, float],
    truth: NDArray[np.integer] | None,
) -> Compared:
    areas = [nucleus.area for nucleus in session.nuclei]
    made: PromptSet = session.output(Stage.PROMPTS)
    facts = session.metadata()
    return Compared(
        choice,
        tuple(_fitted(panel) for panel in _panels(session, made)),
        sum(prompt.kind == "positive" for prompt in made.prompts),
        len(areas),
        statistics.median(areas) * session.mpp**2 if session.mpp and areas else math.nan,
        seconds,
        None if truth is None else evaluate(session.labels, truth),
        (facts["encoder_sha256"] or "", facts["weights_sha256"]),
        session.warnings,
    )


def _panels(session: Session, made: PromptSet) -> Iterator[Picture]:
    """Yield the picture of each of :data:`PANELS`, at full resolution."""
    active = np.zeros(session.image.shape[:2], np.float32)
    if made.step is not None:
        scan: Scan = session.output(Stage.ACTIVATION)
        scale = session.output(Stage.IMAGE).scale
        active = scale.map_to_full(scan.steps[made.step].foreground)
    heat = to_picture(np.rint(255 * np.clip(active, 0, 1)).astype(np.uint8))
    yield np.asarray(cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO)[..., ::-1], dtype=np.uint8)
    yield draw_prompts(session.image, made.prompts)
    yield overlay(session.image, session.labels)


def _fitted(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    if width <= PANEL_WIDTH:
        return np.ascontiguousarray(picture)
    size = PANEL_WIDTH, max(1, round(height * PANEL_WIDTH / width))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def gallery(results: Sequence[Compared]) -> Picture:
    """Draw the stages of every choice side by side: a row a choice, a column a stage.

    Parameters
    ----------
    results
        At least one; those that failed have a line that says so in place of pictures.

    Returns
    -------
    ndarray
        (H, W, 3) uint8.
    """
    sizes = [one.panels[0].shape[:2] for one in results if one.panels]
    height, width = sizes[0] if sizes else (0, PANEL_WIDTH)
    rows = [_row(one, height, width) for one in results]
    return np.concatenate(rows, axis=0)


def _row(one: Compared, height: int, width: int) -> Picture:
    whole = len(PANELS) * (width + _GAP) - _GAP
    numbers = one.failed or f"{one.points} points, {one.nuclei} nuclei"
    title = _text(f"{one.choice}: {numbers}", whole)
    if not one.panels:
        return title
    captions = [_text(name, width) for name in PANELS]
    return np.concatenate([title, _beside(captions), _beside(one.panels)], axis=0)


def _text(text: str, width: int) -> Picture:
    """Draw a line of text, in white on black; smaller if it is too long for the width."""
    plain = text.encode("ascii", "replace").decode()
    (needed, _), _ = cv2.getTextSize(plain, _FONT, 0.55, 1)
    strip = np.zeros((_STRIP, width, 3), np.uint8)
    size = 0.55 * min(1.0, (width - 8) / max(needed, 1))
    cv2.putText(strip, plain, (4, _STRIP - 8), _FONT, size, (255, 255, 255), 1, cv2.LINE_AA)
    return strip


def _beside(panels: Sequence[Picture]) -> Picture:
    gap = np.zeros((panels[0].shape[0], _GAP, 3), np.uint8)
    parts = [part for panel in panels for part in (panel, gap)][:-1]
    return np.concatenate(parts, axis=1)


def write_comparison_csv(path: Path, results: Sequence[Compared]) -> None:
    """Write a row for every choice: models, counts, seconds in all and by stage, scores.

    Raises
    ------
    OutputError
        If it cannot be written; what was there before stays.
    """
    stages = [str(stage) for stage in Stage]
    metrics = ("aji", "pq", "dq", "sq", "dice")
    columns = [*_COLUMNS, *(f"seconds_{stage}" for stage in stages), *metrics, "failed"]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
        writer.writeheader()
        for one in results:
            row: dict[str, object] = {
                "encoder": one.choice.encoder,
                "segmenter": one.choice.segmenter,
                "failed": one.failed,
            }
            if one.seconds is not None:
                row |= {"points": one.points, "nuclei": one.nuclei}
                row |= dict(zip(_COLUMNS[2:4], one.sha256, strict=True))
                if not math.isnan(one.median_area):
                    row["median_area_um2"] = f"{one.median_area:.6g}"
                row["seconds"] = f"{sum(one.seconds.values()):.2f}"
                row |= {f"seconds_{name}": f"{took:.2f}" for name, took in one.seconds.items()}
            if one.scores is not None:
                row |= {name: f"{getattr(one.scores, name):.6f}" for name in metrics}
            writer.writerow(row)
