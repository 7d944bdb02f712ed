"""Sizes of the network. Apart from the network, so that a configuration can be read without torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from dp_ros.errors import ConfigError, listed

Denoiser = Literal['unet', 'transformer', 'mlp']
Preset = Literal['', 'tiny', 'small', 'base', 'paper', 'paper_image']
PRESETS: dict[str, dict[str, Any]] = {
    'tiny': {'channels': (32, 64, 128), 'level_width': 64},
    'small': {'channels': (64, 128, 256), 'level_width': 128},
    'base': {'channels': (128, 256, 512), 'level_width': 256},
    'paper': {'channels': (256, 512, 1024), 'level_width': 256},
    'paper_image': {'channels': (512, 1024, 2048), 'level_width': 128},
}
"""U-Nets of about 1, 4.5, 17, 66 and 250 million parameters; the last two are Chi et al.'s, for state and images."""
SIZES: dict[str, tuple[str, ...]] = {
    'unet': ('channels', 'level_width', 'kernel_size', 'groups'),
    'transformer': ('width', 'layers', 'heads', 'dropout'),
    'mlp': ('width', 'layers', 'level_width', 'mlp_dropout'),
}
"""What each denoiser is made of; another one's sizes are refused."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Kind and size of the network; the defaults have 4.5 M parameters.

    Attributes
    ----------
    denoiser
        ``unet``: in time, conditioned by FiLM; ``transformer``: a token for each action, attending to a token for each
        observation; ``mlp``: the smallest start.
    preset
        Sizes of a U-Net by name, instead of `channels` and `level_width`.
    channels, kernel_size, groups
        Of the U-Net: feature channels of each resolution, and of its convolutions and group normalization.
    level_width
        Width of the noise level's embedding.
    width, layers, heads, dropout
        Of the transformer and, except heads and dropout, of the MLP.
    mlp_dropout
        Share of each hidden layer of the MLP that a training step leaves out.
    camera
        Encoder of the cameras: ``light`` is a small convolutional network, ``resnet18`` has group normalization.
    camera_width
        Features of one picture.
    camera_shared
        Whether all cameras share one encoder.
    camera_weights
        File with weights for ``resnet18``, named as torchvision's; empty: from scratch.
    camera_goal
        Whether the goal scales the features of ``light`` cameras (FiLM, Perez et al. 2018), for a policy that must find
        what it is asked for.
    goal_width
        Features of a goal's picture or of an instruction.
    goal_mixing
        Width of a hidden layer that mixes goals with what is observed before the denoiser is conditioned by them, for a
        policy that must choose by its goal what counts of a picture; 0: none. Not for the transformer.
    guidance_dropout
        How often training leaves out what the task's ``guidance`` says, between 0 and 1.

    """

    denoiser: Denoiser = 'unet'
    preset: Preset = ''
    channels: tuple[int, ...] = (64, 128, 256)
    level_width: int = 128
    kernel_size: int = 5
    groups: int = 8
    width: int = 256
    layers: int = 4
    heads: int = 4
    dropout: float = 0.1
    mlp_dropout: float = 0.0
    camera: Literal['light', 'resnet18'] = 'light'
    camera_width: int = 64
    camera_shared: bool = False
    camera_weights: str = ''
    camera_goal: bool = False
    goal_width: int = 64
    goal_mixing: int = 0
    guidance_dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.preset:
            self._take_preset()
        if not self.channels or any(c < self.groups or c % self.groups for c in self.channels):
            raise ConfigError(
                f'network.channels: got {list(self.channels)}, allowed multiples of groups ({self.groups}), one or more'
            )
        if self.kernel_size % 2 == 0:
            raise ConfigError(f'network.kernel_size: got {self.kernel_size}, allowed odd numbers')
        if self.level_width < 4 or self.level_width % 2:
            raise ConfigError(f'network.level_width: got {self.level_width}, allowed even numbers from 4 up')
        if self.heads < 1 or self.width < 1 or self.width % (2 * self.heads):
            raise ConfigError(f'network.width: got {self.width}, allowed multiples of 2 * heads ({2 * self.heads})')
        if self.layers < 1:
            raise ConfigError(f'network.layers: got {self.layers}, allowed 1 or more')
        for name in ('dropout', 'mlp_dropout'):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f'network.{name}: got {getattr(self, name)}, allowed 0 to less than 1')
        if self.goal_width < 1:
            raise ConfigError(f'network.goal_width: got {self.goal_width}, allowed 1 or more')
        if self.goal_mixing < 0 or (self.goal_mixing and self.denoiser == 'transformer'):
            raise ConfigError(
                f'network.goal_mixing: got {self.goal_mixing} with denoiser {self.denoiser!r}, allowed 0 or more, '
                'and 0 for the transformer'
            )
        if not 0.0 < self.guidance_dropout < 1.0:
            raise ConfigError(
                f'network.guidance_dropout: got {self.guidance_dropout}, allowed more than 0 and less than 1; '
                'without guidance it has no effect'
            )
        if self.camera_weights and self.camera != 'resnet18':
            raise ConfigError(f'network.camera_weights: got some for camera {self.camera!r}, allowed for resnet18')
        if self.camera_goal and self.camera != 'light':
            raise ConfigError(f'network.camera_goal: got true for camera {self.camera!r}, allowed for light')
        self._check_used()

    def _check_used(self) -> None:
        """Refuse a value that the chosen denoiser would leave unused."""
        usual = {f.name: f.default for f in fields(self)}
        others = {name for names in SIZES.values() for name in names} - set(SIZES[self.denoiser])
        unused = sorted(name for name in others if getattr(self, name) != usual[name])
        if unused:
            raise ConfigError(
                f'network: got {listed(unused)}, which denoiser {self.denoiser!r} does not use; '
                f'allowed {listed(SIZES[self.denoiser])}'
            )

    def _take_preset(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(f'network.preset: got {self.preset!r}, allowed {listed(PRESETS)}')
        if self.denoiser != 'unet':
            raise ConfigError(f'network.preset: got {self.preset!r} with denoiser {self.denoiser!r}, allowed unet')
        usual = {f.name: f.default for f in fields(self)}
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) not in (usual[name], value):
                raise ConfigError(f'network: got preset {self.preset!r} and {name}, allowed one or the other')
            object.__setattr__(self, name, value)
