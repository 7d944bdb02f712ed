"""Sizes of the network. Apart from the network, so that a configuration can be read without torch."""

from __future__ import annotations

from dataclasses import dataclass

from dp_ros.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Sizes of the network; the defaults have 4.5 M parameters."""

    channels: tuple[int, ...] = (64, 128, 256)
    level_width: int = 128
    kernel_size: int = 5
    groups: int = 8
    camera_width: int = 64

    def __post_init__(self) -> None:
        if not self.channels or any(c < self.groups or c % self.groups for c in self.channels):
            raise ConfigError(
                f'network.channels: got {list(self.channels)}, allowed multiples of groups ({self.groups}), one or more'
            )
        if self.kernel_size % 2 == 0:
            raise ConfigError(f'network.kernel_size: got {self.kernel_size}, allowed odd numbers')
