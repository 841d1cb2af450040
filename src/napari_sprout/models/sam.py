"""SAM as a promptable segmenter, decoding in windows around the prompts.

SAM's mask decoder attends over all 64 x 64 image tokens, though a nucleus is a
few tokens wide. Here each prompt sees a window of the embedding, cropped
together with its positional encoding; at 64 tokens the window is the whole tile
and the answer is exactly segment-anything's.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ImageError
from .frame import EMBEDDING, FRAME, LOGITS_PER_TOKEN, to_frame_xy
from .mobile_sam import MobileSam
from .protocols import MaskBatch, PromptBatch

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class SamSegmenter:
    """A SAM network on one device; implements :class:`~.protocols.PromptableSegmenter`.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    name
        Short name, as in the settings.
    weights_sha256
        SHA-256 of the weights file.
    device
        Where to compute.
    """

    def __init__(
        self, network: MobileSam, name: str, weights_sha256: str, device: torch.device
    ) -> None:
        self.name = name
        self.weights_sha256 = weights_sha256
        self.device = device
        self._network = network.to(device)
        self._network.image_encoder.to(memory_format=torch.channels_last)
        self._mean = torch.tensor(PIXEL_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(PIXEL_STD, device=device).view(1, 3, 1, 1)
        with torch.inference_mode():
            self._position = self._network.prompt_encoder.get_dense_pe()[0]

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
            (256, 64, 64) float32 embedding on :attr:`device`.

        Raises
        ------
        ImageError
            If the tile is not a square RGB image.
        """
        if tile.ndim != 3 or tile.shape[2] != 3 or tile.shape[0] != tile.shape[1]:
            raise ImageError(f"A tile must be a square RGB image, not of shape {tile.shape}.")
        frame = cv2.resize(tile, (FRAME, FRAME), interpolation=cv2.INTER_LINEAR)
        pixels = torch.from_numpy(frame).to(self.device).permute(2, 0, 1)[None].float()
        pixels = ((pixels - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        embedding: Tensor = self._network.image_encoder(pixels)[0]
        return embedding.contiguous()

    @torch.inference_mode()
    def decode(self, embedding: Tensor, prompts: PromptBatch, side: int) -> MaskBatch:
        """Answer prompts on an encoded tile.

        Parameters
        ----------
        embedding
            (256, 64, 64), from :meth:`encode`.
        prompts
            Points in tile pixels, windows, and perhaps mask prompts.
        side
            The tile's side in working pixels.

        Returns
        -------
        MaskBatch
            Logits over each prompt's window at 4 values per token, and predicted IoU.
        """
        encoder = self._network.prompt_encoder
        points = to_frame_xy(prompts.points.to(self.device), side)
        labels = prompts.labels.to(self.device)
        sparse, _ = encoder(points=(points, labels), boxes=None, masks=None)
        image = self._windows(embedding.to(self.device), prompts)
        if prompts.masks is None:
            dense = encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        else:
            # Two convolutions of kernel = stride = 2: each token reads its own 4 x 4 values,
            # so a window of the mask prompt is encoded exactly.
            dense = encoder.mask_downscaling(prompts.masks.to(self.device)[:, None])
        return self._decode(image + dense, self._windows(self._position, prompts), sparse)

    def _windows(self, grid: Tensor, prompts: PromptBatch) -> Tensor:
        """Cut each prompt's window from a (256, 64, 64) grid: (n, 256, w, w)."""
        w = prompts.window
        if w == EMBEDDING:
            return grid.expand(len(prompts), -1, -1, -1)
        steps = torch.arange(w)
        rows = (prompts.origins[:, :1] + steps).to(self.device)
        columns = (prompts.origins[:, 1:] + steps).to(self.device)
        return grid[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)

    def _decode(self, image: Tensor, position: Tensor, sparse: Tensor) -> MaskBatch:
        """Run the mask decoder's parts on windows instead of one shared embedding."""
        decoder = self._network.mask_decoder
        n, channels, w, _ = image.shape
        outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([outputs.expand(n, -1, -1), sparse], dim=1)
        answered, attended = decoder.transformer(image, position, tokens)
        grid = attended.transpose(1, 2).reshape(n, channels, w, w)
        upscaled = decoder.output_upscaling(grid)
        masks = decoder.num_mask_tokens
        heads = torch.stack(
            [mlp(answered[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)],
            dim=1,
        )
        size = w * LOGITS_PER_TOKEN
        logits = (heads @ upscaled.flatten(2)).view(n, masks, size, size)
        return MaskBatch(logits, decoder.iou_prediction_head(answered[:, 0]))
