"""The observation encoder: a window's streams in, one conditioning vector out. Run once a chunk.

Vector streams are flattened over time. Each camera has a convolutional network with group normalization (batch
statistics do not survive EMA, Chi et al. 2023 section VI) that ends in a spatial softmax (Finn et al. 2016): where each
feature is, not how much of it. What is to be reached is encoded alike, once.

For classifier-free guidance (Ho and Salimans 2022) a part of the conditioning is left out at times: it is zero then,
and a last number, ``given``, says so.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dp_ros.errors import ConfigError
from dp_ros.networks.resnet import ResNet18, SpatialSoftmax, load_weights
from dp_ros.networks.settings import NetworkSettings
from dp_ros.task.spec import GoalImage, GoalPose, ImageStream, TaskSpec


class CameraEncoder(nn.Module):
    """A light network for one camera: (B, 3, H, W) -> (B, width).

    With ``goal_width``, a goal (B, goal_width) scales its features before it is looked where they are.
    """

    def __init__(self, *, width: int = 64, channels: tuple[int, ...] = (32, 64, 64), goal_width: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 3
        for channels_out in channels:
            layers += [
                nn.Conv2d(channels_in, channels_out, 5, stride=2, padding=2),
                nn.GroupNorm(8, channels_out),
                nn.ReLU(),
            ]
            channels_in = channels_out
        layers += [nn.Conv2d(channels_in, 32, 1), SpatialSoftmax(), nn.Linear(64, width)]
        self.layers = nn.Sequential(*layers)
        self.film = nn.Linear(goal_width, channels_in) if goal_width else None
        if self.film is not None:
            nn.init.ones_(self.film.bias)

    def forward(self, images: Tensor, goal: Tensor | None = None) -> Tensor:
        """Encode normalized images."""
        if self.film is None or goal is None:
            return self.layers(images)
        features = self.layers[:-3](images)
        return self.layers[-3:](features * self.film(goal)[..., None, None])


def make_camera(settings: NetworkSettings, width: int, goal_width: int = 0) -> nn.Module:
    """Return an encoder for pictures (B, 3, H, W) -> (B, width); with ``goal_width``, for a goal too."""
    if settings.camera == 'light':
        return CameraEncoder(width=width, goal_width=goal_width)
    encoder = ResNet18(width=width)
    if settings.camera_weights:
        load_weights(encoder, Path(settings.camera_weights))
    return encoder


class ObservationEncoder(nn.Module):
    """All streams of a task, then its goals, in the task's order: (B, T, C), (B, T, 3, H, W), ... -> cond (B, D)."""

    def __init__(self, task: TaskSpec, settings: NetworkSettings) -> None:
        super().__init__()
        self.names = tuple(s.name for s in task.streams)
        cameras = [s.name for s in task.streams if isinstance(s, ImageStream)]
        width = settings.camera_width
        goals = GoalEncoder(task, settings)
        self.scaled = settings.camera_goal
        if (self.scaled or settings.goal_mixing) and (not task.goals or task.guidance == 'observation'):
            got = f'guidance {task.guidance!r}' if task.goals else 'no goals'
            name = 'camera_goal' if self.scaled else 'goal_mixing'
            raise ConfigError(f'network.{name}: got it for a task with {got}, allowed with goals; guidance: goal')
        seen = goals.width if self.scaled else 0
        shared = make_camera(settings, width, seen) if settings.camera_shared and cameras else None
        self.cameras = nn.ModuleDict({name: shared or make_camera(settings, width, seen) for name in cameras})
        widths = [settings.camera_width if s.name in cameras else s.shape[0] for s in task.streams]
        self.columns = _columns_by_time(widths, task.obs_horizon)
        self.goals = goals
        self.guidance, self.dropout = task.guidance, settings.guidance_dropout
        self.width = self.columns.numel() + self.goals.width + bool(self.guidance)
        hidden = settings.goal_mixing
        self.mixing = GoalMixing(self.width, self.goals.width, hidden) if hidden else None

    def forward(self, *inputs: Tensor) -> Tensor:
        """Encode normalized streams and goals.

        With guidance a last input may say what is given, (B, 1); without it, all is, but for what training leaves out.
        """
        count = len(self.names)
        goals = [self.goals(*inputs[count : count + len(self.goals.names)])] if self.goals.names else []
        given = []
        if self.guidance:
            given = [inputs[-1] if len(inputs) > count + len(self.goals.names) else self._draw(inputs[0])]
        if self.guidance == 'goal':
            goals = [goal * given[0] for goal in goals]
        scale = [nn.functional.layer_norm(goal, (self.goals.width,)) for goal in goals if self.scaled]
        observed = self._observed(inputs[:count], *scale)
        if self.guidance == 'observation':
            observed = observed * given[0]
        cond = torch.cat([observed, *goals, *given], dim=-1)
        return cond if self.mixing is None else cond + self.mixing(cond, goals[0])

    def _draw(self, like: Tensor) -> Tensor:
        """Return what is given: everything, or while training what is not dropped; the generator is dropout's."""
        given = like.new_ones((len(like), 1))
        return given * (torch.rand_like(given) >= self.dropout) if self.training else given

    def _observed(self, streams: tuple[Tensor, ...], goal: Tensor | None = None) -> Tensor:
        parts = []
        for name, values in zip(self.names, streams, strict=True):
            if name in self.cameras:
                batch, time = values.shape[:2]
                given = () if goal is None else (goal.repeat_interleave(time, dim=0),)
                parts.append(self.cameras[name](values.flatten(0, 1), *given).view(batch, time, -1).flatten(1))
            else:
                parts.append(values.flatten(1))
        return torch.cat(parts, dim=-1)


