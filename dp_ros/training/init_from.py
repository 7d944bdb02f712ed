"""Training that begins from the weights of a run or of a bundle, instead of at random: for other data, or to refine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from dp_ros.errors import ConfigError, listed, order_advice
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.prefix_mask import add_prefix_mask
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.normalizer import Normalizer
from dp_ros.training.run_folder import PolicyNetwork, load_network, make_network, trained_folder
from dp_ros.training.samples.windows import WindowDataset
from dp_ros.training.settings import TrainSettings

TOLERANCE = 0.05  # of half the range
BATCH = 4096


def load_start(settings: TrainSettings) -> tuple[PolicyNetwork, Normalizer] | None:
    """Return the network that ``settings.start`` names and the normalizer that it knows, or None where none is named.

    One that knows nothing of a prefix may begin to learn it: at first, marks of one mean nothing to it.

    Raises
    ------
    ConfigError
        If the run is of another task or network, or was taught something else, or is not there.
    BundleError
        If a bundle does not hold its network; see `dp_ros.training.bundle_network`.

    """
    if not settings.start:
        return None
    found, network, normalizer, _ = load_network(trained_folder('start', settings.start))
    wanted, spec = settings.objective.spec, found.objective.spec
    same = (
        replace(spec, prefix_steps=0) == replace(wanted, prefix_steps=0) and spec.mask_channels <= wanted.mask_channels
    )
    joints = found.task.action.joints, settings.task.action.joints
    if advice := order_advice(*joints):
        names = ', allowed '.join(map(listed, joints))
        raise ConfigError(f'start {settings.start}: action joints: got {names}{advice}')
    check_alike(
        f'start {settings.start}',
        (
            ('task', found.task, settings.task),
            ('family', found.family, settings.family),
            ('sequence', found.sequence, settings.sequence),
            ('network', _built(found.network), _built(settings.network)),
            ('objective', wanted if same else spec, wanted),
        ),
    )
    if isinstance(network, DiffusionNetwork) and spec.mask_channels < wanted.mask_channels:
        network = add_prefix_mask(network, make_network(settings, pretrained=False), len(settings.task.action.joints))
    return network, normalizer


def _built(network: NetworkSettings) -> NetworkSettings:
    """Return what a network's weights fit: where they came from, and what is dropped in training, may differ."""
    return replace(network, camera_weights='', guidance_dropout=NetworkSettings.guidance_dropout)


def check_reach(settings: TrainSettings, windows: WindowDataset) -> None:
    """Raise ConfigError if recorded actions lie outside the range that the start's normalizer knows.

    Sampling never leaves that range, so the policy could not do what it is shown. A little more is let pass.
    """
    if not settings.start:
        return
    most = torch.zeros(len(settings.task.action.joints))
    for indices in torch.arange(len(windows)).split(BATCH):
        most = torch.maximum(most, windows.actions(indices).abs().amax(dim=(0, 1)))
    for joint, reach in zip(settings.task.action.joints, most.tolist(), strict=True):
        if reach > 1.0 + TOLERANCE:
            raise ConfigError(
                f'start {settings.start}: got actions of {joint} {reach:.2f} times as far from the middle of their '
                'range as the start knows, allowed 1; train anew'
            )


def check_alike(what: str, values: Iterable[tuple[str, object, object]]) -> None:
    """Raise ConfigError at the first of (name, got, allowed) that differ."""
    for name, got, allowed in values:
        if got != allowed:
            raise ConfigError(f'{what}: {name}: got {got}, allowed that of the run to come, {allowed}')
