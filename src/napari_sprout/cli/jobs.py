"""One image from file to results, and the names of those results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError

if TYPE_CHECKING:
    from ..core.embeddings import EmbeddingStore
    from ..core.loaded import LoadedModels
    from ..core.session import Session
    from ..core.settings import Settings


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
    geojson
        Whether the outlines are saved for QuPath as well.
    """

    image: Path
    folder: Path
    mpp: float | None = None
    stage_images: bool = False
    geojson: bool = False

    @property
    def name(self) -> str:
        """What the names of the results begin with."""
        return self.image.stem.removesuffix(".ome")

    @property
    def labels(self) -> Path:
        """The label image; written last, so its presence means that all is there."""
        return self._file("labels")

    @property
    def overlay(self) -> Path:
        """The outlines, drawn on the image."""
        return self._file("overlay")

    @property
    def nuclei(self) -> Path:
        """One row of measurements a nucleus."""
        return self._file("csv")

    @property
    def outlines(self) -> Path:
        """The outlines as GeoJSON, for QuPath."""
        return self._file("geojson")

    @property
    def stages(self) -> Path:
        """The folder of the intermediate maps."""
        return self.folder / f"{self.name}_stages"

    @property
    def results(self) -> tuple[Path, ...]:
        """Everything that is written, the label image last."""
        stages = (self.stages,) if self.stage_images else ()
        outlines = (self.outlines,) if self.geojson else ()
        return (*stages, self.nuclei, self.overlay, *outlines, self.labels)

    @property
    def formats(self) -> tuple[str, ...]:
        """What :func:`~napari_sprout.io.export.export` is asked for."""
        return ("csv", "overlay", *(("geojson",) if self.geojson else ()), "labels")

    def _file(self, form: str) -> Path:
        from ..io.export import result_path

        return result_path(self.folder, self.name, form)

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
    models: LoadedModels,
    progress: Callable[[float, str], None],
    store: EmbeddingStore | None = None,
) -> Outcome:
    """Read an image, label its nuclei and write the results.

    Parameters
    ----------
    job
        The image and where its results go; the folder must exist.
    settings
        The method's settings.
    models
        Those that the settings name, loaded once for all jobs.
    progress
        Called with the finished share of the work, 0 to 1, and the stage's name.
    store
        Keeps encoded tiles.

    Raises
    ------
    ImageError
        If the image cannot be read or segmented.
    OutputError
        If a result cannot be written. Every file that is there is whole.
    """
    from ..core.session import Session
    from ..io.export import check_replaceable
    from ..io.images import read_image

    progress(0.0, "reading")
    check_replaceable(job.results)
    loaded = read_image(job.image, job.mpp)
    session = Session(loaded.rgb, settings, mpp=loaded.mpp, models=models, embeddings=store)
    for step in session.run():
        progress(0.97 * step.fraction, step.stage)
    progress(0.97, "writing")
    origin = {"file": job.image.name, "file_sha256": loaded.sha256}
    _write(job, session, {**session.metadata(), **origin})
    assumed = settings.image.mpp if loaded.mpp is None else None
    return Outcome(len(session.nuclei), session.warnings, assumed)


def _write(job: Job, session: Session, metadata: dict[str, object]) -> None:
    from ..io.export import Results, export
    from ..io.stage_images import write_stage_images

    results = Results(session.labels, session.nuclei, session.image, session.mpp, metadata)
    if job.stage_images:
        write_stage_images(job.stages, session)
    export(job.folder, job.name, results, job.formats)
