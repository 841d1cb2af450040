from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub import COMMIT, Hub, a_model, serving, use_hub
from napari_sprout.errors import SproutError, StoppedError, WeightsError
from napari_sprout.models import download as downloading
from napari_sprout.models import store


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(downloading, "_PAUSE", 0.01)
    with serving(Hub()) as served:
        use_hub(served.address, tmp_path, monkeypatch)
        yield served


def files_of(tmp_path: Path) -> set[str]:
    folder = tmp_path / "models" / "some_model"
    return {path.name for path in folder.iterdir() if path.name != ".lock"}


def test_a_file_comes_whole_and_is_noted(hub: Hub, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    path = store.download(a_model(), lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "models" / "some_model" / "weights.bin"
    assert path.read_bytes() == hub.content
    assert files_of(tmp_path) == {"weights.bin", "pinned.json"}
    assert seen[-1] == (len(hub.content), len(hub.content))
    assert store.expected_sha256(a_model()) == hub.sha256
    ((asked, headers),) = hub.requests
    assert asked == "/people/some/resolve/main/folder/weights.bin"
    assert "authorization" not in headers


def test_a_second_call_asks_nobody(hub: Hub):
    first = store.download(a_model())
    hub.requests.clear()
    assert store.download(a_model()) == first
    assert store.locate(a_model()) == first
    assert hub.requests == []


def test_a_later_download_asks_for_the_same_commit(hub: Hub):
    store.download(a_model())
    store.remove(a_model())
    hub.requests.clear()
    store.download(a_model())
    assert [path for path, _ in hub.requests] == [
        f"/people/some/resolve/{COMMIT}/folder/weights.bin"
    ]


def test_the_registrys_revision_comes_first(hub: Hub):
    store.download(a_model(revision="v1"))
    assert "/resolve/v1/" in hub.requests[0][0]


def test_a_connection_that_breaks_off_is_made_again_from_there(hub: Hub):
    hub.cuts = [3000, 2000]
    path = store.download(a_model())
    assert path.read_bytes() == hub.content
    assert hub.asked_ranges == ["", "bytes=3000-", "bytes=5000-"]
    # What comes later is of the same commit as what came first.
    assert [COMMIT in path for path, _ in hub.requests] == [False, True, True]


def test_a_server_that_always_breaks_off_is_given_up_and_what_came_is_kept(
    hub: Hub, tmp_path: Path
):
    hub.cuts = [4000] + [0] * 50
    with pytest.raises(WeightsError, match=r"some_model.*goes on from there"):
        store.download(a_model())
    assert store.downloaded(a_model()) is None
    assert (tmp_path / "models/some_model/weights.bin.part").stat().st_size == 4000
    hub.cuts, hub.requests = [], []
    assert store.download(a_model()).read_bytes() == hub.content
    assert hub.asked_ranges == ["bytes=4000-"]
    assert files_of(tmp_path) == {"weights.bin", "pinned.json"}


def test_a_server_that_knows_no_parts_sends_all_again(hub: Hub):
    hub.ranges, hub.cuts = False, [3000]
    assert store.download(a_model()).read_bytes() == hub.content


def test_a_server_that_knows_no_parts_and_breaks_off_is_given_up(hub: Hub):
    hub.ranges, hub.cuts = False, [3000] * 50
    with pytest.raises(WeightsError, match="check the network"):
        store.download(a_model())
    assert len(hub.requests) < 10


def test_a_part_of_another_file_is_not_gone_on_with(hub: Hub):
    hub.cuts = [3000] + [0] * 20
    with pytest.raises(WeightsError):
        store.download(a_model())
    hub.content, hub.cuts = hub.content[::-1], []
    assert store.download(a_model()).read_bytes() == hub.content


def test_a_file_of_another_hash_is_removed_and_named(hub: Hub, tmp_path: Path):
    one = a_model(sha256="ab" * 32)
    with pytest.raises(WeightsError, match=r"some_model.*not the file.*abab.*was removed"):
        store.download(one)
    assert files_of(tmp_path) == set()
    assert store.downloaded(one) is None


def test_a_first_file_is_held_to_what_the_server_states(hub: Hub, tmp_path: Path):
    hub.stated = "cd" * 32
    with pytest.raises(WeightsError, match="not the file it should be"):
        store.download(a_model())
    assert files_of(tmp_path) == set()


def test_where_nobody_states_a_hash_the_first_file_counts(hub: Hub):
    hub.states = False
    store.download(a_model())
    assert store.expected_sha256(a_model()) == hub.sha256
    store.remove(a_model())
    hub.content = hub.content[::-1]
    with pytest.raises(WeightsError, match="not the file it should be"):
        store.download(a_model())
    store.remove(a_model(), forget=True)
    assert store.download(a_model()).read_bytes() == hub.content


@pytest.mark.parametrize(
    ("status", "code", "token", "said"),
    [
        (401, "GatedRepo", "", r"accept it at https://example.org/some.*'hf auth login'.*HF_TOKEN"),
        (401, "", "stale", r"does not know your token.*'hf auth login'.*https://example.org/some"),
        (403, "GatedRepo", "good", r"not among them yet.*https://example.org/some.*HF_TOKEN"),
    ],
)
def test_a_gated_model_names_its_page_and_the_way_in(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int, code: str, token: str, said: str
):
    hub.status, hub.code = status, code
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(WeightsError, match=said) as raised:
        store.download(a_model(gated=True))
    assert "\n" not in str(raised.value)
    assert token not in str(raised.value) or not token
    assert [headers.get("authorization") for _, headers in hub.requests] == [
        f"Bearer {token}" if token else None
    ]


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "RepoNotFound", r"refused.*401.*needs no account"),
        (404, "EntryNotFound", r"'folder/weights\.bin' of 'people/some' is not at.*404"),
        (404, "", r"404.*https://example\.org/some"),
        (429, "", r"too many requests"),
        (503, "", r"error 503.*later"),
    ],
)
def test_a_refusal_is_told_at_once(hub: Hub, status: int, code: str, said: str):
    hub.status, hub.code = status, code
    with pytest.raises(WeightsError, match=said):
        store.download(a_model())
    assert len(hub.requests) == 1


