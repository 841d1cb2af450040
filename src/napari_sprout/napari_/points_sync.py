"""The prompts as a points layer: what a person does to the points becomes edits.

The layer's events are triggers alone. What happened is found by comparing the
layer with the prompts as they were last seen, because napari pastes without a
data event, numbers added points from the end, and copies the features of new
points, identifiers included, from the points that were last selected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from napari.layers import Points
from napari.utils.colormaps.standardize_color import transform_color
from numpy.typing import NDArray

from ..core.edits import AddPrompt, DeletePrompts, Edit, MovePrompt
from ..core.instances import Prompt, PromptKind
from .release import ReleaseWatcher

POSITIVE_COLOUR: Final = "#ff2d2d"
NEGATIVE_COLOUR: Final = "#19e3ffd0"
_DIAMETER_UM: Final = 2.0
_DIAMETER_PX: Final = 8.0
_ON_SCREEN: Final = (4, 30)
"""Pixels of the screen between which the marks stay however far one zooms."""


_DIAMETER: Final = "napari_sprout diameter"
"""In a layer's metadata: the positive points' diameter in pixels."""


class Look(NamedTuple):
    """How the points of a kind look; sizes as a share of the positive ones'."""

    symbol: str
    colour: str
    size: float
    border: float


# There are many more negative points, and all in places of no interest: they stay quiet.
_LOOKS: Final[Mapping[PromptKind, Look]] = {
    "positive": Look("disc", POSITIVE_COLOUR, 1.0, 0.12),
    "negative": Look("cross", NEGATIVE_COLOUR, 0.7, 0.0),
}


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a points layer.

    Attributes
    ----------
    data
        (N, 2) positions (y, x) in full-resolution pixels.
    ids
        (N,) whole numbers; 0 where the layer has none.
    kinds
        (N,) "positive" or "negative".
    """

    data: NDArray[np.float64]
    ids: NDArray[np.int64]
    kinds: tuple[PromptKind, ...]

    def same(self, other: Rows) -> bool:
        """Whether all rows are equal, in the same order."""
        return (
            np.array_equal(self.data, other.data)
            and np.array_equal(self.ids, other.ids)
            and self.kinds == other.kinds
        )


@dataclass(frozen=True, eq=False)
class Difference:
    """What turns the prompts as last seen into the rows of the layer.

    Attributes
    ----------
    edits
        In the order in which they are to be applied.
    ids
        (N,) the identifier that each row of the layer must have from now on.
    """

    edits: tuple[Edit, ...]
    ids: NDArray[np.int64]


def diff_points(seen: Sequence[Prompt], rows: Rows, new_id: Callable[[], int]) -> Difference:
    """Find what a person did to the points.

    The first row with a prompt's identifier is that prompt; a row with an unknown
    identifier, or one already used above it, is a new prompt. A prompt whose kind
    was changed is a new one too: nuclei and their absence share no identity.

    Parameters
    ----------
    seen
        The prompts as they were last in the layer, in its order.
    rows
        The layer now.
    new_id
        Returns an identifier that was never used, at each call.
    """
    before = {prompt.id: prompt for prompt in seen}
    ids = _with_restored_ids(seen, rows)
    kept: set[int] = set()
    moves: list[Edit] = []
    adds: list[Edit] = []
    for row, (ident, (y, x), kind) in enumerate(zip(ids, rows.data, rows.kinds, strict=True)):
        prompt = before.get(int(ident))
        if prompt is not None and prompt.id not in kept and prompt.kind == kind:
            kept.add(prompt.id)
            if (prompt.y, prompt.x) != (y, x):
                moves.append(MovePrompt(prompt.id, float(y), float(x)))
            continue
        ids[row] = new_id()
        adds.append(AddPrompt(Prompt(int(ids[row]), kind, float(y), float(x), "hand")))
    gone = tuple(prompt.id for prompt in seen if prompt.id not in kept)
    deletions: list[Edit] = [DeletePrompts(gone)] if gone else []
    return Difference((*deletions, *moves, *adds), ids)


def _with_restored_ids(seen: Sequence[Prompt], rows: Rows) -> NDArray[np.int64]:
    """Undo a person's typing over identifiers in a table: such rows did not change place."""
    ids = rows.ids.copy()
    present = set(ids.tolist())
    for row, prompt in enumerate(seen[: len(ids)]):
        if prompt.id not in present and (prompt.y, prompt.x) == tuple(rows.data[row]):
            ids[row] = prompt.id
    return ids


