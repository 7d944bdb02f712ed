"""A denoiser's large weights in 8 bits: a smaller file, and on processors with 8-bit dot products a faster network.

In a short chunk a convolution over time multiplies few columns with many weights, which is what ONNX Runtime's
`MatMulNBits` is made for: weights in blocks of 8-bit numbers with a scale each, activations quantized block by block as
they come. So each convolution of stride 1 becomes such a product with the columns that its kernel sees: an action's
neighbours in time, side by side. Products with constant matrices are replaced too, and small weights left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper, shape_inference

DOMAIN = 'com.microsoft'
BLOCKS = (128, 32)
"""Weights that share a scale: the first of these that divides a row's length."""
QUANTIZED_FROM = 1 << 16
"""Weights; below, quantizing the activations costs more than the product gains."""
BITS, MIDDLE = 8, 128
COMPUTE_INT8 = 4  # MatMulNBits' accuracy_level for activations in 8 bits


def quantize(model: bytes) -> bytes:
    """Return an ONNX model with its large weights in 8 bits."""
    loaded = shape_inference.infer_shapes(onnx.load_from_string(model))
    graph = loaded.graph
    weights = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    values = (*graph.value_info, *graph.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    nodes: list[NodeProto] = []
    for number, node in enumerate(graph.node):
        made = _Quantized(f'int8_{number}', weights)
        replaced = made.convolution(node, shapes) or made.product(node)
        nodes.extend(replaced or [node])
        graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in made.constants.items())
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [i for i in graph.initializer if i.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    loaded.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return loaded.SerializeToString()


def block_quantized(rows: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (N, K) as 8-bit numbers (N, K / block, block) and scales, one for each block, (N K / block,).

    A row's value is ``(number - MIDDLE) * scale``.
    """
    blocks = rows.reshape(len(rows), -1, block)
    scales = np.abs(blocks).max(axis=-1, keepdims=True) / (MIDDLE - 1)
    scales[scales == 0.0] = 1.0
    numbers = np.round(blocks / scales) + MIDDLE
    return numbers.astype(np.uint8), scales.reshape(-1).astype(np.float32)


class _Quantized:
    """What one node becomes, and the constants that this needs; nothing where it is to stay."""

    def __init__(self, name: str, weights: dict[str, np.ndarray]) -> None:
        self._name, self._weights = name, weights
        self.constants: dict[str, np.ndarray] = {}

    def convolution(self, node: NodeProto, shapes: dict[str, list[int]]) -> list[NodeProto]:
        """Return a convolution over time, (B, C, T) to (B, N, T), as a product; T must be known."""
        if node.op_type != 'Conv' or node.input[1] not in self._weights:
            return []
        weight, length = self._weights[node.input[1]], (shapes.get(node.output[0]) or [0])[-1]
        if weight.ndim != 3 or not length or not _plain(node, weight.shape[2]):
            return []
        channels, width = weight.shape[1:]
        bias = list(node.input[2:3])
        # A row of weights for each output: the kernel's taps one after the other, each with all channels.
        product = self._product('columns', weight.transpose(0, 2, 1).reshape(len(weight), -1), bias, 'turned')
        if product is None:
            return []
        steps = np.arange(length)[:, None] + np.arange(width)
        edge = width // 2
        return [
            helper.make_node('Transpose', [node.input[0]], [self._at('steps')], perm=[0, 2, 1]),
            helper.make_node('Pad', [self._at('steps'), self._put('edges', [0, edge, 0] * 2)], [self._at('padded')]),
            helper.make_node('Gather', [self._at('padded'), self._put('seen', steps)], [self._at('taps')], axis=1),
            helper.make_node(
                'Reshape', [self._at('taps'), self._put('shape', [0, length, width * channels])], [self._at('columns')]
            ),
            product,
            helper.make_node('Transpose', [self._at('turned')], [node.output[0]], perm=[0, 2, 1]),
        ]

    def product(self, node: NodeProto) -> list[NodeProto]:
        """Return a product with a constant matrix, in 8 bits."""
        transposed = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        gemm = node.op_type == 'Gemm' and not transposed.get('transA')
        if not (gemm or node.op_type == 'MatMul') or node.input[1] not in self._weights:
            return []
        weight = self._weights[node.input[1]]
        if weight.ndim != 2 or transposed.get('alpha', 1.0) != 1.0 or transposed.get('beta', 1.0) != 1.0:
            return []
        rows = weight if transposed.get('transB') else weight.T
        made = self._product(node.input[0], rows, list(node.input[2:3]), node.output[0], given=True)
        return [] if made is None else [made]

    def _product(
        self, columns: str, rows: np.ndarray, bias: Sequence[str], result: str, *, given: bool = False
    ) -> NodeProto | None:
        count, length = rows.shape
        block = next((b for b in BLOCKS if length % b == 0), 0)
        if rows.size < QUANTIZED_FROM or not block or any(b not in self._weights for b in bias):
            return None
        numbers, scales = block_quantized(rows, block)
        return helper.make_node(
            'MatMulNBits',
            [columns if given else self._at(columns), self._put('numbers', numbers), self._put('scales', scales),
             *(('', '', *bias) if bias else ())],
            [result if given else self._at(result)],
            domain=DOMAIN, K=length, N=count, bits=BITS, block_size=block, accuracy_level=COMPUTE_INT8,
        )  # fmt: skip

    def _at(self, what: str) -> str:
        return f'{self._name}.{what}'

    def _put(self, what: str, values: np.ndarray | Sequence[int]) -> str:
        array = np.asarray(values)
        self.constants[self._at(what)] = array if array.dtype in (np.uint8, np.float32) else array.astype(np.int64)
        return self._at(what)


def _plain(node: NodeProto, width: int) -> bool:
    """Whether a convolution has stride, dilation and groups of 1, and keeps the length."""
    usual = {'strides': [1], 'dilations': [1], 'group': 1, 'pads': [0, 0], 'auto_pad': b'NOTSET'}
    found = usual | {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name in usual}
    return width % 2 == 1 and found == usual | {'pads': [width // 2] * 2}
