"""The same network in fewer bits, for `dp_ros bench`: what it gains, and by how much it errs.

``int8``: as `dp_ros export --weights int8` makes it. ``float16``: computed in half precision where the processor can,
converted back and forth where it can't.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.policy.backends.sessions import Backend
from dp_ros.training.export.export import denoiser_onnx, prepare, record_parity
from dp_ros.training.export.quantize import quantize
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
        denoiser = denoiser_onnx(prepared, record_parity(network, prepared, settings))
        model = quantize(denoiser) if bits == 'int8' else _float16(onnx.load_from_string(denoiser))
        self._session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])

    def encode(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run the encoder, which is left as it is."""
        return self._whole.encode(inputs)

    def predict(self, x_k: np.ndarray, k: np.ndarray, cond: np.ndarray) -> np.ndarray:
        """Run the reduced denoiser."""
        prediction: np.ndarray = self._session.run(None, {'x_k': x_k, 'k': k, 'cond': cond})[0]
        return prediction

    def value(self, cond: np.ndarray, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Run the critic, which is left as it is."""
        return self._whole.value(cond, state, actions)

    def novelty(self, cond: np.ndarray) -> np.ndarray:
        """Run the monitor, which is left as it is."""
        return self._whole.novelty(cond)

    def noise(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run the noise actor, which is left as it is."""
        return self._whole.noise(inputs)


def _float16(denoiser: onnx.ModelProto) -> bytes:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model: bytes = convert_float_to_float16(denoiser, keep_io_types=True).SerializeToString()
    return model
