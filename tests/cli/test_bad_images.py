"""Images that cannot be segmented, and what goes wrong with one while others go on."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import skimage.io
import tifffile

from napari_sprout.cli import batch
from napari_sprout.cli.jobs import Job, Outcome
from napari_sprout.io.labels import read_labels


def write_bad_images(folder: Path) -> dict[str, str]:
    """Write bad images of every kind; return a word of what must be said of each."""
    rng = np.random.default_rng(0)
    image = rng.integers(60, 250, (64, 64, 3)).astype(np.uint8)
    (folder / "text.png").write_text("These are not the pixels you are looking for.")
    (folder / "empty.tif").write_bytes(b"")
    tifffile.imwrite(folder / "cut.tif", image, photometric="rgb")
    whole = (folder / "cut.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    skimage.io.imsave(folder / "grey.png", image[..., 0])
    decimal = (image / 255).astype(np.float32)
    decimal[3, 4, 1] = np.nan
    tifffile.imwrite(folder / "nan.tif", decimal, photometric="rgb")
    skimage.io.imsave(folder / "narrow.png", image[:, :20])
    return {
        "text.png": "not a TIFF, PNG or JPEG",
        "empty.tif": "empty",
        "cut.tif": "damaged or incomplete",
        "grey.png": "grayscale",
        "nan.tif": "not numbers",
        "narrow.png": "20 px wide",
    }


def test_bad_images_are_named_and_the_good_ones_done(run, blank, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    expected = write_bad_images(tmp_path / "in")
    blank("in/zebra.png")
    out = tmp_path / "out"
    result = run("segment", tmp_path / "in", "-o", out)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    for name, word in expected.items():
        (line,) = [line for line in lines if f"{name}'" in line]
        assert line.startswith("napari-sprout: error: ")
        assert word in line
    assert "0 nuclei in 1 image (6 failed)" in result.stdout
    assert {path.name for path in out.iterdir()} == {
        "zebra_labels.tif",
        "zebra_overlay.png",
        "zebra_nuclei.csv",
    }


@pytest.mark.parametrize("value", [0, 245, 255])
def test_glass_and_black_give_an_empty_result_and_a_warning(
    run, blank, tmp_path: Path, value: int
) -> None:
    out = tmp_path / "out"
    result = run("segment", blank(value=value), "-o", out, "--mpp", "0.25")
    assert result.exit_code == 0
    (warning,) = [line for line in result.stderr.splitlines() if "warning" in line]
    assert "blank.png: No tissue was found" in warning
    assert not read_labels(out / "blank_labels.tif").labels.any()
    assert len((out / "blank_nuclei.csv").read_text().splitlines()) == 1


def test_an_image_too_small_at_its_pixel_size_is_named(run, blank, tmp_path: Path) -> None:
    result = run("segment", blank(), "-o", tmp_path / "out", "--mpp", "0.01")
    assert result.exit_code == 1
    assert "blank.png" in result.stderr
    assert "pixel size" in result.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("shapes differ\nmore"), "unexpected ValueError (shapes differ)"),
        (MemoryError(), "does not fit in memory"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_whatever_goes_wrong_with_one_image_the_others_go_on(
    run, blank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    segment_image = batch.segment_image

    def sometimes(job: Job, *others: object) -> Outcome:
        if job.name == "a":
            raise error
        return segment_image(job, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "segment_image", sometimes)
    result = run("segment", blank("a.png"), blank("b.png"), "-o", tmp_path / "out")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if "error" in line]
    assert "a.png" in line
    assert message in line
    assert (tmp_path / "out" / "b_labels.tif").exists()
    debugged = run("--debug", "segment", blank("a.png"), "-o", tmp_path / "out")
    assert "Traceback" in debugged.stderr
