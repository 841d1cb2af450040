from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from napari_sprout.core.instances import Nucleus
from napari_sprout.core.labels import measure
from napari_sprout.core.pieces import pieces_of
from napari_sprout.errors import ImageError
from napari_sprout.io import label_sources
from napari_sprout.io.label_sources import LabelSource, nuclei_of, open_labels
from napari_sprout.io.labels import write_labels


def source_of(labels: NDArray[np.int32], side: tuple[int, int]) -> LabelSource:
    shape = (labels.shape[0], labels.shape[1])
    return LabelSource(
        Path("a.tif"), shape, None, lambda y, x, h, w: labels[y : y + h, x : x + w], side
    )


@settings(max_examples=100, deadline=None)
@given(
    labels=arrays(
        np.int32,
        array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.sampled_from([0, 0, 1, 2, 9, 2**31 - 1]),
    ),
    side=st.tuples(st.integers(1, 21), st.integers(1, 21)),
)
def test_each_nucleus_comes_once_and_whole_however_the_image_is_cut_up(
    labels: NDArray[np.int32], side: tuple[int, int]
) -> None:
    found = [one for batch in nuclei_of(source_of(labels, side), {}) for one in batch]
    by_id = {one.nucleus.id: one for one in found}
    assert len(by_id) == len(found)
    expected = {ident: (box, mask) for ident, box, mask in pieces_of(labels)}
    assert by_id.keys() == expected.keys()
    whole = measure(labels, np.full((*labels.shape, 2), np.nan), {}, {})
    for nucleus in whole:
        one = by_id[nucleus.id]
        assert one.box == expected[nucleus.id][0]
        np.testing.assert_array_equal(one.mask, expected[nucleus.id][1])
        for field in dataclasses.fields(Nucleus):
            values = (getattr(one.nucleus, field.name), getattr(nucleus, field.name))
            assert values[0] == pytest.approx(values[1], nan_ok=True)


def test_stains_and_scores_come_from_what_is_known() -> None:
    known = Nucleus(4, math.nan, math.nan, 0, math.nan, math.nan, 0.7, 0.2, 0.9, 1.5, 0.8)
    labels = np.array([[4, 4, 0, 6]], np.int32)
    ((first, second),) = nuclei_of(source_of(labels, (1, 4)), {4: known})
    assert (first.nucleus.haematoxylin, first.nucleus.score) == (0.7, 1.5)
    assert (first.nucleus.area, first.nucleus.x) == (2, 0.5)
    assert math.isnan(second.nucleus.eosin)


def test_a_mask_of_a_whole_slide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_sources, "IN_MEMORY", 100)
    labels = np.zeros((40, 40), np.int32)
    labels[3, 3] = labels[33, 36] = 8
    with pytest.raises(ImageError, match=r"number 8 in 'a\.tif' reaches over 34 x 31 px"):
        list(nuclei_of(source_of(labels, (4, 4)), {}))


def test_a_large_tiff_is_read_region_by_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(600 * 500, dtype=np.int32).reshape(600, 500)
    write_labels(tmp_path / "a.tif", labels, mpp=0.5, metadata={"a": 1})
    monkeypatch.setattr(label_sources, "IN_MEMORY", 1000)
    monkeypatch.setattr(label_sources, "read_labels", lambda path: pytest.fail("read whole"))
    with open_labels(tmp_path / "a.tif") as source:
        assert (source.shape, source.mpp, source.metadata) == ((600, 500), 0.5, {"a": 1})
        np.testing.assert_array_equal(source.read(10, 20, 30, 40), labels[10:40, 20:60])


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", np.ones((6, 5), np.int32))
    with (
        pytest.raises(ImageError, match=r"a\.tif' is 5 x 6 px, not 6 x 5 px"),
        open_labels(tmp_path / "a.tif", (5, 6)),
    ):
        pass


def test_what_was_measured_on_the_same_masks_is_not_measured_again() -> None:
    labels = np.zeros((9, 12), np.int32)
    labels[2:6, 3:9] = 4
    ((first,),) = nuclei_of(source_of(labels, (5, 5)), {})
    known = dataclasses.replace(first.nucleus, perimeter=99.0, eosin=0.3, score=1.0)
    ((again,),) = nuclei_of(source_of(labels, (5, 5)), {4: known})
    assert repr(again.nucleus) == repr(known)
    labels[5, 8] = 0
    ((other,),) = nuclei_of(source_of(labels, (5, 5)), {4: known})
    assert other.nucleus.perimeter < 99
    assert (other.nucleus.area, other.nucleus.eosin) == (23, 0.3)
