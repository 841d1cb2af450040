from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_sprout.errors import ImageError
from napari_sprout.napari_.image_layer import pixel_size_of, place, rgb_of
from napari_sprout.napari_.layers import LayerStore
from napari_sprout.napari_.roles import (
    TAG,
    LayerRole,
    Slot,
    Tag,
    read_tag,
    remove_tag,
    tagged,
    write_tag,
)
from napari_sprout.napari_.stage_layers import LayerSpec

RGB = np.zeros((30, 40, 3), np.uint8)
NUCLEI, TISSUE = Slot(LayerRole.NUCLEI), Slot(LayerRole.TISSUE)
TURNED = {
    "scale": (0.5, 0.25),
    "translate": (3, 4),
    "rotate": 20,
    "shear": [0.3],
    "affine": [[1, 0.2, 3], [0, 1.1, 4], [0, 0, 1]],
}


def some(slot: Slot, value: int = 1) -> LayerSpec:
    return LayerSpec(slot, "labels", str(slot.role), np.full((30, 40), value, np.int32))


@pytest.fixture
def image(viewer: ViewerModel) -> Image:
    return viewer.add_image(RGB, rgb=True, name="a")


@pytest.fixture
def lost() -> list[Slot | None]:
    return []


@pytest.fixture
def store(viewer: ViewerModel, image: Image, lost: list[Slot | None]) -> LayerStore:
    return LayerStore(viewer, image, "s1", lambda slot, layer: lost.append(slot))


# Tags


@pytest.mark.parametrize("slot", [NUCLEI, Slot(LayerRole.PROTOTYPE, 4)])
def test_a_tag_is_read_back_and_leaves_other_metadata(image: Image, slot: Slot) -> None:
    image.metadata = {"mpp": 0.5}
    write_tag(image, slot, "s1")
    assert read_tag(image) == Tag(slot, "s1")
    assert image.metadata[TAG]["role"] == str(slot.role)
    assert image.metadata["mpp"] == 0.5
    remove_tag(image)
    assert image.metadata == {"mpp": 0.5}


@pytest.mark.parametrize("tag", [None, "nuclei", {}, {"role": "x", "session": "s"}, {"role": 3}])
def test_a_damaged_tag_is_none(image: Image, tag: object) -> None:
    image.metadata = {TAG: tag}
    assert read_tag(image) is None


def test_layers_are_found_by_session_and_the_first_counts(viewer: ViewerModel) -> None:
    layers = [viewer.add_labels(np.zeros((3, 3), int)) for _ in range(3)]
    write_tag(layers[0], NUCLEI, "s1")
    write_tag(layers[1], NUCLEI, "s1")
    write_tag(layers[2], NUCLEI, "s2")
    assert tagged(viewer.layers, "s1") == {NUCLEI: layers[0]}
    assert tagged(viewer.layers, "s2") == {NUCLEI: layers[2]}


# The image layer


def test_the_finest_level_of_a_pyramid_without_transparency_is_taken(viewer: ViewerModel) -> None:
    fine = np.random.default_rng(0).integers(0, 255, (64, 64, 4), np.uint8)
    layer = viewer.add_image([fine, fine[::2, ::2]], rgb=True, multiscale=True)
    assert np.array_equal(rgb_of(layer), fine[..., :3])


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (np.zeros((9, 9)), {}),
        (np.zeros((2, 9, 9, 3), np.uint8), {"rgb": True}),
        (np.zeros((9, 9, 3), np.float32), {"rgb": True}),
    ],
    ids=["grey", "stack", "decimal"],
)
def test_other_images_are_refused_by_name(viewer: ViewerModel, data, options) -> None:
    layer = viewer.add_image(data, name="odd", **options)
    with pytest.raises(ImageError, match="'odd'"):
        rgb_of(layer)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"metadata": {"mpp": 0.5}}, 0.5),
        ({"metadata": {"mpp": "x"}}, None),
        ({"scale": (0.5, 0.5)}, None),
        ({"scale": (0.5, 0.5), "units": ("um", "um")}, 0.5),
        ({"scale": (0.0002, 0.0002), "units": ("mm", "mm")}, 0.2),
        ({"scale": (0.5, 0.6), "units": ("um", "um")}, None),
    ],
)
def test_the_pixel_size_comes_from_metadata_or_a_scale_with_units(options, size) -> None:
    found = pixel_size_of(Image(RGB, rgb=True, **options))
    assert found == (None if size is None else pytest.approx(size))


