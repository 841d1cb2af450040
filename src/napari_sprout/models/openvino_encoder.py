"""MobileSAM's image encoder run by OpenVINO, which fuses more on a processor than torch does.

The graph is written down from the modules of timm and segment-anything, one function
a kind of module, with their weights (see ``openvino_graph``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from segment_anything.modeling.common import LayerNorm2d
from timm.models import tiny_vit
from torch import Tensor, nn

from .frame import FRAME, PIXEL_MEAN, PIXEL_STD
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

_TO_NHWC: Final = (0, 2, 3, 1)
_TO_NCHW: Final = (0, 3, 1, 2)


class OpenVinoEncoder(nn.Module):
    """An image encoder compiled for this processor; stands in for :class:`~.FromFrame`.

    Parameters
    ----------
    encoder
        MobileSAM's, in evaluation mode, its batch norms merged (:mod:`.fused`).
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self._lock = threading.Lock()
        frame = ops.parameter([1, FRAME, FRAME, 3], np.uint8)
        x = transpose(_normalised(frame), *_TO_NCHW)
        found = _chain(x, (encoder.trunk.patch_embed, encoder.trunk.stages, encoder.neck))
        self._graph = openvino.Model([found], [frame], "image encoder")
        self._compile()

    def _compile(self) -> None:
        self._threads = torch.get_num_threads()
        self._request = compiled(self._graph, self._threads).create_infer_request()

    def forward(self, frames: Tensor) -> Tensor:
        """Encode (n, 1024, 1024, 3) uint8 RGB to (n, 256, 64, 64), one after another."""
        return torch.stack([self._encoded(frame) for frame in frames])

    def _encoded(self, frame: Tensor) -> Tensor:
        # A request holds one question at a time.
        with self._lock:
            if torch.get_num_threads() != self._threads:
                self._compile()
            found = self._request.infer([frame[None].contiguous().numpy()], share_inputs=True)
            return torch.from_numpy(found[0][0].copy())


def _node(x: Node, module: nn.Module) -> Node:
    """Add what a module computes from `x` to the graph."""
    for kind, add in _ADDED.items():
        if isinstance(module, kind):
            return add(x, module)
    raise TypeError(f"no graph for {type(module).__name__}")


def _chain(x: Node, modules: Any) -> Node:
    for module in modules:
        x = _node(x, module)
    return x


def _named(*names: str) -> Callable[[Node, Any], Node]:
    """Return what adds a module's children of these names, one after another."""
    return lambda x, module: _chain(x, (getattr(module, name) for name in names))


def _normalised(frame: Node) -> Node:
    mean, std = (ops.constant(np.array(v, np.float32)) for v in (PIXEL_MEAN, PIXEL_STD))
    return ops.divide(ops.subtract(ops.convert(frame, "f32"), mean), std)


def _mb_conv(x: Node, block: Any) -> Node:
    inner = _chain(x, (block.conv1, block.act1, block.conv2, block.act2, block.conv3))
    return _node(ops.add(inner, x), block.act3)


def _attention(x: Node, attention: Any) -> Node:
    windows, tokens, _ = x.shape
    heads, width = attention.num_heads, attention.key_dim
    qkv = _node(_node(x, attention.norm), attention.qkv)
    qkv = transpose(reshape(qkv, windows, tokens, heads, -1), 0, 2, 1, 3)
    parts = ops.variadic_split(qkv, 3, [width, width, attention.val_dim])
    q, k, v = (parts.output(i) for i in range(3))
    q = ops.multiply(q, number(attention.scale))
    scores = matmul(q, k, second=True)
    scores = ops.add(scores, constant(attention.get_attention_biases(torch.device("cpu"))))
    made = matmul(ops.softmax(scores, -1), v)
    made = reshape(transpose(made, 0, 2, 1, 3), windows, tokens, attention.out_dim)
    return _node(made, attention.proj)


def _in_windows(x: Node, block: Any) -> Node:
    """Attention within windows of a (1, h, w, c) map, padded to whole windows."""
    _, height, width, channels = x.shape
    side = block.window_size
    down, across = -(-height // side), -(-width // side)
    ends = sizes(0, down * side - height, across * side - width, 0)
    x = ops.pad(x, sizes(0, 0, 0, 0), ends, "constant", number(0))
    x = transpose(reshape(x, down, side, across, side, channels), 0, 2, 1, 3, 4)
    x = _attention(reshape(x, down * across, side * side, channels), block.attn)
    x = transpose(reshape(x, down, across, side, side, channels), 0, 2, 1, 3, 4)
    x = reshape(x, 1, down * side, across * side, channels)
    return ops.slice(x, sizes(0, 0), sizes(height, width), sizes(1, 1), sizes(1, 2))


def _block(x: Node, block: Any) -> Node:
    _, height, width, channels = x.shape
    x = ops.add(x, _in_windows(x, block))
    x = _node(transpose(x, *_TO_NCHW), block.local_conv)
    # Rows of three dimensions, lest OpenVINO reorders the map for each layer norm.
    x = transpose(reshape(x, 1, channels, height * width), 0, 2, 1)
    x = ops.add(x, _node(x, block.mlp))
    return reshape(x, 1, height, width, channels)


def _stage(x: Node, stage: Any) -> Node:
    x = transpose(_node(x, stage.downsample), *_TO_NHWC)
    return transpose(_chain(x, stage.blocks), *_TO_NCHW)


_ADDED: Final[dict[type[nn.Module], Callable[[Node, Any], Node]]] = {
    nn.Conv2d: conv,
    nn.Linear: linear,
    nn.LayerNorm: layer_norm,
    LayerNorm2d: layer_norm_2d,
    nn.GELU: gelu,
    nn.Identity: lambda x, _: x,
    nn.Sequential: _chain,
    tiny_vit.PatchEmbed: _named("conv1", "act", "conv2"),
    tiny_vit.ConvLayer: _named("blocks"),
    tiny_vit.MBConv: _mb_conv,
    tiny_vit.PatchMerging: _named("conv1", "act1", "conv2", "act2", "conv3"),
    tiny_vit.NormMlp: _named("norm", "fc1", "act", "fc2"),
    tiny_vit.TinyVitBlock: _block,
    tiny_vit.TinyVitStage: _stage,
}
