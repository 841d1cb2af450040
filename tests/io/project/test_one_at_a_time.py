from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from napari_sprout.errors import OutputError, ProjectError
from napari_sprout.io.project import Project

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX only")


HOLDER = """
import os, sys
from napari_sprout.io.project import Project
project = Project.open(sys.argv[1])
print(project.append({"kind": "redo"}), flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Open the project in another process, which has added an entry."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "3\n"
        yield process
        process.kill()


def test_a_project_open_in_another_process_is_refused_until_that_is_killed(
    folder: Path,
    kinds: Callable[[Project], list[str]],
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    with held_elsewhere(folder) as process:
        before = contents(folder)
        with pytest.raises(ProjectError, match=f"process {process.pid}") as caught:
            Project.open(folder)
        assert "close it there" in str(caught.value)
        assert contents(folder) == before
        process.kill()
        process.wait()
        # What the killed process leaves is taken over, its entries included.
        assert json.loads((folder / "lock").read_bytes())["pid"] == process.pid
        with Project.open(folder) as project:
            assert kinds(project) == ["run", "undo", "redo"]
            assert json.loads((folder / "lock").read_bytes()) == {
                "pid": os.getpid(),
                "host": socket.gethostname(),
            }


def test_a_project_open_in_this_process_is_refused_until_it_is_closed(folder: Path) -> None:
    project = Project.open(folder)
    with pytest.raises(ProjectError, match="open already in this program"):
        Project.open(folder)
    project.append({"kind": "redo"})
    project.close()
    Project.open(folder).close()


def test_a_project_open_elsewhere_can_be_read_and_not_written(
    folder: Path, kinds: Callable[[Project], list[str]]
) -> None:
    with Project.open(folder) as writer, Project.open(folder, read_only=True) as reader:
        writer.append({"kind": "redo"})
        assert kinds(reader) == ["run", "undo"]
        with pytest.raises(ProjectError, match="not open for writing"):
            reader.append({"kind": "redo"})
    assert len(Project.open(folder, read_only=True).entries) == 3


@posix
def test_reading_needs_no_permission_to_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}
    opened = os.open

    def reading_alone(path: str, flags: int, *rest: object, **names: object) -> int:
        if str(path).startswith(str(folder)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *rest, **names)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", reading_alone)
    Project.open(folder, read_only=True).close()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(OutputError, match="permission was denied"):
        Project.open(folder)


def test_a_lock_left_by_another_computer_is_respected(folder: Path) -> None:
    lock = folder / "lock"
    lock.write_text(json.dumps({"pid": 1, "host": "pathology-pc-7"}))
    with pytest.raises(ProjectError, match="open on the computer 'pathology-pc-7'") as caught:
        Project.open(folder)
    assert f"delete '{lock}'" in str(caught.value)
    lock.unlink()
    Project.open(folder).close()


@pytest.mark.parametrize("left", [b"", b"\0\0\0", b"[]", b'{"pid": "a"}'])
def test_a_senseless_lock_file_locks_nobody_out(folder: Path, left: bytes) -> None:
    (folder / "lock").write_bytes(left)
    Project.open(folder).close()


@posix
def test_on_a_drive_without_locks_the_named_process_decides(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with held_elsewhere(folder) as process:
        with pytest.raises(ProjectError, match=f"process {process.pid}"):
            Project.open(folder)
        process.kill()
        process.wait()
        Project.open(folder).close()