class GoalMixing(nn.Module):
    """Products of what is observed and of the goal, which are added to the conditioning (B, width).

    A sum of both is what a denoiser is conditioned by without it: which of two things to go to is no sum of where they
    are and of which is meant.
    """

    def __init__(self, width: int, goal_width: int, hidden: int) -> None:
        super().__init__()
        self.observed, self.gate = nn.Linear(width, hidden), nn.Linear(goal_width, hidden)
        self.out = nn.Linear(hidden, width)
        self.widths = (width,), (goal_width,)

    def forward(self, cond: Tensor, goal: Tensor) -> Tensor:
        """Mix the conditioning (B, width) with the goal's features (B, goal_width)."""
        cond, goal = (nn.functional.layer_norm(*pair) for pair in zip((cond, goal), self.widths, strict=True))
        return self.out(nn.functional.mish(self.observed(cond)) * self.gate(goal))


class GoalEncoder(nn.Module):
    """All goals of a task, in the task's order: (B, C), (B, 3, H, W) -> (B, width)."""

    def __init__(self, task: TaskSpec, settings: NetworkSettings) -> None:
        super().__init__()
        self.names = tuple(g.name for g in task.goals)
        parts: dict[str, nn.Module] = {}
        self.width = 0
        for goal in task.goals:
            if isinstance(goal, GoalPose):
                self.width += goal.shape[0]  # as it is, like a vector that is observed
                continue
            camera = isinstance(goal, GoalImage)
            parts[goal.name] = (
                make_camera(settings, settings.goal_width) if camera else nn.Linear(goal.shape[0], settings.goal_width)
            )
            self.width += settings.goal_width
        self.parts = nn.ModuleDict(parts)

    def forward(self, *goals: Tensor) -> Tensor:
        """Encode normalized goals."""
        encoded = [self.parts[n](g) if n in self.parts else g for n, g in zip(self.names, goals, strict=True)]
        return torch.cat(encoded, dim=-1)


def _columns_by_time(widths: list[int], times: int) -> Tensor:
    """Return which columns of cond belong to each observation, (T, D / T); cond has one stream after the other."""
    columns, start = [], 0
    for width in widths:
        columns.append(torch.arange(start, start + width * times).view(times, width))
        start += width * times
    return torch.cat(columns, dim=1)
