from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch

from napari_sprout.core.stages import Stage, needed
from napari_sprout.errors import StoppedError

ALL = tuple(Stage)


def current(session) -> set[Stage]:
    return {stage for stage in Stage if session.is_current(stage)}


def outputs(session) -> dict[Stage, object]:
    return {stage: session.output(stage) for stage in ALL}


def remade(session, before) -> set[Stage]:
    """Stages whose output is another object than before."""
    return {stage for stage in ALL if session.output(stage) is not before[stage]}


def test_a_run_labels_the_nuclei_of_a_synthetic_image(make_session, synthetic):
    session, fake = make_session()
    session.finish()
    labels = session.labels
    assert labels.shape == synthetic.rgb.shape[:2]
    assert labels.dtype == np.int32
    ids = set(np.unique(labels)) - {0}
    assert ids == {nucleus.id for nucleus in session.nuclei}
    assert [nucleus.id for nucleus in session.nuclei] == sorted(ids)
    prompts = {p.id: p for p in session.output(Stage.PROMPTS).prompts}
    assert all(prompts[i].kind == "positive" for i in ids)
    hit = labels[tuple(np.rint(synthetic.centres).astype(int).T)] > 0
    assert hit.mean() >= 0.8
    assert fake.encoded == 6
    assert session.warnings == ()
    assert session.result.labels is labels


def test_nuclei_lie_where_their_prompts_lie(make_session):
    session, fake = make_session()
    session.finish()
    # The fake answers with disks, so a mask's middle is its prompt, to half a logit.
    for candidate in session.output(Stage.MASKS):
        prompt = next(p for p in session.output(Stage.PROMPTS).prompts if p.id == candidate.id)
        y0, x0, y1, x1 = candidate.box
        edges = y0 == 0 or x0 == 0 or y1 == session.labels.shape[0] or x1 == session.labels.shape[1]
        if not edges:
            assert abs((y0 + y1 - 1) / 2 - prompt.y) <= 1
            assert abs((x0 + x1 - 1) / 2 - prompt.x) <= 1
            assert candidate.area == pytest.approx(np.pi * fake.radius**2, rel=0.05)


def test_progress_rises_from_the_start_to_one_through_the_stages_in_order(make_session):
    session, _ = make_session()
    seen = list(session.run())
    fractions = [progress.fraction for progress in seen]
    assert fractions[0] >= 0
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1, abs=1e-12)
    assert max(fractions) <= 1
    assert list(dict.fromkeys(progress.stage for progress in seen)) == list(ALL)
    order = [ALL.index(progress.stage) for progress in seen]
    assert order == sorted(order)
    for progress in seen:
        assert 0 <= progress.done <= progress.total
    assert sum(progress.stage is Stage.ENCODING for progress in seen) >= 6
    assert sum(progress.stage is Stage.ACTIVATION for progress in seen) >= 9


@pytest.mark.parametrize("until", ALL)
def test_a_run_goes_as_far_as_asked(make_session, until):
    session, fake = make_session()
    seen = list(session.run(until))
    assert seen[-1].stage is until
    assert seen[-1].fraction == pytest.approx(1)
    assert current(session) == set(needed(until, session.settings))
    assert (fake.encoded > 0) == session.is_current(Stage.ENCODING)
    assert (fake.decoded > 0) == session.is_current(Stage.MASKS)


def test_the_output_of_a_stage_that_has_not_run_is_refused(make_session):
    session, _ = make_session()
    session.finish(Stage.STAIN)
    with pytest.raises(KeyError, match="masks"):
        session.output(Stage.MASKS)
    with pytest.raises(KeyError, match="nuclei"):
        _ = session.labels


def test_stages_one_by_one_give_what_one_run_gives(make_session, expected):
    session, fake = make_session()
    for stage in ALL:
        session.finish(stage)
    np.testing.assert_array_equal(session.labels, expected)
    assert fake.encoded == 6


def test_running_again_makes_nothing_again(make_session):
    session, fake = make_session()
    session.finish()
    before, asked = outputs(session), (fake.encoded, fake.decoded)
    seen = list(session.run())
    assert remade(session, before) == set()
    assert (fake.encoded, fake.decoded) == asked
    assert seen[-1].fraction == pytest.approx(1)


AFTER = {stage: set(ALL[ALL.index(stage) :]) for stage in ALL}
CHANGES = [
    ("suppression", "threshold", (0.8, 0.9), AFTER[Stage.NUCLEI]),
    ("decoding", "multimask", ("best", "single"), AFTER[Stage.MASKS]),
    ("prompts", "negatives", (3, 2), AFTER[Stage.PROMPTS]),
    ("scan", "rho", (0.7, 0.0), AFTER[Stage.PROMPTS]),
    ("activation", "crf_weight", (1.0, 2.0), AFTER[Stage.ACTIVATION]),
    ("transport", "epsilon", (0.1, 0.2), AFTER[Stage.ACTIVATION]),
    ("prototypes", "clusters", (2, 4), AFTER[Stage.PROTOTYPES]),
    ("reference", "fraction", (0.4, 0.5), AFTER[Stage.REFERENCE] - {Stage.ENCODING}),
    ("stain", "method", ("macenko", "fixed"), AFTER[Stage.STAIN] - {Stage.ENCODING}),
    ("seed", None, (1, 2), AFTER[Stage.STAIN] - {Stage.ENCODING}),
    ("tissue", "min_od", (0.1, 0.11), AFTER[Stage.TISSUE]),
    ("features", "tile", (192, 256), AFTER[Stage.ENCODING]),
    ("image", "mpp", (0.5, 1.0), AFTER[Stage.IMAGE]),
]