def read_rows(layer: Points) -> Rows:
    """Return a points layer's rows; what its features lack is filled in."""
    count = len(layer.data)
    features = layer.features
    ids = np.zeros(count, np.int64)
    if "id" in features:
        numbers = np.asarray(features["id"], dtype=np.float64)
        ids = np.where(np.isfinite(numbers), numbers, 0).astype(np.int64)
    kinds = list(features["kind"]) if "kind" in features else [None] * count
    return Rows(
        np.asarray(layer.data, dtype=np.float64)[:, -2:],
        ids,
        tuple("negative" if kind == "negative" else "positive" for kind in kinds),
    )


def make_points(prompts: Iterable[Prompt], name: str, pixel_size: float | None) -> Points:
    """Return a new layer of prompts: red discs, and cyan crosses for the negative ones.

    Parameters
    ----------
    prompts
        In full-resolution pixels.
    name
        The layer's name.
    pixel_size
        In um; the marks are 2 um wide, 8 px if it is unknown.
    """
    diameter = _DIAMETER_PX if pixel_size is None else max(_DIAMETER_UM / pixel_size, 2.0)
    layer = Points(
        np.empty((0, 2)),
        ndim=2,
        features={"id": np.empty(0, np.int64), "kind": np.empty(0, object)},
        feature_defaults={"id": 0, "kind": "positive"},
        metadata={_DIAMETER: diameter},
        name=name,
        border_color="white",
        canvas_size_limits=_ON_SCREEN,
    )
    choose_kind(layer, "positive")
    fill_points(layer, tuple(prompts))
    return layer


def fill_points(layer: Points, prompts: Sequence[Prompt]) -> None:
    """Make a layer show exactly these prompts; what was selected stays so."""
    before = read_rows(layer).ids
    selected = {int(before[row]) for row in layer.selected_data if row < len(before)}
    layer.selected_data = set()
    layer.data = np.array([(p.y, p.x) for p in prompts], dtype=np.float64).reshape(-1, 2)
    ids = np.array([prompt.id for prompt in prompts], dtype=np.int64)
    _write_features(layer, ids, [prompt.kind for prompt in prompts])
    layer.selected_data = {row for row, ident in enumerate(ids.tolist()) if ident in selected}


def choose_kind(layer: Points, kind: PromptKind) -> None:
    """Choose what the next point that a person adds is; points that are there stay."""
    look = _LOOKS[kind]
    with layer.block_update_properties():
        layer.feature_defaults = {"id": 0, "kind": kind}
        layer.current_symbol = look.symbol
        layer.current_face_color = look.colour
        layer.current_size = look.size * layer.metadata.get(_DIAMETER, _DIAMETER_PX)
        layer.current_border_width = look.border


def _write_features(layer: Points, ids: NDArray[np.int64], kinds: Sequence[PromptKind]) -> None:
    """Set what the points are, and give each the look of its kind."""
    # napari would take the last row as what is added next.
    next_kind = str(layer.feature_defaults["kind"][0])
    layer.features = {"id": ids, "kind": np.array(kinds, dtype=object)}
    if kinds:
        looks = [_LOOKS[kind] for kind in kinds]
        rgba = {look.colour: transform_color(look.colour)[0] for look in _LOOKS.values()}
        diameter = layer.metadata.get(_DIAMETER, _DIAMETER_PX)
        layer.symbol = np.array([look.symbol for look in looks])
        layer.face_color = np.array([rgba[look.colour] for look in looks])
        layer.size = diameter * np.array([look.size for look in looks])
        layer.border_width = np.array([look.border for look in looks])
    choose_kind(layer, "negative" if next_kind == "negative" else "positive")


