from __future__ import annotations

import json
import shutil
from collections import Counter
from importlib.metadata import version
from itertools import groupby

import numpy as np
import pytest
import skimage.io

from napari_sprout.core.alterations import alter
from napari_sprout.core.baseline import BASELINE, otsu_watershed
from napari_sprout.core.metrics import evaluate
from napari_sprout.core.prompt_quality import prompt_quality
from napari_sprout.core.session import Session
from napari_sprout.core.stages import Stage
from napari_sprout.errors import OutputError, SettingsError, SproutError
from napari_sprout.io.experiment import plan, program
from napari_sprout.io.experiment.matrix import Alteration
from napari_sprout.io.experiment.measure import Failed, Measured
from napari_sprout.io.experiment.plan import Place, cells_of, tasks_for
from napari_sprout.io.experiment.run import chosen_images, read_groups

from .conftest import measured, rows_of

TWO = """
[[row]]
name = "soft"
[[row]]
name = "wide"
settings = { decoding = { window = 64 } }
"""
MORE = """
[[row]]
name = "more"
settings = { prompts = { negatives = 3 } }
"""


def test_cells_have_the_scores_of_a_session_of_their_own(opened, matrix, samples, fake):
    compared = matrix(TWO + "[[row]]\nname='fixed seed'\n", seeds=(0, 5))
    found = measured(opened(compared))
    by_row = {row.name: row.settings for row in compared.rows}
    for message in found:
        place = message.wanted.place
        settings = by_row[place.row].with_changes(seed=place.seed)
        session = Session(samples[place.image].rgb, settings, segmenter=fake)
        session.finish()
        truth = samples[place.image].labels
        assert message.cell.scores == evaluate(session.labels, truth)
        assert message.cell.scores.aji > 0.4
        prompts = session.output(Stage.PROMPTS).prompts
        assert message.cell.quality == prompt_quality(prompts, truth)
        assert message.cell.seconds > 0
    # "fixed seed" has the settings of "soft": one measurement serves both.
    assert len(found) == 2 * 2 * 2


def test_the_baseline_is_measured_once_whatever_the_seeds(opened, matrix, samples):
    found = measured(opened(matrix("baseline = true\n", seeds=(0, 1, 2))))
    assert rows_of(found) == [("one", BASELINE), ("two", BASELINE)]
    for message in found:
        made = samples[message.wanted.place.image]
        assert message.cell.scores == evaluate(otsu_watershed(made.rgb), made.labels)
        assert message.cell.quality is None


def test_tiles_are_encoded_once_for_all_rows_and_seeds(opened, matrix, fake):
    text = TWO + '[[row]]\nname = "stain"\nsettings = { stain = { method = "macenko" } }\n'
    measured(opened(matrix(text, seeds=(0, 1))))
    assert fake.encoded == 2


def test_rows_that_share_stages_are_measured_one_after_the_other(opened, matrix, fake, images):
    text = TWO + "".join(
        f'[[row]]\nname = "{stain} {tile}"\nsettings = {{ stain = {{ method = "{stain}" }}, '
        f"features = {{ tile = {tile} }} }}\n"
        for stain in ("fixed", "macenko")
        for tile in (128, 192)
    )
    cells = cells_of(matrix(text), images[:1], "cpu")
    (task,) = tasks_for(cells, images, ())
    order = [wanted.settings.features.tile for wanted in task.cells]
    assert order in (sorted(order), sorted(order, reverse=True))


def test_seeds_and_stains_do_not_part_rows_whose_tiles_are_cut_alike(matrix, images):
    text = "".join(
        f'[[row]]\nname = "{stain} {tile} {glass}"\nsettings = {{ stain.method = "{stain}", '
        f"tissue.mask_non_tissue = {glass}, features.tile = {tile} }}\n"
        for stain in ("fixed", "macenko")
        for tile in (0, 128)
        for glass in ("true", "false")
    )
    cells = cells_of(matrix(text, seeds=(0, 1, 2, 3)), images[:1], "cpu")
    (task,) = tasks_for(cells, images, ())
    assert len(task.cells) == 32
    sides = [side for side, _ in groupby(task.cells, lambda w: w.settings.features.tile)]
    assert sorted(sides) == [0, 128]


