"""The smallest network of each kind, for tests that train one."""

from __future__ import annotations

from typing import Any

from dp_ros.networks.settings import NetworkSettings

SIZES: dict[str, dict[str, Any]] = {
    'unet': {'channels': (8, 16), 'level_width': 8},
    'transformer': {'width': 16, 'layers': 1, 'heads': 2},
    'mlp': {'width': 32, 'layers': 1, 'level_width': 8},
}


def small(denoiser: Any, **others: Any) -> NetworkSettings:
    """Return the settings of a small network with this denoiser."""
    return NetworkSettings(denoiser=denoiser, **(SIZES[denoiser] | others))
