from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from napari_sprout.errors import ImageError, OutputError
from napari_sprout.io.atomic import replacing, replacing_folder, writable_folder


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_finished_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "result.tif"
    target.write_text("old")
    with replacing(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".tif"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert entries(tmp_path) == ["result.tif"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_any_exception_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "result.csv"
    target.write_text("old")

    def interrupted() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert target.read_text() == "old"
    assert entries(tmp_path) == ["result.csv"]


def test_own_errors_pass_through_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="mine"), replacing(tmp_path / "a.tif"):
        raise ImageError("mine")


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "ask for permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "choose another folder"),
    ],
)
def test_system_errors_become_a_sentence_with_advice(
    tmp_path: Path, code: int, advice: str
) -> None:
    target = tmp_path / "result.tif"

    def failing() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise OSError(code, os.strerror(code))

    with pytest.raises(OutputError, match=advice) as caught:
        failing()
    assert str(target) in str(caught.value)
    assert entries(tmp_path) == []


def test_a_write_that_outgrows_its_limit_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    target = tmp_path / "result.bin"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(OutputError, match="cannot hold"), replacing(target) as temporary:
            temporary.write_bytes(bytes(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert entries(tmp_path) == []


def test_the_folder_must_exist(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="folder does not exist"),
        replacing(tmp_path / "no" / "a.tif"),
    ):
        pass


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="is a file, not a folder"),
        replacing(tmp_path / "file" / "a.tif"),
    ):
        pass


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(OutputError, match="a folder of that name"), replacing(tmp_path / "a.tif"):
        pass


def test_a_name_longer_than_the_disk_allows_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="shorter"),
        replacing(tmp_path / f"{'x' * 300}.tif") as temporary,
    ):
        temporary.write_text("new")
    assert entries(tmp_path) == []


def test_a_write_protected_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.tif"
    target.write_text("precious")
    # The superuser may write everything, so the system's answer is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != target)
    with pytest.raises(OutputError, match="permission"), replacing(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "precious"


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    link = tmp_path / "a.tif"
    link.symlink_to(tmp_path / "store" / "real.tif")
    with replacing(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "store" / "real.tif").read_text() == "new"


def test_results_are_as_readable_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with replacing(tmp_path / "a.tif") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.tif").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = writable_folder(tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b"
    assert entries(folder) == []
    assert writable_folder(str(folder)) == folder


def test_writable_folder_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match="is a file"):
        writable_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="not a folder"):
        writable_folder(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("code", "advice"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "permission")]
)
def test_writable_folder_notices_that_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OutputError, match=advice):
        writable_folder(tmp_path)


# Folders


def made(path: Path, text: str) -> None:
    path.mkdir()
    (path / "a.txt").write_text(text)


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    for text in ("first", "second"):
        with replacing_folder(target) as draft:
            assert draft.suffix == ".zarr"
            made(draft, text)
            assert not target.exists() or (target / "a.txt").read_text() == "first"
        assert (target / "a.txt").read_text() == text
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    made(target, "old")

    def interrupted() -> None:
        with replacing_folder(target) as draft:
            made(draft, "new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (target / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_come_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.zarr"
    made(target, "old")
    rename = Path.rename

    def refused(path: Path, other: Path) -> Path:
        if other == target and "new" in (path / "a.txt").read_text():
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, other)

    def attempt() -> None:
        with replacing_folder(target) as draft:
            made(draft, "new")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OutputError, match=r"a\.zarr"):
        attempt()
    assert (target / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_goes_while_it_is_looked_at_is_not_write_protected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shared.bin"
    path.write_bytes(b"old")
    access, calls = os.access, []

    def gone_once(one: Path, mode: int) -> bool:
        calls.append(one)
        return len(calls) > 1 and access(one, mode)

    monkeypatch.setattr(os, "access", gone_once)
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
