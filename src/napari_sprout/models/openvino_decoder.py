"""The windowed mask decoder run by OpenVINO, several prompts at once.

The arithmetic is that of ``windowed``, written down once for a number of prompts, tokens
and a window's side; it is compiled when it is first asked for. Each thread that asks has a
stream of its own with a single thread, so answers are the same bits with any number of them.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .decoder_parts import DecoderParts
from .frame import EMBEDDING, LOGITS_PER_TOKEN
from .openvino_graph import (
    Node,
    compiled,
    constant,
    conv,
    gelu,
    layer_norm,
    layer_norm_2d,
    linear,
    matmul,
    number,
    openvino,
    ops,
    reshape,
    sizes,
    transpose,
)

_MOST_GRAPHS = 4
"""Kept at once: what prompts look like changes with the settings, and seldom."""


class OpenVinoDecoder:
    """Answers batches of prompts as :class:`~.windowed.WindowedDecoder` does.

    Parameters
    ----------
    parts
        Of SAM's mask decoder, on the processor; not of SAM 2's, which has details.
    """

    def __init__(self, parts: DecoderParts) -> None:
        self._parts = parts
        self._streams = torch.get_num_threads()
        self._graphs: dict[tuple[int, int, int, bool], _Graph] = {}
        self._lock = threading.Lock()

    def decode(
        self, whole: Tensor, where: Tensor, sparse: Tensor, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Answer prompts.

        Parameters
        ----------
        whole
            (4096, 256 + k) a tile's tokens, widened and placed.
        where
            (n, window ** 2) which of them each window holds.
        sparse, masks
            As of :meth:`~.windowed.WindowedDecoder.decode`.

        Returns
        -------
        logits, iou
            As of :meth:`~.windowed.WindowedDecoder.decode`.
        """
        graph = self._graph((*where.shape, sparse.shape[1], masks is not None))
        asked = [whole, where.to(torch.int32), sparse]
        return graph.answer(asked if masks is None else [*asked, masks[:, None]])

    def _graph(self, shape: tuple[int, int, int, bool]) -> _Graph:
        # One that is being compiled is waited for, not compiled again.
        with self._lock:
            made = self._graphs.pop(shape, None)
            if made is None:
                made = _Graph(compiled(_model(self._parts, *shape), self._streams, self._streams))
            self._graphs[shape] = made
            if len(self._graphs) > _MOST_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            return made


class _Graph:
    """A compiled graph and the requests that nobody is using."""

    def __init__(self, made: Any) -> None:
        self._made = made
        self._idle: list[Any] = []

    def answer(self, given: list[Tensor]) -> tuple[Tensor, Tensor]:
        # A request holds one question at a time; taking from a list is atomic.
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._made.create_infer_request()
        found = request.infer([one.contiguous().numpy() for one in given], share_inputs=True)
        logits, iou = (torch.from_numpy(found[i].copy()) for i in range(2))
        self._idle.append(request)
        return logits, iou


def _model(parts: DecoderParts, n: int, count: int, further: int, masked: bool) -> Any:
    """Write the decoder down for `n` prompts with `further` tokens in windows of `count`."""
    window = round(count**0.5)
    side = window * LOGITS_PER_TOKEN
    whole = ops.parameter([EMBEDDING**2, parts.widened.shape[1]], np.float32)
    where = ops.parameter([n, count], np.int32)
    sparse = ops.parameter([n, further, len(parts.widened)], np.float32)
    given = [whole, where, sparse]
    if masked:
        given.append(ops.parameter([n, 1, side, side], np.float32))
    dense = _dense(parts, given[3]) if masked else constant(parts.no_mask)
    prompt = ops.concat([constant(parts.outputs.repeat(n, 1, 1)), sparse], 1)
    first, *others = parts.decoder.transformer.layers
    widened = ops.add(ops.gather(whole, where, sizes(0)), dense)
    tokens, image = _first_layer(first, prompt, widened)
    position = ops.gather(constant(parts.position), where, sizes(0))
    for layer in others:
        tokens, image = _layer(layer, prompt, tokens, image, position)
    last = parts.decoder.transformer
    placed = ops.add(image, position)
    found = _gather(last.final_attn_token_to_image, ops.add(tokens, prompt), placed, image)
    tokens = layer_norm(ops.add(tokens, found), last.norm_final_attn)
    mlps = parts.decoder.output_hypernetworks_mlps
    each = [_mlp(_token(tokens, parts.first_mask + i), mlp) for i, mlp in enumerate(mlps)]
    iou = _mlp(_token(tokens, parts.first_mask - 1), parts.decoder.iou_prediction_head)
    logits = _upscaled(parts.decoder.output_upscaling, image, ops.concat(each, 1), window)
    return openvino.Model([logits, reshape(iou, n, -1)], given, "mask decoder")


