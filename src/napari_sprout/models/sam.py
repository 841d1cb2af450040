"""SAM as a promptable segmenter, decoding in windows around the prompts."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ImageError
from .frame import FRAME, FromFrame, to_frame_xy
from .fused import fuse
from .mobile_sam import MobileSam
from .parts import SamNetwork
from .protocols import MaskBatch, PromptBatch
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
    """

    def __init__(
        self, network: SamNetwork, name: str, weights_sha256: str, device: torch.device
    ) -> None:
        self.name = name
        self.weights_sha256 = weights_sha256
        self.device = device
        if isinstance(network, MobileSam):
            # Before the network is moved: merged convolutions are made on the CPU.
            self._encoder = network.image_encoder = fuse(network.image_encoder, device)
            self._encoder.to(memory_format=torch.channels_last)
        else:
            self._encoder = FromFrame(network.image_encoder)
        self._network = network.to(device)
        self._encoder.to(device)
        with torch.inference_mode():
            self._decoder = WindowedDecoder(network.prompt_encoder, network.mask_decoder)

    @torch.inference_mode()
    def encode(self, tile: NDArray[np.uint8]) -> Tensor:
        """Encode one tile.

        Parameters
        ----------
        tile
            (side, side, 3) uint8 RGB.

        Returns
        -------
        Tensor
            (256, 64, 64) float32 embedding on :attr:`device`; SAM 2 adds 768 channels of
            details for the mask decoder.

        Raises
        ------
        ImageError
            If the tile is not a square RGB image.
        """
        if tile.ndim != 3 or tile.shape[2] != 3 or tile.shape[0] != tile.shape[1]:
            raise ImageError(f"A tile must be a square RGB image, not of shape {tile.shape}.")
        frame = cv2.resize(tile, (FRAME, FRAME), interpolation=cv2.INTER_LINEAR)
        embedding: Tensor = self._encoder(torch.from_numpy(frame).to(self.device))
        return embedding

    @torch.inference_mode()
    def decode(self, embedding: Tensor, prompts: PromptBatch, side: int) -> MaskBatch:
        """Answer prompts on an encoded tile.

        Parameters
        ----------
        embedding
            From :meth:`encode`.
        prompts
            Points and boxes in tile pixels, windows, and perhaps mask prompts.
        side
            The tile's side in working pixels.

        Returns
        -------
        MaskBatch
            Logits over each prompt's window at 4 values per token, and predicted IoU.
        """
        sparse = self._sparse(prompts, side)
        masks = None if prompts.masks is None else prompts.masks.to(self.device)
        embedding = embedding.to(self.device)
        return MaskBatch(
            *self._decoder.decode(embedding, prompts.origins, prompts.window, sparse, masks)
        )

    def _sparse(self, prompts: PromptBatch, side: int) -> Tensor:
        """Return the prompt encoder's tokens of points and boxes, (n, k, 256)."""
        points = to_frame_xy(prompts.points.to(self.device), side)
        labels, boxes = prompts.labels.to(self.device), None
        if prompts.boxes is not None:
            corners = prompts.boxes.to(self.device).view(-1, 2, 2)
            boxes = to_frame_xy(corners, side).flatten(1)
            if hasattr(self._network.mask_decoder, "obj_score_token"):
                # SAM 2 adds its token for "no further point" beside boxes too.
                points = torch.cat([points, points.new_zeros(len(prompts), 1, 2)], 1)
                labels = torch.cat([labels, labels.new_full((len(prompts), 1), -1)], 1)
        encoder = self._network.prompt_encoder
        sparse: Tensor = encoder(points=(points, labels), boxes=boxes, masks=None)[0]
        return sparse
