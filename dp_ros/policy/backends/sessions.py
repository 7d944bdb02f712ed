"""What runs a bundle's networks: ONNX Runtime, or TorchScript where torch is installed.

A backend that does not reproduce the pair recorded at export is refused, so a wrong build, a wrong instruction set or a
wrong file never reaches a robot.
"""

from __future__ import annotations

import io
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, Literal, get_args

import numpy as np

from dp_ros.errors import BundleError, ConfigError, check_choice, check_range, listed, one_line
from dp_ros.policy.backends.providers import ProviderName, open_session
from dp_ros.policy.bundle.bundle import CRITIC, MONITOR, NOISE, TOLERANCE, TORCHSCRIPT_FILES, Bundle
from dp_ros.policy.bundle.files import check_zip
from dp_ros.policy.bundle.parity import input_shapes, noise_inputs, sees, state_of, state_width

BackendName = Literal['onnxruntime', 'torchscript']
MOST_THREADS = 64
GAIN = 1.15
"""So many times faster must more threads be: they take cores from others."""
WARM_UP = 3  # runs; TorchScript compiles in the first two
_ONNX_TYPES = {'k': 'tensor(int64)', 'token': 'tensor(int64)'}  # all others are tensor(float)


def open_backend(
    bundle: Bundle, backend: BackendName = 'onnxruntime', threads: int = 1, provider: ProviderName = 'cpu'
) -> Backend:
    """Load the bundle's networks, check them against the task, replay the recorded pair, and warm up."""
    check_choice('backend', backend, get_args(BackendName))
    check_range('threads', threads, 1, MOST_THREADS)
    if backend == 'torchscript' and provider != 'cpu':
        raise ConfigError(f'execution_provider: got {provider!r}, allowed cpu with backend torchscript')
    opened: Backend
    opened = OnnxRuntime(bundle, threads, provider) if backend == 'onnxruntime' else TorchScript(bundle, threads)
    _replay(opened, bundle, backend)
    return opened


