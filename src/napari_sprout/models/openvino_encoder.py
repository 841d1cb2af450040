"""The same encoder run by OpenVINO, which fuses more on a processor than torch does.

The graph is written down from the modules of timm and segment-anything, one function
a kind of module, with their weights. It is compiled when a network is loaded, so there
is no converted file to keep in step with the weights, and weights that were tuned serve
as well. All is float32 and the numbers are the same up to rounding.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from segment_anything.modeling.common import LayerNorm2d
from timm.models import tiny_vit
from torch import Tensor, nn

from .frame import FRAME, PIXEL_MEAN, PIXEL_STD

# OpenVINO tells Google Analytics of every import, unless this package cannot be found.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

Node = Any
"""An output in OpenVINO's graph; its operators are made at run time, so no type knows them."""

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
        x = _transpose(_normalised(frame), *_TO_NCHW)
        found = _chain(x, (encoder.trunk.patch_embed, encoder.trunk.stages, encoder.neck))
        self._graph = openvino.Model([found], [frame], "image encoder")
        self._compile()

    def _compile(self) -> None:
        self._threads = torch.get_num_threads()
        compiled = openvino.Core().compile_model(self._graph, "CPU", _options(self._threads))
        self._request = compiled.create_infer_request()

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


def _options(threads: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        # Some processors would take bfloat16, and answer otherwise than the rest.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        # Several processes, each bound to the same cores, would wait for one another.
        "ENABLE_CPU_PINNING": False,
    }


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


def _constant(tensor: Tensor | None) -> Node:
    assert tensor is not None
    return ops.constant(tensor.detach().numpy())


def _sizes(*sizes: int) -> Node:
    return ops.constant(np.asarray(sizes, np.int64))


def _reshape(x: Node, *shape: int) -> Node:
    return ops.reshape(x, _sizes(*shape), special_zero=False)


def _transpose(x: Node, *order: int) -> Node:
    return ops.transpose(x, _sizes(*order))


def _normalised(frame: Node) -> Node:
    mean, std = (ops.constant(np.array(v, np.float32)) for v in (PIXEL_MEAN, PIXEL_STD))
    return ops.divide(ops.subtract(ops.convert(frame, "f32"), mean), std)


def _conv(x: Node, conv: Any) -> Node:
    weight = conv.weight
    size = [list(v) for v in (conv.stride, conv.padding, conv.padding, conv.dilation)]
    if conv.groups == 1:
        made = ops.convolution(x, _constant(weight), *size)
    else:
        grouped = weight.reshape(conv.groups, -1, *weight.shape[1:])
        made = ops.group_convolution(x, _constant(grouped), *size)
    return made if conv.bias is None else ops.add(made, _constant(conv.bias.view(1, -1, 1, 1)))


def _linear(x: Node, linear: Any) -> Node:
    made = ops.matmul(x, _constant(linear.weight), transpose_a=False, transpose_b=True)
    return ops.add(made, _constant(linear.bias))


def _norm(x: Node, norm: Any, axis: int, weight: Tensor, bias: Tensor) -> Node:
    made = ops.mvn(x, _sizes(axis), True, norm.eps, "inside_sqrt")
    return ops.add(ops.multiply(made, _constant(weight)), _constant(bias))


def _layer_norm(x: Node, norm: Any) -> Node:
    return _norm(x, norm, -1, norm.weight, norm.bias)


def _layer_norm_2d(x: Node, norm: Any) -> Node:
    return _norm(x, norm, 1, norm.weight.view(1, -1, 1, 1), norm.bias.view(1, -1, 1, 1))


def _mb_conv(x: Node, block: Any) -> Node:
    inner = _chain(x, (block.conv1, block.act1, block.conv2, block.act2, block.conv3))
    return _node(ops.add(inner, x), block.act3)


def _attention(x: Node, attention: Any) -> Node:
    windows, tokens, _ = x.shape
    heads, width = attention.num_heads, attention.key_dim
    qkv = _node(_node(x, attention.norm), attention.qkv)
    qkv = _transpose(_reshape(qkv, windows, tokens, heads, -1), 0, 2, 1, 3)
    parts = ops.variadic_split(qkv, 3, [width, width, attention.val_dim])
    q, k, v = (parts.output(i) for i in range(3))
    q = ops.multiply(q, ops.constant(np.float32(attention.scale)))
    scores = ops.matmul(q, k, transpose_a=False, transpose_b=True)
    scores = ops.add(scores, _constant(attention.get_attention_biases(torch.device("cpu"))))
    made = ops.matmul(ops.softmax(scores, -1), v, transpose_a=False, transpose_b=False)
    made = _reshape(_transpose(made, 0, 2, 1, 3), windows, tokens, attention.out_dim)
    return _node(made, attention.proj)


def _in_windows(x: Node, block: Any) -> Node:
    """Attention within windows of a (1, h, w, c) map, padded to whole windows."""
    _, height, width, channels = x.shape
    side = block.window_size
    down, across = -(-height // side), -(-width // side)
    ends = _sizes(0, down * side - height, across * side - width, 0)
    x = ops.pad(x, _sizes(0, 0, 0, 0), ends, "constant", ops.constant(np.float32(0)))
    x = _transpose(_reshape(x, down, side, across, side, channels), 0, 2, 1, 3, 4)
    x = _attention(_reshape(x, down * across, side * side, channels), block.attn)
    x = _transpose(_reshape(x, down, across, side, side, channels), 0, 2, 1, 3, 4)
    x = _reshape(x, 1, down * side, across * side, channels)
    return ops.slice(x, _sizes(0, 0), _sizes(height, width), _sizes(1, 1), _sizes(1, 2))


def _block(x: Node, block: Any) -> Node:
    _, height, width, channels = x.shape
    x = ops.add(x, _in_windows(x, block))
    x = _node(_transpose(x, *_TO_NCHW), block.local_conv)
    # Rows of three dimensions, lest OpenVINO reorders the map for each layer norm.
    x = _transpose(_reshape(x, 1, channels, height * width), 0, 2, 1)
    x = ops.add(x, _node(x, block.mlp))
    return _reshape(x, 1, height, width, channels)


def _stage(x: Node, stage: Any) -> Node:
    x = _transpose(_node(x, stage.downsample), *_TO_NHWC)
    return _transpose(_chain(x, stage.blocks), *_TO_NCHW)


_ADDED: Final[dict[type[nn.Module], Callable[[Node, Any], Node]]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    LayerNorm2d: _layer_norm_2d,
    nn.GELU: lambda x, _: ops.gelu(x, "erf"),
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
