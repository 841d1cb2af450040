from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hub import COMMIT, Hub, a_model, serving, use_hub
from napari_sprout.errors import SproutWarning, StoppedError, WeightsError
from napari_sprout.models import pins, store
from napari_sprout.models.registry import model


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)


def put(one: object, data: bytes = b"weights") -> Path:
    path = store.own_path(one)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def in_shared_cache(tmp_path: Path, data: bytes = b"shared") -> Path:
    """Lay a file down as huggingface_hub does."""
    repository = tmp_path / "hub" / "models--people--some"
    path = repository / "snapshots" / COMMIT / "folder" / "weights.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return path


def test_a_given_path_comes_first(tmp_path: Path):
    given = tmp_path / "mine.bin"
    given.touch()
    put(a_model())
    assert store.locate(a_model(), given) == given
    assert store.locate(model("mobile_sam"), given) == given


def test_a_given_path_that_is_not_there_is_an_error_whatever_else_is(tmp_path: Path):
    put(a_model())
    with pytest.raises(WeightsError, match=r"gone\.bin' do not exist"):
        store.locate(a_model(), tmp_path / "gone.bin")


def test_what_is_in_the_package_is_found_and_right():
    one = model("mobile_sam")
    assert store.locate(one) == one.embedded_path
    assert store.download(one) == one.embedded_path
    assert store.verify(one).is_right
    with pytest.raises(WeightsError, match="part of the program"):
        store.remove(one)


def test_absent_weights_name_the_command_that_fetches_them():
    with pytest.raises(WeightsError) as raised:
        store.locate(a_model())
    assert str(raised.value) == (
        "The weights of 'some_model' are not on this computer: 'napari-sprout models download "
        "some_model' fetches them, or give the path of the file."
    )


def test_a_file_copied_by_hand_is_found():
    path = put(a_model())
    assert store.locate(a_model()) == path
    assert store.downloaded(a_model()) == path
    check = store.verify(a_model())
    assert check.is_right
    assert check.expected == ""


def test_a_copy_of_another_program_is_found_and_noted_but_not_deleted(tmp_path: Path):
    path = in_shared_cache(tmp_path)
    assert store.locate(a_model()) == path
    assert store.download(a_model()) == path
    note = pins.pinned(a_model())
    assert note is not None
    assert (note.commit, note.sha256) == (COMMIT, store.verify(a_model()).sha256)
    store.remove(a_model(), forget=True)
    with pytest.raises(WeightsError, match="shared with other programs"):
        store.remove(a_model())
    assert path.exists()
    own = put(a_model())
    assert store.locate(a_model()) == own


def test_a_wrong_copy_of_another_program_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shared = in_shared_cache(tmp_path)
    with serving(Hub()) as hub:
        use_hub(hub.address, tmp_path, monkeypatch)
        one = a_model(sha256=hub.sha256)
        assert store.download(one) == store.own_path(one) == store.locate(one)
    assert shared.read_bytes() == b"shared"


def test_a_damaged_file_is_found_out_and_fetched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with serving(Hub()) as hub:
        use_hub(hub.address, tmp_path, monkeypatch)
        path = store.download(a_model())
        assert store.verify(a_model()).is_right
        path.write_bytes(b"?" + hub.content[1:])
        assert not store.verify(a_model()).is_right
        with pytest.warns(SproutWarning, match=r"weights\.bin' was not what it should be"):
            store.download(a_model())
        assert path.read_bytes() == hub.content


def test_a_file_of_the_persons_own_is_kept_aside_even_if_nothing_comes():
    one = a_model(sha256="ab" * 32)
    path = put(one, b"tuned for months")
    with pytest.warns(SproutWarning, match=r"weights\.bin\.other'"), pytest.raises(WeightsError):
        store.download(one)
    assert path.with_name("weights.bin.other").read_bytes() == b"tuned for months"


def test_a_damaged_copy_of_another_program_is_not_noted_as_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = in_shared_cache(tmp_path)
    # As there: the file is a link to one that is named by what its hash should be.
    blob = tmp_path / "hub" / "models--people--some" / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"cut sho")
    path.unlink()
    path.symlink_to(blob)
    with serving(Hub()) as hub:
        use_hub(hub.address, tmp_path, monkeypatch)
        assert store.download(a_model()) == store.own_path(a_model())
        assert store.expected_sha256(a_model()) == hub.sha256


def test_a_registry_hash_goes_before_a_noted_one():
    pins.write_pin(a_model(), pins.Pin("people/some", "folder/weights.bin", COMMIT, "aa"))
    assert store.expected_sha256(a_model()) == "aa"
    assert store.expected_sha256(a_model(sha256="bb")) == "bb"
    assert store.expected_sha256(model("mobile_sam")) == model("mobile_sam").sha256


def test_a_note_on_another_file_does_not_count():
    pins.write_pin(a_model(), pins.Pin("people/some", "folder/weights.bin", COMMIT, "aa"))
    assert store.expected_sha256(a_model(file="model.safetensors")) == ""
    assert store.expected_sha256(a_model(repository="others/some")) == ""


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sha256": "aa"}'])
def test_a_damaged_note_is_named_rather_than_passed_over(text: str):
    path = put(a_model()).with_name("pinned.json")
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"pinned\.json', cannot be read: delete it"):
        store.expected_sha256(a_model())


def test_removing_leaves_the_note_unless_it_is_to_be_forgotten():
    path = put(a_model())
    pins.write_pin(a_model(), pins.Pin("people/some", "folder/weights.bin", COMMIT, "aa"))
    assert store.remove(a_model()) == path
    assert store.downloaded(a_model()) is None
    assert store.expected_sha256(a_model()) == "aa"
    store.remove(a_model(), forget=True)
    assert store.expected_sha256(a_model()) == ""
    assert not path.parent.exists()
    with pytest.raises(WeightsError, match="No weights of 'some_model'"):
        store.remove(a_model())


def test_weights_that_nobody_offers_are_not_looked_for():
    with pytest.raises(WeightsError, match="Nobody offers"):
        store.download(replace(a_model(), repository="", file=""))


def test_checking_what_is_there_can_be_stopped():
    put(a_model())
    with pytest.raises(StoppedError):
        store.download(a_model(), cancelled=lambda: True)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="where others keep data")
def test_the_folder_follows_the_systems_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert pins.models_folder() == tmp_path / "models"
    monkeypatch.delenv("NAPARI_SPROUT_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert pins.models_folder() == tmp_path / "data" / "napari-sprout" / "models"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pins.models_folder() == tmp_path / ".local/share/napari-sprout/models"


def test_importing_loads_neither_torch_nor_huggingface_hub():
    code = (
        "import sys, socket\n"
        "socket.socket.connect = socket.getaddrinfo = None\n"
        "import napari_sprout, napari_sprout.models.store, napari_sprout.cli.models\n"
        "print({'torch', 'huggingface_hub'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
