from __future__ import annotations

import subprocess
import sys

import numpy as np
import openslide
import pytest
import tifffile

from napari_sprout.errors import SettingsError
from napari_sprout.io.slides.generator import write_synthetic_slide
from napari_sprout.io.slides.islands import GLASS
from napari_sprout.io.slides.opening import open_slide
from napari_sprout.io.slides.reduced import thumbnail
from slide_files import pattern

TEXTURE = pattern(96, 128) // 2


def share_of_tissue(path) -> float:
    rgb, _ = thumbnail(open_slide(path), 1000)
    return float((np.abs(rgb.astype(int) - GLASS).max(axis=-1) > 20).mean())


@pytest.mark.parametrize("fraction", [0, 0.05, 0.3, 0.8, 1])
def test_as_much_is_tissue_as_was_asked_for(tmp_path, fraction):
    path = tmp_path / "a.tif"
    write_synthetic_slide(path, (3000, 4000), tissue_fraction=fraction, texture=TEXTURE)
    assert share_of_tissue(path) == pytest.approx(fraction, abs=0.01)


@pytest.mark.parametrize("kind", ["generic", "aperio", "ome"])
@pytest.mark.parametrize("compression", ["jpeg", "deflate", "lzw", "none"])
def test_every_kind_opens_with_its_levels_and_pixel_size(tmp_path, kind, compression):
    path = tmp_path / "a.tif"
    options = {"compression": compression, "kind": kind, "levels": 3, "tile": 128}
    write_synthetic_slide(path, (900, 1100), mpp=0.4, texture=TEXTURE, **options)
    slide = open_slide(path)
    assert slide.format == {"generic": "tiff", "aperio": "aperio", "ome": "ome-tiff"}[kind]
    assert slide.mpp == pytest.approx(0.4)
    assert [one.shape for one in slide.levels] == [(900, 1100), (225, 275), (56, 68)]
    assert {one.tile for one in slide.levels[:2]} == {(128, 128)}
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff


@pytest.mark.parametrize(("kind", "vendor"), [("generic", "generic-tiff"), ("aperio", "aperio")])
def test_openslide_opens_it_too(tmp_path, kind, vendor):
    path = tmp_path / "a.tif"
    write_synthetic_slide(path, (3000, 2500), texture=TEXTURE, kind=kind, compression="deflate")
    with openslide.OpenSlide(path) as theirs:
        assert theirs.properties["openslide.vendor"] == vendor
        assert theirs.level_dimensions == ((2500, 3000), (625, 750))
        region = np.asarray(theirs.read_region((700, 900), 0, (500, 400)))[..., :3]
    np.testing.assert_array_equal(region, open_slide(path).read(0, 900, 700, 400, 500))


def test_coarse_levels_show_what_the_fine_one_does(tmp_path):
    path = tmp_path / "a.tif"
    options = {"texture": TEXTURE, "compression": "none", "tissue_fraction": 0.5}
    write_synthetic_slide(path, (2048, 2048), levels=3, **options)
    slide = open_slide(path)
    full = slide.read(0, 0, 0, 2048, 2048).astype(float)
    for number, factor in [(1, 4), (2, 16)]:
        side = 2048 // factor
        mean = full.reshape(side, factor, side, factor, 3).mean(axis=(1, 3))
        coarse = slide.read(number, 0, 0, side, side)
        assert np.abs(coarse - mean).mean() < 1.5


def test_the_texture_has_no_seams(tmp_path):
    path = tmp_path / "a.tif"
    ramp = np.broadcast_to(np.arange(0, 96, dtype=np.uint8)[:, None, None], (96, 128, 3))
    write_synthetic_slide(path, (500, 500), tissue_fraction=1, compression="none", texture=ramp)
    column = open_slide(path).read(0, 0, 40, 500, 1)[:, 0, 0].astype(int)
    assert np.abs(np.diff(column)).max() == 1


def test_nuclei_lie_across_the_borders_of_tiles(tmp_path):
    path = tmp_path / "a.tif"
    write_synthetic_slide(path, (1024, 1024), tissue_fraction=1, compression="none", tile=256)
    rgb = open_slide(path).read(0, 0, 0, 1024, 1024).astype(int)
    dark = rgb.sum(axis=-1) < 400
    for border in (256, 512, 768):
        assert (dark[border - 1] & dark[border]).sum() > 10
        assert (dark[:, border - 1] & dark[:, border]).sum() > 10


def test_the_same_arguments_give_the_same_file(tmp_path):
    paths = [tmp_path / name for name in ("a.tif", "b.tif", "c.tif")]
    for path, seed in zip(paths, [3, 3, 4], strict=True):
        write_synthetic_slide(path, (700, 700), seed=seed)
    first, same, other = (open_slide(path).read(0, 0, 0, 700, 700) for path in paths)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.skipif(sys.platform == "win32", reason="counts memory as POSIX does")
def test_memory_does_not_grow_with_the_slide(tmp_path):
    small, large = (_peak(tmp_path / f"{side}.tif", side) for side in (4000, 20000))
    # 1.2 GB more pixels; the tables of tiles are all that grows.
    assert large < small + 40e6


def _peak(path, side: int) -> float:
    script = (
        "import resource, sys, numpy as np\n"
        "from napari_sprout.io.slides.generator import write_synthetic_slide\n"
        "texture = np.zeros((64, 64, 3), np.uint8)\n"
        f"write_synthetic_slide(sys.argv[1], ({side}, {side}), texture=texture)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return float(done.stdout) * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (0, 100)},
        {"tissue_fraction": 1.1},
        {"tissue_fraction": -0.1},
        {"tile": 100},
        {"tile": 0},
        {"mpp": 0},
        {"levels": 0},
        {"levels": 9},
        {"texture": np.zeros((64, 64), np.uint8)},
        {"texture": np.zeros((64, 31, 3), np.uint8)},
        {"texture": np.zeros((64, 64, 3), np.float32)},
    ],
)
def test_what_is_out_of_range_is_refused_and_nothing_written(tmp_path, wrong):
    path = tmp_path / "a.tif"
    with pytest.raises(SettingsError):
        write_synthetic_slide(path, **{"shape": (500, 500), **wrong})
    assert not list(tmp_path.iterdir())
