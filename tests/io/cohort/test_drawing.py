from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sprout.io.cohort.distribution import Bins, DistributionBuilder
from napari_sprout.io.cohort.drawing import Frame, histogram, plain, strip

BINS = Bins(0.0, 10.0, 100)
values = st.lists(st.floats(-5.0, 15.0), max_size=200)


def built(numbers):
    builder = DistributionBuilder(BINS)
    builder.add(numbers)
    return builder.distribution()


@given(values, values)
def test_any_values_give_a_picture_inside_its_bounds(first, second):
    slides = [built(first), built(second)]
    frame = Frame.of(BINS, slides)
    for slide in slides:
        root = ElementTree.fromstring(histogram(slide, frame, width=200, height=90))
        for shape in root.iter("path"):
            along = [float(x) for x in re.findall(r"H([-\d.]+)", shape.get("d"))]
            up = [float(y) for y in re.findall(r"V([-\d.]+)", shape.get("d"))]
            assert along == sorted(along)
            assert all(0 <= x <= 200 for x in along)
            assert all(0 <= y <= 90 for y in up)


def test_nearly_all_nuclei_are_drawn_and_the_extremes_do_not_squeeze_them():
    slide = built([*np.linspace(2.0, 4.0, 5000), 9.9])
    frame = Frame.of(BINS, [slide])
    assert frame.edges[0] == pytest.approx(2.0)
    assert frame.edges[-1] < 5.0
    assert frame.pooled.sum() > 0.998


def test_slides_are_drawn_to_one_scale():
    narrow, wide = built([5.0] * 1000), built(np.linspace(4, 6, 1000))
    frame = Frame.of(BINS, [narrow, wide])
    tops = [
        min(float(y) for y in re.findall(r"V([-\d.]+)", str(histogram(slide, frame))))
        for slide in (narrow, wide)
    ]
    assert tops[0] < tops[1]


def test_a_few_nuclei_do_not_flatten_the_other_slides():
    few, many = built([5.0]), built(np.linspace(0, 10, 1000))
    assert Frame.of(BINS, [few, many]).tallest < 0.2


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_every_slide_has_its_dot_along_the_axis(numbers):
    given_values = [(f"s{n}", f"id{n}", value) for n, value in enumerate(numbers)]
    root = ElementTree.fromstring(strip(given_values, width=500))
    dots = {link.get("href"): link.find("circle") for link in root.iter("a")}
    assert set(dots) == {f"#id{n}" for n in range(len(numbers))}
    height = float(root.get("height"))
    for dot in dots.values():
        assert 0 <= float(dot.get("cx")) <= 500
        assert 0 <= float(dot.get("cy")) <= height
    places = [float(dots[link].get("cx")) for _, link in sorted_links(given_values)]
    assert places == sorted(places)


def sorted_links(given_values):
    return sorted((value, f"#{link}") for _, link, value in given_values)


def test_names_in_pictures_are_text():
    drawn = strip([("<script>&", "a", 1.0), ("b", "b", 2.0)])
    root = ElementTree.fromstring(drawn)
    assert "<script>&" in {text.text for text in root.iter("text")}
    assert not list(root.iter("script"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,346"),
        (0.0, "0"),
        (3.0, "3"),
        (35.26, "35.3"),
        (0.256, "0.26"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_are_written_to_be_read(value, text):
    assert plain(value) == text