def test_running_again_measures_nothing_and_keeps_everything(opened, matrix, fake):
    first = opened(matrix(TWO))
    assert (first.total, first.left) == (4, 4)
    measured(first)
    assert first.left == 0
    asked = fake.decoded
    again = opened(matrix(TWO))
    assert again.left == 0
    assert measured(again) == []
    assert fake.decoded == asked


def test_only_rows_that_were_added_or_changed_are_measured(opened, matrix):
    measured(opened(matrix(TWO)))
    assert rows_of(measured(opened(matrix(TWO + MORE)))) == [("one", "more"), ("two", "more")]
    changed = (TWO + MORE).replace("window = 64", "window = 32").replace('"soft"', '"renamed"')
    assert rows_of(measured(opened(matrix(changed)))) == [("one", "wide"), ("two", "wide")]
    # What was measured once is still there for a matrix that has it again.
    assert measured(opened(matrix(TWO))) == []


def test_a_changed_image_or_label_image_is_measured_again(opened, matrix, images):
    measured(opened(matrix(TWO)))
    shutil.copy(images[1].truth, images[0].truth)
    assert {image for image, _ in rows_of(measured(opened(matrix(TWO))))} == {"one"}
    turned = skimage.io.imread(images[1].image)[::-1]
    skimage.io.imsave(images[1].image, turned, check_contrast=False)
    assert {image for image, _ in rows_of(measured(opened(matrix(TWO))))} == {"two"}


def test_another_state_of_the_program_measures_again(opened, matrix, monkeypatch):
    measured(opened(matrix(TWO)))
    monkeypatch.setattr(plan, "program_state", lambda: "0.0 later")
    assert opened(matrix(TWO)).left == 4


@pytest.mark.parametrize("package", ["torch", "scikit-learn", "segment-anything"])
def test_another_version_of_a_library_measures_again(opened, matrix, monkeypatch, package):
    measured(opened(matrix("baseline = true\n" + TWO)))
    monkeypatch.setattr(plan, "version", lambda name: version(name) + "x" * (name == package))
    assert opened(matrix("baseline = true\n" + TWO)).left == 6


def test_the_state_of_the_program_follows_the_code_that_measures(monkeypatch):
    program.program_state.cache_clear()
    source = program._source
    edits = {
        "core.masks": ("\ndef added() -> int:\n    return 1\n", True),
        "core.activation": ("\n# a comment\n", False),
        "core.correction": ("\nADDED = 1\n", False),
        "core.presets": ("\nADDED = 1\n", False),
    }
    before = program.program_state()
    for module, (text, counts) in edits.items():
        monkeypatch.setattr(
            program, "_source", lambda m, module=module, text=text: source(m) + text * (m == module)
        )
        program.program_state.cache_clear()
        assert (program.program_state() != before) == counts, module
    monkeypatch.undo()
    program.program_state.cache_clear()
    assert program.program_state() == before


def test_tiles_kept_on_disk_save_the_encoding_and_change_no_score(opened, matrix, fake, tmp_path):
    cache = tmp_path / "cache"
    plain = {m.wanted.key: m.cell for m in measured(opened(matrix(TWO)))}
    (tmp_path / "out" / "cells.jsonl").unlink()
    first = {m.wanted.key: m.cell for m in measured(opened(matrix(TWO)), cache)}
    (tmp_path / "out" / "cells.jsonl").unlink()
    encoded = fake.encoded
    second = {m.wanted.key: m.cell for m in measured(opened(matrix(TWO)), cache)}
    assert fake.encoded == encoded == 4
    assert plain.keys() == first.keys() == second.keys()
    for key, cell in plain.items():
        assert cell.scores == first[key].scores == second[key].scores
        assert cell.encoding_seconds is not None
        assert first[key].encoding_seconds is not None
        assert second[key].encoding_seconds is None


# Altered images

ALTERED = """
[[row]]
name = "soft"
[[alter]]
kind = "poisson"
levels = [0.2]
[[alter]]
kind = "magnification"
levels = [2]
"""


def test_every_row_is_measured_on_altered_images_too(opened, matrix, samples, fake):
    compared = matrix("baseline = true\n" + ALTERED)
    found = measured(opened(compared))
    counted = Counter(m.wanted.place.alteration for m in found)
    assert counted == {None: 4, Alteration("poisson", 0.2): 4, Alteration("magnification", 2.0): 4}
    noisy = next(
        m for m in found
        if m.wanted.place == Place("one", "soft", 0, Alteration("poisson", 0.2))
    )  # fmt: skip
    rgb, _ = alter(samples["one"].rgb, "poisson", 0.2, 0)
    session = Session(rgb, compared.rows[0].settings, segmenter=fake)
    session.finish()
    assert noisy.cell.scores == evaluate(session.labels, samples["one"].labels)


