"""Where a person's work is kept, without their having to think of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QStandardPaths

from ..core.settings import Settings
from ..errors import ImageError, OutputError, ProjectError
from ..io.images import LoadedImage, read_image
from ..io.overlay import write_png
from ..io.project import FACTS_NAME, JOURNAL_NAME, SUFFIX, Project, default_folder, pixel_hash
from ..napari_.image_layer import rgb_of
from ..samples import sample_paths

_SHORT: Final = 10


def data_folder() -> Path:
    """Return the folder for work on images beside which nothing can be written."""
    location = QStandardPaths.StandardLocation.GenericDataLocation
    return Path(QStandardPaths.writableLocation(location)) / "napari-sprout" / "projects"


def image_file(layer: Image) -> Path | None:
    """Return the file that a layer was opened from; None if it has none that is there."""
    for known in (layer.metadata.get("path"), layer.source.path):
        if isinstance(known, str | Path) and Path(known).is_file():
            return Path(known)
    return None


def base_folder(file: Path) -> Path:
    """Return the first choice of a project folder for an image.

    It lies beside the image. If nothing can be written there, or the image is one
    of the package's own samples, it lies in :func:`data_folder`.
    """
    beside = default_folder(file.resolve())
    sample = file.resolve() in {path.resolve() for path in sample_paths()}
    if os.access(beside.parent, os.W_OK) and not sample:
        return beside
    short = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:_SHORT]
    return data_folder() / f"{beside.name.removesuffix(SUFFIX)}-{short}{SUFFIX}"


def earlier_work(layer: Image) -> Path | None:
    """Return the newest project folder made for a layer's file; None if there is none."""
    file = image_file(layer)
    if file is None:
        return None
    found = None
    for folder in _numbered(base_folder(file)):
        if not folder.exists():
            return found
        if (folder / FACTS_NAME).is_file() and (folder / JOURNAL_NAME).is_file():
            found = folder
    return found


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
    free = next(folder for folder in _numbered(base) if not folder.exists())
    return Project.create(free, image, settings, mpp)


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
    path = data_folder() / f"image-{pixel_hash(rgb)[:_SHORT]}.png"
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


def _numbered(base: Path) -> Iterator[Path]:
    """Yield NAME.sprout, NAME-2.sprout, NAME-3.sprout and so on."""
    yield base
    stem = base.name.removesuffix(SUFFIX)
    for number in count(2):
        yield base.with_name(f"{stem}-{number}{SUFFIX}")