class PointsSync:
    """Keeps a points layer and the prompts of a correction together.

    Parameters
    ----------
    layer
        Made by :func:`make_points`.
    prompts
        What it shows.
    new_id
        Returns an identifier that was never used, at each call.
    send
        Given the edits of one act of the person.
    on_free
        Called when the mouse has been released.
    on_chosen
        Given the identifiers of the selected points when a person has selected others.
    """

    def __init__(
        self,
        layer: Points,
        prompts: Iterable[Prompt],
        new_id: Callable[[], int],
        send: Callable[[tuple[Edit, ...]], None],
        on_free: Callable[[], None] = lambda: None,
        on_chosen: Callable[[frozenset[int]], None] = lambda _: None,
    ) -> None:
        self.layer = layer
        self._on_chosen = on_chosen
        self._seen = tuple(prompts)
        self._rows: Rows | None = None
        self._new_id = new_id
        self._send = send
        self._writing = 0
        layer.events.data.connect(self._changed)
        layer.events.features.connect(self._retyped)
        layer.selected_data.events.items_changed.connect(self._selected)
        self._mouse = ReleaseWatcher(layer, on_free)

    @property
    def dragging(self) -> bool:
        """Whether the mouse is down on the layer: then nobody else may move its points."""
        return self._mouse.pressed

    def show(self, prompts: Iterable[Prompt]) -> None:
        """Make the layer show these prompts; it is left alone if it does already."""
        wanted = tuple(prompts)
        rows = read_rows(self.layer)
        places = {prompt.id: prompt for prompt in wanted}
        same = len(rows.ids) == len(places) and all(
            (there := places.get(ident)) is not None
            and (there.y, there.x, there.kind) == (y, x, kind)
            for ident, (y, x), kind in zip(
                rows.ids.tolist(), rows.data.tolist(), rows.kinds, strict=True
            )
        )
        if same and len(set(rows.ids.tolist())) == len(places):
            self._seen = tuple(places[ident] for ident in rows.ids.tolist())
            self._rows = Rows(rows.data.copy(), rows.ids, rows.kinds)
            return
        with self._own():
            fill_points(self.layer, wanted)
        self._seen, self._rows = wanted, None

    def choose(self, ids: frozenset[int]) -> None:
        """Select the points with these identifiers, and no others."""
        found = np.flatnonzero(np.isin(read_rows(self.layer).ids, list(ids)))
        with self._own():
            self.layer.selected_data = set(found.tolist())

    def sync(self) -> None:
        """Send what a person has done since the layer was last looked at."""
        rows = read_rows(self.layer)
        if self._rows is not None and self._rows.same(rows):
            return
        found = diff_points(self._seen, rows, self._new_id)
        if not np.array_equal(found.ids, rows.ids):
            with self._own():
                _write_features(self.layer, found.ids, rows.kinds)
        sources = {prompt.id: prompt.source for prompt in self._seen}
        self._seen = tuple(
            Prompt(ident, kind, y, x, sources.get(ident, "hand"))
            for ident, (y, x), kind in zip(
                found.ids.tolist(), rows.data.tolist(), rows.kinds, strict=True
            )
        )
        self._rows = Rows(rows.data.copy(), found.ids, rows.kinds)
        if found.edits:
            self._send(found.edits)

    def let_go(self) -> None:
        """End a drag that another layer has cut short by becoming the active one."""
        self._mouse.let_go()

    def close(self) -> None:
        """Stop watching."""
        layer = self.layer
        layer.events.data.disconnect(self._changed)
        layer.events.features.disconnect(self._retyped)
        layer.selected_data.events.items_changed.disconnect(self._selected)
        self._mouse.close()

    @contextmanager
    def _own(self) -> Iterator[None]:
        self._writing += 1
        try:
            yield
        finally:
            self._writing -= 1

    def _changed(self, event: Any) -> None:
        # "adding", "changing" and "removing" come before the act: nothing has changed then.
        if not self._writing and not str(event.action).endswith("ing"):
            self.sync()

    def _retyped(self, event: Any) -> None:
        # It is also emitted at every step of a drag, before the point is released.
        if not (self._writing or self._mouse.pressed):
            self.sync()

    def _selected(self, *_: Any) -> None:
        # A paste tells of nothing but its new selection; a dragged point is not done yet.
        if self._writing:
            return
        if len(self.layer.data) > len(self._seen):
            self.sync()
        ids = read_rows(self.layer).ids
        rows = [row for row in self.layer.selected_data if row < len(ids)]
        self._on_chosen(frozenset(ids[rows].tolist()))
