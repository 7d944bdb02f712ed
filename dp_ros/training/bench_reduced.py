"""The same network in fewer bits, for `dp_ros bench`: is it worth its error? On most CPUs it is not even faster.

``int8``: weights quantized once, activations at each layer (ONNX Runtime's dynamic quantization). ``float16``: computed
in half precision where the processor can, converted back and forth where it can't.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.policy.backends import Backend
from dp_ros.training.export import denoiser_onnx, prepare, record_parity
from dp_ros.training.settings import TrainSettings

REDUCED = ('int8', 'float16')


class Reduced:
    """A backend whose denoiser computes in fewer bits; its numbers are no longer the network's.

    Parameters
    ----------
    whole
        What encodes.
    network, settings
        The network itself, and its configuration.
    bits
        One of `REDUCED`.
    threads
        Of one call.

    """

    def __init__(
        self, whole: Backend, network: DiffusionNetwork, settings: TrainSettings, bits: str, threads: int
    ) -> None:
        self._whole = whole
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # As dp_ros's own, and not to disturb it.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        prepared = prepare(network, settings)
        denoiser = onnx.load_from_string(denoiser_onnx(prepared, record_parity(network, prepared, settings)))
        model = _int8(denoiser) if bits == 'int8' else _float16(denoiser)
        self._session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])

    def encode(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run the encoder, which is left as it is."""
        return self._whole.encode(inputs)

    def predict(self, x_k: np.ndarray, k: np.ndarray, cond: np.ndarray) -> np.ndarray:
        """Run the reduced denoiser."""
        prediction: np.ndarray = self._session.run(None, {'x_k': x_k, 'k': k, 'cond': cond})[0]
        return prediction


def _int8(denoiser: onnx.ModelProto) -> bytes:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix='dp_ros_int8_') as folder:
        made = Path(folder) / 'denoiser.onnx'
        quantize_dynamic(denoiser, made, weight_type=QuantType.QUInt8)
        return made.read_bytes()


def _float16(denoiser: onnx.ModelProto) -> bytes:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model: bytes = convert_float_to_float16(denoiser, keep_io_types=True).SerializeToString()
    return model
