from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import skimage.io

from fakes import FakeSegmenter
from napari_sprout.core.synthetic import SyntheticImage, synthetic_he
from napari_sprout.io.experiment import workers
from napari_sprout.io.experiment.matrix import Matrix, read_matrix
from napari_sprout.io.experiment.measure import Failed, Measured
from napari_sprout.io.experiment.plan import Task
from napari_sprout.io.experiment.run import Experiment
from napari_sprout.io.labels import write_labels
from napari_sprout.io.pairing import Annotated, find_annotated
from napari_sprout.models import weights

BASE = 'base = { stain = { method = "fixed" }, features = { tile = 128 } }\n'


@pytest.fixture(scope="session")
def samples() -> dict[str, SyntheticImage]:
    return {
        name: synthetic_he(shape=(112, 128), n_nuclei=4, seed=seed, touching=0)
        for name, seed in (("one", 1), ("two", 2))
    }


@pytest.fixture
def images(tmp_path: Path, samples: dict[str, SyntheticImage]) -> list[Annotated]:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, made in samples.items():
        skimage.io.imsave(folder / f"{name}.png", made.rgb, check_contrast=False)
        write_labels(folder / f"{name}_labels.tif", made.labels)
    return find_annotated(folder)


@pytest.fixture
def matrix(tmp_path: Path) -> Callable[..., Matrix]:
    """Make a matrix from TOML, with tiles that suit the small images."""

    def make(text: str, seeds: tuple[int, ...] = ()) -> Matrix:
        path = tmp_path / "matrix.toml"
        path.write_text(BASE + text, encoding="utf-8")
        return read_matrix(path, seeds)

    return make


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSegmenter:
    made = FakeSegmenter()
    monkeypatch.setattr(weights, "load_segmenter", lambda *_: made)
    # Small images gain nothing from threads, which get in the way of tests run beside.
    monkeypatch.setattr(workers, "cores", lambda: 1)
    return made


@pytest.fixture
def opened(
    tmp_path: Path, images: list[Annotated], fake: FakeSegmenter
) -> Iterator[Callable[..., Experiment]]:
    """Open experiments in one folder; the one before is closed."""
    begun: list[Experiment] = []

    def make(compared: Matrix, **options: object) -> Experiment:
        for earlier in begun:
            earlier.close()
        made = Experiment(compared, images, tmp_path / "out", device="cpu", **options)  # type: ignore[arg-type]
        begun.append(made)
        return made

    yield make
    for made in begun:
        made.close()


def measured(experiment: Experiment, cache: Path | None = None) -> list[Measured]:
    """Run what is left; nothing may fail."""
    messages = list(experiment.run(cache=cache))
    assert not [message for message in messages if isinstance(message, Failed)]
    return [message for message in messages if isinstance(message, Measured)]


def rows_of(found: list[Measured]) -> list[tuple[str, str]]:
    return sorted((m.wanted.place.image, m.wanted.place.row) for m in found)


def only(tasks: list[Task]) -> Task:
    (task,) = tasks
    return task
