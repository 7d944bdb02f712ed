"""Sizes of the network. Apart from the network, so that a configuration can be read without torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from dp_ros.errors import ConfigError, listed
from dp_ros.options import check_options, option

WIDEST = 65536
MOST_DROPOUT = 0.999
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


# fmt: off
@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Kind and size of the network; the defaults have 4.5 M parameters."""

    denoiser: Denoiser = option(
        'unet', '`unet`: in time, conditioned by FiLM; `transformer`: a token for each action, attending to a token '
        'for each observation; `mlp`: the smallest start.',
    )
    preset: Preset = option('', 'Sizes of a U-Net by name, instead of `channels` and `level_width`.')
    channels: tuple[int, ...] = option(
        (64, 128, 256), "The U-Net's feature channels at each resolution: multiples of `groups`.", low=1, high=WIDEST
    )
    level_width: int = option(128, "Width of the noise level's embedding: an even number.", low=4, high=WIDEST)
    kernel_size: int = option(5, "Of the U-Net's convolutions: an odd number.", low=1, high=99)
    groups: int = option(8, "Of the U-Net's group normalization.", low=1, high=WIDEST)
    width: int = option(
        256, 'Of the transformer, or of the MLP; a multiple of twice the `heads`.', low=1, high=WIDEST
    )
    layers: int = option(4, 'Of the transformer, or of the MLP.', low=1, high=1000)
    heads: int = option(4, 'Of the transformer.', low=1, high=1000)
    dropout: float = option(0.1, 'Of the transformer.', low=0.0, high=MOST_DROPOUT)
    mlp_dropout: float = option(
        0.0, 'Share of each hidden layer of the MLP that a training step leaves out.', low=0.0, high=MOST_DROPOUT
    )
    camera: Literal['light', 'resnet18'] = option(
        'light', 'Encoder of the cameras: `light` is a small convolutional network, `resnet18` has group normalization.'
    )
    camera_width: int = option(64, 'Features of one picture.', low=1, high=WIDEST)
    camera_shared: bool = option(False, 'Whether all cameras share one encoder.')
    camera_weights: str = option(
        '', "File with weights for `resnet18`, named as torchvision's; empty: from scratch."
    )
    camera_goal: bool = option(
        False, 'Whether the goal scales the features of `light` cameras (FiLM, Perez et al. 2018), for a policy that '
        'must find what it is asked for.',
    )
    goal_width: int = option(64, "Features of a goal's picture or of an instruction.", low=1, high=WIDEST)
    goal_mixing: int = option(
        0, 'Width of a hidden layer that mixes goals with what is observed before the denoiser is conditioned by them, '
        'for a policy that must choose by its goal what counts of a picture; 0: none. Not for the transformer.',
        low=0, high=WIDEST,
    )
    guidance_dropout: float = option(
        0.1, "How often training leaves out what the task's `guidance` says; without guidance it has no effect.",
        low=0.001, high=MOST_DROPOUT,
    )

    def __post_init__(self) -> None:
        check_options(self, 'network.')
        if self.preset:
            self._take_preset()
        if not self.channels or any(c % self.groups for c in self.channels):
            raise ConfigError(
                f'network.channels: got {list(self.channels)}, allowed multiples of groups ({self.groups}), one or more'
            )
        if self.kernel_size % 2 == 0:
            raise ConfigError(f'network.kernel_size: got {self.kernel_size}, allowed odd numbers')
        if self.level_width % 2:
            raise ConfigError(f'network.level_width: got {self.level_width}, allowed even numbers')
        if self.width % (2 * self.heads):
            raise ConfigError(f'network.width: got {self.width}, allowed multiples of 2 * heads ({2 * self.heads})')
        if self.goal_mixing and self.denoiser == 'transformer':
            raise ConfigError(f"network.goal_mixing: got {self.goal_mixing} with denoiser 'transformer', allowed 0")
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
        if self.denoiser != 'unet':
            raise ConfigError(f'network.preset: got {self.preset!r} with denoiser {self.denoiser!r}, allowed unet')
        usual = {f.name: f.default for f in fields(self)}
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) not in (usual[name], value):
                raise ConfigError(f'network: got preset {self.preset!r} and {name}, allowed one or the other')
            object.__setattr__(self, name, value)
# fmt: on
