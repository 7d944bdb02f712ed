"""Training that begins from the weights of a run that is over, instead of at random: for other data, or to refine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dp_ros.errors import ConfigError
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.policy.normalizer import Normalizer
from dp_ros.training.run_folder import load_network
from dp_ros.training.settings import TrainSettings


def load_start(settings: TrainSettings) -> tuple[DiffusionNetwork, Normalizer] | None:
    """Return the network that ``settings.start`` names and the normalizer that it knows, or None where none is named.

    Raises
    ------
    ConfigError
        If the run is of another task or network, or was taught something else.

    """
    if not settings.start:
        return None
    found, network, normalizer, _ = load_network(Path(settings.start))
    check_alike(
        f'start {settings.start}',
        (
            ('task', found.task, settings.task),
            ('network', found.network, settings.network),
            ('objective', found.objective.spec, settings.objective.spec),
        ),
    )
    return network, normalizer


def check_alike(what: str, values: Iterable[tuple[str, object, object]]) -> None:
    """Raise ConfigError at the first of (name, got, allowed) that differ."""
    for name, got, allowed in values:
        if got != allowed:
            raise ConfigError(f'{what}: {name}: got {got}, allowed that of the run to come, {allowed}')
