"""Settings of a planner, checked where it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.motion.checks.workspace import Workspace
from dp_ros.options import check_options, option
from dp_ros.robot.joint_limits import JointLimits

KEPT_BEYOND = 4
"""Steps after exec_horizon that a late chunk may still need: what `keep_steps` is unless it is given."""
FOLLOWED = 0.004
"""A joint that follows its plan is no farther from it than its way in this time at its speed limit [s]."""
UNLIMITED = 0.05
"""The same for a joint without a speed limit [rad or m]."""


# fmt: off
@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Settings of a planner.

    Attributes
    ----------
    continuous
        For each joint, whether it turns without end: positions a whole turn apart are the same.
    workspace
        What the tool point must not leave; None checks nothing.
    driven_apart
        Joints whose drivers decide themselves how they get to where the plan is: nothing is said of those that do not
        follow it.

    """

    max_joint_age: int = option(
        0.25, 'Oldest joint state with which anything is sent.', unit='s', low=0.001, high=10.0, nanoseconds=True
    )
    position_tolerance: float = option(
        0.005, 'Steps beyond a position limit by up to this are put onto it; farther ones stop the robot until '
        '~/reset.', unit='rad or m', low=0.0, high=0.1,
    )
    history_steps: int = option(
        3, 'Control steps of the past that each trajectory starts with, so that the controller is on it from its first '
        'cycle.', low=1, high=100,
    )
    splice_margin: int = option(
        0.03, "Longest time from the publisher to the controller's first command, the controller's period included. "
        "What passes before needs no margin: it follows from the chunk's stamp.",
        unit='s', low=0.0, high=1.0, nanoseconds=True,
    )
    blend_steps: int = option(
        4, 'Control steps that the cross-fade from the plan under way into a new chunk may take at most; 0: none, '
        'the chunk counts in full from its first step. It takes as few as it can without more acceleration than '
        'chunks have inside. More is smoother and reacts later.', low=0, high=100, live=True,
    )
    accelerations: bool = option(
        False, 'Send accelerations too: the controller then follows quintics, and acceleration makes no steps.'
    )
    lead_in: float = option(
        0.5, 'Least duration of the way from the measured state to the first chunk.', unit='s', low=0.01, high=60.0
    )
    follow_tolerance: float = option(
        0.0, 'A joint farther than this from the plan, its lag taken off, does not follow it: its controller was '
        'switched off, a message was lost, a hand or a protective stop holds it. Then nothing more is planned, the '
        'plan that was sent ends at rest, and a new one begins where the robot stands. 0: its way in 4 ms at its '
        'speed limit, so that no joint is ever made to jump farther than that.', unit='rad or m', low=0.0, high=1000.0,
    )
    expected_lag: int = option(
        0.05, 'Longest time by which the robot follows its commands late, before motion has shown it.', unit='s',
        low=0.0, high=1.0, nanoseconds=True,
    )
    max_lag: int = option(
        0.15, 'Longest time by which the robot follows its commands late, as joint states show; not below '
        'expected_lag.', unit='s', low=0.0, high=1.0, nanoseconds=True,
    )
    joint_state_error: float = option(
        0.2, 'What the joint states of a robot at rest may be wrong by, and the way to where the plan begins is still '
        'within the limits. More makes beginning slower.', unit='rad or m', low=0.0, high=10.0,
    )
    tail: float = option(
        0.5, 'Least duration of the way to rest at the end of a chunk: what happens if the publisher dies.', unit='s',
        low=0.01, high=10.0,
    )
    stop_on_path: bool = option(
        True, 'Come to rest on the last steps of the chunk, slower and slower; false: straight on beyond the last one, '
        'which may be where the chunk would not have gone: into the table, say.',
    )
    keep_steps: int = option(
        0, 'Steps of a chunk that must be followed. Where later ones, which the next chunk replaces in time, would '
        'leave the limits or the workspace, the plan rests before them; where earlier ones would, the robot stops. '
        '0: exec_horizon + 4; for a planner by itself, all.', low=0, high=1000,
    )
    continuous: Sequence[bool] | None = None
    workspace: Workspace | None = None
    driven_apart: Sequence[str] = ()
    # fmt: on

    def turning(self, joints: Sequence[str]) -> np.ndarray:
        """Return which of the joints turn without end, (A,) bool."""
        return np.array([False] * len(joints) if self.continuous is None else self.continuous, dtype=bool)

    def follow_tolerances(self, joints: Sequence[str], limits: JointLimits | None) -> np.ndarray:
        """Return the distance from the plan at which each joint (A,) still follows it [rad or m]."""
        found = np.full(len(joints), self.follow_tolerance or UNLIMITED)
        if not self.follow_tolerance and limits is not None:
            found = np.where(np.isfinite(limits.top_speed), FOLLOWED * limits.top_speed, found)
        return np.where([joint in self.driven_apart for joint in joints], np.inf, found)

    def check(self, joints: tuple[str, ...], control_dt: int, limits: JointLimits | None, closest: int) -> None:
        """Raise ConfigError for what cannot be meant, or does not fit the joints and limits."""
        check_options(self, 'planner ')
        least = (
            ('control_dt', control_dt, 1),
            ('max_lag', self.max_lag, self.expected_lag),
            ('tail', to_nanoseconds(self.tail), closest),
        )
        for name, time, allowed in least:
            if time < allowed:
                raise ConfigError(f'planner {name}: got {time} ns, allowed {allowed} ns or more')
        self._check_joints(joints, limits)

    def _check_joints(self, joints: tuple[str, ...], limits: JointLimits | None) -> None:
        turning = self.turning(joints)
        if turning.shape != (len(joints),):
            raise ConfigError(f'planner continuous: got {len(turning)}, allowed one for each joint')
        if self.workspace is not None and self.workspace.joints != joints:
            raise ConfigError(f'planner workspace: got {listed(self.workspace.joints)}, allowed {listed(joints)}')
        if limits is None:
            return
        if limits.joints != joints:
            raise ConfigError(f'planner limits: got {listed(limits.joints)}, allowed {listed(joints)}')
        if limits.any_jerk and not self.accelerations:
            raise ConfigError(
                'planner limits: got a jerk limit without accelerations, allowed with accelerations: true; the cubics '
                'that a controller makes of positions and velocities alone change their acceleration at once'
            )
        bounded = np.isfinite(limits.lowest) | np.isfinite(limits.highest)
        for joint, wrong in zip(joints, bounded & turning, strict=True):
            if wrong:
                raise ConfigError(f'planner limits: got position limits for continuous joint {joint!r}, allowed none')
