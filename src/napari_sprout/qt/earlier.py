"""Finds the work of an earlier day on an image: by its file, or else by its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from napari.layers import Image

from ..errors import ImageError, ProjectError
from ..io.project import FACTS_NAME
from ..io.project_file import ImageFacts, read_facts
from ..io.project_folders import is_project, last_changed, projects_at, projects_inside
from ..io.project_image import pixel_hash
from ..napari_.image_layer import finest, is_slide, rgb_of
from ..napari_.readers import PROJECT
from .keeping import UNFILED, image_file, project_bases, unfiled_places
from .workers import ThreadedSubmit

AT_ONCE: Final = 16_000_000
"""Bytes of an image up to which its pixels are compared at once: no pause is felt."""


@dataclass(frozen=True)
class Found:
    """Projects that may be work on one image.

    Attributes
    ----------
    named
        Made from a file of the same name, and from an image of the same size.
    others
        Made from an image of the same size; only the pixels tell.
    damaged
        Where they would lie if they were, but nothing says which image they are of.
    """

    named: tuple[tuple[Path, ImageFacts], ...] = ()
    others: tuple[tuple[Path, ImageFacts], ...] = ()
    damaged: tuple[Path, ...] = ()

    def best(self, pixels: str | None = None) -> Path | None:
        """Return the one to go on with, the newest of those that fit best; None without any.

        Parameters
        ----------
        pixels
            The hash of the image's pixels; None if it is not known.
        """
        known = (*self.named, *self.others)
        same = [folder for folder, facts in known if facts.pixel_sha256 == pixels]
        named = [folder for folder, _ in self.named]
        fitting = same or named or list(self.damaged)
        return max(fitting, key=last_changed, default=None)


def earlier_work(layer: Image) -> Path | None:
    """Return the project that a layer was opened from, else the newest made of its image.

    None if there is none. That an image has no file with exactly its pixels, and that
    there is work on it, is found here for small images alone: see :class:`PixelSearch`.
    On a slide itself there is none: it is on its regions.
    """
    if is_slide(layer):
        return None
    project = layer.metadata.get(PROJECT)
    if isinstance(project, str) and is_project(Path(project)):
        return Path(project)
    found = look_up(layer)
    return found.best(_hash_of(layer) if found.others and _size(layer) <= AT_ONCE else None)


def look_up(layer: Image) -> Found:
    """Find all projects that may be work on a layer's image, without reading any image."""
    file, shape = image_file(layer), _shape(layer)
    named: list[tuple[Path, ImageFacts]] = []
    others: list[tuple[Path, ImageFacts]] = []
    damaged: list[Path] = []
    # Preferences may have changed since.
    usual = (
        [] if file is None else [one for base in project_bases(file) for one in projects_at(base)]
    )
    for folder in dict.fromkeys((*usual, *_unfiled())):
        try:
            facts = read_facts(folder / FACTS_NAME).image
        except ProjectError:
            if folder in usual:
                damaged.append(folder)
            continue
        if facts.shape == shape:
            fits = folder in usual and file is not None and facts.name == file.name
            (named if fits else others).append((folder, facts))
    return Found(tuple(named), tuple(others), tuple(damaged))


class PixelSearch:
    """Compares large images with earlier work, away from the window's thread."""

    def __init__(self) -> None:
        self._under_way: set[ThreadedSubmit] = set()

    def begin(self, layer: Image, on_found: Callable[[Path], None]) -> None:
        """Look for what :func:`earlier_work` had no time for, if there can be anything.

        Parameters
        ----------
        layer
            The image.
        on_found
            Called in the window's thread with the work on it, if that is another than
            :func:`earlier_work` has found.
        """
        if _size(layer) <= AT_ONCE or is_slide(layer):
            return
        found = look_up(layer)
        if not found.others:
            return
        submit = ThreadedSubmit()
        self._under_way.add(submit)
        submit(
            lambda: _hash_of(layer),
            on_progress=lambda _: None,
            on_done=partial(self._compared, submit, found, on_found),
            on_error=lambda _: self._over(submit),
        )

    def close(self) -> None:
        """Tell of nothing any more."""
        for submit in tuple(self._under_way):
            self._over(submit)

    def _compared(
        self,
        submit: ThreadedSubmit,
        found: Found,
        on_found: Callable[[Path], None],
        pixels: str | None,
    ) -> None:
        self._over(submit)
        best = found.best(pixels)
        if best is not None and best != found.best():
            on_found(best)

    def _over(self, submit: ThreadedSubmit) -> None:
        self._under_way.discard(submit)
        submit.retire()


def _unfiled() -> Iterator[Path]:
    """Yield the projects of images whose pixels were in no file of the person's."""
    for place in unfiled_places():
        yield from (one for one in projects_inside(place) if one.name.startswith(UNFILED))


def _shape(layer: Image) -> tuple[int, int]:
    height, width = np.shape(finest(layer))[:2]
    return int(height), int(width)


def _size(layer: Image) -> int:
    height, width = _shape(layer)
    return 3 * height * width


def _hash_of(layer: Image) -> str | None:
    try:
        return pixel_hash(rgb_of(layer))
    except ImageError:
        return None
