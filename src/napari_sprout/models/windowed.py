"""SAM's mask decoder over a window of tokens around each prompt.

SAM's decoder attends over all 64 x 64 image tokens, though a nucleus is a few tokens
wide. Here each prompt sees a window of the embedding, cropped together with its
positional encoding; at 64 tokens the window is the whole tile and the answer is
segment-anything's own, up to rounding.

The arithmetic is segment-anything's, in another order:

- What the first attention makes of the image and its positions is the same for all
  prompts of a tile, so it is computed once and cut out for each window.
- A prompt has eight tokens or so, a window hundreds. Where segment-anything projects
  every image token to keys, queries and values, here the few tokens are projected the
  other way, ``(x W) k = x (W k)``, which halves the work.

On a processor OpenVINO runs the same arithmetic for whole batches (``openvino_decoder``).

SAM 2's decoder is the same but for one more token, and for details of the image that are
added while masks are enlarged. The details stand behind a token's features (see ``sam2``).

Source: Kirillov et al. 2023, Segment Anything, appendix A (mask decoder); Ravi et al.
2024, SAM 2, appendix D.1.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from .decoder_parts import DecoderParts, tokens_of
from .frame import EMBEDDING, FEATURES, LOGITS_PER_TOKEN

if TYPE_CHECKING:
    from .openvino_decoder import OpenVinoDecoder

BATCH: Final = 8
"""Prompts that a processor decodes at once: what still fits its cache."""
_MOST_COMPILED: Final = 32
"""Tokens a side of the largest windows that OpenVINO decodes; few masks want larger ones."""

_LOG = logging.getLogger(__name__)
_SLOWLY: Final = "OpenVINO does not run the mask decoder, torch does: %s"


class WindowedDecoder:
    """Decodes prompts with the weights of a SAM prompt encoder and mask decoder.

    Parameters
    ----------
    prompt_encoder, mask_decoder
        segment-anything's modules, on their device and in evaluation mode; a mask decoder
        with an ``obj_score_token`` is SAM 2's.
    """

    def __init__(self, prompt_encoder: Any, mask_decoder: Any) -> None:
        self._parts = DecoderParts.of(prompt_encoder, mask_decoder)
        self._tile: tuple[Tensor, Tensor, Tensor] = (torch.empty(0),) * 3
        self._compiled = _compiled(self._parts)

    def decode(
        self, embedding: Tensor, origins: Tensor, window: int, sparse: Tensor, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Answer prompts on one encoded tile.

        Parameters
        ----------
        embedding
            (256, 64, 64), and more channels of details for SAM 2.
        origins
            (n, 2) first token (row, column) of each window.
        window
            Tokens a side.
        sparse
            (n, k, 256) the prompt encoder's tokens of points and boxes.
        masks
            (n, 4 * window, 4 * window) logits of mask prompts, or None.

        Returns
        -------
        logits
            (n, 4, 4 * window, 4 * window).
        iou
            (n, 4) predicted IoU.
        """
        where = _window_tokens(origins.to(embedding.device), window)
        whole, details = self._whole(embedding)
        compiled = self._compiled
        if compiled and len(origins) == BATCH and window <= _MOST_COMPILED:
            try:
                return compiled.decode(whole, where, sparse, masks)
            except Exception as error:
                # The work can be done all the same, more slowly.
                _LOG.warning(_SLOWLY, error)
                self._compiled = None
        parts, decoder = self._parts, self._parts.decoder
        transformer = decoder.transformer
        prompt = torch.cat([parts.outputs.expand(len(origins), -1, -1), sparse], dim=1)
        first, *others = transformer.layers
        tokens, image = self._first_layer(first, prompt, whole[where] + self._dense(masks))
        position = parts.position[where]
        for layer in others:
            tokens, image = _layer(layer, prompt, tokens, image, position)
        tokens = tokens + _gather(
            transformer.final_attn_token_to_image, tokens + prompt, image + position, image
        )
        tokens = transformer.norm_final_attn(tokens)
        each = enumerate(decoder.output_hypernetworks_mlps, start=parts.first_mask)
        heads = torch.stack([mlp(tokens[:, place]) for place, mlp in each], 1)
        added = details[where] if details.shape[1] else None
        logits = _upscaled(decoder.output_upscaling, image, heads, window, added)
        return logits, decoder.iou_prediction_head(tokens[:, parts.first_mask - 1])

    def _first_layer(self, layer: Any, prompt: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Run the first layer on what is made once a tile: new tokens, new image tokens."""
        dim = len(self._parts.widened)
        image, projected = torch.split(whole, [dim, whole.shape[-1] - dim], dim=-1)
        keys, values, queries = (_heads(part, layer) for part in projected.chunk(3, dim=-1))
        tokens = layer.norm1(layer.self_attn(q=prompt, k=prompt, v=prompt))
        attention = layer.cross_attn_token_to_image
        asked = _heads(attention.q_proj(tokens + prompt), layer)
        found = functional.scaled_dot_product_attention(asked, keys, values)
        tokens = layer.norm2(tokens + attention.out_proj(found.transpose(1, 2).flatten(2)))
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        attention = layer.cross_attn_image_to_token
        offered = _heads(attention.k_proj(tokens + prompt), layer)
        scores = offered @ queries.transpose(2, 3)
        return tokens, layer.norm4(image + _given(attention, scores, tokens))

    def _whole(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Return a tile's tokens, widened, and their details (0 channels if there are none).

        They are made once for prompts that follow on one tile.
        """
        # Read and replaced as a whole: several threads may share a decoder.
        known, made, details = self._tile
        if known is not embedding:
            features = tokens_of(embedding[:FEATURES])
            made = torch.addmm(self._parts.placed, features, self._parts.widened)
            details = tokens_of(embedding[FEATURES:])
            self._tile = embedding, made, details
        return made, details

    def _dense(self, masks: Tensor | None) -> Tensor:
        """Return what mask prompts add to the widened tokens.

        Their convolutions have kernel = stride = 2: each token reads its own 4 x 4 values, so
        a window of a mask prompt is encoded as that place of the whole.
        """
        if masks is None:
            return self._parts.no_mask
        small = self._parts.downscaling(masks[:, None]).flatten(2).transpose(1, 2)
        widened: Tensor = functional.linear(small, self._parts.lift, self._parts.lift_bias)
        return widened


def _compiled(parts: DecoderParts) -> OpenVinoDecoder | None:
    """Return what decodes batches more quickly; None if there is nothing, as for SAM 2."""
    if parts.position.device.type != "cpu" or hasattr(parts.decoder, "obj_score_token"):
        return None
    try:
        # Here, not above: it has no wheels for some processors.
        from .openvino_decoder import OpenVinoDecoder
    except ImportError as error:
        _LOG.warning(_SLOWLY, error)
        return None
    return OpenVinoDecoder(parts)


def _window_tokens(origins: Tensor, window: int) -> Tensor:
    """Return which tokens of the grid each window holds, (n, window ** 2)."""
    steps = torch.arange(window, device=origins.device)
    rows, columns = origins[:, :1] + steps, origins[:, 1:] + steps
    return (rows[:, :, None] * EMBEDDING + columns[:, None, :]).flatten(1)


def _heads(projected: Tensor, layer: Any) -> Tensor:
    """Split (n, m, c) into heads: (n, h, m, c / h)."""
    count = layer.self_attn.num_heads
    n, m, channels = projected.shape
    return projected.view(n, m, count, channels // count).transpose(1, 2)


def _by_head(weight: Tensor, attention: Any) -> Tensor:
    """Split a (heads * d, c) projection into (heads, d, c)."""
    return weight.view(attention.num_heads, -1, weight.shape[1])


def _layer(
    layer: Any, prompt: Tensor, tokens: Tensor, image: Tensor, position: Tensor
) -> tuple[Tensor, Tensor]:
    """Run a later layer: new tokens, new image tokens."""
    asked = tokens + prompt
    tokens = layer.norm1(tokens + layer.self_attn(q=asked, k=asked, v=tokens))
    placed = image + position
    found = _gather(layer.cross_attn_token_to_image, tokens + prompt, placed, image)
    tokens = layer.norm2(tokens + found)
    tokens = layer.norm3(tokens + layer.mlp(tokens))
    attention = layer.cross_attn_image_to_token
    offered = attention.k_proj(tokens + prompt)
    n, count, _ = offered.shape
    offered = offered.view(n, count, attention.num_heads, -1)
    keys = torch.einsum("nthd,hdc->nhtc", offered, _by_head(attention.q_proj.weight, attention))
    bias = (offered * attention.q_proj.bias.view(attention.num_heads, -1)).sum(-1)
    scores = keys.flatten(1, 2) @ placed.transpose(1, 2) + bias.transpose(1, 2).reshape(n, -1, 1)
    scores = scores.view(n, attention.num_heads, count, -1)
    return tokens, layer.norm4(image + _given(attention, scores, tokens))


def _gather(attention: Any, asked: Tensor, placed: Tensor, image: Tensor) -> Tensor:
    """Let few tokens attend to many image tokens.

    A key's bias adds the same to all scores of a token, so the softmax does not see it.
    """
    n, count, _ = asked.shape
    queries = attention.q_proj(asked).view(n, count, attention.num_heads, -1)
    size = queries.shape[-1]
    turned = torch.einsum("nthd,hdc->nhtc", queries, _by_head(attention.k_proj.weight, attention))
    scores = turned.flatten(1, 2) @ placed.transpose(1, 2)
    found = (torch.softmax(scores / size**0.5, dim=-1) @ image).view(n, -1, count, image.shape[-1])
    values = torch.einsum("nhtc,hdc->nthd", found, _by_head(attention.v_proj.weight, attention))
    gathered: Tensor = attention.out_proj(values.flatten(2) + attention.v_proj.bias)
    return gathered


def _given(attention: Any, scores: Tensor, tokens: Tensor) -> Tensor:
    """Return what image tokens take from the prompt's tokens, (n, m, 256).

    Parameters
    ----------
    attention
        From image tokens to the prompt's.
    scores
        (n, heads, t, m); in this order the softmax over t is quick.
    tokens
        (n, t, 256).
    """
    n, heads, count, _ = scores.shape
    values = attention.v_proj(tokens).view(n, count, heads, -1)
    share = torch.softmax(scores / values.shape[-1] ** 0.5, dim=2).flatten(1, 2)
    out = attention.out_proj.weight.T.view(heads, -1, tokens.shape[-1])
    turned = torch.einsum("nthd,hdc->nhtc", values, out).flatten(1, 2)
    given: Tensor = share.transpose(1, 2) @ turned + attention.out_proj.bias
    return given


def _upscaled(
    upscaling: Any, image: Tensor, heads: Tensor, window: int, details: Tensor | None
) -> Tensor:
    """Return the logits of every mask token at 4 values a token, (n, masks, s, s).

    The two transposed convolutions have kernel = stride = 2: each token becomes 2 x 2, and
    each of those 2 x 2 again, by itself. So they are products here, and channels stay last.
    """
    first, norm, activation, second, last = upscaling
    n = len(image)
    values = image
    begin = 0
    for layer, after in ((first, lambda v: activation(_norm(norm, v))), (second, last)):
        weight = layer.weight.permute(0, 2, 3, 1)
        bias = layer.bias.repeat(4)
        flat = torch.addmm(bias, values.reshape(-1, len(weight)), weight.reshape(len(weight), -1))
        if details is not None:
            end = begin + flat.numel() // image.shape[:2].numel()
            flat += details[..., begin:end].reshape(flat.shape)
            begin = end
        values = after(flat.view(-1, layer.out_channels))
    masks = values.view(n, -1, values.shape[-1]) @ heads.transpose(1, 2)
    # (n, rows, columns, 2 x 2 of the first, 2 x 2 of the second, masks)
    masks = masks.view(n, window, window, 2, 2, 2, 2, -1).permute(0, 7, 1, 3, 5, 2, 4, 6)
    size = window * LOGITS_PER_TOKEN
    return masks.reshape(n, -1, size, size)


def _norm(norm: Any, values: Tensor) -> Tensor:
    """Apply a LayerNorm2d to channels that are last."""
    return functional.layer_norm(values, values.shape[-1:], norm.weight, norm.bias, norm.eps)
