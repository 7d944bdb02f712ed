"""A policy played slower or faster than it was shown: the same motions on another scale of time.

With ``policy_speed`` s the time between actions, and between observations, is ``control_dt / s``. A motion then passes
the same places at s times the velocities, and a policy that sees positions, poses and pictures sees what it was trained
on. Velocities that it observes are divided by s before it sees them. Efforts follow no such rule, and are refused.

What time does not scale stays as it is: how old a message may be, how long one may take to arrive, the robot's limits;
nor does a robot follow fast commands as closely as slow ones. Execution faster than demonstrated, and what stands in
its way: SAIL (Ranawaka Arachchige et al. 2025).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dp_ros.errors import ConfigError
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.task.spec import JointStream, Stream

SLOWEST, FASTEST = 0.1, 5.0


def at_speed(bundle: Bundle, policy_speed: float) -> Bundle:
    """Return a bundle as `load_bundle` gives it, to be played ``policy_speed`` times as fast as it was shown.

    Raises
    ------
    ConfigError
        If that is out of range, leaves less time between actions than a message may take to arrive, or the policy
        observes efforts.

    """
    if not SLOWEST <= policy_speed <= FASTEST:
        raise ConfigError(f'policy_speed: got {policy_speed}, allowed {SLOWEST} to {FASTEST}')
    if policy_speed == 1.0:
        return bundle
    efforts = [s.name for s in bundle.task.streams if isinstance(s, JointStream) and 'effort' in s.fields]
    if efforts:
        raise ConfigError(
            f'policy_speed: got {policy_speed}, allowed 1: bundle {bundle.name} observes efforts ({efforts[0]}), and '
            'nothing says what they are at another speed'
        )
    try:
        task = replace(bundle.task, control_dt=bundle.task.control_dt / policy_speed)
    except ConfigError as error:
        raise ConfigError(f'policy_speed: got {policy_speed}, with which there is {error}') from error
    return replace(bundle, task=task, policy_speed=policy_speed)


def as_shown(stream: Stream, values: np.ndarray, policy_speed: float) -> np.ndarray:
    """Return a vector stream's values (T, C) as they would be at the speed of the recordings."""
    if policy_speed == 1.0 or not isinstance(stream, JointStream):
        return values
    each = [policy_speed if field == 'velocity' else 1.0 for field in stream.fields for _ in stream.joints]
    return values / np.array(each)