def with_denoiser(backend: Backend, predict: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Backend:
    """Return a backend whose denoiser is ``predict``, and whose other networks are left as they are."""
    changed = copy(backend)
    changed.predict = predict  # type: ignore[assignment]
    return changed


class Backend(ABC):
    """Runs the networks of a bundle; critic, monitor and noise actor, where it has them, by ONNX Runtime."""

    def __init__(self, bundle: Bundle, width: int, threads: int, provider: ProviderName = 'cpu') -> None:
        task, how = bundle.task, (threads, provider)
        if bundle.has_critic:
            chunk = (task.pred_horizon, len(task.action.joints))
            wanted = {'cond': (width,), 'state': (state_width(task),), 'actions': chunk}
            self._critic = open_network(bundle, CRITIC, wanted, ('value',), *how)
        if bundle.has_noise_actor:
            known: dict[str, tuple[Any, ...]] = {'state': (state_width(task),)} if state_width(task) else {}
            known |= {'cond': (width,)} if sees(task) else {}
            self._noise = open_network(bundle, NOISE, known, ('noise',), *how)
        if bundle.monitor is not None:
            self._monitor = open_network(bundle, MONITOR, {'cond': (width,)}, ('novelty',), *how)

    @abstractmethod
    def encode(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return cond (B, D) for normalized streams by name, (B, T, ...) float32."""

    @abstractmethod
    def predict(self, x_k: np.ndarray, k: np.ndarray, cond: np.ndarray) -> np.ndarray:
        """Return the prediction (B, P, O) for x_k (B, P, A + M) float32, k (B,) int64 and cond (B, D) float32."""

    def value(self, cond: np.ndarray, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return the critic's value (B,) of normalized actions (B, P, A) float32; only of a bundle that has one."""
        return np.asarray(self._critic.run(None, {'cond': cond, 'state': state, 'actions': actions})[0])

    def novelty(self, cond: np.ndarray) -> np.ndarray:
        """Return the monitor's novelty (B,) of cond (B, D) float32; only of a bundle that has one."""
        return np.asarray(self._monitor.run(None, {'cond': cond})[0])

    def noise(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the noise (B, P, A) to begin with for `noise_inputs`; only of a bundle with a noise actor."""
        return np.asarray(self._noise.run(None, dict(inputs))[0])


class OnnxRuntime(Backend):
    """Run a bundle by ONNX Runtime, in the sessions `encoder` and `denoiser`.

    Their threads do not spin while they wait: the cores are shared with the robot's nodes.
    """

    def __init__(self, bundle: Bundle, threads: int, provider: ProviderName = 'cpu') -> None:
        task = bundle.task
        chunk = (task.pred_horizon, len(task.action.joints) + bundle.schedule.mask_channels)
        self._names = list(input_shapes(task))
        self.encoder = open_network(bundle, 'encoder.onnx', input_shapes(task), ('cond',), threads, provider)
        width = self.encoder.get_outputs()[0].shape[1:]
        wanted = {'x_k': chunk, 'k': (), 'cond': tuple(width)}
        self.denoiser = open_network(bundle, 'denoiser.onnx', wanted, ('prediction',), threads, provider)
        super().__init__(bundle, width[0], threads, provider)

    def encode(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run the encoder."""
        return np.asarray(self.encoder.run(None, {name: inputs[name] for name in self._names})[0])

    def predict(self, x_k: np.ndarray, k: np.ndarray, cond: np.ndarray) -> np.ndarray:
        """Run the denoiser."""
        return np.asarray(self.denoiser.run(None, {'x_k': x_k, 'k': k, 'cond': cond})[0])


class TorchScript(Backend):
    """TorchScript on the CPU, for robots that have torch anyway."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        if TORCHSCRIPT_FILES[0] not in bundle.files:
            raise BundleError(
                f"bundle {bundle.name}: backend: got 'torchscript', but the bundle was exported without it; "
                'allowed onnxruntime, or export with --torchscript'
            )
        # Read when torch is first imported: its threads must not spin on cores that the robot's nodes need.
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
        try:
            import torch
        except ModuleNotFoundError as error:
            raise ConfigError("backend: got 'torchscript', but torch is not installed; allowed onnxruntime") from error
        self._torch = torch
        self._threads = threads
        self._names = list(input_shapes(bundle.task))
        self.encoder, self.denoiser = (self._load(bundle, file) for file in TORCHSCRIPT_FILES)
        super().__init__(bundle, bundle.parity().cond.shape[1], threads)

    def _load(self, bundle: Bundle, file: str) -> Any:
        path, data = bundle.path(file), bundle.read(file)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                check_zip(archive, 4 * len(data) + 2**24)  # the code in it is packed, the weights are not
            return self._torch.jit.load(io.BytesIO(data), map_location='cpu').eval()
        except Exception as error:
            raise BundleError(f'{path}: cannot be loaded ({one_line(str(error))})') from error

    def _run(self, network: Any, arrays: Sequence[np.ndarray]) -> np.ndarray:
        torch = self._torch
        # torch keeps this count for each thread that calls it, and the caller's thread is not the one that loaded.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            output: np.ndarray = network(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)).numpy()
        return output

    def encode(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run the encoder."""
        return self._run(self.encoder, [inputs[name] for name in self._names])

    def predict(self, x_k: np.ndarray, k: np.ndarray, cond: np.ndarray) -> np.ndarray:
        """Run the denoiser."""
        return self._run(self.denoiser, (x_k, k, cond))


def open_network(
    bundle: Bundle,
    file: str,
    wanted: Mapping[str, tuple[Any, ...]],
    outputs: tuple[str, ...],
    threads: int,
    provider: ProviderName,
) -> Any:
    """Open one of a bundle's networks by ONNX Runtime.

    It must take what is ``wanted``, each with one more dimension first, and give ``outputs``; BundleError otherwise.
    """
    path, data = bundle.path(file), bundle.read(file)
    try:
        session = open_session(data, threads, provider)
    except ConfigError:
        raise
    except Exception as error:
        raise BundleError(f'{path}: cannot be loaded ({one_line(str(error))})') from error
    got = {i.name: i for i in session.get_inputs()}
    if set(got) != set(wanted):
        raise BundleError(f'{path}: got inputs {listed(sorted(got))}, allowed {listed(sorted(wanted))}')
    for name, shape in wanted.items():
        if not _shape_fits(got[name].shape, shape):
            allowed = listed(('batch', *shape))
            raise BundleError(f'{path}: input {name!r}: got shape ({listed(got[name].shape)}), allowed ({allowed})')
        kind = _ONNX_TYPES.get(name, 'tensor(float)')
        if got[name].type != kind:
            raise BundleError(f'{path}: input {name!r}: got {got[name].type}, allowed {kind}')
    given = [o.name for o in session.get_outputs()]
    if given != list(outputs):
        raise BundleError(f'{path}: got outputs {listed(given)}, allowed {listed(outputs)}')
    return session


def _shape_fits(got: Sequence[Any], wanted: tuple[Any, ...]) -> bool:
    """Whether a graph's shape has a batch and then ``wanted``; a name stands for any length."""
    if len(got) != len(wanted) + 1:
        return False
    return all(g == w for g, w in zip(got[1:], wanted, strict=True) if isinstance(g, int) and isinstance(w, int))


def _replay(backend: Backend, bundle: Bundle, name: str) -> None:
    """Refuse a backend that does not reproduce the recorded pair; then run the batch of one that a robot runs."""
    parity, task = bundle.parity(), bundle.task
    try:
        found = [
            ('cond', parity.cond, backend.encode(parity.inputs)),
            ('prediction', parity.prediction, backend.predict(parity.x_k, parity.k, parity.cond)),
        ]
        for _ in range(WARM_UP):
            backend.encode({stream: values[:1] for stream, values in parity.inputs.items()})
            backend.predict(parity.x_k[:1], parity.k[:1], parity.cond[:1])
        if parity.value is not None:
            actions = np.ascontiguousarray(parity.x_k[..., : len(task.action.joints)])
            found.append(('value', parity.value, backend.value(parity.cond, state_of(task, parity.inputs), actions)))
        if parity.novelty is not None:
            found.append(('novelty', parity.novelty, backend.novelty(parity.cond)))
        if parity.noise is not None:
            noise = backend.noise(noise_inputs(task, parity.inputs, parity.cond))
            found.append(('noise', parity.noise, noise))
    except Exception as error:
        raise BundleError(f'bundle {bundle.name}: {name} cannot run it ({one_line(str(error))})') from error
    for what, wanted, got in found:
        exact = what in ('value', 'novelty', 'noise')  # these are never in 8 bits
        tolerance = TOLERANCE if exact else bundle.tolerance
        if got.shape != wanted.shape:
            raise BundleError(f'bundle {bundle.name}: {what}: got shape {got.shape}, allowed {wanted.shape}')
        difference = float(np.abs(got - wanted).max())
        if not difference <= tolerance:  # a NaN is refused too
            raise BundleError(
                f'bundle {bundle.name}: {what} by {name}: got a difference of {difference:.3g} from what was recorded, '
                f'allowed up to {tolerance:g}'
            )


def thread_counts(processors: int = 0) -> tuple[int, ...]:
    """Return 1, 2, 4 ... up to ``processors``, and their number itself; 0: those that this process may use."""
    processors = min(processors or len(os.sched_getaffinity(0)), MOST_THREADS)
    counts = {min(2**power, processors) for power in range(MOST_THREADS.bit_length())}
    return tuple(sorted(counts))


def fewest_threads(seconds: Mapping[int, float]) -> int:
    """Return the number of threads to take, by what a chunk takes with each number of them [s]."""
    chosen = min(seconds)
    for count in sorted(seconds):
        if seconds[chosen] > GAIN * seconds[count]:
            chosen = count
    return chosen
