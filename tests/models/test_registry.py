from __future__ import annotations

import hashlib
import re

import pytest

from napari_sprout.errors import SettingsError
from napari_sprout.models.registry import Model, model, models

EVERY = list(models().values())


@pytest.mark.parametrize("one", EVERY, ids=[one.name for one in EVERY])
def test_every_entry_is_whole(one: Model):
    assert re.fullmatch(r"[a-z0-9_]+", one.name)
    assert one.kind in ("encoder", "segmenter")
    assert one.family in ("timm", "sam", "sam2")
    assert one.title
    assert one.architecture
    assert one.licence
    assert one.page.startswith("https://")
    assert one.parameters > 0
    assert one.dimension > 0
    assert one.patch in (14, 16)
    assert one.size > 1e6
    # Either it is in the package, or somebody offers it.
    assert bool(one.embedded) != bool(one.repository and one.file)
    assert one.sha256 == "" or re.fullmatch(r"[0-9a-f]{64}", one.sha256)
    assert len(one.mean) == len(one.std) == (3 if one.kind == "encoder" else 0)
    assert one.file_name
    assert "/" not in one.file_name


def test_only_embedded_weights_count_as_tried():
    # What has not been here cannot have been run.
    assert [one.name for one in EVERY if one.tried] == [one.name for one in EVERY if one.embedded]


def test_the_embedded_file_is_the_one_described():
    one = model("mobile_sam")
    assert one.embedded_path is not None
    data = one.embedded_path.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (one.bytes, one.sha256)


def test_models_are_found_by_name_and_kind():
    assert model("uni").kind == "encoder"
    assert model("uni", "encoder") is model("uni")
    with pytest.raises(SettingsError, match=r"Unknown encoder 'mobile_sam'"):
        model("mobile_sam", "encoder")


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(SettingsError, match=r"Unknown model 'uni_2h'\. Did you mean 'uni2_h'\?"):
        model("uni_2h")
    with pytest.raises(SettingsError, match=r"Unknown segmenter 'xyz'\. Use one of: mobile_sam"):
        model("xyz", "segmenter")
