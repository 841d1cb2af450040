"""SAM as a promptable segmenter, decoding in windows around the prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .frame import FRAME, FromFrame, to_frame_xy
from .fused import fuse
from .mobile_sam import MobileSam
from .parts import SamNetwork
from .protocols import MaskBatch, PromptBatch
from .transfer import frames
from .windowed import WindowedDecoder


class SamSegmenter:
    """A SAM network on one device; implements :class:`~.protocols.PromptableSegmenter`.

    Parameters
    ----------
    network
        The network, in evaluation mode; MobileSAM's encoder is rewritten for inference.
    name
        Short name, as in the settings.
    weights_sha256
        SHA-256 of the weights file.
    device
        Where to compute.
    batch
        How many tiles may be encoded at once.
    half
        Whether the products of the image encoder may be of float16, where torch runs it.
    """

    def __init__(
        self,
        network: SamNetwork,
        name: str,
        weights_sha256: str,
        device: torch.device,
        batch: int = 1,
        half: bool = False,
    ) -> None:
        self.name = name
        self.weights_sha256 = weights_sha256
        self.device = device
        self.batch = batch
        if isinstance(network, MobileSam):
            # Before the network is moved: merged convolutions are made on the CPU.
            self._encoder = network.image_encoder = fuse(network.image_encoder, device)
            self._encoder.to(memory_format=torch.channels_last)
        else:
            self._encoder = FromFrame(network.image_encoder)
        self._half = half and isinstance(self._encoder, FromFrame)
        if self._half and hasattr(self._encoder.encoder, "neck"):
            inner: Any = self._encoder.encoder
            inner.neck = _InFloat32(inner.neck)
        self._network = network.to(device)
        self._encoder.to(device)
        with torch.inference_mode():
            self._decoder = WindowedDecoder(network.prompt_encoder, network.mask_decoder)

    @torch.inference_mode()
    def encode_batch(self, tiles: NDArray[np.uint8]) -> Tensor:
        """Encode tiles, all at once.

        On a graphics card this does not wait for them: what is asked of them there is
        answered when they are done.

        Parameters
        ----------
        tiles
            (n, side, side, 3) uint8 RGB.

        Returns
        -------
        Tensor
            (n, 256, 64, 64) float32 embeddings on :attr:`device`; SAM 2 adds 768 channels
            of details for the mask decoder.

        Raises
        ------
        ImageError
            If the tiles are no square RGB images.
        """
        enlarged = frames(tiles, FRAME, self.device)
        with torch.autocast(self.device.type, torch.float16, self._half):
            embeddings: Tensor = self._encoder(enlarged)
        return embeddings.float()

    def encode(self, tile: NDArray[np.uint8]) -> Tensor:
        """Encode one (side, side, 3) tile, as :meth:`encode_batch` does."""
        return self.encode_batch(tile[None])[0]

    @torch.inference_mode()
    def decode(self, embedding: Tensor, prompts: PromptBatch, side: int) -> MaskBatch:
        """Answer prompts on an encoded tile.

        Parameters
        ----------
        embedding
            Of one tile.
        prompts
            Points and boxes in tile pixels, windows, and perhaps mask prompts.
        side
            The tile's side in working pixels.

        Returns
        -------
        MaskBatch
            Logits over each prompt's window at 4 values per token, and predicted IoU.
        """
        prompts = prompts.to(self.device)
        sparse, embedding = self._sparse(prompts, side), embedding.to(self.device)
        return MaskBatch(
            *self._decoder.decode(embedding, prompts.origins, prompts.window, sparse, prompts.masks)
        )

    def _sparse(self, prompts: PromptBatch, side: int) -> Tensor:
        """Return the prompt encoder's tokens of points and boxes, (n, k, 256)."""
        points, labels, boxes = to_frame_xy(prompts.points, side), prompts.labels, None
        if prompts.boxes is not None:
            boxes = to_frame_xy(prompts.boxes.view(-1, 2, 2), side).flatten(1)
            if hasattr(self._network.mask_decoder, "obj_score_token"):
                # SAM 2 adds its token for "no further point" beside boxes too.
                points = torch.cat([points, points.new_zeros(len(prompts), 1, 2)], 1)
                labels = torch.cat([labels, labels.new_full((len(prompts), 1), -1)], 1)
        encoder = self._network.prompt_encoder
        sparse: Tensor = encoder(points=(points, labels), boxes=boxes, masks=None)[0]
        return sparse


class _InFloat32(nn.Module):
    """The neck's norms square what they are given, which is too much for float16."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = self.inner(x.float())
        return found