def test_a_log_in_page_of_the_network_is_not_taken_for_weights(hub: Hub, tmp_path: Path):
    hub.commit, hub.content, hub.states = "", b"<html>Please log in</html>", False
    with pytest.raises(WeightsError, match="is not Hugging Face"):
        store.download(a_model())
    assert files_of(tmp_path) == set()


def test_a_token_does_not_follow_to_another_server(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    with serving(Hub(commit="", states=False)) as other:
        hub.elsewhere = f"{other.address}/there"
        assert store.download(a_model()).read_bytes() == hub.content
        assert hub.requests[0][1]["authorization"] == "Bearer secret"
        assert [headers.get("authorization") for _, headers in other.requests] == [None]
    assert store.expected_sha256(a_model()) == hub.sha256


def test_a_slow_download_is_stopped_within_a_second_and_gone_on_with(hub: Hub, tmp_path: Path):
    hub.pause = 0.05
    began = time.monotonic()
    done = [0]

    def progress(now: int, total: int) -> None:
        done[0] = now

    with pytest.raises(StoppedError, match="go on from there"):
        store.download(a_model(), progress, lambda: done[0] >= 2000)
    assert time.monotonic() - began < 2.0
    kept = (tmp_path / "models/some_model/weights.bin.part").stat().st_size
    assert 2000 <= kept < len(hub.content)
    hub.pause, hub.requests = 0.0, []
    assert store.download(a_model()).read_bytes() == hub.content
    assert hub.asked_ranges == [f"bytes={kept}-"]


def test_a_silent_server_does_not_keep_anybody_waiting_who_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_hub(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        began = time.monotonic()
        with pytest.raises(StoppedError):
            store.download(a_model(), cancelled=lambda: True)
        assert time.monotonic() - began < 1.0
        with pytest.raises(WeightsError, match=r"does not answer.*check the network"):
            store.download(a_model())


def test_no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    use_hub(f"http://127.0.0.1:{free}", tmp_path, monkeypatch)
    with pytest.raises(WeightsError, match=r"connection to http.* failed.*check the network"):
        store.download(a_model())


def test_a_connection_kept_from_earlier_that_was_closed_does_no_harm(hub: Hub):
    store.download(a_model())
    hub.drops = 1
    assert store.download(a_model(name="another")).read_bytes() == hub.content
    hub.drops = 50
    with pytest.raises(WeightsError, match="check the network"):
        store.download(a_model(name="third"))
    assert len(hub.requests) == 5


def test_an_unknown_host_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    use_hub("http://nowhere.invalid", tmp_path, monkeypatch)
    with pytest.raises(WeightsError, match=r"http://nowhere\.invalid cannot be found.*HTTPS_PROXY"):
        store.download(a_model())


def test_offline_is_obeyed_and_said(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        store.download(a_model())
    assert hub.requests == []


def test_too_little_room_is_said_before_anything_comes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "napari_sprout.models.download.shutil.disk_usage",
        lambda _: type("Usage", (), {"free": 5}),
    )
    with pytest.raises(WeightsError, match=r"no room.*NAPARI_SPROUT_MODELS"):
        store.download(a_model())
    assert files_of(tmp_path) == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_disk_that_fills_up_is_said(hub: Hub, tmp_path: Path):
    folder = tmp_path / "models" / "some_model"
    folder.mkdir(parents=True)
    (folder / "weights.bin.part").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match=r"no room.*free some space"):
        store.download(a_model())


def test_a_folder_that_cannot_be_made_is_said(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAPARI_SPROUT_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(WeightsError, match=r"cannot be written.*NAPARI_SPROUT_MODELS"):
        store.download(a_model())


def test_two_downloads_at_once_fetch_the_file_once(hub: Hub):
    hub.pause = 0.02
    failed: list[SproutError] = []

    def work() -> None:
        try:
            store.download(a_model())
        except SproutError as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(hub.requests) == 1
    assert store.locate(a_model()).read_bytes() == hub.content


def test_the_environment_of_hugging_face_is_obeyed(hub: Hub, tmp_path: Path):
    code = (
        "from hub import a_model\n"
        "from napari_sprout.models import store\n"
        "print(store.download(a_model()))\n"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "mine",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert Path(done.stdout.strip()).read_bytes() == hub.content, done.stderr
    # Nothing but the file itself was asked for.
    ((_, headers),) = hub.requests
    assert headers["authorization"] == "Bearer mine"
    note = json.loads((tmp_path / "models/some_model/pinned.json").read_text())
    assert note == {
        "repository": "people/some",
        "file": "folder/weights.bin",
        "commit": COMMIT,
        "sha256": hub.sha256,
    }
