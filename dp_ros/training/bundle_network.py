"""The trained network of a bundle, from its ONNX files: to train on, to teach, or to export anew.

A bundle holds the network as robots run it (`dp_ros.networks.prepared`). All weights are in it by their names, except
that normalizations' scales and biases lost theirs, which stand in the order of computation, and that of the noise
level's part only the product is left, a table with a row for each level. That part is made again: not the one that was
trained, but one that gives the same table. What comes of it must reproduce what the bundle recorded of its network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from dp_ros.errors import BundleError, ConfigError
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.mlp import HIDDEN, LevelEmbedding
from dp_ros.networks.prepared import PreparedNetwork, PreparedUnet, film_blocks
from dp_ros.networks.unet1d import Unet1d
from dp_ros.policy.bundle.manifest import Bundle
from dp_ros.task.yaml_reader import parse
from dp_ros.training.settings import TrainSettings

HALF = '.float16'  # the name's end where a weight is stored so
UNNAMED = 'onnx::'


def trained_settings(bundle: Bundle) -> TrainSettings:
    """Return what a bundle was trained with.

    Raises
    ------
    BundleError
        If it does not say so, or its network cannot be had from it: 8-bit weights, another denoiser than the U-Net,
        more noise levels than the layer that is solved for has inputs.

    """
    settings = _settings(bundle)
    kind, width = settings.network.denoiser, settings.network.level_width
    if kind != 'unet':
        raise BundleError(f'bundle {bundle.name}: got denoiser {kind!r}, allowed unet to begin with')
    levels = settings.objective.spec.diffusion_steps
    if levels > HIDDEN * width:
        raise BundleError(
            f'bundle {bundle.name}: got {levels} noise levels with level_width {width}, '
            f'allowed up to {HIDDEN * width} to begin with'
        )
    return settings


def take_weights(bundle: Bundle, network: DiffusionNetwork) -> None:
    """Give a network, built as `trained_settings` say, the bundle's weights; it is in evaluation mode then.

    Raises
    ------
    BundleError
        If the bundle does not hold them: weights that are equal (as before training; ONNX stores them once), or files
        that dp_ros did not write.

    """
    stored = {part: _weights(bundle, part) for part in ('encoder', 'denoiser')}
    with torch.no_grad():
        try:
            table = stored['denoiser'][0]['table']
            _take(network.encoder, 'encoder.', *stored['encoder'])
            _take(network.denoiser, 'unet.', *stored['denoiser'])
            _take_film(network.denoiser, stored['encoder'][0], table)
        except (KeyError, RuntimeError, ValueError) as error:
            raise BundleError(f'bundle {bundle.name}: does not hold its network as trained ({error})') from error
    _check(bundle, network.eval(), table)


def _settings(bundle: Bundle) -> TrainSettings:
    made = bundle.provenance
    if made.get('weights') == 'int8':
        raise BundleError(f'bundle {bundle.name}: got weights in 8 bits, allowed one with float16 or float32')
    try:
        settings = parse(TrainSettings, made['config'], f'bundle {bundle.name}: provenance.config')
    except (KeyError, ConfigError) as error:
        raise BundleError(f'bundle {bundle.name}: does not say how its network was built ({error})') from error
    if settings.task != bundle.task:
        raise BundleError(f'bundle {bundle.name}: got another task than its network was trained for, allowed the same')
    return settings


def _weights(bundle: Bundle, part: str) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return a part's weights by name, and those without, in order."""
    named: dict[str, Tensor] = {}
    unnamed: list[Tensor] = []
    for stored in onnx.load_from_string(bundle.read(f'{part}.onnx')).graph.initializer:
        values = torch.from_numpy(numpy_helper.to_array(stored).copy())
        values = values.float() if values.is_floating_point() else values
        if stored.name.startswith(UNNAMED):
            unnamed.append(values)
        else:
            named[stored.name.removesuffix(HALF)] = values
    return named, unnamed


def _take(module: nn.Module, prefix: str, named: Mapping[str, Tensor], unnamed: list[Tensor]) -> None:
    """Copy the weights of ``module`` but for what `_take_film` sees to."""
    left = iter(unnamed)
    norms = {f'{n}.{w}' for n, m in module.named_modules() if isinstance(m, nn.GroupNorm) for w in ('weight', 'bias')}
    for name, parameter in _in_order(module):
        if name in norms:
            value = next(left, torch.empty(0)).flatten()
        elif name.startswith('level.') or '.film.' in name:
            continue
        else:
            value = named[f'{prefix}{name}']
        if value.shape != parameter.shape:
            raise ValueError(f'{name}: got shape {tuple(value.shape)}, allowed {tuple(parameter.shape)}')
        parameter.copy_(value)


