"""A project's image: known by its pixels, and found again when it has moved."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, ProjectError, warn
from .images import LoadedImage, read_image
from .project_file import ImageFacts, ProjectFacts


def pixel_hash(rgb: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of an image's pixels, (H, W, 3) uint8, in reading order."""
    return hashlib.sha256(np.ascontiguousarray(rgb).data).hexdigest()


def image_facts(folder: Path, image: LoadedImage) -> ImageFacts:
    """Describe an image so that it can be found and known again from a project folder.

    Raises
    ------
    ProjectError
        If its file is gone or has changed since it was read.
    """
    # The name is kept if it is a link's: it is the one that a person would look for.
    path = image.path.parent.resolve() / image.path.name
    try:
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == image.sha256
    except OSError as exc:
        raise ProjectError(
            f"A project refers to its image file, but '{path}' cannot be read "
            f"({exc.strerror or exc}); save the image first."
        ) from exc
    if not same:
        raise ProjectError(f"The image '{path}' has changed since it was opened; open it again.")
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        # On another drive of Windows there is no way from one to the other.
        relative = ""
    height, width = image.rgb.shape[:2]
    return ImageFacts(
        name=path.name,
        relative=relative,
        absolute=str(path),
        file_sha256=image.sha256,
        pixel_sha256=pixel_hash(image.rgb),
        shape=(height, width),
    )


def _places(folder: Path, facts: ImageFacts, given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    if facts.relative:
        yield Path(os.path.normpath(folder / facts.relative))
    yield Path(facts.absolute)
    yield folder.parent / facts.name


def load_image(
    folder: Path,
    facts: ProjectFacts,
    given: Path | None,
    tell: Callable[[str], None] = warn,
) -> LoadedImage:
    """Read a project's image from the first place that has it: see :meth:`.Project.open`.

    Raises
    ------
    ProjectError
        If it is nowhere, or what is there has other content.
    """
    unlike: Path | None = None
    reason: ImageError | None = None
    places = dict.fromkeys(_places(folder, facts.image, given))
    for path in places:
        if not path.is_file():
            continue
        try:
            image = read_image(path)
        except ImageError as exc:
            unlike, reason = unlike or path, reason or exc
            continue
        if _is_same(image, facts.image, tell):
            return dataclasses.replace(image, mpp=facts.mpp)
        unlike = unlike or path
    if unlike is not None:
        raise ProjectError(
            f"The image '{unlike}' has changed since the project '{folder}' was made from it; "
            "put the original image back, or make a new project for this one. Nothing was "
            "overwritten."
        ) from reason
    raise ProjectError(
        f"The image of the project '{folder}' was not found at '{next(iter(places))}'; put "
        f"'{facts.image.name}' beside the project folder."
    )


def _is_same(image: LoadedImage, facts: ImageFacts, tell: Callable[[str], None]) -> bool:
    """Tell whether every pixel is the same, or was when the same file was read before."""
    pixels = image.rgb.shape[:2] == facts.shape and pixel_hash(image.rgb) == facts.pixel_sha256
    if image.sha256 != facts.file_sha256:
        return pixels
    if image.rgb.shape[:2] != facts.shape:
        return False
    if not pixels:
        tell(
            f"The image '{image.path}' is unchanged, but this computer decodes it slightly "
            "differently; labels may differ by a few pixels when they are made again."
        )
    return True
