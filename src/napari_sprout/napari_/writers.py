"""Labels layers as files, the same for napari's File > Save as for the Export tab."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from ..core.labels import measure
from ..errors import OutputError
from ..io.export import Results, export_file, results_of
from ..io.pixel_size import plausible
from .image_layer import pixel_size_of
from .roles import LayerRole, tag_in

if TYPE_CHECKING:
    from .controller import SessionController

_LARGEST: Final = 2**31 - 1


def save_labels(
    path: str | Path,
    data: Any,
    meta: Mapping[str, Any],
    endings: tuple[str, ...],
    controllers: Iterable[SessionController] = (),
) -> list[str]:
    """Write one labels layer to one file.

    The nuclei of a session are written as the Export tab does it, with their
    measurements and all that made them. Of any other layer there is nothing but
    labels: stains are left out, and no outlines can be drawn on an image.

    Parameters
    ----------
    path
        The file. The first of `endings` is added to a name that has none of them.
    data
        The layer's labels.
    meta
        The layer's other attributes, as napari hands them to writers.
    endings
        What the file's name may end in.
    controllers
        The sessions that are open.

    Returns
    -------
    list of str
        The file that was written.

    Raises
    ------
    OutputError
        If the file cannot be written, the layer holds no flat label image, or the
        session is still at work on it.
    """
    file = _named(Path(path), endings)
    owner = _owner(data, meta, controllers)
    results = _plain(file, data, meta) if owner is None else _of_session(file, owner)
    export_file(file, results)
    return [str(file)]


def _named(path: Path, endings: tuple[str, ...]) -> Path:
    if path.suffix.lower() in endings:
        return path
    named = path.with_name(path.name + endings[0])
    if named.exists():
        # The save dialog has asked about the name without its ending.
        raise OutputError(
            f"'{named}' is there already; to replace it, type its whole name, with {endings[0]}."
        )
    return named


def _owner(
    data: Any, meta: Mapping[str, Any], controllers: Iterable[SessionController]
) -> SessionController | None:
    """Return the session whose nuclei these are; a copy of its layer belongs to none."""
    tag = tag_in(meta.get("metadata") or {})
    for controller in controllers:
        if tag is not None and controller.uid == tag.session:
            layer = controller.layer(LayerRole.NUCLEI)
            return controller if layer is not None and layer.data is data else None
    return None


def _of_session(file: Path, controller: SessionController) -> Results:
    if controller.is_busy:
        # Waiting would be for ever: the session itself waits for the window.
        raise OutputError(
            f"'{file}' was not written: these nuclei are being worked on; save them when the run "
            "or the last change is done."
        )
    project = controller.project
    return results_of(controller.correction, None if project is None else project.origin)


def _plain(file: Path, data: Any, meta: Mapping[str, Any]) -> Results:
    labels = _flat(file, data, bool(meta.get("multiscale")))
    bare = np.full((*labels.shape, 2), np.nan, dtype=np.float32)
    return Results(labels, measure(labels, bare, {}, {}), mpp=_pixel_size(meta))


def _flat(file: Path, data: Any, multiscale: bool) -> NDArray[np.int32]:
    labels = np.asarray(data[0] if multiscale else data)
    while labels.ndim > 2 and labels.shape[0] == 1:
        labels = labels[0]
    if labels.ndim != 2 or labels.size == 0:
        raise OutputError(
            f"'{file}' was not written: the layer is no flat image but of shape {labels.shape}; "
            "save one plane of it by itself, or choose another kind of file."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _LARGEST:
        raise OutputError(
            f"'{file}' was not written: its labels go from {low} to {high}, where 0 to {_LARGEST} "
            "is allowed; renumber them."
        )
    return np.ascontiguousarray(labels, dtype=np.int32)


def _pixel_size(meta: Mapping[str, Any]) -> float | None:
    """Return a layer's pixel size in um, if it is one that a microscope has."""
    known = {name: meta[name] for name in ("scale", "units", "metadata") if name in meta}
    if "scale" not in known:
        return None
    stand_in = Labels(np.zeros((1,) * len(known["scale"]), dtype=np.uint8), **known)
    return plausible(pixel_size_of(stand_in))
