from __future__ import annotations

import base64
import re
from datetime import date
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import skimage.io

from napari_sprout.errors import OutputError
from napari_sprout.io.cohort.cohort import read_cohort
from napari_sprout.io.cohort.report import write_report
from napari_sprout.io.cohort.summary import LeftOutTile, write_summary
from slide_summaries import many, summarised

DAY = date(2026, 11, 3)
HOSTILE = "<img src=x onerror=alert(1)>&\"'"
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a browser would make of the report; fails where elements do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)

    def all(self, wanted):
        return [attributes for tag, attributes in self.tags if tag == wanted]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "results"
    made.mkdir()
    return made


@pytest.fixture
def add(folder):
    def write(name, *arguments, pictures=False, **options):
        place = folder / f"{name}.slide"
        place.mkdir()
        write_summary(place, summarised(name, *arguments, **({"fingerprint": name} | options)))
        if pictures:
            for file, value in (("thumbnail.png", 200), ("density.png", 90)):
                image = np.full((300, 1000, 3), value, np.uint8)
                skimage.io.imsave(place / file, image, check_contrast=False)
        return place

    return write


@pytest.fixture
def report(folder, tmp_path):
    def read():
        path = tmp_path / "cohort.html"
        write_report(path, read_cohort(folder), DAY)
        return path.read_text(encoding="utf-8")

    return read


def shown(page):
    return " ".join(" ".join(page.texts).split())


def test_a_slide_is_shown_with_its_numbers(add, report):
    add("case1", many(2500), tissue_mm2=2.0)
    text = shown(Page(report()))
    assert "case1" in text
    assert "2,500" in text
    assert "1,250 per mm²" in text
    assert "2.00 mm²" in text
    assert "Report of 3 November 2026" in text
    assert "Before you compare" not in text


def test_nothing_is_loaded_from_anywhere(add, report):
    add("case1", pictures=True)
    text = report()
    page = Page(text)
    links = [a[name] for _, a in page.tags for name in ("src", "href", "srcset") if name in a]
    assert links
    assert all(re.match("data:image/|#slide", link) for link in links)
    assert not page.all("link")
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_pictures_are_inside_and_small(add, report):
    add("case1", pictures=True)
    sources = [image["src"] for image in Page(report()).all("img")]
    assert len(sources) == 2
    kind, content = sources[0].split(",")
    assert kind == "data:image/jpeg;base64"
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (120, 400, 3)
    assert abs(int(pixels[60, 200, 0]) - 200) < 4


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n\0\0"])
def test_a_slide_without_a_readable_picture_is_still_shown(add, report, content):
    place = add("case1")
    if content is not None:
        (place / "thumbnail.png").write_bytes(content)
    assert "no picture" in shown(Page(report()))


def test_each_measurement_is_drawn_once_a_slide(add, report):
    add("a")
    add("b")
    page = Page(report())
    strips = 2
    assert len(page.all("svg")) == 2 * 5 + strips
    assert shown(page).count("Haematoxylin (OD)") == 2


def test_names_and_warnings_are_text_and_never_markup(folder, add, report):
    hostile = summarised(HOSTILE, warnings=[HOSTILE, "</section><script>alert(2)</script>"])
    place = folder / "a <b> & 'c' \"d\".slide"
    place.mkdir()
    write_summary(place, hostile)
    (folder / "<i>early.slide").mkdir()
    page = Page(report())
    assert "a <b> & 'c' \"d\"" in shown(page)
    assert "<i>early" in shown(page)
    assert HOSTILE in shown(page)
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert len(page.all("script")) == 1
    assert not page.all("i")


def test_what_is_missing_is_said_first_and_at_the_slide(folder, add, report):
    tile = LeftOutTile(1024, 2048, 1024, 1024, "It did not fit in memory.")
    add("a", left_out=[tile], warnings=["Pale stain."])
    add("b", mpp=0.5)
    (folder / "early.slide").mkdir()
    text = shown(Page(report()))
    first, rest = text.split("The slides beside each other")
    assert "early" in first
    assert "different pixel sizes" in first
    assert "1 of 40 tiles" in rest
    assert "It did not fit in memory." in rest
    assert "Pale stain." in rest
    assert "1 tile left out" in rest


def test_a_cohort_of_nothing_but_unfinished_slides_is_a_page_too(folder, report):
    (folder / "early.slide").mkdir()
    page = Page(report())
    assert "Not finished" in shown(page)
    assert not page.all("table")


def test_slides_without_nuclei_have_dashes_and_do_not_sort_as_zero(add, report):
    add("blank", [], tissue_mm2=0.0)
    add("full")
    page = Page(report())
    cells = page.all("td")
    assert [cell.get("data-sort") for cell in cells[1:5]] == ["0", "0.0", "", ""]
    assert "no nuclei" in shown(page)


def test_only_blank_slides_have_no_line_of_dots(add, report):
    add("blank", [], tissue_mm2=0.0)
    assert len(Page(report()).all("svg")) == 5


def test_an_unwritable_place_is_told(folder, add, tmp_path):
    add("a")
    with pytest.raises(OutputError, match="nowhere"):
        write_report(tmp_path / "nowhere" / "cohort.html", read_cohort(folder), DAY)
