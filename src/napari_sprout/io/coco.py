"""Nuclei as COCO's JSON with run lengths, which keep every pixel, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from ..core.crops import Mask
from ..core.instances import Box
from ..core.pieces import pieces_of
from ..errors import ImageError, OutputError, SproutError, warn
from .atomic import replacing
from .crop_labels import LARGEST_LABEL, CropLabels, Shape
from .extras import needed
from .json_file import read_json
from .pieces import NucleusPiece
from .pixel_size import checked_mpp, plausible
from .raster import check_dimensions
from .run_lengths import MOST_PIXELS, counts_of, crop_of, packed, unpacked
from .streamed import StreamedFile

ENDING: Final = ".coco.json"


class CocoWriter(StreamedFile[TextIO]):
    """Writes nuclei as annotations of one image, batch by batch.

    The file appears whole when the ``with`` block ends, or not at all. Masks are run
    lengths packed as pycocotools does it; an annotation's id is the nucleus's label. The
    same nuclei give the same bytes, whatever the batches.

    Parameters
    ----------
    path
        The file, ending in ``.coco.json``.
    shape
        (H, W) of the image, of at most 2**32 - 1 pixels: pycocotools counts no further.
    mpp
        Pixel size in um per px, 0.01 to 20; kept with the image as "mpp". None if unknown.
    image_name
        Name of the image's file.
    category
        What the nuclei are called.

    Raises
    ------
    OutputError
        If the image is too large; on entering and leaving, if the file cannot be written.
    SettingsError
        If `mpp` is out of range.
    SproutError
        If pycocotools is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        shape: tuple[int, int],
        *,
        mpp: float | None = None,
        image_name: str = "",
        category: str = "Nucleus",
    ) -> None:
        needed("pycocotools.mask")
        height, width = (int(side) for side in shape)
        if height * width > MOST_PIXELS:
            raise OutputError(
                f"'{path}' was not written: COCO's run lengths reach to 4.29 gigapixels, and the "
                f"image has {width} x {height} px; write .zarr, .ome.tif or .geojson."
            )
        self._shape = (height, width)
        self._separator = ""
        image: dict[str, Any] = {
            "id": 1,
            "file_name": image_name,
            "height": height,
            "width": width,
        }
        if mpp is not None:
            image["mpp"] = checked_mpp(mpp)
        categories = [{"id": 1, "name": category, "supercategory": ""}]
        head = f'{{"images":[{_json(image)}],"categories":{_json(categories)},"annotations":[\n'
        super().__init__(path, _annotations(path, head))

    def add(self, pieces: Iterable[NucleusPiece]) -> None:
        """Write nuclei, in this order."""
        for one in pieces:
            self.add_mask(one.nucleus.id, one.box, one.mask, one.nucleus.score)

    def add_mask(self, ident: int, box: Box, mask: Mask, score: float = math.nan) -> None:
        """Write one nucleus, with its score if that is a number."""
        area = int(np.count_nonzero(mask))
        if not area:
            return
        y0, x0, y1, x1 = (int(edge) for edge in box)
        annotation: dict[str, Any] = {
            "id": int(ident),
            "image_id": 1,
            "category_id": 1,
            "segmentation": {
                "size": list(self._shape),
                "counts": packed(counts_of(box, mask, self._shape), self._shape),
            },
            "area": area,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
        }
        if math.isfinite(score):
            annotation["score"] = score
        self._out.write(self._separator + _json(annotation))
        self._separator = ",\n"


