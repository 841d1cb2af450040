"""Slides as files of many formats, written from an array, for tests that open them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_multiscale
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid

Rgb = NDArray[np.uint8]

TILE = (64, 48)


def pattern(height: int, width: int, seed: int = 0) -> Rgb:
    """Return colours of which no two regions are alike and which compression can shrink."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (height // 8 + 1, width // 8 + 1, 3))
    fine = rng.integers(0, 56, (height, width, 3))
    return (coarse.repeat(8, 0).repeat(8, 1)[:height, :width] + fine).astype(np.uint8)


def pyramid(rgb: Rgb, count: int = 3) -> list[Rgb]:
    """Return an image and halves of it, each made of every other pixel."""
    return [
        rgb[:: 2**i, :: 2**i][: rgb.shape[0] // 2**i, : rgb.shape[1] // 2**i] for i in range(count)
    ]


def expected(level: Rgb, y: int, x: int, height: int, width: int) -> Rgb:
    """Return a region of an array, white where it lies outside."""
    margins = ((height, height), (width, width), (0, 0))
    top, left = (
        min(max(y + height, 0), level.shape[0] + height),
        min(max(x + width, 0), level.shape[1] + width),
    )
    around = np.pad(level, margins, constant_values=255)
    return around[top : top + height, left : left + width]


def write_tiff(path: Path, levels: list[NDArray[Any]], **options: Any) -> None:
    """Write a generic pyramid: one page a level."""
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False)) as file:
        for i, level in enumerate(levels):
            file.write(
                level,
                **{"photometric": "rgb", "tile": TILE, "metadata": None, **options},
                subfiletype=min(i, 1),
            )


def write_ome_tiff(path: Path, levels: list[NDArray[Any]], mpp: float, **options: Any) -> None:
    """Write an OME-TIFF whose coarse levels are SubIFDs."""
    options = {"photometric": "rgb", "tile": TILE, **options}
    sizes = {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp, "PhysicalSizeXUnit": "µm"}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(levels[0], subifds=len(levels) - 1, metadata={"axes": "YXS", **sizes}, **options)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **options)


def write_svs(path: Path, levels: list[Rgb], mpp: float, **options: Any) -> None:
    """Write what Aperio's scanners do: a thumbnail comes second, a description with each."""
    height, width = levels[0].shape[:2]
    options = {"photometric": "rgb", "tile": (64, 64), "metadata": None, **options}
    start = f"Aperio Image Library v12.0.15 \r\n{width}x{height} [0,0 {width}x{height}]"
    with tifffile.TiffWriter(path) as file:
        for i, level in enumerate(levels):
            text = f"{start} (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = {mpp}"
            file.write(level, description=text, **options)
            if i == 0:
                thumbnail = levels[-1]
                file.write(thumbnail, photometric="rgb", description=start, metadata=None)


SCN_PLACE = (40, 30)
SCN_AROUND = (100, 80)


def write_scn(path: Path, levels: list[Rgb], mpp: float) -> None:
    """Write what Leica's SCN400 does, as far as OpenSlide looks at it.

    The slide is larger than what was scanned by `SCN_AROUND`, which begins at `SCN_PLACE`.
    """
    height, width = levels[0].shape[:2]
    nm = round(1000 * mpp)
    (down, across), (y, x) = SCN_AROUND, SCN_PLACE
    whole = f'sizeX="{(width + across) * nm}" sizeY="{(height + down) * nm}"'
    part = f'sizeX="{width * nm}" sizeY="{height * nm}" offsetX="{x * nm}" offsetY="{y * nm}"'
    macro = levels[-1]
    images = _scn_image("macro", [macro], len(levels), f'{whole} offsetX="0" offsetY="0"', "0.6")
    images += _scn_image("main", levels, 0, part, "20")
    text = f"""<?xml version="1.0"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">
<collection name="x" uuid="x" {whole}>{images}</collection></scn>"""
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for i, level in enumerate([*levels, macro]):
            description = text if i == 0 else None
            options: dict[str, Any] = {
                "resolution": (1e4 / mpp, 1e4 / mpp),
                "resolutionunit": "CENTIMETER",
            }
            file.write(
                level,
                description=description,
                photometric="rgb",
                tile=(64, 64),
                metadata=None,
                **options,
            )


def _scn_image(name: str, levels: list[Rgb], first: int, view: str, objective: str) -> str:
    dimensions = "".join(
        f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="{i}" ifd="{first + i}"/>'
        for i, level in enumerate(levels)
    )
    size = f'sizeX="{levels[0].shape[1]}" sizeY="{levels[0].shape[0]}"'
    return f"""<image name="{name}" uuid="{name}"><creationDate>2012-01-01</creationDate>
<device model="Leica SCN400" version="1"/><pixels {size}>{dimensions}</pixels><view {view}/>
<scanSettings><objectiveSettings><objective>{objective}</objective></objectiveSettings>
<illuminationSettings><illuminationSource>brightfield</illuminationSource>
</illuminationSettings></scanSettings></image>"""