@pytest.mark.parametrize(
    ("group", "name", "values", "stages"), CHANGES, ids=[change[0] for change in CHANGES]
)
def test_a_changed_setting_remakes_only_what_it_touches(make_session, group, name, values, stages):
    session, fake = make_session(mpp=0.25)
    session.finish()
    before, asked = outputs(session), (fake.encoded, fake.decoded)
    present = getattr(session.settings, group)
    value = next(v for v in values if v != (getattr(present, name) if name else present))
    session.settings = session.settings.with_changes(**{group: {name: value} if name else value})
    assert current(session) == set(ALL) - stages
    session.finish()
    assert remade(session, before) == stages
    # Tiles depend on the working image and on how it is cut alone.
    assert (fake.encoded > asked[0]) == (group in ("features", "image"))
    assert (fake.decoded > asked[1]) == (Stage.MASKS in stages)
    other, _ = make_session(settings=session.settings, mpp=0.25)
    other.finish()
    np.testing.assert_array_equal(session.labels, other.labels)


def test_going_back_to_earlier_settings_gives_the_earlier_labels(make_session, expected):
    session, _ = make_session()
    first = session.settings
    session.settings = first.with_changes(prompts={"source": "grid"}, seed=3)
    session.finish()
    assert not np.array_equal(session.labels, expected)
    session.settings = first
    session.finish()
    np.testing.assert_array_equal(session.labels, expected)


def test_settings_changed_during_a_run_wait_for_the_next(make_session, expected):
    session, _ = make_session()
    first = session.settings
    for progress in session.run():
        if progress.stage is Stage.PROTOTYPES:
            session.settings = first.with_changes(prompts={"source": "grid"})
    np.testing.assert_array_equal(session.labels, expected)
    assert session.metadata()["settings"] == first.to_dict()
    assert not session.is_current(Stage.NUCLEI)
    session.settings = first
    assert session.is_current(Stage.NUCLEI)


def test_two_sessions_give_the_same_labels_bit_by_bit(make_session):
    results = []
    for _ in range(2):
        session, _ = make_session(stain={"method": "macenko"})
        session.finish()
        results.append(session)
    np.testing.assert_array_equal(results[0].labels, results[1].labels)
    assert results[0].nuclei == results[1].nuclei
    assert results[0].metadata() == results[1].metadata()


def test_a_changed_seed_is_as_repeatable(make_session):
    session, _ = make_session()
    session.finish()
    session.settings = session.settings.with_changes(seed=11)
    session.finish()
    other, _ = make_session(seed=11)
    other.finish()
    np.testing.assert_array_equal(session.labels, other.labels)
    assert torch.equal(
        session.output(Stage.PROTOTYPES).vectors, other.output(Stage.PROTOTYPES).vectors
    )


@pytest.mark.parametrize("after", [0, 3, 7, 10, 16, 24, 33, 36])
@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_stopped_run_keeps_what_it_finished_and_can_go_on(make_session, expected, after, how):
    session, fake = make_session()
    running = session.run()
    for count, progress in enumerate(running):
        reached = ALL.index(progress.stage)
        if count == after:
            if how == "close":
                running.close()
                break
            session.stop()
    assert count == after
    assert set(ALL[:reached]) <= current(session) <= set(ALL[: reached + 1])
    assert Stage.NUCLEI not in current(session)
    kept = {stage: session.output(stage) for stage in current(session)}
    session.finish()
    np.testing.assert_array_equal(session.labels, expected)
    assert all(session.output(stage) is output for stage, output in kept.items())
    assert fake.encoded == 6


def test_a_run_can_be_stopped_from_another_thread(make_session, expected):
    session, fake = make_session()
    started, go_on = threading.Event(), threading.Event()

    def wait():
        if fake.encoded == 2:
            started.set()
            assert go_on.wait(10)

    fake.on_encode = wait
    seen = []
    worker = threading.Thread(target=lambda: seen.extend(session.run()), daemon=True)
    worker.start()
    assert started.wait(10)
    session.stop()
    go_on.set()
    worker.join(10)
    assert not worker.is_alive()
    assert fake.encoded == 3
    assert seen[-1].stage is Stage.ENCODING
    assert current(session) == {Stage.IMAGE, Stage.TISSUE, Stage.STAIN, Stage.REFERENCE}
    fake.on_encode = None
    session.finish()
    assert fake.encoded == 6
    np.testing.assert_array_equal(session.labels, expected)


def test_a_run_dropped_unfinished_leaves_the_session_usable(make_session, expected):
    session, _ = make_session()
    running = session.run()
    for _ in range(9):
        next(running)
    del running
    gc.collect()
    session.finish()
    np.testing.assert_array_equal(session.labels, expected)


def test_a_model_that_fails_leaves_the_earlier_stages_and_can_be_asked_again(
    make_session, expected
):
    session, fake = make_session()

    def fail():
        if fake.decoded > 4:
            raise RuntimeError("out of memory")

    fake.on_decode = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        session.finish()
    assert current(session) == set(ALL[:8])
    fake.on_decode = None
    session.finish()
    np.testing.assert_array_equal(session.labels, expected)
    assert fake.encoded == 6


def test_a_stop_before_the_run_begins_is_not_lost(make_session):
    # A worker thread may get to its first step only after the person has pressed Stop.
    session, fake = make_session()
    running = session.run()
    session.stop()
    assert len(list(running)) <= 1
    assert fake.encoded == 0


def test_a_finish_that_was_stopped_says_so_and_keeps_the_earlier_result(make_session):
    session, fake = make_session()
    session.finish()
    before = session.result
    session.settings = session.settings.with_changes(prompts={"source": "grid"})
    fake.on_decode = session.stop
    with pytest.raises(StoppedError, match="stopped"):
        session.finish()
    assert session.result is before
    assert not session.is_current(Stage.NUCLEI)
