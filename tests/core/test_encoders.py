"""A separate encoder beside SAM: from its patches to the labels."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from fakes import FakeSegmenter
from napari_sprout.core.correction import Correction
from napari_sprout.core.edits import AddPrompt
from napari_sprout.core.instances import Prompt
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.core.stage_keys import stage_keys
from napari_sprout.core.stages import Stage
from napari_sprout.errors import SettingsError, StoppedError, WeightsError
from napari_sprout.io.stage_images import stage_images
from napari_sprout.models import encoders as timm_encoders
from napari_sprout.models import weights
from napari_sprout.models.protocols import FeatureEncoder

CPU = torch.device("cpu")


class FakeEncoder:
    """Tokens are the optical density of mean colours; counts what is asked of it."""

    weights_sha256 = "e" * 64
    device = CPU

    def __init__(self, name: str = "virchow2", tokens: int = 16, batch: int = 3) -> None:
        self.name, self.tokens, self.batch = name, tokens, batch
        self.batches: list[int] = []

    def encode_batch(self, tiles):
        self.batches.append(len(tiles))
        assert len(tiles) <= self.batch
        n, side, t = len(tiles), tiles.shape[1], self.tokens
        blocks = tiles.reshape(n, t, side // t, t, side // t, 3).astype(np.float64)
        density = -np.log((blocks.mean(axis=(2, 4)) + 1) / 256)
        return torch.from_numpy(np.moveaxis(density, 3, 1).astype(np.float32))


def tokens_of(image, grid):
    """Return what the fake encoder would say of every token of the padded image."""
    h, w = grid.tokens
    extra = [(0, p - s) for p, s in zip(grid.padded, grid.shape, strict=True)]
    padded = np.pad(image, [*extra, (0, 0)], mode="symmetric")
    blocks = padded.reshape(h, grid.token, w, grid.token, 3).astype(np.float64)
    return np.moveaxis(-np.log((blocks.mean(axis=(1, 3)) + 1) / 256), 2, 0)


@pytest.fixture
def with_encoder(synthetic, small_tiles):
    """Make a session with a separate encoder: of the synthetic image six patches."""

    def make(image=None, encoder=None, store=None, **features):
        segmenter, encoder = FakeSegmenter(), encoder or FakeEncoder()
        settings = small_tiles.with_changes(features={"encoder": "virchow2", **features})
        rgb = synthetic.rgb if image is None else image
        session = Session(rgb, settings, segmenter=segmenter, encoder=encoder, embeddings=store)
        return session, encoder, segmenter

    return make


@pytest.fixture
def loads(monkeypatch):
    """Note what encoders are loaded, without loading one."""
    asked: list[tuple] = []

    def load(name, device, path, tokens):
        asked.append((name, device, path, tokens))
        return FakeEncoder(name, tokens)

    monkeypatch.setattr(timm_encoders, "load_encoder", load)
    return asked


def test_the_fake_is_an_encoder():
    assert isinstance(FakeEncoder(), FeatureEncoder)


def test_features_are_the_encoders_and_masks_are_sams(with_encoder, synthetic):
    session, encoder, segmenter = with_encoder()
    session.finish()
    encoded = session.output(Stage.ENCODING)
    grid = encoded.grid
    assert (grid.side, grid.token, grid.across) == (128, 8, 16)
    assert (encoded.tiles.grid.side, encoded.tiles.grid.across) == (128, 64)
    expected = tokens_of(synthetic.rgb, grid)
    np.testing.assert_allclose(encoded.features.numpy(), expected, atol=1e-5)
    assert sum(encoder.batches) == len(grid.origins) == 6
    assert segmenter.encoded == len(encoded.tiles.grid.origins)
    assert segmenter.decoded > 0
    found = session.labels[tuple(np.rint(synthetic.centres).astype(int).T)]
    assert (found > 0).mean() >= 0.8
    scan = session.output(Stage.ACTIVATION)
    assert scan.assignments.shape[1:3] == grid.tokens


@pytest.mark.parametrize(
    "features",
    [
        {"patch": 64, "stride": 64, "tokens": 4},
        {"patch": 192, "stride": 50},
        {"patch": 96, "stride": 17, "tokens": 32},
        {"patch": 1024, "stride": 8, "tokens": 64},
    ],
    ids=str,
)
def test_patches_may_be_cut_in_other_ways(with_encoder, synthetic, features):
    session, _, _ = with_encoder(encoder=FakeEncoder(tokens=features.get("tokens", 16)), **features)
    session.finish()
    encoded = session.output(Stage.ENCODING)
    expected = tokens_of(synthetic.rgb, encoded.grid)
    np.testing.assert_allclose(encoded.features.numpy(), expected, atol=1e-5)
    assert session.labels.max() > 0


def test_progress_is_told_before_every_batch_and_then_for_every_tile(with_encoder):
    session, encoder, _ = with_encoder(encoder=FakeEncoder(batch=4))
    seen = [p for p in session.run() if p.stage is Stage.ENCODING]
    assert encoder.batches == [4, 2]
    assert [(p.done, p.total) for p in seen] == [
        *((done, 12) for done in (0, 4, 6, 7, 8, 9, 10, 11)),
        (12, 12),
    ]


@pytest.mark.parametrize("at", [0, 3, 6, 8])
def test_a_run_stopped_in_between_goes_on_where_it_was(with_encoder, at):
    clean, _, _ = with_encoder()
    clean.finish()
    session, encoder, segmenter = with_encoder()
    for progress in session.run():
        if progress.stage is Stage.ENCODING and progress.done == at:
            session.stop()
    assert sum(encoder.batches) == min(at, 6)
    assert not session.is_current(Stage.ENCODING)
    session.finish()
    assert encoder.batches == [3, 3]
    assert segmenter.encoded == 6
    np.testing.assert_array_equal(session.labels, clean.labels)
    features = [s.output(Stage.ENCODING).features for s in (session, clean)]
    assert torch.equal(*features)


def test_a_stop_between_batches_is_obeyed(with_encoder):
    session, encoder, _ = with_encoder(encoder=FakeEncoder(batch=1))
    encode = encoder.encode_batch

    def stopping(tiles):
        session.stop()
        return encode(tiles)

    encoder.encode_batch = stopping
    with pytest.raises(StoppedError):
        session.finish()
    assert encoder.batches == [1]


def test_patches_are_encoded_again_only_when_they_are_others(with_encoder):
    session, encoder, _ = with_encoder()
    session.finish()
    for change in ({"tile": 192}, {"overlap": 0.25}, {"tile": 128, "overlap": 0.5}):
        session.settings = session.settings.with_changes(features=change)
        session.finish()
    assert sum(encoder.batches) == 6
    session.settings = session.settings.with_changes(features={"stride": 32})
    session.finish()
    again = len(session.output(Stage.ENCODING).grid.origins)
    assert sum(encoder.batches) == 6 + again > 12


def test_only_patches_that_hold_tissue_are_encoded(with_encoder, synthetic):
    glass = np.full((192, 600, 3), 244, np.uint8)
    image = np.concatenate([synthetic.rgb, glass], axis=1)
    session, encoder, _ = with_encoder(image)
    session.finish()
    encoded = session.output(Stage.ENCODING)
    assert 0 < sum(encoder.batches) < len(encoded.grid.origins)
    features = encoded.features.numpy()
    assert features.shape[1:] == encoded.grid.tokens
    held = np.zeros(encoded.grid.tokens, bool)
    for index in encoded.grid.over_tissue(session.output(Stage.TISSUE)):
        y, x = (at // 8 for at in encoded.grid.origins[index])
        held[y : y + 16, x : x + 16] = True
    assert not held.all()
    assert (features[:, ~held] == 0).all()
    np.testing.assert_allclose(
        features[:, held], tokens_of(image, encoded.grid)[:, held], atol=1e-5
    )
    assert (session.output(Stage.ACTIVATION).assignments[:, ~held] == 0).all()


def test_an_image_without_tissue_needs_no_encoder(small_tiles, monkeypatch):
    def never(*_):
        raise AssertionError("nothing had to be encoded")

    monkeypatch.setattr(timm_encoders, "load_encoder", never)
    settings = small_tiles.with_changes(features={"encoder": "uni"})
    session = Session(np.full((64, 64, 3), 255, np.uint8), settings, segmenter=FakeSegmenter())
    session.finish()
    assert session.labels.max() == 0
    made = session.metadata()
    assert (made["encoder"], made["encoder_sha256"]) == ("uni", None)


def test_an_image_smaller_than_a_patch_is_one_patch(with_encoder, synthetic):
    session, encoder, _ = with_encoder(np.ascontiguousarray(synthetic.rgb[:60, :90]))
    session.finish()
    encoded = session.output(Stage.ENCODING)
    assert encoder.batches == [1]
    assert encoded.features.shape == (3, 16, 16)
    np.testing.assert_allclose(
        encoded.features.numpy(), tokens_of(synthetic.rgb[:60, :90], encoded.grid), atol=1e-5
    )
    assert session.labels.shape == (60, 90)


def test_all_maps_of_a_run_can_be_looked_at(with_encoder, synthetic):
    session, _, _ = with_encoder()
    session.finish()
    maps = dict(stage_images(session))
    assert {array.shape[:2] for array in maps.values()} == {synthetic.rgb.shape[:2]}
    nucleus = maps["prototype_nucleus_1"] + maps["prototype_nucleus_2"]
    nucleus += maps["prototype_nucleus_3"]
    inside = synthetic.labels > 0
    assert nucleus[inside].mean() > 2 * nucleus[~inside].mean()


def test_corrections_know_the_encoders_tokens_and_encode_nothing(with_encoder):
    session, encoder, segmenter = with_encoder()
    session.finish()
    correction = Correction(session)
    assert correction.state.ground.token == 8
    asked = (segmenter.encoded, list(encoder.batches))
    decoded = segmenter.decoded
    why = correction.why(next(iter(correction.candidates)))
    assert 0 < why["mass"] <= 1
    correction.apply(AddPrompt(Prompt(correction.new_id(), "positive", 90.0, 100.0, "hand")))
    assert segmenter.decoded > decoded
    assert (segmenter.encoded, encoder.batches) == asked


def test_sams_tiles_are_kept_as_without_an_encoder(with_encoder):
    files: dict = {}

    class Kept:
        def load(self, key):
            return files.get(key)

        def save(self, key, tiles):
            files[key] = dict(tiles)

    first, _, segmenter = with_encoder(store=Kept())
    first.finish()
    assert segmenter.encoded == 6
    again, encoder, segmenter = with_encoder(store=Kept())
    again.finish()
    assert segmenter.encoded == 0
    assert sum(encoder.batches) == 6
    np.testing.assert_array_equal(again.labels, first.labels)
    # Without a separate encoder they are the same tiles.
    settings = again.settings.with_changes(features={"encoder": "sam"})
    plain = Session(again.image, settings, segmenter=segmenter, embeddings=Kept())
    plain.finish()
    assert segmenter.encoded == 0
    assert len(files) == 1


def test_back_with_sams_features_the_labels_are_those_of_before(with_encoder, expected):
    session, encoder, _ = with_encoder()
    session.finish()
    assert session.output(Stage.ENCODING).features.shape[0] == 3
    session.settings = session.settings.with_changes(features={"encoder": "sam"})
    session.finish()
    encoded = session.output(Stage.ENCODING)
    assert encoded.grid is encoded.tiles.grid
    np.testing.assert_array_equal(session.labels, expected)
    assert sum(encoder.batches) == 6


def test_metadata_says_what_made_the_features(with_encoder):
    session, encoder, _ = with_encoder()
    session.finish()
    made = session.metadata()
    assert (made["encoder"], made["encoder_sha256"]) == ("virchow2", encoder.weights_sha256)
    assert made["settings"]["features"]["encoder"] == "virchow2"
    assert made["segmenter"] == "fake"
    session.settings = session.settings.with_changes(features={"encoder": "sam"})
    session.finish()
    made = session.metadata()
    assert (made["encoder"], made["encoder_sha256"]) == ("sam", None)


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": "uni"},
        {"encoder_weights": "other.bin"},
        {"segmenter_weights": "tuned.pt"},
        {"patch": 256},
        {"stride": 32},
        {"tokens": 32},
    ],
    ids=str,
)
def test_another_encoder_or_cut_makes_all_again_from_the_features_on(change):
    before = Settings().with_changes(features={"encoder": "virchow2"})
    a, b = stage_keys(before), stage_keys(before.with_changes(features=change))
    order = list(Stage)
    first = order.index(Stage.ENCODING)
    assert all(a[stage] == b[stage] for stage in order[:first])
    assert all(a[stage] != b[stage] for stage in order[first:])


def test_an_encoder_is_loaded_once_and_let_go_with_the_setting(synthetic, small_tiles, loads):
    settings = small_tiles.with_changes(features={"encoder": "uni", "encoder_weights": "~/uni.bin"})
    session = Session(synthetic.rgb, settings, device="cpu", segmenter=FakeSegmenter())
    session.finish()
    session.settings = session.settings.with_changes(features={"stride": 32})
    session.finish()
    assert loads == [("uni", "cpu", Path.home() / "uni.bin", 16)]
    held = weakref.ref(session.context().encoder())
    session.settings = session.settings.with_changes(
        features={"encoder": "vit_l_16", "encoder_weights": "", "tokens": 8}
    )
    gc.collect()
    assert held() is None
    session.finish()
    assert loads[1:] == [("vit_l_16", "cpu", None, 8)]
    held = weakref.ref(session.context().encoder())
    session.settings = session.settings.with_changes(features={"encoder": "sam"})
    gc.collect()
    assert held() is None
    session.finish()
    assert len(loads) == 2


def test_the_model_of_the_masks_may_be_loaded_from_a_file(synthetic, small_tiles, monkeypatch):
    asked = []
    made = FakeSegmenter()

    def load(*wanted):
        asked.append(wanted)
        return made

    monkeypatch.setattr(weights, "load_segmenter", load)
    monkeypatch.setattr(weights, "weights_sha256", lambda *_: "f" * 64)
    settings = small_tiles.with_changes(features={"segmenter_weights": "/tuned.pt"})
    session = Session(synthetic.rgb, settings, device="cpu")
    session.finish()
    assert asked == [("mobile_sam", "cpu", Path("/tuned.pt"))]
    encoded = made.encoded
    session.settings = session.settings.with_changes(features={"segmenter_weights": ""})
    session.finish()
    assert asked[1:] == [("mobile_sam", "cpu", None)]
    # Another file's embeddings are others.
    assert made.encoded == 2 * encoded


def test_an_encoder_loaded_for_other_tokens_is_refused(with_encoder):
    session, _, _ = with_encoder(encoder=FakeEncoder(tokens=8))
    with pytest.raises(SettingsError, match=r"8 tokens a side.*'features\.tokens' cannot be 16"):
        session.finish()


def test_an_encoder_whose_weights_are_missing_is_asked_for(
    synthetic, small_tiles, monkeypatch, tmp_path
):
    for variable in ("NAPARI_SPROUT_MODELS", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    settings = small_tiles.with_changes(features={"encoder": "virchow2"})
    session = Session(synthetic.rgb, settings, device="cpu", segmenter=FakeSegmenter())
    with pytest.raises(WeightsError, match=r"'virchow2' are not on this computer"):
        session.finish()
