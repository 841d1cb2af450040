from __future__ import annotations

import pickle
import subprocess
import sys

import dask
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sprout.errors import ImageError
from napari_sprout.io.slides.generator import write_synthetic_slide
from napari_sprout.io.slides.layers import LevelPixels, multiscale
from napari_sprout.io.slides.opening import open_slide
from napari_sprout.io.slides.reduced import read_reduced, thumbnail
from napari_sprout.io.slides.source import SlideSource
from slide_files import pattern, pyramid, write_tiff


@pytest.fixture(scope="module")
def rgb():
    return pattern(1500, 2100)


@pytest.fixture(scope="module")
def path(tmp_path_factory, rgb):
    path = tmp_path_factory.mktemp("layers") / "a.tif"
    write_tiff(path, pyramid(rgb, 5))
    return path


@pytest.mark.parametrize("opened", [True, False])
def test_levels_are_the_slides_own(path, rgb, opened):
    source = SlideSource(path)
    arrays = multiscale(source.open() if opened else source)
    # Of 2100, 1050, 525, 262 and 131 px.
    assert [one.shape for one in arrays] == [(1500 >> i, 2100 >> i, 3) for i in range(4)]
    for array, level in zip(arrays, pyramid(rgb, 4), strict=True):
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array.compute(), level)


def test_chunks_are_whole_tiles(path):
    high, wide, samples = multiscale(SlideSource(path))[0].chunksize
    assert samples == 3
    assert high % 64 == wide % 48 == 0
    assert 512 <= min(high, wide) <= max(high, wide) <= 2048


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_slices_are_those_of_the_array(path, rgb, data):
    array = multiscale(SlideSource(path))[0]
    index = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size)))), step)
        for size, step in zip(rgb.shape[:2], data.draw(st.tuples(_STEPS, _STEPS)), strict=True)
    )
    np.testing.assert_array_equal(array[index].compute(), rgb[index])


_STEPS = st.integers(1, 9)


def test_a_view_reads_no_more_than_the_chunks_it_shows(path, monkeypatch):
    source, read = SlideSource(path), []
    array = multiscale(source)[0]
    original = LevelPixels.__getitem__
    monkeypatch.setattr(
        LevelPixels, "__getitem__", lambda self, index: read.append(index) or original(self, index)
    )
    array[100:150, 200:300].compute()
    assert [(y.start, x.start) for y, x, _ in read] == [(0, 0)]
    assert array[1000:1100, 1000:1100].compute().shape == (100, 100, 3)
    assert len(read) == 5


def test_arrays_go_to_other_processes(path, rgb, tmp_path):
    array = multiscale(open_slide(path))[0][700:900, 800:1000]
    (tmp_path / "array").write_bytes(pickle.dumps(array))
    script = (
        "import pickle, sys, pathlib\n"
        "array = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "sys.stdout.buffer.write(array.compute().tobytes())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "array")], capture_output=True, check=True
    )
    assert done.stdout == rgb[700:900, 800:1000].tobytes()


def test_a_process_opens_a_slide_once(path, monkeypatch):
    opened, original = [], SlideSource.open
    monkeypatch.setattr(SlideSource, "open", lambda self: opened.append(self) or original(self))
    source = SlideSource(path, 0.123)
    for array in multiscale(source):
        with dask.config.set(scheduler="synchronous"):
            array.compute()
    assert opened == [source]


def test_a_file_that_was_replaced_is_opened_again(tmp_path):
    path = tmp_path / "a.tif"
    for seed in (0, 1):
        rgb = pattern(400, 500, seed)
        path.unlink(missing_ok=True)
        write_tiff(path, [rgb])
        np.testing.assert_array_equal(multiscale(SlideSource(path))[0].compute(), rgb)


def test_a_large_slide_without_coarse_levels_gets_some(tmp_path):
    path = tmp_path / "a.tif"
    texture = pattern(96, 96)
    options = {"texture": texture, "tissue_fraction": 0.5, "compression": "none"}
    write_synthetic_slide(path, (5000, 4999), levels=1, **options)
    full, coarse = multiscale(SlideSource(path))
    assert full.shape == (5000, 4999, 3)
    assert coarse.shape == (1250, 1250, 3)
    pixels = open_slide(path).read(0, 0, 0, 5000, 4999)
    mean = pixels[:, :4996].reshape(1250, 4, 1249, 4, 3).astype(float).mean(axis=(1, 3))
    computed = coarse.compute()
    assert np.abs(computed[:, :1249] - mean).mean() < 8
    assert np.abs(computed.mean(axis=(0, 1)) - pixels.mean(axis=(0, 1))).max() < 0.5


def test_reading_in_parts_gives_what_reading_at_once_does(tmp_path):
    path = tmp_path / "a.tif"
    write_tiff(path, [pattern(800, 1000)])
    slide = open_slide(path)
    whole = read_reduced(slide, 0, (200, 250))
    pieces = [
        np.concatenate([read_reduced(slide, 0, (200, 250), y, x, 50, 125) for x in (0, 125)], 1)
        for y in range(0, 200, 50)
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("longest", [100, 300, 1024, 5000])
def test_a_thumbnail_is_as_long_as_asked_and_shows_the_slide(path, rgb, longest):
    picture, downsample = thumbnail(open_slide(path), longest)
    assert max(picture.shape[:2]) == min(longest, 2100)
    assert picture.shape[1] * downsample == pytest.approx(2100, rel=0.01)
    assert picture.shape[0] * downsample == pytest.approx(1500, rel=0.01)
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), rgb.mean(axis=(0, 1)), atol=2)


def test_a_thumbnail_is_read_from_the_coarsest_level_that_suffices(path, monkeypatch):
    slide, read = open_slide(path), set()
    original = slide.read
    monkeypatch.setattr(slide, "read", lambda level, *at: read.add(level) or original(level, *at))
    thumbnail(slide, 500)
    assert read == {2}


def test_a_slide_that_is_gone_says_so(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        multiscale(SlideSource(tmp_path / "a.svs"))