def _in_order(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield parameters, a U-Net's in the order of computation."""
    if not isinstance(module, Unet1d):
        yield from module.named_parameters()
        return
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    blocks = [parameter for block in film_blocks(module) for parameter in block.parameters()]
    first = {id(parameter) for parameter in blocks}
    for parameter in (*blocks, *(p for p in module.parameters() if id(p) not in first)):
        yield names[id(parameter)], parameter


def _take_film(unet: nn.Module, encoder: Mapping[str, Tensor], table: Tensor) -> None:
    """Give ``unet`` a level embedding and FiLM layers that add up to ``table`` (K, F, 1) and to the encoder's part."""
    assert isinstance(unet, Unet1d)
    levels, films = _factors(table[..., 0].double().numpy(), unet.level)
    starts = films.sum(axis=1) * levels.min()
    _fit(unet.level, levels - levels.min())
    weight = torch.cat((torch.from_numpy(films).float(), encoder['film.weight']), dim=1)
    # Levels were moved to where Mish grows and can be inverted, and so were all rows of the table, by the same.
    bias = encoder['film.bias'] + torch.from_numpy(starts).float()
    sizes = [len(block.film.bias) for block in film_blocks(unet)]
    if sum(sizes) != len(bias):
        raise ValueError(f'film: got {len(bias)} numbers, allowed {sum(sizes)}')
    for block, own_weight, own_bias in zip(film_blocks(unet), weight.split(sizes), bias.split(sizes), strict=True):
        if own_weight.shape != block.film.weight.shape:
            raise ValueError(f'film: got shape {tuple(own_weight.shape)}, allowed {tuple(block.film.weight.shape)}')
        block.film.weight.copy_(own_weight)
        block.film.bias.copy_(own_bias)


def _factors(table: np.ndarray, level: LevelEmbedding) -> tuple[np.ndarray, np.ndarray]:
    """Return (K, W) and (F, W) whose product is ``table`` (K, F), as alike in size as they can be."""
    width = 2 * len(level.frequencies)
    u, s, v = np.linalg.svd(table, full_matrices=False)
    root = np.zeros(width)
    root[: len(s)] = np.sqrt(s[:width])
    left, right = np.zeros((len(table), width)), np.zeros((table.shape[1], width))
    left[:, : len(s)], right[:, : len(s)] = u[:, :width], v[:width].T
    return left * root, right * root


def _fit(level: LevelEmbedding, wanted: np.ndarray) -> None:
    """Make Mish of the level embedding ``wanted`` (K, W), which is not negative: its last layer is solved for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = LevelEmbedding(2 * len(level.frequencies))
    last = fresh.layers[2]
    assert isinstance(last, nn.Linear)
    inputs: list[Tensor] = []
    hook = last.register_forward_hook(lambda module, given, result: inputs.append(given[0]))
    fresh(torch.arange(len(wanted)))
    hook.remove()
    hidden = np.column_stack((inputs[0].double().numpy(), np.ones(len(wanted))))
    solved = np.linalg.lstsq(hidden, _mish_inverse(wanted), rcond=1e-12)[0]
    last.weight.copy_(torch.from_numpy(solved[:-1].T))
    last.bias.copy_(torch.from_numpy(solved[-1]))
    level.load_state_dict(fresh.state_dict())


def _mish_inverse(y: np.ndarray) -> np.ndarray:
    """Return x from 0 on with Mish(x) = x tanh(log(1 + e^x)) = y, by bisection: x lies between y and 5 y / 3."""
    low, high = y.copy(), y / 0.6
    for _ in range(60):
        x = (low + high) / 2
        above = x * np.tanh(np.log1p(np.exp(x))) > y
        low, high = np.where(above, low, x), np.where(above, x, high)
    return (low + high) / 2


def _check(bundle: Bundle, network: DiffusionNetwork, table: Tensor) -> None:
    """Raise unless the network gives what the bundle recorded, and as a robot runs it the bundle's ``table``."""
    recorded, levels = bundle.parity(), len(table)
    inputs = [torch.from_numpy(values) for values in recorded.inputs.values()]
    with torch.no_grad():
        prediction = network(torch.from_numpy(recorded.x_k), torch.from_numpy(recorded.k), *inputs).numpy()
        prepared = PreparedNetwork(network, levels=levels, pred_horizon=bundle.task.pred_horizon)
        # Moved by the same in every row, which the encoder's part takes back.
        assert isinstance(prepared.denoiser, PreparedUnet)
        rows = (prepared.denoiser.table - table)[..., 0].numpy()
    for what, difference in (('prediction', prediction - recorded.prediction), ('levels', rows - rows[0])):
        most = float(np.abs(difference).max())
        if not most <= bundle.tolerance:
            raise BundleError(
                f'bundle {bundle.name}: its network made again: {what}: got a difference of {most:.3g} from what the '
                f'bundle holds, allowed up to {bundle.tolerance:g}'
            )
