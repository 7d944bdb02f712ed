"""Networks as what runs them reads them: ONNX, with weights in half precision, and TorchScript."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dp_ros.networks.prepared import PreparedNetwork
from dp_ros.policy.bundle.parity import Parity, input_shapes
from dp_ros.task.spec import TaskSpec
from dp_ros.training.settings import TrainSettings

OPSET = 17
HALF_FROM = 256  # elements; below, a half-precision weight saves nothing worth a node in the graph


def random_inputs(task: TaskSpec, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return inputs of an encoder in [-1, 1], by name and with a batch first."""
    shapes = input_shapes(task).items()
    return {name: torch.rand((batch, *shape), generator=generator) * 2 - 1 for name, shape in shapes}


def to_onnx(module: nn.Module, inputs: tuple[Tensor, ...], names: list[str], output: str) -> bytes:
    """Return a module as ONNX; all inputs and the output have a batch first, of any size."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter makes a smaller graph for these networks, and is deprecated; the numbers are compared.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            module,
            inputs,
            buffer,  # type: ignore[arg-type]  # it writes to files too, says torch's documentation
            input_names=names,
            output_names=[output],
            dynamic_axes={name: {0: 'batch'} for name in (*names, output)},
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()


def store_half(model: bytes) -> bytes:
    """Store large float32 weights of an ONNX model as float16, each with a Cast that the runtime folds away.

    Only those that float16 holds exactly.
    """
    graph_model = onnx.load_from_string(model)
    graph = graph_model.graph
    casts = []
    for index, weight in enumerate(graph.initializer):
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < HALF_FROM:
            continue
        half = values.astype(np.float16)
        if (half != values).any():
            continue  # computed from weights, not one of them: rounded, it would change what comes out
        stored = numpy_helper.from_array(half, f'{weight.name}.float16')
        casts.append(helper.make_node('Cast', [stored.name], [weight.name], to=TensorProto.FLOAT))
        graph.initializer[index].CopyFrom(stored)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(graph_model)
    return graph_model.SerializeToString()


def torchscript_twins(network: PreparedNetwork, settings: TrainSettings, parity: Parity) -> Mapping[str, Any]:
    """Return both networks traced to TorchScript."""
    streams = tuple(torch.from_numpy(parity.inputs[name]) for name in input_shapes(settings.task))
    denoiser_inputs = tuple(torch.from_numpy(a) for a in (parity.x_k, parity.k, parity.cond))
    twins = {}
    for file, module, inputs in (
        ('encoder.ts', network.encoder, streams),
        ('denoiser.ts', network.denoiser, denoiser_inputs),
    ):
        buffer = io.BytesIO()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')  # torch.jit is in maintenance; the twin exists for robots that want it
            torch.jit.save(torch.jit.trace(module, inputs), buffer)
        twins[file] = buffer.getvalue()
    return twins