@pytest.mark.parametrize("options", [{}, TURNED], ids=["plain", "turned"])
def test_a_coarser_layer_lies_over_the_same_places(options) -> None:
    image = Image(RGB, rgb=True, units=("um", "um"), **options)
    layer = Image(np.zeros((15, 10)))
    place(layer, image, (2.0, 4.0))
    for point in [(0, 0), (3, 4), (14, 9)]:
        full = (np.array(point) + 0.5) * (2, 4) - 0.5
        assert layer.data_to_world(point) == pytest.approx(image.data_to_world(full))
    assert layer.units == image.units


# The store


def test_layers_are_tagged_and_in_order_whatever_the_order_of_their_making(
    viewer: ViewerModel, store: LayerStore, image: Image
) -> None:
    other = viewer.add_points(np.zeros((1, 2)), name="a person's own")
    for slot in (NUCLEI, Slot(LayerRole.PROMPTS), TISSUE, Slot(LayerRole.PROTOTYPE, 1)):
        store.show(some(slot))
    store.show(some(Slot(LayerRole.PROTOTYPE, 0)))
    tags = [tag.slot for layer in viewer.layers if (tag := read_tag(layer)) is not None]
    assert tags == sorted(tags, key=lambda slot: slot.rank)
    assert len(tags) == 5
    assert viewer.layers[0] is image
    assert viewer.layers[-1] is other


def test_a_new_layer_does_not_take_the_selection(
    viewer: ViewerModel, store: LayerStore, image: Image
) -> None:
    viewer.layers.selection.active = image
    store.show(some(TISSUE))
    assert viewer.layers.selection.active is image
    assert set(viewer.layers.selection) == {image}


def test_a_layer_shown_again_keeps_what_a_person_chose(store: LayerStore) -> None:
    layer = store.show(some(TISSUE))
    layer.name, layer.visible, layer.opacity = "mine", False, 0.2
    assert store.show(some(TISSUE, 2)) is layer
    assert (layer.name, layer.visible, layer.opacity) == ("mine", False, 0.2)
    assert (layer.data == 2).all()


def test_a_deleted_layer_is_made_again(
    viewer: ViewerModel, store: LayerStore, lost: list[Slot | None]
) -> None:
    layer = store.show(some(TISSUE))
    viewer.layers.remove(layer)
    assert store.get(TISSUE) is None
    assert lost == [TISSUE]
    again = store.show(some(TISSUE))
    assert again is not layer
    assert again in viewer.layers


def test_layers_follow_the_image(store: LayerStore, image: Image) -> None:
    layer = store.show(some(TISSUE))
    for name, value in TURNED.items():
        setattr(image, name, value)
    assert layer.data_to_world((7, 9)) == pytest.approx(image.data_to_world((7, 9)))


def test_a_removed_image_is_reported(
    viewer: ViewerModel, store: LayerStore, image: Image, lost: list[Slot | None]
) -> None:
    store.show(some(TISSUE))
    viewer.layers.remove(image)
    assert lost == [None]


def test_a_closed_store_leaves_plain_layers_behind(
    viewer: ViewerModel, store: LayerStore, image: Image, lost: list[Slot | None]
) -> None:
    layer = store.show(some(TISSUE))
    store.close()
    assert layer in viewer.layers
    assert tagged(viewer.layers, "s1") == {}
    image.scale = (3, 3)
    assert tuple(layer.scale) == (1, 1)
    viewer.layers.remove(layer)
    assert lost == []


def test_two_stores_in_one_viewer_keep_to_their_own(viewer: ViewerModel, image: Image) -> None:
    second = viewer.add_image(RGB, rgb=True, name="b")
    stores = [
        LayerStore(viewer, layer, name, lambda slot, layer: None)
        for layer, name in ((image, "s1"), (second, "s2"))
    ]
    made: list[Layer] = [store.show(some(NUCLEI)) for store in stores]
    image.translate = (0, 100)
    assert tuple(made[0].translate) == (0, 100)
    assert tuple(made[1].translate) == (0, 0)
    stores[0].remove(NUCLEI)
    assert made[0] not in viewer.layers
    assert made[1] in viewer.layers
    assert isinstance(made[1], Labels)
    assert [layer.name for layer in viewer.layers] == ["a", "b", "nuclei · b"]
