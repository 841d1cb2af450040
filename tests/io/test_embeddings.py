from __future__ import annotations

import errno
import os
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fakes import FakeSegmenter
from napari_sprout.core.session import Session
from napari_sprout.core.settings import Settings
from napari_sprout.io import embeddings
from napari_sprout.io.embeddings import EmbeddingCache

KEY, OTHER, THIRD = "a" * 64, "b" * 64, "c" * 64


def tiles(value: float = 1.0, count: int = 3) -> dict[int, torch.Tensor]:
    return {2 * i: torch.full((4, 8, 8), value + i) for i in range(count)}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[i], b[i]) for i in a)


@pytest.fixture
def cache(tmp_path):
    return EmbeddingCache(tmp_path / "cache")


def file_of(cache, key=KEY):
    (path,) = (p for p in cache.folder.iterdir() if p.name.startswith(key))
    return path


def test_nothing_is_there_at_first_and_looking_makes_no_folder(cache):
    assert cache.load(KEY) is None
    assert not cache.folder.exists()


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 4))
@settings(deadline=None, max_examples=15)
def test_what_is_kept_comes_back_bit_by_bit(tmp_path_factory, seed, count):
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**32, (count, 3, 5, 7), dtype=np.uint32)
    held = {7 * i: torch.from_numpy(b.view(np.float32)) for i, b in enumerate(bits)}
    cache = EmbeddingCache(tmp_path_factory.mktemp("cache"))
    cache.save(KEY, held)
    found = cache.load(KEY)
    assert found.keys() == held.keys()
    for index in held:
        np.testing.assert_array_equal(
            found[index].numpy().view(np.uint32), held[index].numpy().view(np.uint32)
        )
    assert cache.load(OTHER) is None


def test_saving_again_replaces(cache):
    cache.save(KEY, tiles(1.0))
    cache.save(KEY, tiles(5.0, count=2))
    assert same(cache.load(KEY), tiles(5.0, count=2))


def test_what_was_loaded_survives_the_file(cache):
    cache.save(KEY, tiles())
    found = cache.load(KEY)
    file_of(cache).write_bytes(b"gone")
    assert same(found, tiles())


def flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize(
    "damage",
    [flip, lambda d: d[:100], lambda d: d[:-1], lambda _: b"", lambda d: b"\xff" * 8 + d],
    ids=["bit", "header", "end", "empty", "length"],
)
def test_a_damaged_file_counts_as_absent_and_is_replaced(cache, damage):
    cache.save(KEY, tiles())
    path = file_of(cache)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.load(KEY) is None
    cache.save(KEY, tiles())
    assert same(cache.load(KEY), tiles())


def test_files_of_others_are_not_believed(cache):
    cache.save(KEY, tiles())
    path = file_of(cache)
    os.link(path, path.with_name(f"{OTHER}.safetensors"))
    assert cache.load(OTHER) is None
    save_file({"weight": torch.zeros(3)}, path, {"key": KEY})
    assert cache.load(KEY) is None
    save_file({"0": torch.zeros(3)}, path)
    assert cache.load(KEY) is None


def test_what_was_used_longest_ago_goes_first(tmp_path):
    size = sum(t.nbytes for t in tiles().values())
    cache = EmbeddingCache(tmp_path, limit_bytes=int(2.9 * size))
    stranger = tmp_path / "notes.safetensors"
    stranger.write_bytes(bytes(10 * size))
    for age, key in ((300, KEY), (200, OTHER)):
        cache.save(key, tiles())
        past = time.time() - age
        os.utime(file_of(cache, key), (past, past))
    assert cache.load(KEY) is not None
    cache.save(THIRD, tiles())
    assert cache.load(OTHER) is None
    assert cache.load(KEY) is not None
    assert cache.load(THIRD) is not None
    assert stranger.exists()


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", limit_bytes=1000)
    cache.save(KEY, tiles())
    assert cache.load(KEY) is None
    assert not (tmp_path / "cache").exists()


def test_what_killed_processes_left_half_written_is_tidied_away(cache):
    cache.save(KEY, tiles())
    old, new = (cache.folder / f".sprout-{name}.safetensors" for name in ("0a", "0b"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 9999,) * 2)
    cache.save(OTHER, tiles())
    assert not old.exists()
    assert new.exists()


def test_a_full_disk_is_told_once_and_fails_nothing(tmp_path, monkeypatch):
    told: list[str] = []
    cache = EmbeddingCache(tmp_path, tell=told.append)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embeddings, "save_file", full)
    cache.save(KEY, tiles())
    cache.save(KEY, tiles())
    assert len(told) == 1
    assert "disk is full" in told[0]
    assert cache.load(KEY) is None


def test_many_may_write_and_read_one_key_at_a_time(tmp_path):
    wrong: list[object] = []

    def work(number: int) -> None:
        own = EmbeddingCache(tmp_path, limit_bytes=2500, tell=wrong.append)
        for turn in range(15):
            key = (KEY, OTHER)[(turn + number) % 2]
            own.save(key, tiles(float("ab".index(key[0])), count=2))
            found = own.load(key)
            if found is not None and not same(found, tiles(float("ab".index(key[0])), count=2)):
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_an_image_opened_again_has_bit_identical_nuclei_without_encoding(synthetic, cache):
    chosen = Settings().with_changes(stain={"method": "fixed"}, features={"tile": 128})
    made = []
    for _ in range(2):
        fake = FakeSegmenter()
        session = Session(synthetic.rgb, chosen, segmenter=fake, embeddings=cache)
        session.finish()
        made.append((session, fake.encoded))
    (first, encoded), (again, encoded_again) = made
    assert encoded > 0
    assert encoded_again == 0
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.nuclei == again.nuclei
