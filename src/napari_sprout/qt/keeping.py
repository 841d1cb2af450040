"""Where a person's work is kept, without their having to think of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QStandardPaths

from ..core.settings import Settings
from ..errors import ImageError, OutputError, ProjectError
from ..io.embeddings import EmbeddingCache
from ..io.images import LoadedImage, read_image
from ..io.overlay import write_png
from ..io.project import FACTS_NAME, JOURNAL_NAME, SUFFIX, Project, default_folder
from ..io.project_folders import numbered
from ..io.project_image import pixel_hash
from ..io.slides.regions import SUFFIX as REGIONS_SUFFIX
from ..io.slides.regions import region_of_image
from ..napari_.image_layer import finest, is_slide, rgb_of
from ..napari_.readers import image_options
from ..samples import sample_paths
from .preferences import preferences

_SHORT: Final = 10

CACHE_LIMIT, LARGEST_IMAGE = 4_000_000_000, 1_000_000_000
"""Bytes of all encoded tiles, and of one image's; 1000 x 1000 px take 17 to 38 MB."""

UNFILED: Final = "image-"
"""What the names of image files in :func:`data_folder` begin with, and of work on them."""


def data_folder() -> Path:
    """Return the folder for work on images beside which nothing can be written."""
    location = QStandardPaths.StandardLocation.GenericDataLocation
    return Path(QStandardPaths.writableLocation(location)) / "napari-sprout" / "projects"


def tile_cache() -> EmbeddingCache | None:
    """Return the cache of encoded tiles, shared by all images of this person.

    It makes runs shorter and holds nothing that cannot be made again, so a person is
    not told when it cannot be written. None if the preferences say that there is none.
    """
    if not preferences().tiles:
        return None
    location = QStandardPaths.StandardLocation.GenericCacheLocation
    folder = Path(QStandardPaths.writableLocation(location)) / "napari-sprout" / "tiles"
    return EmbeddingCache(folder, CACHE_LIMIT, LARGEST_IMAGE, lambda _: None)


def image_file(layer: Image) -> Path | None:
    """Return the file that a layer was opened from; None if it has none that is there."""
    for known in (layer.metadata.get("path"), layer.source.path):
        if isinstance(known, str | Path) and Path(known).is_file():
            return Path(known)
    return None


def base_folder(file: Path) -> Path:
    """Return the first choice of a project folder for an image.

    It lies in the folder of the person's preferences, else beside the image. If
    nothing can be written there, or the image is one of the package's own samples,
    it lies in :func:`data_folder`.
    """
    return project_bases(file)[0]


def may_write_beside(file: Path) -> bool:
    """Whether files can be written beside an image, which none should beside a sample."""
    sample = file.resolve() in {path.resolve() for path in sample_paths()}
    return os.access(file.resolve().parent, os.W_OK) and not sample


def project_bases(file: Path) -> tuple[Path, ...]:
    """Return where the project of an image file may be, the place for a new one first.

    Each may have been taken, and then have a number behind its name. That of a region of a
    slide is beside it, and nowhere else, where the regions are added up.
    """
    if region_of_image(file) is not None:
        return (default_folder(file),)
    return _bases(file, SUFFIX)


def slide_folders(slide: Path) -> tuple[Path, ...]:
    """Return where the folder of a slide's regions may be, the place for a new one first."""
    return _bases(slide, REGIONS_SUFFIX)


def _bases(file: Path, suffix: str) -> tuple[Path, ...]:
    beside, chosen = default_folder(file.resolve()).with_suffix(suffix), preferences().projects
    short = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:_SHORT]
    # Images of the same name come together in one folder.
    apart = f"{beside.stem}-{short}{suffix}"
    usual = beside if may_write_beside(file) else data_folder() / apart
    return (usual,) if chosen is None else (chosen / apart, usual)


def unfiled_places() -> tuple[Path, ...]:
    """Return the folders that projects of images without a file may be in."""
    chosen = preferences().projects
    return (data_folder(),) if chosen is None else (chosen, data_folder())


def new_project(layer: Image, mpp: float | None, settings: Settings) -> Project:
    """Make a project for an image layer, in a folder that is not there yet.

    Parameters
    ----------
    layer
        An RGB image. If it was not opened from a file, or has been changed since,
        its pixels are written to one in :func:`data_folder`.
    mpp
        Pixel size in um; None if unknown.
    settings
        The settings to start from.

    Raises
    ------
    SproutError
        If it cannot be made; the sentence says why.
    """
    image = _loaded(layer, mpp)
    base = base_folder(image.path)
    make_folder(base.parent)
    free = next(folder for folder in numbered(base) if not folder.exists())
    return Project.create(free, image, settings, mpp)


def layer_with(project: Project, layers: Iterable[Image]) -> Image:
    """Return the first of some layers that holds a project's image, else a new layer."""
    rgb = project.image.rgb
    for layer in layers:
        if is_slide(layer):
            continue
        data = finest(layer)
        if np.shape(data)[:2] == rgb.shape[:2] and np.array_equal(data[..., :3], rgb):
            return layer
    return Image(rgb, **image_options(project.name, project.mpp, project.image.path))


def copy_project(project: Project, folder: Path) -> None:
    """Copy a project as it is now to a folder that does not exist.

    Raises
    ------
    ProjectError
        If the folder exists.
    OutputError
        If it cannot be written.
    """
    if folder.exists():
        raise ProjectError(f"'{folder}' exists already; choose another name.")
    try:
        folder.mkdir(parents=True)
        # What project.json says comes last: a folder that has it is whole.
        for name in (JOURNAL_NAME, FACTS_NAME):
            shutil.copy2(project.folder / name, folder / name)
    except OSError as error:
        raise OutputError(
            f"The project was not copied to '{folder}' ({error.strerror}); choose another place."
        ) from error


def _loaded(layer: Image, mpp: float | None) -> LoadedImage:
    """Return the layer's image with a file that holds exactly its pixels."""
    rgb = rgb_of(layer)
    file = image_file(layer)
    if file is not None:
        try:
            image = read_image(file, mpp)
        except ImageError:
            # napari opens more kinds of files than we do.
            image = None
        if image is not None and np.array_equal(image.rgb, rgb):
            return image
    path = data_folder() / f"{UNFILED}{pixel_hash(rgb)[:_SHORT]}.png"
    make_folder(path.parent)
    write_png(path, rgb)
    return read_image(path, mpp)


def make_folder(folder: Path) -> None:
    """Make a folder, and those it lies in, if it is not there.

    Raises
    ------
    OutputError
        If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder '{folder}' cannot be made ({error.strerror}); make room or allow writing "
            "there."
        ) from error
