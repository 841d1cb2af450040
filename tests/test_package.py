from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from napari_sprout.models.mobile_sam import UPSTREAM_SHA256
from napari_sprout.models.weights import weights_sha256

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "napari_sprout"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        found: dict[str, object] = tomllib.load(file)["project"]
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = python(
        *("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--disable-pip-version-check", "-q", "-w", str(folder), str(REPOSITORY)),
    )
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("napari_sprout-*.whl")
    return made


def test_the_wheel_carries_all_that_the_program_needs_offline(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        weights = archive.read("napari_sprout/models/data/mobile_sam_fp16.safetensors")
    assert hashlib.sha256(weights).hexdigest() == weights_sha256("mobile_sam")
    for needed in (
        "models/data/NOTICE",
        "models/data/LICENSE-APACHE-2.0.txt",
        "samples/NOTICE",
        "samples/hgsc_nest.png",
        "samples/hgsc_stromal.png",
        "napari.yaml",
        "io/cohort/report.html",
        "py.typed",
    ):
        assert f"napari_sprout/{needed}" in names


def test_the_wheel_declares_the_command_the_plugin_and_the_licences(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        text = archive.read(entry_points).decode()
        licences = [n for n in archive.namelist() if ".dist-info/licenses/" in n]
    assert "napari-sprout = napari_sprout.cli.main:main" in text
    assert "napari-sprout = napari_sprout:napari.yaml" in text
    assert {Path(name).name for name in licences} >= {"LICENSE", "NOTICE"}


def test_the_wheel_is_small_and_holds_no_annotated_data(wheel: Path) -> None:
    assert wheel.stat().st_size < 40e6
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if "monuseg" in name.lower()]
    roots = {name.split("/")[0].split("-")[0] for name in names}
    assert roots == {"napari_sprout"}


def test_the_manifest_is_valid() -> None:
    done = python("-m", "npe2", "validate", "napari-sprout")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (REPOSITORY / "napari.yaml").resolve() == PACKAGE / "napari.yaml"


def test_every_dependency_is_explained(project: dict[str, object]) -> None:
    text = (REPOSITORY / "docs" / "dependencies.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| ([a-z0-9-]+) \|", text, re.MULTILINE))
    wanted = project["dependencies"]
    extras = project["optional-dependencies"]
    assert isinstance(wanted, list)
    assert isinstance(extras, dict)
    for lines in (wanted, *extras.values()):
        assert {Requirement(line).name.lower() for line in lines} <= explained


def test_the_notice_states_the_hashes_that_the_program_checks() -> None:
    notice = (PACKAGE / "models" / "data" / "NOTICE").read_text(encoding="utf-8")
    assert weights_sha256("mobile_sam") in notice
    assert UPSTREAM_SHA256 in notice


def test_importing_the_package_is_light() -> None:
    done = python(
        "-c",
        "import sys, napari_sprout; "
        "print({'torch', 'numpy', 'napari', 'qtpy', 'timm'} & set(sys.modules))",
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_the_core_runs_without_napari_and_qt() -> None:
    code = (
        "import sys\n"
        "for name in ('napari', 'qtpy', 'magicgui', 'PyQt6', 'PySide6'): sys.modules[name] = None\n"
        "import napari_sprout.core.session, napari_sprout.io.images, napari_sprout.cli.main\n"
        "import napari_sprout.io.stage_images\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="shell scripts")
def test_the_scripts_that_set_up_and_check_are_runnable() -> None:
    for script in ("scripts/set_up.sh", ".ci/run"):
        assert os.access(REPOSITORY / script, os.X_OK)
        shell = "bash" if script == ".ci/run" else "sh"
        subprocess.run([shell, "-n", str(REPOSITORY / script)], check=True)
