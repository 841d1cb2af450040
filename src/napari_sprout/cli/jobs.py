"""One image from file to results, and the names of those results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError

if TYPE_CHECKING:
    from ..core.session import Session
    from ..core.settings import Settings
    from ..models.protocols import PromptableSegmenter


@dataclass(frozen=True)
class Job:
    """An image to segment, and where its results go.

    Attributes
    ----------
    image
        The image file.
    folder
        Where the results go.
    mpp
        Pixel size in um that overrides the file's; None to use the file's.
    stage_images
        Whether every intermediate map is saved as well.
    """

    image: Path
    folder: Path
    mpp: float | None = None
    stage_images: bool = False

    @property
    def name(self) -> str:
        """What the names of the results begin with."""
        return self.image.stem.removesuffix(".ome")

    @property
    def labels(self) -> Path:
        """The label image; written last, so its presence means that all is there."""
        return self.folder / f"{self.name}_labels.tif"

    @property
    def overlay(self) -> Path:
        """The outlines, drawn on the image."""
        return self.folder / f"{self.name}_overlay.png"

    @property
    def nuclei(self) -> Path:
        """One row of measurements a nucleus."""
        return self.folder / f"{self.name}_nuclei.csv"

    @property
    def stages(self) -> Path:
        """The folder of the intermediate maps."""
        return self.folder / f"{self.name}_stages"

    @property
    def results(self) -> tuple[Path, ...]:
        """Everything that is written, the label image last."""
        stages = (self.stages,) if self.stage_images else ()
        return (*stages, self.nuclei, self.overlay, self.labels)

    @property
    def finished(self) -> bool:
        """Whether all results are there."""
        return all(path.exists() for path in self.results)


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes
    ----------
    nuclei
        How many were labelled.
    warnings
        What a person should know.
    assumed_mpp
        The pixel size taken for granted, in um, if nothing stated one.
    """

    nuclei: int
    warnings: tuple[str, ...]
    assumed_mpp: float | None


def check_names(jobs: Sequence[Job]) -> None:
    """Refuse jobs of which one would overwrite another's results, or an image.

    Raises
    ------
    OutputError
        Naming both images.
    """
    images = {_key(job.image): job for job in jobs}
    owners: dict[str, Job] = {}
    for job in jobs:
        other = owners.setdefault(_key(job.labels), job)
        if other is not job:
            raise OutputError(
                f"'{other.image}' and '{job.image}' would both be written to '{job.labels}'; "
                "rename one of them or segment them into different folders."
            )
    for job in jobs:
        for path in job.results:
            if _key(path) in images:
                raise OutputError(
                    f"The result of '{job.image}' would overwrite the image '{path}'; "
                    "choose another folder for the results."
                )


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def segment_image(
    job: Job,
    settings: Settings,
    segmenter: PromptableSegmenter,
    progress: Callable[[float, str], None],
) -> Outcome:
    """Read an image, label its nuclei and write the results.

    Parameters
    ----------
    job
        The image and where its results go; the folder must exist.
    settings
        The method's settings.
    segmenter
        The loaded SAM variant.
    progress
        Called with the finished share of the work, 0 to 1, and the stage's name.

    Raises
    ------
    ImageError
        If the image cannot be read or segmented.
    OutputError
        If a result cannot be written. Every file that is there is whole.
    """
    from ..core.session import Session
    from ..io.images import read_image

    progress(0.0, "reading")
    _check_replaceable(job)
    loaded = read_image(job.image, job.mpp)
    session = Session(loaded.rgb, settings, mpp=loaded.mpp, segmenter=segmenter)
    for step in session.run():
        progress(0.97 * step.fraction, step.stage)
    progress(0.97, "writing")
    origin = {"file": job.image.name, "file_sha256": loaded.sha256}
    _write(job, session, {**session.metadata(), **origin})
    assumed = settings.image.mpp if loaded.mpp is None else None
    return Outcome(len(session.nuclei), session.warnings, assumed)


def _check_replaceable(job: Job) -> None:
    """Refuse write-protected results before anything is computed."""
    for path in job.results:
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(
                f"'{path}' is write-protected; allow writing or choose another folder."
            )


def _write(job: Job, session: Session, metadata: dict[str, object]) -> None:
    from ..io.labels import write_labels
    from ..io.overlay import overlay, write_png
    from ..io.stage_images import write_stage_images
    from ..io.tables import write_nuclei_csv

    # Labels of an earlier run must not stand beside a table of this one.
    job.labels.unlink(missing_ok=True)
    if job.stage_images:
        write_stage_images(job.stages, session)
    write_nuclei_csv(job.nuclei, session.nuclei, session.mpp)
    picture = overlay(session.image, session.labels, _line_width(session.mpp))
    write_png(job.overlay, picture)
    write_labels(job.labels, session.labels, mpp=session.mpp, metadata=metadata)


def _line_width(mpp: float | None) -> int:
    """Return outlines' width in px: half a um, so that small nuclei stay visible."""
    return 2 if mpp is None else max(1, round(0.5 / mpp))