@contextmanager
def _annotations(path: str | Path, head: str) -> Iterator[TextIO]:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(head)
        yield file
        file.write("\n]}\n")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_coco(
    path: str | Path,
    labels: NDArray[np.integer[Any]],
    *,
    mpp: float | None = None,
    image_name: str = "",
    category: str = "Nucleus",
    scores: Mapping[int, float] | None = None,
) -> None:
    """Write every label as an annotation, as :class:`CocoWriter` does.

    Parameters
    ----------
    path, mpp, image_name, category
        As of :class:`CocoWriter`.
    labels
        Whole numbers from 0 of shape (H, W); 0 is background.
    scores
        By label; those that are not finite are left out.

    Raises
    ------
    OutputError, SettingsError, SproutError
        As of :class:`CocoWriter`.
    """
    height, width = labels.shape
    known = scores or {}
    with CocoWriter(
        path, (height, width), mpp=mpp, image_name=image_name, category=category
    ) as writer:
        for ident, box, mask in pieces_of(labels):
            writer.add_mask(ident, box, mask, known.get(ident, math.nan))


def read_coco(path: str | Path, tell: Callable[[str], None] = warn) -> NDArray[np.int32]:
    """Read the annotations of a COCO file as labels.

    Run lengths, packed or not, and polygons count. An annotation's id is its label. Where
    two overlap, the smaller one has the pixel.

    Parameters
    ----------
    path
        A file by :class:`CocoWriter` or another program, of one image.
    tell
        Called with a sentence if some annotations cover no pixel; by default that is a
        SproutWarning.

    Returns
    -------
    ndarray
        int32, of the image's shape; 0 is background.

    Raises
    ------
    ImageError
        If the file is missing, damaged, no COCO file, or of several images; or the image
        is too large to be read whole.
    SproutError
        If there are polygons and pycocotools is not installed.
    """
    path = Path(path)
    crops, _ = coco_labels(path, read_json(path, "COCO file"))
    check_dimensions(path, *crops.shape)
    return crops.whole(path, tell)


def is_coco(document: Any) -> bool:
    """Whether a JSON document is COCO's."""
    return isinstance(document, dict) and {"images", "annotations"} <= document.keys()


def coco_labels(path: Path, document: Any) -> tuple[CropLabels, float | None]:
    """Return the label image in a COCO document, and its pixel size in um if it states one.

    Raises
    ------
    ImageError
        As of :func:`read_coco`.
    """
    if not is_coco(document):
        raise ImageError(f"'{path}' is not a COCO file of annotations; export them again.")
    try:
        images, annotations = list(document["images"]), list(document["annotations"])
        if len(images) != 1:
            raise ImageError(
                f"'{path}' is of {len(images)} images; give a file with the annotations of one."
            )
        shape = (int(images[0]["height"]), int(images[0]["width"]))
        stated = images[0].get("mpp")
        mpp = plausible(float(stated)) if stated is not None else None
        if min(shape) < 1 or shape[0] * shape[1] > MOST_PIXELS:
            raise ValueError(f"an image of {shape[1]} x {shape[0]} px")
    except (TypeError, ValueError, KeyError, OverflowError, AttributeError) as exc:
        raise ImageError(f"'{path}' is damaged ({exc}); export it again.") from exc
    return CropLabels(shape, _shapes(path, annotations, shape)), mpp


def _shapes(path: Path, annotations: list[Any], shape: tuple[int, int]) -> Iterator[Shape]:
    for number, annotation in enumerate(annotations, 1):
        try:
            ident = annotation.get("id")
            crop = crop_of(_counts(annotation["segmentation"], shape), shape)
        except (SproutError, MemoryError):
            raise
        except Exception as exc:
            # pycocotools raises whatever damaged polygons lead it to.
            raise ImageError(
                f"Annotation {number} in '{path}' is damaged ({exc}); export the file again."
            ) from exc
        fits = isinstance(ident, int) and 0 < ident <= LARGEST_LABEL
        yield ident if fits else None, [crop]


def _counts(segmentation: Any, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return the run lengths of one annotation, of polygons too."""
    if isinstance(segmentation, list):
        coco = needed("pycocotools.mask")
        parts = coco.frPyObjects(segmentation, *shape)
        return unpacked(coco.merge(parts)["counts"].decode("ascii"))
    if tuple(segmentation["size"]) != shape:
        raise ValueError("a mask of another size than the image")
    counts = segmentation["counts"]
    return unpacked(counts) if isinstance(counts, str) else np.array(counts, dtype=np.int64)
