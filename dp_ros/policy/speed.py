"""A policy played slower or faster than it was shown: the same motions on another scale of time.

With ``speed_scaling`` s the time between actions, and between observations, is ``control_dt / s``. A motion then passes
the same places at s times the velocities, and a policy that sees positions, poses and pictures sees what it was trained
on. Velocities that it observes are divided by s before it sees them. Efforts follow no such rule, and are refused.

What time does not scale stays as it is: how old a message may be, how long one may take to arrive, the robot's limits;
nor does a robot follow fast commands as closely as slow ones. Execution faster than demonstrated, and what stands in
its way: SAIL (Ranawaka Arachchige et al. 2025).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dp_ros.config import JointStream, Stream
from dp_ros.errors import ConfigError
from dp_ros.policy.bundle import Bundle

SLOWEST, FASTEST = 0.1, 5.0


def at_speed(bundle: Bundle, speed_scaling: float) -> Bundle:
    """Return a bundle as `load_bundle` gives it, to be played ``speed_scaling`` times as fast as it was shown.

    Raises
    ------
    ConfigError
        If that is out of range, leaves less time between actions than a message may take to arrive, or the policy
        observes efforts.

    """
    if not SLOWEST <= speed_scaling <= FASTEST:
        raise ConfigError(f'speed_scaling: got {speed_scaling}, allowed {SLOWEST} to {FASTEST}')
    if speed_scaling == 1.0:
        return bundle
    efforts = [s.name for s in bundle.task.streams if isinstance(s, JointStream) and 'effort' in s.fields]
    if efforts:
        raise ConfigError(
            f'speed_scaling: got {speed_scaling}, allowed 1: bundle {bundle.name} observes efforts ({efforts[0]}), and '
            'nothing says what they are at another speed'
        )
    try:
        task = replace(bundle.task, control_dt=bundle.task.control_dt / speed_scaling)
    except ConfigError as error:
        raise ConfigError(f'speed_scaling: got {speed_scaling}, with which there is {error}') from error
    return replace(bundle, task=task, speed_scaling=speed_scaling)


def as_shown(stream: Stream, values: np.ndarray, speed_scaling: float) -> np.ndarray:
    """Return a vector stream's values (T, C) as they would be at the speed of the recordings."""
    if speed_scaling == 1.0 or not isinstance(stream, JointStream):
        return values
    each = [speed_scaling if field == 'velocity' else 1.0 for field in stream.fields for _ in stream.joints]
    return values / np.array(each)