def _dense(parts: DecoderParts, masks: Node) -> Node:
    """Return what mask prompts add to the widened tokens."""
    x = masks
    for module in parts.downscaling:
        if isinstance(module, nn.Conv2d):
            x = conv(x, module)
        elif isinstance(module, nn.GELU):
            x = gelu(x)
        else:
            x = layer_norm_2d(x, module)
    n, channels, height, width = x.shape
    x = transpose(reshape(x, n, channels, height * width), 0, 2, 1)
    return ops.add(matmul(x, constant(parts.lift), second=True), constant(parts.lift_bias))


def _first_layer(layer: Any, prompt: Node, widened: Node) -> tuple[Node, Node]:
    """Add the first layer on what is made once a tile: new tokens, new image tokens."""
    n, tokens_each, dim = prompt.shape
    _, count, wide = widened.shape
    inner = (wide - dim) // 3
    parts = ops.variadic_split(widened, 2, [dim, inner, inner, inner])
    image, keys, values, queries = (parts.output(i) for i in range(4))
    count_heads = layer.self_attn.num_heads
    keys, values, queries = (_heads(part, count_heads) for part in (keys, values, queries))
    tokens = layer_norm(_attention(layer.self_attn, prompt, prompt, prompt), layer.norm1)
    attention = layer.cross_attn_token_to_image
    asked = _heads(linear(ops.add(tokens, prompt), attention.q_proj), count_heads)
    found = linear(_attended(asked, keys, values), attention.out_proj)
    tokens = layer_norm(ops.add(tokens, found), layer.norm2)
    tokens = layer_norm(ops.add(tokens, _feed(tokens, layer.mlp)), layer.norm3)
    attention = layer.cross_attn_image_to_token
    offered = _heads(linear(ops.add(tokens, prompt), attention.k_proj), count_heads)
    scores = matmul(_scaled(offered, inner // count_heads), queries, second=True)
    scores = reshape(scores, n, count_heads * tokens_each, count)
    return tokens, layer_norm(ops.add(image, _given(attention, scores, tokens)), layer.norm4)


def _layer(
    layer: Any, prompt: Node, tokens: Node, image: Node, position: Node
) -> tuple[Node, Node]:
    """Add a later layer: new tokens, new image tokens."""
    n, count, _ = prompt.shape
    asked = ops.add(tokens, prompt)
    found = _attention(layer.self_attn, asked, asked, tokens)
    tokens = layer_norm(ops.add(tokens, found), layer.norm1)
    placed = ops.add(image, position)
    found = _gather(layer.cross_attn_token_to_image, ops.add(tokens, prompt), placed, image)
    tokens = layer_norm(ops.add(tokens, found), layer.norm2)
    tokens = layer_norm(ops.add(tokens, _feed(tokens, layer.mlp)), layer.norm3)
    attention = layer.cross_attn_image_to_token
    heads = attention.num_heads
    offered = linear(ops.add(tokens, prompt), attention.k_proj)
    size = offered.shape[2] // heads
    offered = _scaled(reshape(offered, n, count, heads, size), size)
    keys = _turned(offered, _by_head(attention.q_proj.weight, heads))
    bias = ops.multiply(offered, constant(attention.q_proj.bias.view(heads, size)))
    bias = transpose(ops.reduce_sum(bias, sizes(3)), 0, 2, 1)
    scores = ops.add(matmul(keys, placed, second=True), reshape(bias, n, heads * count, 1))
    return tokens, layer_norm(ops.add(image, _given(attention, scores, tokens)), layer.norm4)


def _gather(attention: Any, asked: Node, placed: Node, image: Node) -> Node:
    """Let few tokens attend to many image tokens."""
    n, count, _ = asked.shape
    heads = attention.num_heads
    queries = linear(asked, attention.q_proj)
    size = queries.shape[2] // heads
    queries = _scaled(reshape(queries, n, count, heads, size), size)
    turned = _turned(queries, _by_head(attention.k_proj.weight, heads))
    scores = matmul(turned, placed, second=True)
    found = reshape(matmul(ops.softmax(scores, -1), image), n, heads, count, image.shape[2])
    values = matmul(found, constant(_by_head(attention.v_proj.weight, heads)[None]), second=True)
    values = reshape(transpose(values, 0, 2, 1, 3), n, count, heads * size)
    return linear(ops.add(values, constant(attention.v_proj.bias)), attention.out_proj)


def _given(attention: Any, scores: Node, tokens: Node) -> Node:
    """Return what image tokens take from the prompt's tokens."""
    heads = attention.num_heads
    n, count, dim = tokens.shape
    many = scores.shape[2]
    values = linear(tokens, attention.v_proj)
    values = reshape(values, n, count, heads, values.shape[2] // heads)
    share = ops.softmax(reshape(scores, n, heads, count, many), 2)
    out = attention.out_proj.weight.T.reshape(heads, -1, dim)
    given = matmul(reshape(share, n, heads * count, many), _turned(values, out), first=True)
    return ops.add(given, constant(attention.out_proj.bias))


def _upscaled(upscaling: Any, image: Node, heads: Node, window: int) -> Node:
    """Return the logits of every mask token at 4 values a token."""
    first, norm, _, second, _ = upscaling
    n = image.shape[0]
    values = image
    for layer in (first, second):
        weight = layer.weight.permute(0, 2, 3, 1)
        values = matmul(values, constant(weight.reshape(len(weight), -1)))
        values = ops.add(values, constant(layer.bias.repeat(4)))
        values = reshape(values, n, 4 * values.shape[1], layer.out_channels)
        values = gelu(layer_norm(values, norm) if layer is first else values)
    # (n, masks, rows, columns, 2 x 2 of the first, 2 x 2 of the second)
    masks = reshape(matmul(heads, values, second=True), n, -1, window, window, 2, 2, 2, 2)
    size = window * LOGITS_PER_TOKEN
    return reshape(transpose(masks, 0, 1, 2, 4, 6, 3, 5, 7), n, -1, size, size)


def _attention(attention: Any, queries: Node, keys: Node, values: Node) -> Node:
    """Add segment-anything's attention."""
    pairs = (
        (queries, attention.q_proj),
        (keys, attention.k_proj),
        (values, attention.v_proj),
    )
    q, k, v = (_heads(linear(x, layer), attention.num_heads) for x, layer in pairs)
    return linear(_attended(q, k, v), attention.out_proj)


def _attended(q: Node, k: Node, v: Node) -> Node:
    scores = matmul(_scaled(q, q.shape[3]), k, second=True)
    found = matmul(ops.softmax(scores, -1), v)
    n, heads, count, size = found.shape
    return reshape(transpose(found, 0, 2, 1, 3), n, count, heads * size)


def _scaled(x: Node, size: int) -> Node:
    return ops.multiply(x, number(size**-0.5))


def _heads(x: Node, heads: int) -> Node:
    """Split (n, m, c) into heads: (n, h, m, c / h)."""
    n, count, channels = x.shape
    return transpose(reshape(x, n, count, heads, channels // heads), 0, 2, 1, 3)


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """Split a (heads * d, c) projection into (heads, d, c)."""
    return weight.view(heads, -1, weight.shape[1])


def _turned(x: Node, weight: Tensor) -> Node:
    """Project (n, t, h, d) by each head's (d, c) to (n, h * t, c)."""
    n, count, heads, _ = x.shape
    made = matmul(transpose(x, 0, 2, 1, 3), constant(weight[None]))
    return reshape(made, n, heads * count, weight.shape[2])


def _feed(x: Node, mlp: Any) -> Node:
    return linear(ops.relu(linear(x, mlp.lin1)), mlp.lin2)


def _mlp(x: Node, mlp: Any) -> Node:
    """Add one of the mask decoder's own perceptrons."""
    *hidden, last = mlp.layers
    for layer in hidden:
        x = ops.relu(linear(x, layer))
    return linear(x, last)


def _token(tokens: Node, place: int) -> Node:
    """Take the token at a place of each prompt, (n, 1, 256)."""
    return ops.slice(tokens, sizes(place), sizes(place + 1), sizes(1), sizes(1))