def write_ndpi(path: Path, levels: list[Rgb], mpp: float) -> list[Rgb]:
    """Write what Hamamatsu's scanners do, as far as OpenSlide looks at it.

    Each level is one JPEG, and places of directories have 64 bits in a TIFF of 32.
    Returns the levels as they are after that compression.
    """
    out = bytearray(b"II*\0" + bytes(8))
    place, decoded = 4, []
    for i, level in enumerate(levels):
        height, width = level.shape[:2]
        coded = imagecodecs.jpeg8_encode(
            np.ascontiguousarray(level), colorspace="RGB", outcolorspace="YCBCR"
        )
        decoded.append(imagecodecs.jpeg8_decode(coded))
        start, resolution = len(out), round(1e6 / (mpp * 2**i))
        out += coded + bytes(-len(coded) % 8)
        texts = len(out)
        out += struct.pack("<II", resolution, 100) + b"Hamamatsu\0".ljust(16, b"\0")
        lens = struct.unpack("<I", struct.pack("<f", 20 / 2**i))[0]
        tags = [
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 7),
            (262, 3, 1, 6), (271, 2, 10, texts + 8), (273, 4, 1, start), (277, 3, 1, 3),
            (278, 4, 1, height), (279, 4, 1, len(coded)), (282, 5, 1, texts), (283, 5, 1, texts),
            (296, 3, 1, 3), (65420, 4, 1, 1), (65421, 11, 1, lens), (65424, 9, 1, 0),
        ]  # fmt: skip
        struct.pack_into("<Q", out, place, len(out))
        out += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        place = len(out)
        out += bytes(8 + 4 * len(tags))
    path.write_bytes(out)
    return decoded


def write_dicom(folder: Path, levels: list[Rgb], mpp: float, tile: int = 64) -> None:
    """Write a whole-slide DICOM series, one file a level, its tiles not compressed."""
    folder.mkdir()
    series, frame_of_reference = generate_uid(), generate_uid()
    for i, level in enumerate(levels):
        spacing = mpp / 1000 * levels[0].shape[0] / level.shape[0]
        found = _dicom_level(level, spacing, tile)
        found.SeriesInstanceUID, found.FrameOfReferenceUID = series, frame_of_reference
        found.InstanceNumber = i + 1
        found.ImageType = ["ORIGINAL" if i == 0 else "DERIVED", "PRIMARY", "VOLUME", "NONE"]
        found.save_as(folder / f"level{i}.dcm", enforce_file_format=True)


def _dicom_level(level: Rgb, spacing: float, tile: int) -> Dataset:
    height, width = level.shape[:2]
    down, across = -(-height // tile), -(-width // tile)
    padded = np.full((down * tile, across * tile, 3), 255, np.uint8)
    padded[:height, :width] = level
    frames = padded.reshape(down, tile, across, tile, 3).swapaxes(1, 2)
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    found.Modality = "SM"
    found.Rows = found.Columns = tile
    found.TotalPixelMatrixRows, found.TotalPixelMatrixColumns = height, width
    found.NumberOfFrames = down * across
    found.SamplesPerPixel, found.PhotometricInterpretation = 3, "RGB"
    found.PlanarConfiguration = 0
    found.BitsAllocated = found.BitsStored = 8
    found.HighBit, found.PixelRepresentation = 7, 0
    found.DimensionOrganizationType = "TILED_FULL"
    found.TotalPixelMatrixFocalPlanes = found.NumberOfOpticalPaths = 1
    measures = Dataset()
    measures.PixelSpacing = [spacing, spacing]
    measures.SliceThickness = 0.001
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    found.SharedFunctionalGroupsSequence = [shared]
    found.PixelData = frames.tobytes()
    return found


def write_ome_zarr(
    path: Path,
    levels: list[NDArray[Any]],
    mpp: float | None,
    version: str = "0.4",
    chunk: tuple[int, ...] = (1, 64, 48),
    axes: str = "cyx",
    **metadata: Any,
) -> None:
    """Write an OME-Zarr with ome-zarr-py; levels are (Y, X, C), further axes of length one."""
    planes = [np.moveaxis(level, -1, 0) for level in levels]
    extra = len(axes) - 3
    places = tuple(axes.index(axis) for axis in axes if axis not in "cyx")
    data = [np.expand_dims(plane, places) for plane in planes]
    chunks = tuple({"c": chunk[0], "y": chunk[1], "x": chunk[2]}.get(axis, 1) for axis in axes)
    assert data[0].ndim == 3 + extra
    kinds = {"c": "channel", "t": "time"}
    described = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    sizes = {axis: mpp if mpp is not None and axis in "yx" else 1.0 for axis in axes}
    units = {"y": "micrometer", "x": "micrometer"} if mpp is not None else None
    format_ = {"0.4": FormatV04(), "0.5": FormatV05()}[version]
    group = zarr.open_group(str(path), mode="w", zarr_format=format_.zarr_format)
    write_multiscale(
        data,
        group,
        fmt=format_,
        axes=described,
        scale=sizes,
        axes_units=units,
        storage_options={"chunks": chunks},
        **metadata,
    )
