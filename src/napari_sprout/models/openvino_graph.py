"""OpenVINO, and the pieces of which graphs are written down from modules of torch.

A graph holds the weights of the modules. It is compiled when a network is loaded or first
used, so there is no converted file to keep in step with the weights, and weights that were
tuned serve as well. All is float32 and the numbers are the same up to rounding.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
from torch import Tensor

# OpenVINO tells Google Analytics of every import, unless this package cannot be found.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

__all__ = ["Node", "openvino", "ops"]

Node = Any
"""An output in OpenVINO's graph; its operators are made at run time, so no type knows them."""

_SAME: Final = {
    # Some processors would take bfloat16, and answer otherwise than the rest.
    "INFERENCE_PRECISION_HINT": "f32",
    # Several processes, each bound to the same cores, would wait for one another.
    "ENABLE_CPU_PINNING": False,
}


def compiled(graph: Any, threads: int, streams: int = 0) -> Any:
    """Compile a graph for this processor.

    Parameters
    ----------
    graph
        An ``openvino.Model``.
    threads
        All in all.
    streams
        Questions that are answered at the same time, each by its share of the threads; 0:
        one is to be answered as soon as may be.
    """
    how = {"NUM_STREAMS": streams} if streams else {"PERFORMANCE_HINT": "LATENCY"}
    options = _SAME | how | {"INFERENCE_NUM_THREADS": threads}
    return openvino.Core().compile_model(graph, "CPU", options)


def constant(tensor: Tensor | None) -> Node:
    """Add a tensor."""
    assert tensor is not None
    return ops.constant(tensor.detach().contiguous().numpy())


def number(value: float) -> Node:
    """Add a single float32."""
    return ops.constant(np.float32(value))


def sizes(*values: int) -> Node:
    """Add numbers of elements or axes."""
    return ops.constant(np.asarray(values, np.int64))


def reshape(x: Node, *shape: int) -> Node:
    """Give `x` another shape."""
    return ops.reshape(x, sizes(*shape), special_zero=False)


def transpose(x: Node, *order: int) -> Node:
    """Order the axes of `x` in another way."""
    return ops.transpose(x, sizes(*order))


def matmul(a: Node, b: Node, *, first: bool = False, second: bool = False) -> Node:
    """Multiply matrices; `first` and `second` say which of them is transposed."""
    return ops.matmul(a, b, first, second)


def linear(x: Node, layer: Any) -> Node:
    """Add a ``torch.nn.Linear``."""
    return ops.add(matmul(x, constant(layer.weight), second=True), constant(layer.bias))


def conv(x: Node, layer: Any) -> Node:
    """Add a ``torch.nn.Conv2d``."""
    weight = layer.weight
    size = [list(v) for v in (layer.stride, layer.padding, layer.padding, layer.dilation)]
    if layer.groups == 1:
        made = ops.convolution(x, constant(weight), *size)
    else:
        grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
        made = ops.group_convolution(x, constant(grouped), *size)
    return made if layer.bias is None else ops.add(made, constant(layer.bias.view(1, -1, 1, 1)))


def gelu(x: Node, _: Any = None) -> Node:
    """Add a ``torch.nn.GELU``."""
    return ops.gelu(x, "erf")


def layer_norm(x: Node, layer: Any) -> Node:
    """Add a ``torch.nn.LayerNorm``, or a LayerNorm2d where channels are last."""
    return _norm(x, layer, -1, layer.weight, layer.bias)


def layer_norm_2d(x: Node, layer: Any) -> Node:
    """Add segment-anything's LayerNorm2d."""
    return _norm(x, layer, 1, layer.weight.view(1, -1, 1, 1), layer.bias.view(1, -1, 1, 1))


def _norm(x: Node, layer: Any, axis: int, weight: Tensor, bias: Tensor) -> Node:
    made = ops.mvn(x, sizes(axis), True, layer.eps, "inside_sqrt")
    return ops.add(ops.multiply(made, constant(weight)), constant(bias))
