"""Which label image belongs to which other file: told by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import SproutError

LABEL_SUFFIXES: Final = (".tif", ".tiff", ".btf", ".tf8", ".png")
NAME_ENDINGS: Final = ("_labels", "_label", "_masks", "_mask", "_gt", "_prediction", "_pred")
_NOT_LABELS: Final = "_overlay"


@dataclass(frozen=True)
class Pair:
    """Two files of one image: a predicted and a reference label image, under one name."""

    name: str
    prediction: Path
    truth: Path


@dataclass(frozen=True)
class Pairing:
    """Which files belong together, and which have no partner or more than one.

    Attributes
    ----------
    pairs
        In the order of their names.
    alone
        Names of files without a partner, by the side on which they lie.
    ambiguous
        By name, the sentence that says why no partner could be told.
    """

    pairs: list[Pair]
    alone: dict[str, list[str]]
    ambiguous: dict[str, str]


@dataclass(frozen=True)
class Annotated:
    """An image and its reference label image."""

    name: str
    image: Path
    truth: Path


def pair_labels(prediction: Path, truth: Path) -> Pairing:
    """Pair two label images, or the label images of two folders by name.

    Raises
    ------
    SproutError
        If a path does not exist, a file is to be paired with a folder, or the
        folders have no name in common.
    """
    for path in (prediction, truth):
        if not path.exists():
            raise SproutError(f"'{path}' does not exist; check its name and folder.")
    if prediction.is_dir() != truth.is_dir():
        folder, file = (prediction, truth) if prediction.is_dir() else (truth, prediction)
        raise SproutError(
            f"'{folder}' is a folder and '{file}' a file; give two label images or two folders."
        )
    if not prediction.is_dir():
        return Pairing([Pair(_key(prediction), prediction, truth)], {}, {})
    return _pair_folders(prediction, truth)


def _pair_folders(prediction: Path, truth: Path) -> Pairing:
    predictions, truths = _label_files(prediction), _label_files(truth)
    shared = sorted(predictions.keys() & truths.keys())
    if not shared:
        raise SproutError(
            f"No label image in '{prediction}' has a partner of the same name in '{truth}'; "
            "rename the files so that, for instance, case1.tif and case1_labels.tif correspond."
        )
    pairs, ambiguous = [], {}
    for name in shared:
        crowd = next((files for files in (predictions[name], truths[name]) if len(files) > 1), None)
        if crowd is None:
            pairs.append(Pair(name, predictions[name][0], truths[name][0]))
        else:
            ambiguous[name] = _crowded("label images of this name", crowd)
    alone = {
        "predictions": _names(predictions, shared),
        "references": _names(truths, shared),
    }
    return Pairing(pairs, alone, ambiguous)


def find_annotated(folder: Path) -> list[Annotated]:
    """List the images of a folder beside which lies their reference label image.

    ``case1.png`` belongs to ``case1_labels.tif`` (or to any other of
    :data:`NAME_ENDINGS`); an image without a label image is left out.

    Returns
    -------
    list of Annotated
        Sorted by name.

    Raises
    ------
    SproutError
        If there is no such folder, no such pair, or several files for one image.
    """
    from .images import IMAGE_SUFFIXES

    if not folder.is_dir():
        raise SproutError(
            f"'{folder}' is not a folder; give one with images and their label images."
        )
    images: dict[str, list[Path]] = {}
    labels: dict[str, list[Path]] = {}
    for path in _visible_files(folder, (*IMAGE_SUFFIXES, *LABEL_SUFFIXES)):
        side = images if _key(path) == _bare(path) else labels
        side.setdefault(_key(path), []).append(path)
    shared = sorted(images.keys() & labels.keys())
    if not shared:
        raise SproutError(
            f"No image in '{folder}' has its label image beside it; name them, for instance, "
            "case1.png and case1_labels.tif."
        )
    for name in shared:
        for what, files in (("images", images[name]), ("label images", labels[name])):
            if len(files) > 1:
                raise SproutError(f"For '{name}', {_crowded(f'{what} of this name', files)}")
    return [Annotated(name, images[name][0], labels[name][0]) for name in shared]


def _crowded(what: str, files: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in files)
    return f"'{files[0].parent}' holds several {what} ({names}); keep one."


def _names(files: dict[str, list[Path]], shared: Sequence[str]) -> list[str]:
    return [path.name for name in sorted(files.keys() - set(shared)) for path in files[name]]


def _label_files(folder: Path) -> dict[str, list[Path]]:
    """Return the folder's label files under the names by which they are paired.

    Where ``case1.png`` lies beside ``case1_labels.tif``, the former is the
    image that was labelled, and is left out.
    """
    files: dict[str, list[Path]] = {}
    for path in _visible_files(folder, LABEL_SUFFIXES):
        files.setdefault(_key(path), []).append(path)
    for name, paths in files.items():
        named = [path for path in paths if _key(path) != _bare(path)]
        files[name] = named or paths
    return files


def _visible_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not path.name.startswith(".")
        and not _bare(path).endswith(_NOT_LABELS)
    ]


def _bare(path: Path) -> str:
    return path.stem.removesuffix(".ome")


def _key(path: Path) -> str:
    """Return the file's name without its format and without one ending like "_labels"."""
    bare = _bare(path)
    for ending in NAME_ENDINGS:
        if bare.lower().endswith(ending) and len(bare) > len(ending):
            return bare[: -len(ending)]
    return bare
