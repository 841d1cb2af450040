from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from napari_sprout.core.settings import Settings
from napari_sprout.core.stages import Stage
from napari_sprout.core.synthetic import SyntheticImage
from napari_sprout.models import store
from napari_sprout.models.registry import model
from napari_sprout.qt.models_dialog import ModelsDialog


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloaded weights are; empty, and nothing is elsewhere."""
    monkeypatch.setenv("NAPARI_SPROUT_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(store, "_in_shared_cache", lambda one: None)
    return tmp_path / "models"


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let so many bytes be free."""

    def make(count: int) -> None:
        found = SimpleNamespace(available=count)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: found)

    return make


@pytest.fixture
def lacking(
    desk: Callable[[], Any], tmp_path: Path, sparse: SyntheticImage, quick: Settings
) -> Any:
    """A desk with an image, and an encoder chosen whose weights are not there."""
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    made.dock.segment.form.groups["features"].widgets["encoder"].value = "uni"
    return made


def test_a_run_without_its_models_weights_does_not_begin_and_says_what_to_do(
    lacking: Any, tmp_path: Path
) -> None:
    segment = lacking.dock.segment
    files = sorted(tmp_path.iterdir())
    segment.run_button.click()
    assert not lacking.dock.sessions.is_running
    assert lacking.dock.sessions.current is None
    assert lacking.fakes == []
    (text,) = lacking.failures
    assert "The weights of UNI are not on this computer" in text
    assert "'Models…'" in text
    assert lacking.dock.status.message.text() == text
    assert sorted(tmp_path.iterdir()) == files


def test_the_missing_model_is_shown_with_a_button_that_opens_the_list_there(lacking: Any) -> None:
    segment = lacking.dock.segment
    assert segment.missing.isVisible()
    assert "UNI" in segment.missing.note.text()
    segment.missing.models.click()
    (dialog,) = segment.form.findChildren(ModelsDialog)
    assert dialog.isVisible()
    assert dialog.chosen.name == "uni"
    dialog.close()
    path = store.own_path(model("uni"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    dialog.changed.emit()
    assert not segment.missing.isVisible()


def test_weights_that_have_gone_meanwhile_are_noticed_when_run_is_pressed(lacking: Any) -> None:
    path = store.own_path(model("uni"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    segment = lacking.dock.segment
    segment.show_all()
    assert not segment.missing.isVisible()
    path.unlink()
    segment.run_button.click()
    assert not lacking.dock.sessions.is_running
    assert segment.missing.isVisible()


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"segmenter_weights": "/nowhere/sam.pt"}, "'/nowhere/sam.pt' do not exist"),
        ({"segmenter": "sam_vit_h"}, "The weights of SAM ViT-H are not on this computer"),
        ({"encoder": "timm:vit_tiny_patch16_224"}, "comes without weights"),
    ],
)
def test_every_way_to_choose_a_model_is_looked_at(
    lacking: Any, quick: Settings, features: dict[str, str], words: str
) -> None:
    lacking.dock.sessions.draft.settings = quick.with_changes(features=features)
    lacking.dock.segment.show_all()
    assert words in lacking.dock.segment.missing.note.text()
    lacking.dock.segment.run_button.click()
    assert words in lacking.failures[-1]


def test_stages_that_need_no_model_run_without_one(lacking: Any) -> None:
    lacking.dock.sessions.run(Stage.STAIN)
    lacking.wait_until_done()
    assert lacking.failures == []
    assert lacking.control.session.is_current(Stage.STAIN)


def test_a_run_that_memory_may_not_do_for_is_warned_of_once_and_done(
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    free: Callable[[int], None],
) -> None:
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    free(1_000_000)
    made.run()
    assert made.failures == []
    warnings = [text for text in made.said if "1 MB are free" in text]
    assert len(warnings) == 1
    assert warnings[0] in made.dock.status.notices.unread.text()
    # What a run needs is there after the first.
    made.dock.segment.form.groups["prompts"].widgets["min_area"].value = 30.0
    made.run()
    assert len([text for text in made.said if "are free" in text]) == 1


def test_with_memory_enough_nothing_is_said(
    desk: Callable[[], Any],
    tmp_path: Path,
    sparse: SyntheticImage,
    free: Callable[[int], None],
) -> None:
    made = desk()
    made.open(tmp_path / "case.png", sparse.rgb)
    free(64_000_000_000)
    made.run()
    assert not [text for text in made.said if "are free" in text]
