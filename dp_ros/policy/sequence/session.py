"""What runs a sequence model: ONNX Runtime, which must reproduce the tokens recorded at export.

encoder.onnx      as of a diffusion policy: window -> ``cond`` (B, W)
decoder.onnx      ``token`` (B,) int64, the one before, counted on through the columns; ``offset`` (B, A), where the
set points are by then; ``cond``; ``past`` (T, B, L, 2, W), keys and values of the T tokens before
-> ``logits`` (B, bins) of the next token, and ``memory`` (B, L, 2, W), the past's next row
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dp_ros.errors import BundleError, check_range, one_line
from dp_ros.policy.backends.providers import ProviderName
from dp_ros.policy.backends.sessions import MOST_THREADS, open_network
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.parity import input_shapes


class SequenceSession:
    """Run a bundle by ONNX Runtime."""

    def __init__(self, bundle: Bundle, threads: int = 1, provider: ProviderName = 'cpu') -> None:
        check_range('threads', threads, 1, MOST_THREADS)
        spec, task = bundle.sequence, bundle.task
        self._names = list(input_shapes(task))
        self.encoder = open_network(bundle, 'encoder.onnx', input_shapes(task), ('cond',), threads, provider)
        wanted = {
            'token': (),
            'offset': (len(task.action.joints),),
            'cond': (spec.width,),
            'past': ('batch', spec.layers, 2, spec.width),
        }
        self.decoder = open_network(bundle, 'decoder.onnx', wanted, ('logits', 'memory'), threads, provider)

    def encode(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return cond (B, W) for normalized streams by name, (B, T, ...) float32."""
        return np.asarray(self.encoder.run(None, {name: inputs[name] for name in self._names})[0])

    def step(
        self, token: np.ndarray, offset: np.ndarray, cond: np.ndarray, past: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return logits (B, bins) and memory (B, L, 2, W) of the next token."""
        logits, memory = self.decoder.run(None, {'token': token, 'offset': offset, 'cond': cond, 'past': past})
        return logits, memory


def open_sequence(bundle: Bundle, threads: int = 1, provider: ProviderName = 'cpu') -> SequenceSession:
    """Load the bundle's networks, check them against the task, and replay the recorded tokens."""
    session = SequenceSession(bundle, threads, provider)
    parity, spec = bundle.sequence_parity(), bundle.sequence
    batch, count = parity.token.shape
    cache = np.zeros((count, batch, spec.layers, 2, spec.width), dtype=np.float32)
    try:
        cond, logits = session.encode(parity.inputs), np.empty_like(parity.logits)
        for i in range(count):
            logits[:, i], cache[i] = session.step(parity.token[:, i], parity.offset[:, i], parity.cond, cache[:i])
    except Exception as error:
        raise BundleError(f'bundle {bundle.name}: onnxruntime cannot run it ({one_line(str(error))})') from error
    for what, got, wanted in (('cond', cond, parity.cond), ('logits', logits, parity.logits)):
        difference = float(np.abs(got - wanted).max()) if got.shape == wanted.shape else np.inf
        if not difference <= bundle.tolerance:  # a NaN is refused too
            raise BundleError(
                f'bundle {bundle.name}: {what} by onnxruntime: got a difference of {difference:.3g} from what was '
                f'recorded, allowed up to {bundle.tolerance:g}'
            )
    return session
