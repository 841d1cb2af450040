from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from napari_sprout.errors import WeightsError
from napari_sprout.models.state import read_state

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.tensor([1, 2])}


class Bomb:
    """What runs a program when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def assert_read(path: Path) -> None:
    state, sha256 = read_state(path)
    assert state.keys() == TENSORS.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in TENSORS.items())
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "w"])
def test_safetensors_are_known_by_their_content(tmp_path: Path, name: str):
    save_file(TENSORS, tmp_path / name)
    assert_read(tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "code.pt"])
def test_a_checkpoint_is_read_whatever_its_name_and_format(tmp_path: Path, name: str, zipped: bool):
    torch.save(TENSORS, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert_read(tmp_path / name)


@pytest.mark.parametrize("nest", ["model", "state_dict", "model_state", "teacher"])
def test_nested_tensors_are_unwrapped(tmp_path: Path, nest: str):
    path = tmp_path / "w.pt"
    torch.save({"epoch": 3, "optimizer": {"lr": 1.0}, nest: TENSORS}, path)
    assert_read(path)
    torch.save({"model": {nest: {**TENSORS, "version": 2}}}, path)
    assert_read(path)


def test_a_tensor_whose_name_is_that_of_a_nest_stays(tmp_path: Path):
    path = tmp_path / "w.pt"
    torch.save({"model": torch.ones(1), "x": torch.zeros(1)}, path)
    assert read_state(path)[0].keys() == {"model", "x"}


def test_parameters_come_as_plain_tensors(tmp_path: Path):
    path = tmp_path / "w.pt"
    torch.save({"a": nn.Parameter(torch.ones(2))}, path)
    assert not read_state(path)[0]["a"].requires_grad


def test_the_hash_is_checked_before_anything_is_interpreted(tmp_path: Path):
    path = tmp_path / "w.pt"
    torch.save(TENSORS, path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_state(path, right)[1] == right
    assert read_state(path, right.upper())[1] == right
    path.write_bytes(b"this is no weights file")
    with pytest.raises(WeightsError, match=rf"w\.pt are damaged.*expected {right[:12]}"):
        read_state(path, right)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_does_not_run(tmp_path: Path, zipped: bool):
    path, trace = tmp_path / "w.pt", tmp_path / "trace"
    torch.save({"a": Bomb(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"w\.pt' holds more than weights.*mkdir.*refused"):
        read_state(path)
    path.write_bytes(pickle.dumps(Bomb(trace), protocol=2))
    with pytest.raises(WeightsError):
        read_state(path)
    assert not trace.exists()
    # The bomb is a real one.
    pickle.loads(path.read_bytes())
    assert trace.exists()


def test_a_pickled_model_is_refused_with_the_reason(tmp_path: Path):
    path = tmp_path / "w.pt"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(WeightsError, match=r"more than weights.*torch\.nn.*state dict"):
        read_state(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_torchscript_archive_is_refused_with_the_reason(tmp_path: Path):
    path = tmp_path / "w.pt"
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    with pytest.raises(WeightsError, match=r"w\.pt' is a TorchScript archive"):
        read_state(path)


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, form: str, kept: float):
    path = tmp_path / "w"
    large = {"a": torch.zeros(5000)}
    if form == "safetensors":
        save_file(large, path)
    else:
        torch.save(large, path, _use_new_zipfile_serialization=form == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(WeightsError, match=r"/w' cannot be read as model weights.*again") as raised:
        read_state(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
    ],
)
def test_what_only_stands_for_the_weights_is_named(tmp_path: Path, data: bytes, said: str):
    path = tmp_path / "w.bin"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=said):
        read_state(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(1)], torch.zeros(1), {}])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: object):
    path = tmp_path / "w.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="no named weights"):
        read_state(path)


def test_a_zip_of_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(WeightsError, match="another kind of file"):
        read_state(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"gone\.pt cannot be read.*check the path"):
        read_state(tmp_path / "gone.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state(tmp_path)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x10\0\0\0\0\0\0\0{", b"\x1f\x8b"]),
    rest=st.binary(max_size=200),
)
def test_any_other_bytes_are_refused_in_a_sentence(tmp_path: Path, start: bytes, rest: bytes):
    path = tmp_path / "w"
    path.write_bytes(start + rest)
    with pytest.raises(WeightsError):
        read_state(path)
