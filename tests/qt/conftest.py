from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest


def _segmenter_type() -> Any:
    """Return the segmenter with known answers that the core's tests use."""
    path = Path(__file__).parents[1] / "core" / "conftest.py"
    spec = importlib.util.spec_from_file_location("core_test_tools", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakeSegmenter


@pytest.fixture(scope="session")
def fake_type() -> Any:
    return _segmenter_type()


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what the plugin writes of itself (log, projects) out of the real home."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    return folder
