"""How a sequence model plans: options of the node and of the command line, and the places it keeps out of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dp_ros.errors import ConfigError, listed
from dp_ros.options import check_options, option
from dp_ros.task.spec import PoseStream, TaskSpec

Planning = Literal['return', 'beam', 'likelihood']
MOST_BEAMS = 64


# fmt: off
@dataclass(frozen=True, kw_only=True)
class SequenceOptions:
    """How a chunk is planned; all of it may change while the policy runs."""

    planning: Planning = option(
        'return', 'Of a sequence model: how a chunk is planned. return: one sequence of tokens, after the return asked '
        'for; beam: of several, those of the highest predicted rewards and return-to-go go on; likelihood: those whose '
        'actions the model finds likeliest.', live=True,
    )
    asked_return: float = option(
        0.0, 'Of a sequence model: the return asked of a run, in what recordings have as rewards, less a step cost; '
        'what chunks are predicted to have gained is taken off. 0: the best that the model finds plausible. Refused '
        'outside of what training had.', low=-1e9, high=1e9, live=True,
    )
    beams: int = option(
        4, 'Of a sequence model: sequences that go on, with planning beam or likelihood; each is continued twice.',
        low=1, high=MOST_BEAMS, live=True,
    )
    temperature: float = option(
        0.2, 'Of a sequence model: how far actions are drawn from the whole of what it predicts; 0: always the '
        'likeliest token, 1: as predicted.', low=0.0, high=2.0, live=True,
    )
    keep_clear: tuple[str, ...] = option(
        (), 'Of a sequence model: discs that no set point of the first two joints [m] comes into, as stream:radius, '
        'the stream a pose with x and y.', live=True, example="['obstacle_0:0.25']",
    )
    keep_within: tuple[str, ...] = option(
        (), 'Of a sequence model: ranges that no set point leaves, as joint:lowest:highest [rad or m].',
        live=True, example="['point_x:-1.0:1.0']",
    )

    def __post_init__(self) -> None:
        check_options(self)
        object.__setattr__(self, 'keep_clear', tuple(self.keep_clear))
        object.__setattr__(self, 'keep_within', tuple(self.keep_within))
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Disc:
    """A disc about what a pose stream shows: its columns of x and y, its radius [m]."""

    stream: str
    columns: tuple[int, int]
    radius: float


def discs(options: SequenceOptions, task: TaskSpec) -> tuple[Disc, ...]:
    """Return what `keep_clear` names; ConfigError where that is not a pose of the task, or has no radius."""
    if options.keep_clear and task.action.units[:2] != ('m', 'm'):
        raise ConfigError(
            f'keep_clear: got {listed(options.keep_clear)} for joints in {listed(task.action.units)}, allowed where '
            'the first two joints are x and y in m'
        )
    found = []
    for text in options.keep_clear:
        name, radius = _parts('keep_clear', text, 1, 'stream:radius')
        flat = {s.name: s for s in task.streams if isinstance(s, PoseStream) and {'x', 'y'} <= set(s.features)}
        if name not in flat:
            raise ConfigError(f'keep_clear: got stream {name!r}, allowed poses with x and y: {listed(flat) or "none"}')
        if not 0.0 < radius[0] <= 10.0:
            raise ConfigError(f'keep_clear {name}: got radius {radius[0]:g} m, allowed more than 0, up to 10')
        features = flat[name].features
        found.append(Disc(stream=name, columns=(features.index('x'), features.index('y')), radius=radius[0]))
    return tuple(found)


def ranges(options: SequenceOptions, joints: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the lowest and the highest set point of each joint; ConfigError where `keep_within` names another."""
    lowest, highest = [-math.inf] * len(joints), [math.inf] * len(joints)
    for text in options.keep_within:
        name, (low, high) = _parts('keep_within', text, 2, 'joint:lowest:highest')
        if name not in joints:
            raise ConfigError(f'keep_within: got joint {name!r}, allowed {listed(joints)}')
        if not low < high:
            raise ConfigError(f'keep_within {name}: got {low:g} to {high:g}, allowed a lowest below the highest')
        index = list(joints).index(name)
        lowest[index], highest[index] = low, high
    return lowest, highest


def _parts(what: str, text: str, count: int, form: str) -> tuple[str, list[float]]:
    name, *numbers = text.split(':')
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ConfigError(f'{what}: got {text!r}, allowed {form} with finite numbers')
    return name, values