def test_labels_of_a_smaller_image_are_scored_on_the_grid_of_the_truth(
    opened, matrix, samples, fake
):
    compared = matrix(ALTERED)
    place = Place("one", "soft", 0, Alteration("magnification", 2.0))
    cell = next(m.cell for m in measured(opened(compared)) if m.wanted.place == place)
    rgb, factor = alter(samples["one"].rgb, "magnification", 2.0, 0)
    assert factor == 0.5
    # The pixel size is unknown: 0.25 is assumed, and halving the sides doubles it.
    session = Session(rgb, compared.rows[0].settings, mpp=0.5, segmenter=fake)
    session.finish()
    back = session.labels.repeat(2, axis=0).repeat(2, axis=1)
    assert back.shape == samples["one"].labels.shape
    assert cell.scores == evaluate(back, samples["one"].labels)
    assert cell.scores.aji > 0.4
    assert cell.quality.positive_precision > 0.7


# Failures


def test_an_image_that_fails_is_told_and_the_others_go_on(opened, matrix, images):
    images[0].image.write_bytes(b"no image")
    experiment = opened(matrix(TWO))
    messages = list(experiment.run())
    (failed,) = [m for m in messages if isinstance(m, Failed)]
    assert "one.png" in failed.reason
    assert len(failed.cells) == 2
    assert {m.wanted.place.image for m in messages if isinstance(m, Measured)} == {"two"}
    assert experiment.left == 2
    assert experiment.results().missing() == {"soft": ["one"], "wide": ["one"]}


def test_labels_of_another_size_are_refused_by_name(opened, matrix, images):
    from napari_sprout.io.labels import write_labels

    write_labels(images[0].truth, np.ones((112, 120), np.int32))
    failed = [m for m in opened(matrix(TWO)).run() if isinstance(m, Failed)]
    assert "120 x 112 px" in failed[0].reason
    assert "128 x 112 px" in failed[0].reason


def test_a_row_that_fails_leaves_the_others(opened, matrix, fake):
    def fail():
        raise RuntimeError("numbers ran out")

    experiment = opened(matrix("baseline = true\n" + TWO))
    fake.on_decode = fail
    messages = list(experiment.run())
    assert Counter(type(m) for m in messages) == {Failed: 4, Measured: 2}
    assert "numbers ran out" in next(m.reason for m in messages if isinstance(m, Failed))
    fake.on_decode = None
    assert len(measured(experiment)) == 4


def test_an_interruption_keeps_what_was_finished(opened, matrix, tmp_path):
    experiment = opened(matrix(TWO))
    messages = experiment.run()
    done = next(messages)
    messages.close()
    line = json.loads((tmp_path / "out" / "cells.jsonl").read_text(encoding="utf-8"))
    assert line["key"] == done.wanted.key
    assert (line["image"], line["row"]) == (done.wanted.place.image, done.wanted.place.row)
    again = opened(matrix(TWO))
    assert again.left == 3
    assert done.wanted.key not in {m.wanted.key for m in measured(again)}


def test_one_folder_takes_one_run_at_a_time(opened, matrix, images, tmp_path):
    from napari_sprout.io.experiment.run import Experiment

    opened(matrix(TWO))
    with pytest.raises(OutputError, match="Another run writes"):
        Experiment(matrix(TWO), images, tmp_path / "out", device="cpu")


# Which images


def test_images_are_chosen_by_name_or_pattern(images):
    assert [i.name for i in chosen_images(images, ())] == ["one", "two"]
    assert [i.name for i in chosen_images(images, ("two",))] == ["two"]
    assert [i.name for i in chosen_images(images, ("t*", "two"))] == ["two"]
    with pytest.raises(SproutError, match="Did you mean 'two'"):
        chosen_images(images, ("twoo",))


def test_groups_are_read_for_the_images_at_hand(images, tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("image,group\none,liver\ntwo, colon\nthree,lung\n", encoding="utf-8")
    assert read_groups(path, images) == {"one": "liver", "two": "colon"}
    path.write_text("image,group\none,liver\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="which group two"):
        read_groups(path, images)
    path.write_text("name,organ\none,liver\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="columns image and group"):
        read_groups(path, images)
