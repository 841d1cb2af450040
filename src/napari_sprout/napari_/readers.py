"""Files that napari opens through the plugin: images, slides, labels, outlines, projects.

Each function is a reader as napari wants it: given a path it returns None for what
it leaves to others, else a function that is given the path again and returns layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import napari
import numpy as np
from napari.layers import Image

from ..errors import ImageError, UnsuitableImageError
from ..io.geojson_reader import read_geojson
from ..io.images import read_image
from ..io.labels import LoadedLabels, read_labels
from ..io.project import FACTS_NAME, SUFFIX, Project
from ..io.slides.layers import multiscale
from ..io.slides.opening import is_slide, open_slide

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[str | Sequence[str]], list[LayerData]]

PROJECT: Final = "napari_sprout_project"
"""Where an image layer's metadata say in which project folder there is work on it."""

SLIDE: Final = "napari_sprout_slide"
"""Where an image layer's metadata say of which slide it shows all resolutions."""

_EVEN: Final = 0.5
"""Share of neighbouring pixels, not both background, that are equal in a label image."""


def image_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of an H&E image or of a label image.

    Parameters
    ----------
    path
        A TIFF, PNG or JPEG file. One that is a slide is read as :func:`slide_reader` does.

    Returns
    -------
    callable or None
        None for anything but one colour image, or one image of whole numbers in
        which neighbours mostly have the same: photographs in grey, stacks,
        several channels.

    Raises
    ------
    ImageError
        If the file is missing, damaged or too large.
    """
    if not isinstance(path, str):
        return None
    file = Path(path).absolute()
    try:
        if is_slide(file):
            return _slide_layer(file)
        image = read_image(file)
    except UnsuitableImageError:
        return _label_reader(file)
    options = image_options(_title(file), image.mpp, file)
    return _giving(image.rgb, options, "image")


def slide_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of a slide, of which only what is in view is read.

    The layer has all its resolutions, and says in its metadata under `SLIDE` which
    file or folder it shows.

    Parameters
    ----------
    path
        The file of a scanner, a TIFF pyramid, or the folder of an OME-Zarr.

    Returns
    -------
    callable or None
        None for anything but a slide in colour: labels and fluorescence for two.

    Raises
    ------
    ImageError
        If it is damaged or truncated.
    SproutError
        If it needs a library of the extra `slides` that is not installed.
    """
    if not isinstance(path, str):
        return None
    file = Path(path).absolute()
    try:
        return _slide_layer(file) if is_slide(file) else None
    except UnsuitableImageError:
        return None


def outline_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of QuPath's outlines (GeoJSON) as labels.

    The file does not say how large its image is. If the image that is open and
    selected (else the topmost) holds all outlines, the labels have its size and
    lie on it; otherwise they are as large as the outlines need.

    Parameters
    ----------
    path
        A GeoJSON file.
    """
    if not isinstance(path, str):
        return None
    file = Path(path).absolute()

    def read(path: str | Sequence[str]) -> list[LayerData]:
        labels = read_geojson(file)
        below, options = _open_image(), {}
        if below is not None:
            shape = _size(below)
            spare = [have - need for have, need in zip(shape, labels.shape, strict=True)]
            if min(spare) >= 0:
                labels = np.pad(labels, [(0, more) for more in spare])
                options = _place_of(below)
        return [(labels, {"name": _title(file), **options}, "labels")]

    return read


def project_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of the image of a project folder.

    The layer says in its metadata which project it comes from: the dock offers to
    go on with it.

    Parameters
    ----------
    path
        A folder whose name ends in ``.sprout``, or its ``project.json``.

    Returns
    -------
    callable or None
        None for any other folder. The callable raises ProjectError if the project
        is damaged, or its image is missing or was changed.
    """
    if not isinstance(path, str):
        return None
    folder = Path(path).absolute()
    if folder.name == FACTS_NAME:
        folder = folder.parent
    if folder.suffix != SUFFIX or not folder.is_dir():
        return None

    def read(path: str | Sequence[str]) -> list[LayerData]:
        # What is to be said of the journal is said when the work is taken up again.
        with Project.open(folder, read_only=True, tell=lambda text: None) as project:
            image = project.image
        options = image_options(project.name, project.mpp, image.path)
        options["metadata"][PROJECT] = str(folder)
        return [(image.rgb, options, "image")]

    return read


def image_options(name: str, mpp: float | None, file: Path) -> dict[str, Any]:
    """Return the options of an image layer of which file and pixel size are known.

    Parameters
    ----------
    name
        The layer's name.
    mpp
        Pixel size in um; None if unknown.
    file
        Where the pixels come from.
    """
    options: dict[str, Any] = {"name": name, "rgb": True, "metadata": {"path": str(file)}}
    if mpp is not None:
        options |= _scale(mpp)
        options["metadata"]["mpp"] = mpp
    return options


def _label_reader(file: Path) -> Reader | None:
    try:
        loaded = read_labels(file)
    except ImageError:
        return None
    if not _is_label_image(loaded):
        return None
    options: dict[str, Any] = {"name": _title(file)}
    below = _open_image()
    if loaded.mpp is not None:
        options |= {**_scale(loaded.mpp), "metadata": {"mpp": loaded.mpp}}
    elif below is not None and _size(below) == loaded.labels.shape:
        options |= _place_of(below)
    return _giving(loaded.labels, options, "labels")


def _is_label_image(loaded: LoadedLabels) -> bool:
    """Tell labels from a photograph in grey, whose neighbouring pixels rarely agree."""
    if loaded.metadata:
        return True
    left, right = loaded.labels[:, :-1], loaded.labels[:, 1:]
    inside = (left != 0) | (right != 0)
    equal = np.count_nonzero(inside & (left == right))
    return bool(equal > _EVEN * np.count_nonzero(inside))


def _slide_layer(file: Path) -> Reader:
    slide = open_slide(file)
    options = image_options(_title(file), slide.mpp, file)
    options["metadata"][SLIDE] = str(file)
    levels = multiscale(slide)
    slide.close()
    several = len(levels) > 1
    return _giving(levels if several else levels[0], options | {"multiscale": several}, "image")


def _giving(data: Any, options: dict[str, Any], kind: str) -> Reader:
    return lambda path: [(data, options, kind)]


def _title(file: Path) -> str:
    return file.stem.removesuffix(".ome")


def _scale(mpp: float) -> dict[str, Any]:
    return {"scale": (mpp, mpp), "units": ("um", "um")}


def _open_image() -> Image | None:
    """Return the colour image that is selected in the window in use, else the topmost."""
    viewer = napari.current_viewer()
    if viewer is None:
        return None
    images = [one for one in viewer.layers if isinstance(one, Image) and one.rgb and one.ndim == 2]
    active = viewer.layers.selection.active
    return active if active in images else images[-1] if images else None


def _size(image: Image) -> tuple[int, int]:
    height, width = np.shape(image.data[0] if image.multiscale else image.data)[:2]
    return int(height), int(width)


def _place_of(image: Image) -> dict[str, Any]:
    names = ("scale", "translate", "rotate", "shear", "affine", "units")
    return {name: getattr(image, name) for name in names}
