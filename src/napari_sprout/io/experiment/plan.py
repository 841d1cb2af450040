"""Which cells a matrix has, by which key each is known, and in which order to measure them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from ...core.loaded import encoder_choice, segmenter_choice, weights_hashes
from ...core.provenance import DECISIVE_PACKAGES
from ...core.settings import Settings
from ...core.stage_keys import stage_keys
from ...core.stages import Stage
from ...models.weights import resolve_device
from ..pairing import Annotated
from .matrix import Alteration, Matrix, Row
from .program import program_state

_SORTED_BY: Final = (
    *(Stage.TISSUE, Stage.STAIN, Stage.REFERENCE, Stage.ENCODING, Stage.PROTOTYPES),
    *(Stage.ACTIVATION, Stage.PROMPTS, Stage.MASKS, Stage.NUCLEI),
)


@dataclass(frozen=True)
class Place:
    """Where a cell stands in the matrix.

    Attributes
    ----------
    image, row
        Their names.
    seed
        None for the baseline, in which nothing is random.
    alteration
        None for the image as it is.
    """

    image: str
    row: str
    seed: int | None
    alteration: Alteration | None

    def about(self) -> dict[str, Any]:
        """Return plain values for a table or a file."""
        altered = self.alteration
        return {
            "image": self.image,
            "row": self.row,
            "seed": self.seed,
            "alteration": altered.kind if altered else None,
            "level": altered.level if altered else None,
        }


@dataclass(frozen=True)
class Wanted:
    """A cell to measure: its key, its settings (None for the baseline), and one of its places."""

    key: str
    settings: Settings | None
    place: Place


@dataclass(frozen=True)
class Task:
    """What one process does at a time: all cells of one image, whole or altered in one way."""

    image: Annotated
    alteration: Alteration | None
    cells: tuple[Wanted, ...]


def _choices(row: Row, seeds: Sequence[int]) -> Iterator[tuple[int | None, Settings | None]]:
    if row.settings is None:
        yield None, None
        return
    for seed in seeds:
        yield seed, dataclasses.replace(row.settings, seed=seed)


def cells_of(
    matrix: Matrix, images: Sequence[Annotated], device: str = "auto"
) -> dict[Place, Wanted]:
    """List every cell of a matrix.

    Equal settings under several names are one cell: its key is the same at every
    place.

    Parameters
    ----------
    matrix
        What is compared.
    images
        On which images.
    device
        Where is computed; kinds of device differ in the last digits.

    Raises
    ------
    SettingsError
        If there is no such device.
    """
    kind = resolve_device(device).type
    packages = {name: version(name) for name in DECISIVE_PACKAGES}
    shared = {"program": program_state(), "packages": packages}
    # Once a choice: files of gigabytes may have to be read.
    hashes: dict[tuple[object, ...], dict[str, str]] = {}
    choices = [
        (row, seed, settings, shared | _facts(settings, kind, hashes))
        for row in matrix.rows
        for seed, settings in _choices(row, matrix.seeds)
    ]
    found = {}
    for image in images:
        content = [_sha256(image.image), _sha256(image.truth)]
        for alteration in (None, *matrix.alterations):
            altered = dataclasses.asdict(alteration) if alteration else None
            for row, seed, settings, facts in choices:
                place = Place(image.name, row.name, seed, alteration)
                text = json.dumps([content, altered, facts], sort_keys=True)
                key = hashlib.sha256(text.encode()).hexdigest()
                found[place] = Wanted(key, settings, place)
    return found


def _facts(
    settings: Settings | None, device: str, hashes: dict[tuple[object, ...], dict[str, str]]
) -> dict[str, Any]:
    if settings is None:
        return {}
    features = settings.features
    models = segmenter_choice(features), encoder_choice(features)
    if models not in hashes:
        hashes[models] = weights_hashes(features)
    return {"settings": settings.to_dict(), "weights": hashes[models], "device": device}


def tasks_for(
    cells: Mapping[Place, Wanted], images: Sequence[Annotated], finished: Container[str]
) -> list[Task]:
    """Return what is left to do, each cell once, in an order that remakes few stages.

    Parameters
    ----------
    cells
        Every cell of the matrix.
    images
        The images, by whose order tasks are sorted.
    finished
        The keys of cells that are measured already.
    """
    groups: dict[tuple[str, Alteration | None], dict[str, Wanted]] = {}
    for place, wanted in cells.items():
        if wanted.key not in finished:
            group = groups.setdefault((place.image, place.alteration), {})
            group.setdefault(wanted.key, wanted)
    by_name = {image.name: image for image in images}
    return [
        Task(by_name[name], alteration, tuple(sorted(group.values(), key=_order)))
        for (name, alteration), group in groups.items()
    ]


def _order(wanted: Wanted) -> tuple[str, ...]:
    if wanted.settings is None:
        return ()
    # Tiles, which take longest, are encoded anew for other pixels or when cut another way. The
    # key of their stage would not do: where the stain decides how they are cut, it holds the seed.
    features, keys = wanted.settings.features, stage_keys(wanted.settings)
    cut = json.dumps(dataclasses.asdict(features), sort_keys=True)
    models = (*segmenter_choice(features), *map(str, encoder_choice(features)))
    return (*models, keys[Stage.IMAGE], cut, *(keys[stage] for stage in _SORTED_BY))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        # Reading its pixels will fail with a sentence, so no cell is ever kept under this.
        return f"unreadable {path}"
