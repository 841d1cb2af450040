"""What a person must know before comparing the slides of a cohort, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from .cohort import Cohort, FinishedSlide
from .facts import LeftOutTile

# Scanners of one magnification differ by a few hundredths; magnifications by a factor of two.
_SAME_SIZE: Final = 1.1
_NAMES: Final = 8
_TILES: Final = 5
_HASH_DIGITS: Final = 8
_UM2_PER_MM2: Final = 1e6


def remarks(cohort: Cohort) -> tuple[str, ...]:
    """Return what is missing, and what keeps slides from being compared, most urgent first."""
    found = [
        *_missing(cohort),
        _pixel_sizes(cohort.finished),
        *_methods(cohort.finished),
        *_twice(cohort.finished),
    ]
    return tuple(text for text in found if text)


def left_out(slide: FinishedSlide) -> tuple[str, ...]:
    """Return sentences on the tiles of a slide that have no result; none if all have."""
    missing = slide.summary.tiles.left_out
    if not missing:
        return ()
    mpp = slide.summary.slide.mpp
    area = sum(tile.height * tile.width for tile in missing) * mpp**2 / _UM2_PER_MM2
    total = slide.summary.tiles.with_tissue
    verb = "was" if len(missing) == 1 else "were"
    text = (
        f"{len(missing)} of {total} tiles with tissue {verb} left out ({area:.2f} mm²): their "
        "nuclei are not counted, so the count and the density are too low."
    )
    more = len(missing) - _TILES
    rest = [f"And {more} more tiles, listed in its summary.json."] if more > 0 else []
    return (text, *map(_tile, missing[:_TILES]), *rest)


def _tile(tile: LeftOutTile) -> str:
    return f"Tile at x {tile.x}, y {tile.y} ({tile.width} × {tile.height} px): {tile.reason}"


def _missing(cohort: Cohort) -> Iterable[str]:
    if cohort.unfinished:
        yield (
            f"Not finished, so not in any number here: {names(cohort.unfinished)}. Run "
            "'napari-sprout slide' on them again; it goes on where it stopped."
        )
    if cohort.absent:
        yield (
            f"Without any results, so not in any number here: {names(cohort.absent)}. Run "
            "'napari-sprout slide' on them; if that was done, it has said why it refused them."
        )
    for slide in cohort.damaged:
        yield f"{slide.name} is not in any number here: {slide.reason}"
    incomplete = [slide.name for slide in cohort.finished if slide.left_out]
    if incomplete:
        yield (
            f"Some tiles were left out of {names(incomplete)}: there the counts and densities "
            "are too low. Each is described below."
        )


def _pixel_sizes(slides: Sequence[FinishedSlide]) -> str:
    groups: list[list[FinishedSlide]] = []
    for slide in sorted(slides, key=lambda slide: slide.summary.slide.mpp):
        if groups and slide.summary.slide.mpp <= _SAME_SIZE * groups[-1][0].summary.slide.mpp:
            groups[-1].append(slide)
        else:
            groups.append([slide])
    if len(groups) < 2:
        return ""
    listed = "; ".join(f"{_sizes(group)} ({_names_of(group)})" for group in groups)
    return (
        f"The slides have different pixel sizes: {listed}. Areas and densities are in the same "
        "units on all of them, but with larger pixels small and touching nuclei are found less "
        "well, and shapes and stain are measured more coarsely: compare counts, densities and "
        "distributions only between slides of one pixel size."
    )


def _sizes(group: Sequence[FinishedSlide]) -> str:
    texts = dict.fromkeys(f"{slide.summary.slide.mpp:.3g}" for slide in (group[0], group[-1]))
    return f"{' to '.join(texts)} µm per pixel"


def _methods(slides: Sequence[FinishedSlide]) -> Iterable[str]:
    kinds: Mapping[str, Callable[[FinishedSlide], str]] = {
        "settings": _settings,
        "models": _models,
        "versions of the program": lambda slide: slide.summary.method.software,
    }
    for what, kind in kinds.items():
        groups: dict[str, list[FinishedSlide]] = {}
        for slide in slides:
            groups.setdefault(kind(slide), []).append(slide)
        if len(groups) > 1:
            listed = "; ".join(f"{name} ({_names_of(group)})" for name, group in groups.items())
            yield (
                f"The slides were segmented with different {what}: {listed}. A difference between "
                "these groups may come from that and not from the tissue; to compare them, "
                "segment all with the same (--overwrite)."
            )


def _settings(slide: FinishedSlide) -> str:
    method = slide.summary.method
    kind = f"preset {method.preset}" if method.preset else "own settings"
    return f"{kind}, {method.settings_hash[:_HASH_DIGITS]}"


def _models(slide: FinishedSlide) -> str:
    weights = slide.summary.method.weights
    models = sorted(weights.items())
    return ", ".join(f"{name} {sha256[:_HASH_DIGITS]}" for name, sha256 in models) or "none"


def _twice(slides: Sequence[FinishedSlide]) -> Iterable[str]:
    groups: dict[str, list[FinishedSlide]] = {}
    for slide in slides:
        groups.setdefault(slide.summary.slide.fingerprint, []).append(slide)
    for group in groups.values():
        if len(group) > 1:
            yield (
                f"One slide is here under several names: {_names_of(group)}; it counts several "
                "times."
            )


def _names_of(group: Sequence[FinishedSlide]) -> str:
    return names([slide.name for slide in group])


def names(given: Sequence[str]) -> str:
    """Return names as a list in words, cut where nobody would read on."""
    more = len(given) - _NAMES
    if more > 1:
        return f"{', '.join(given[:_NAMES])} and {more} more"
    return ", ".join(given)
