"""The trained network of a bundle, from its weights: to train on, to teach, or to export anew.

A bundle holds the network as robots run it, prepared (`dp_ros.networks.prepared`), and beside it, where it is meant to
be trained further, its weights by their names (`dp_ros.policy.bundle.bundle.WEIGHTS`).
"""

from __future__ import annotations

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dp_ros.errors import BundleError, ConfigError, listed
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.sequence import DecoderStep, SequenceNetwork
from dp_ros.policy.bundle.bundle import WEIGHTS, Bundle
from dp_ros.task.yaml_reader import parse
from dp_ros.training.export.exported_networks import HALF_FROM
from dp_ros.training.settings import TrainSettings

SHOWN = 3  # names of weights that an error lists


def weights_file(network: DiffusionNetwork | SequenceNetwork) -> bytes:
    """Return a network's weights as safetensors, in half precision where that holds them exactly."""
    return save({name: _stored(value) for name, value in network.state_dict().items()})


def _stored(value: Tensor) -> Tensor:
    half = value.to(torch.float16) if value.is_floating_point() and value.numel() >= HALF_FROM else value
    return (half if torch.equal(half.to(value.dtype), value) else value).detach().cpu().clone().contiguous()


def trained_settings(bundle: Bundle) -> TrainSettings:
    """Return what a bundle was trained with.

    Raises
    ------
    BundleError
        If it does not say so, or has no weights to be trained further.

    """
    if WEIGHTS not in bundle.files:
        raise BundleError(
            f'bundle {bundle.name}: got no {WEIGHTS}, allowed a bundle with it, as export writes unless in 8 bits'
        )
    try:
        settings = parse(TrainSettings, bundle.provenance['config'], f'bundle {bundle.name}: provenance.config')
    except (KeyError, ConfigError) as error:
        raise BundleError(f'bundle {bundle.name}: does not say how its network was built ({error})') from error
    if settings.task != bundle.task:
        raise BundleError(f'bundle {bundle.name}: got another task than its network was trained for, allowed the same')
    return settings


def take_weights(bundle: Bundle, network: DiffusionNetwork | SequenceNetwork) -> None:
    """Give a network, built as `trained_settings` say, the bundle's weights; it is in evaluation mode then.

    Raises
    ------
    BundleError
        If they are not those of such a network: other names, shapes or kinds of numbers, or other predictions than the
        bundle recorded.

    """
    what = f'bundle {bundle.name}: {WEIGHTS}'
    try:
        stored = load(bundle.read(WEIGHTS))
    except SafetensorError as error:
        raise BundleError(f'{what}: cannot be read ({error})') from error
    own = network.state_dict()
    for kind, names in (('lacks', own.keys() - stored.keys()), ('has too', stored.keys() - own.keys())):
        if names:
            raise BundleError(f'{what}: {kind} {listed(sorted(names)[:SHOWN])}, allowed the weights of its network')
    for name, value in own.items():
        _check(f'{what} {name}', stored[name], value)
    network.load_state_dict(stored)
    _replay(bundle, network.eval())


def _check(what: str, got: Tensor, own: Tensor) -> None:
    if got.shape != own.shape:
        raise BundleError(f'{what}: got shape {tuple(got.shape)}, allowed {tuple(own.shape)}')
    kinds = (torch.float16, torch.float32, own.dtype) if own.is_floating_point() else (own.dtype,)
    if got.dtype not in kinds:
        raise BundleError(f'{what}: got {got.dtype}, allowed {listed(map(str, dict.fromkeys(kinds)))}')
    if not torch.isfinite(got).all():
        raise BundleError(f'{what}: got a number that is not finite, allowed finite ones')


def _replay(bundle: Bundle, network: DiffusionNetwork | SequenceNetwork) -> None:
    """Raise unless the network predicts what the bundle recorded."""
    if isinstance(network, SequenceNetwork):
        _replay_sequence(bundle, network)
        return
    recorded = bundle.parity()
    inputs = [torch.from_numpy(values) for values in recorded.inputs.values()]
    with torch.no_grad():
        prediction = network(torch.from_numpy(recorded.x_k), torch.from_numpy(recorded.k), *inputs).numpy()
    _check_alike(bundle, 'prediction', prediction, recorded.prediction)


def _replay_sequence(bundle: Bundle, network: SequenceNetwork) -> None:
    recorded, decoder = bundle.sequence_parity(), network.decoder
    with torch.no_grad():
        cond = network.encoder(*(torch.from_numpy(values) for values in recorded.inputs.values()))
        step, past = DecoderStep(decoder), torch.zeros(0, len(cond), decoder.layers, 2, decoder.width)
        for i in range(recorded.token.shape[1]):
            logits, memory = step(*(torch.from_numpy(a[:, i]) for a in (recorded.token, recorded.offset)), cond, past)
            past = torch.cat((past, memory[None]))
            _check_alike(bundle, 'logits', logits.numpy(), recorded.logits[:, i])


def _check_alike(bundle: Bundle, what: str, got: np.ndarray, recorded: np.ndarray) -> None:
    most = float(np.abs(got - recorded).max())
    if not most <= bundle.tolerance:
        raise BundleError(
            f'bundle {bundle.name}: {WEIGHTS}: {what}: got a difference of {most:.3g} from what the bundle holds, '
            f'allowed up to {bundle.tolerance:g}'
        )
