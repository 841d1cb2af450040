from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType

import pytest
from typer.testing import CliRunner, Result

from hub import Hub, a_model, serving, use_hub
from napari_sprout.cli.main import app
from napari_sprout.models import registry, store
from napari_sprout.models.registry import models


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run the command line in this process; no network is loaded here."""

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server that has the file of two models of the registry."""
    with serving(Hub()) as served:
        use_hub(served.address, tmp_path, monkeypatch)
        known = {
            "mobile_sam": models()["mobile_sam"],
            "first": a_model(name="first", title="First model", sha256=served.sha256),
            "second": a_model(name="second", gated=True, licence="CC-BY-NC-ND-4.0"),
        }
        monkeypatch.setattr(registry, "models", lambda: MappingProxyType(known))
        yield served


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_list_names_every_model_on_any_terminal(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
):
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    result = run("models", "list")
    assert result.exit_code == 0
    text = re.sub("\x1b\\[[0-9;]*m", "", result.stdout)
    assert max(len(line) for line in text.splitlines()) <= columns
    words = set(text.split())
    assert set(models()) <= words
    assert "gated" in result.stdout
    assert "…" not in result.stdout


def test_the_list_says_what_is_here_and_tried(run, hub: Hub):
    def rows() -> dict[str, str]:
        lines = run("models", "list").stdout.splitlines()
        return {line.split()[0]: line for line in lines if line.strip()}

    before = rows()
    assert "built in" in before["mobile_sam"]
    assert before["mobile_sam"].rstrip().endswith("tried")
    assert before["first"].rstrip().endswith("no")
    assert "gated" in before["second"]
    run("models", "download", "first")
    assert rows()["first"].rstrip().endswith("yes")
    store.own_path(a_model(name="second")).parent.mkdir()
    store.own_path(a_model(name="second")).with_name("pinned.json").write_text("{")
    assert rows()["second"].rstrip().endswith("?")


def test_info_tells_where_a_model_comes_from_and_would_lie(run, hub: Hub):
    said = run("models", "info", "second").stdout
    for fact in ("CC-BY-NC-ND-4.0", "https://example.org/some", "gated", "people/some"):
        assert fact in said
    assert str(store.own_path(a_model(name="second"))) in said
    assert "Here:            no" in said
    assert "part of" not in said
    assert "Tried:           yes" in run("models", "info", "mobile_sam").stdout


def test_info_of_an_unknown_name_offers_the_nearest(run, hub: Hub):
    result = run("models", "info", "secnd")
    assert result.exit_code == 1
    assert "Did you mean 'second'?" in result.stderr


def test_a_download_shows_the_licence_first_and_then_the_path(run, hub: Hub):
    result = run("models", "download", "first", "second")
    assert result.exit_code == 0
    assert "First model, ~1 MB. Its licence is MIT: see https://example.org/some." in result.stderr
    assert "CC-BY-NC-ND-4.0" in result.stderr
    assert "must be accepted there before the download" in result.stderr
    path = store.own_path(a_model(name="first"))
    assert result.stdout.splitlines()[0] == f"first: {path}"
    assert path.read_bytes() == hub.content
    hub.requests.clear()
    again = run("models", "download", "first")
    assert (again.exit_code, again.stderr) == (0, "")
    assert hub.requests == []
    assert run("models", "path", "first").stdout.strip() == str(path)


def test_a_quiet_download_says_nothing(run, hub: Hub):
    result = run("models", "download", "-q", "first")
    assert (result.exit_code, result.output) == (0, "")


def test_a_model_that_fails_does_not_keep_the_others_from_coming(run, hub: Hub):
    hub.states, hub.content = False, b"something else"
    result = run("models", "download", "first", "second")
    assert result.exit_code == 1
    assert "napari-sprout: error: What came for 'first' is not the file it should be" in (
        result.stderr
    )
    assert store.own_path(a_model(name="second")).exists()


def test_an_unknown_name_is_refused_before_anything_is_fetched(run, hub: Hub):
    assert run("models", "download", "first", "thrid").exit_code == 1
    assert hub.requests == []


def test_verify_finds_a_damaged_file_and_names_the_remedy(run, hub: Hub):
    run("models", "download", "first")
    good = run("models", "verify")
    assert good.exit_code == 0
    assert [line.split(":")[0] for line in good.stdout.splitlines()] == ["mobile_sam", "first"]
    store.own_path(a_model(name="first")).write_bytes(b"damaged")
    bad = run("models", "verify", "first", "mobile_sam")
    assert bad.exit_code == 1
    assert "is not what it should be" in bad.stderr
    assert "'napari-sprout models download first'" in bad.stderr
    assert "mobile_sam: SHA-256" in bad.stdout
    mended = run("models", "download", "first")
    assert "warning" in mended.stderr
    assert run("models", "verify", "first").exit_code == 0


def test_verify_and_path_of_what_is_not_here_are_errors(run, hub: Hub):
    for command in ("verify", "path"):
        result = run("models", command, "first")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "'napari-sprout models download first' fetches them" in result.stderr


def test_remove_deletes_what_was_downloaded_and_nothing_else(run, hub: Hub):
    run("models", "download", "first")
    path = store.own_path(a_model(name="first"))
    assert run("models", "remove", "first").exit_code == 0
    assert not path.exists()
    assert run("models", "remove", "first").exit_code == 1
    assert run("models", "remove", "mobile_sam").exit_code == 1
    assert models()["mobile_sam"].embedded_path.exists()


def test_the_help_names_every_command(run):
    said = run("models", "--help").stdout
    for command in ("list", "info", "download", "verify", "path", "remove"):
        assert command in said
        assert run("models", command, "--help").exit_code == 0


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupted_download_ends_at_once_and_is_gone_on_with(tmp_path: Path):
    main = "from napari_sprout.cli.main import main; main()"
    with serving(Hub(pause=0.05, content=bytes(500_000))) as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "home"),
            "NO_PROXY": "127.0.0.1",
            "NAPARI_SPROUT_MODELS": str(tmp_path / "models"),
        }
        command = [sys.executable, "-c", main, "models", "download", "uni"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        part = tmp_path / "models" / "uni" / "pytorch_model.bin.part"
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - began < 3
        assert process.returncode == 130
        assert "interrupted" in said
        kept = part.stat().st_size
        assert kept > 0
        hub.pause = 0.0
        hub.requests.clear()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert hub.asked_ranges == [f"bytes={kept}-"]
        assert Path(done.stdout.strip().removeprefix("uni: ")).read_bytes() == hub.content
