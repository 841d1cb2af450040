"""What is imported when: each of these takes a fifth of a second to two seconds."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("sklearn", "segment_anything", "timm", "torchvision")


def modules_after(code: str) -> set[str]:
    """Return the top-level packages that a new process has imported after some code."""
    tell = "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + tell], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_opening_the_dock_does_not_wait_for_what_only_runs_need():
    found = modules_after("import napari_sprout.qt.dock, napari_sprout.core.session")
    assert "torch" in found
    assert found.isdisjoint(HEAVY)


def test_a_run_finds_all_of_it_there_when_it_was_imported_ahead():
    modules_after(
        "import sys\n"
        "import napari_sprout.core.session as session\n"
        "from napari_sprout.core.ahead import import_ahead\n"
        "from napari_sprout.core.synthetic import synthetic_he\n"
        "import_ahead()\n"
        "before = {name.partition('.')[0] for name in sys.modules}\n"
        "image = synthetic_he((256, 256), n_nuclei=40).rgb\n"
        "made = session.Session(image, mpp=0.25, device='cpu')\n"
        "made.finish()\n"
        "assert len(made.nuclei)\n"
        "new = {name.partition('.')[0] for name in sys.modules} - before\n"
        f"assert new.isdisjoint({{*{HEAVY}, 'openvino'}}), new\n"
    )
