"""What may happen to the nodes in a sequence: drawn from a seed, and plain values, so that it can be printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

CHUNKS = (
    'smooth', 'twin', 'jump', 'noise', 'stale', 'early', 'long', 'short', 'fast', 'other_joints', 'fewer_joints',
    'not_finite', 'outside', 'just_outside', 'huge', 'other_steps', 'same_stamp', 'zero_stamp', 'reordered',
)  # fmt: skip
LIES = (
    'glitch', 'glitch', 'glitch', 'burst', 'drift', 'frozen', 'speed', 'speed', 'stamp_zero', 'stamp_old',
    'stamp_ahead', 'stamp_repeats', 'renamed', 'missing', 'short', 'not_finite', 'silent', 'noise',
)  # fmt: skip
PARAMETERS: tuple[tuple[str, Any], ...] = (
    ('blend_steps', 0), ('blend_steps', 4), ('blend_steps', 8), ('blend_steps', -3), ('blend_steps', 1 << 40),
    ('deadline', 0.0), ('deadline', 0.5), ('deadline', float('nan')), ('splice_margin', 0.1), ('unknown', 'x'),
    ('blend_steps', 'four'), ('limits.joint_1.velocity', 50.0), ('use_sim_time', True), ('', 1.0),
)  # fmt: skip
THEMES: dict[str, tuple[str, ...]] = {
    # What is attacked mostly: too much at once, and the robot hardly ever moves.
    'all': (),
    'controller': ('controller_off', 'controller_restart', 'stall', 'chunk'),
    'joint states': ('lie', 'stall'),
    'chunks': ('chunk', 'mute', 'parameter'),
    'time': ('clock', 'stall', 'lifecycle', 'controller_off'),
}
MOSTLY, ELSE = 4.0, 0.06
PEERS = ('joint_states', 'joint_states_elsewhere', 'action_chunk', 'enable', 'command')


@dataclass(frozen=True)
class Event:
    """Something that happens ``gap`` [s] after the one before."""

    gap: float
    kind: str
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ', '.join(f'{k}={v:.4g}' if isinstance(v, float) else f'{k}={v}' for k, v in self.values.items())
        return f'+{self.gap:.3f} s {self.kind} {told}'.rstrip()


def themed(rng: np.random.Generator, weights: dict[str, float]) -> tuple[str, dict[str, float], float]:
    """Draw what a sequence is mostly about; return its name, the weights, and the longest gap [s]."""
    theme = str(rng.choice(list(THEMES), p=[0.3, 0.3, 0.15, 0.1, 0.15]))
    kinds = THEMES[theme]
    tilted = {
        kind: weight * ((MOSTLY if kind in kinds else ELSE) if kinds else 1.0) for kind, weight in weights.items()
    }
    if theme == 'controller':
        tilted['chunk'] *= 0.1
    return theme, tilted, float(rng.choice([0.12, 0.25, 0.6], p=[0.4, 0.4, 0.2]))


def drawn(rng: np.random.Generator, weights: dict[str, float], joints: int, *, longest: float = 0.25) -> list[Event]:
    """Draw a sequence of 30 to 60 events of the kinds in ``weights``, mostly up to ``longest`` [s] apart."""
    kinds = [kind for kind, weight in weights.items() if weight > 0]
    chances = np.array([weights[kind] for kind in kinds])
    count = int(rng.integers(30, 61))
    picked = rng.choice(len(kinds), size=count, p=chances / chances.sum())
    return [_event(rng, kinds[i], joints, longest) for i in picked]


def _event(rng: np.random.Generator, kind: str, joints: int, longest: float) -> Event:
    gap = float(np.round(rng.uniform(0.01, longest) if rng.random() < 0.85 else rng.uniform(1.0, 3.0) * longest, 4))
    seed = int(rng.integers(1 << 31))
    values: dict[str, Any] = {'seed': seed}
    if kind == 'chunk':
        values |= {'what': str(rng.choice(CHUNKS))}
    elif kind == 'mute':
        values = {'seconds': _round(rng.uniform(0.3, 2.5))}
    elif kind == 'lie':
        what = str(rng.choice(LIES))
        seconds = {'glitch': rng.uniform(0.005, 0.06), 'drift': rng.uniform(0.3, 1.0)}.get(what, rng.uniform(0.03, 0.6))
        size = 10 ** rng.uniform(-2.0, 0.3) * float(rng.choice([-1.0, 1.0]))
        if what == 'drift':  # as far as joint states may be wrong without being implausible
            size = float(np.clip(size, -0.18 / seconds, 0.18 / seconds))
        values = {'what': what, 'seconds': _round(seconds), 'size': _round(size), 'joint': int(rng.integers(joints))}
    elif kind == 'peer':
        values = {'topic': str(rng.choice(PEERS)), 'seconds': _round(rng.uniform(0.05, 0.8))}
    elif kind == 'clock':
        values = {'by': _round(float(rng.choice([-1.0, 1.0])) * 10 ** rng.uniform(-2.0, 0.7))}
    elif kind == 'parameter':
        name, value = PARAMETERS[int(rng.integers(len(PARAMETERS)))]
        values = {'name': name, 'value': value}
    elif kind == 'stall':
        values = {'seconds': _round(rng.uniform(0.02, 0.3))}
    elif kind == 'lifecycle':
        values = {'seconds': _round(rng.uniform(0.02, 0.5))}
    elif kind in ('controller_off', 'controller_restart'):
        longest = 1.5 if rng.random() < 0.95 else 6.0
        values = {'seconds': _round(rng.uniform(0.1, longest))}
    elif kind in ('hold', 'reset', 'end', 'kill', 'garbage'):
        values = {}
    return Event(gap, kind, values)


def _round(value: float) -> float:
    return float(f'{value:.4g}')
