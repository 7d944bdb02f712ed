"""What a planner can be told, checked where it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.motion.workspace import Workspace
from dp_ros.robot.joint_limits import JointLimits

KEPT_BEYOND = 4
"""Steps after exec_horizon that a late chunk may still need: what `keep_steps` is unless it is given."""
FOLLOWED = 0.004
"""What a joint travels at its speed limit in this time [s] is as far as it may be from the plan that it follows."""
UNLIMITED = 0.05
"""The same for a joint without a speed limit [rad or m]."""


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Settings of a planner.

    Attributes
    ----------
    history_steps
        How many control steps back the sent trajectory starts.
    splice_margin
        Longest time from `accept` to the controller's first command from the result, its own period included [ns]. What
        passes before `accept` needs no margin: it is known from the chunk's stamp.
    blend_steps
        Control steps that the cross-fade from the committed plan into a new chunk may take at most; 0 executes the
        chunk as it is.
    lead_in
        Least duration of the lead-in from a measured state [s].
    follow_tolerance
        Largest distance of a joint from the plan that it follows, its lag taken off [rad or m]; 0: what it may travel
        at its speed limit in `FOLLOWED`.
    expected_lag, max_lag
        Longest time by which a robot follows late, before motion has shown how late, and at all [ns].
    joint_state_error
        What joint states at rest may be wrong by before the way to where a plan begins is too fast [rad or m].
    tail
        Least duration of the deceleration at the end [s].
    stop_on_path
        Whether that end is the chunk's own last steps, slower and slower, or straight on beyond the last one.
    keep_steps
        Steps of a chunk that must be followed; later ones are left out where they would leave the limits. None: all.
    continuous
        For each joint, whether it turns without end: positions a whole turn apart are the same.
    position_tolerance
        Steps beyond a position limit by no more than this are put onto it [rad or m].
    max_age
        Oldest measurement that counts [ns].
    accelerations
        Whether points carry accelerations, so that the controller follows quintics.
    workspace
        What the tool point must not leave; None checks nothing.

    """

    history_steps: int = 3
    splice_margin: int = 50_000_000
    blend_steps: int = 4
    lead_in: float = 0.5
    follow_tolerance: float = 0.0
    expected_lag: int = 50_000_000
    max_lag: int = 150_000_000
    joint_state_error: float = 0.2
    tail: float = 0.5
    stop_on_path: bool = False
    keep_steps: int | None = None
    continuous: Sequence[bool] | None = None
    position_tolerance: float = 0.005
    max_age: int = 250_000_000
    accelerations: bool = False
    workspace: Workspace | None = None

    def turning(self, joints: Sequence[str]) -> np.ndarray:
        """Return which of the joints turn without end, (A,) bool."""
        return np.array([False] * len(joints) if self.continuous is None else self.continuous, dtype=bool)

    def follow_tolerances(self, joints: Sequence[str], limits: JointLimits | None) -> np.ndarray:
        """Return the distance from the plan at which each joint (A,) still follows it [rad or m]."""
        unlimited = np.full(len(joints), self.follow_tolerance or UNLIMITED)
        if self.follow_tolerance or limits is None:
            return unlimited
        return np.where(np.isfinite(limits.top_speed), FOLLOWED * limits.top_speed, unlimited)

    def check(self, joints: tuple[str, ...], control_dt: int, limits: JointLimits | None, closest: int) -> None:
        """Raise ConfigError for what cannot be meant, or does not fit the joints and limits."""
        least = (
            ('control_dt', control_dt, 1),
            ('history_steps', self.history_steps * control_dt, 0),
            ('splice_margin', self.splice_margin, 0),
            ('max_age', self.max_age, 1),
            ('expected_lag', self.expected_lag, 0),
            ('max_lag', self.max_lag, self.expected_lag),
            ('lead_in', to_nanoseconds(self.lead_in), 1),
            ('tail', to_nanoseconds(self.tail), closest),
        )
        for name, time, allowed in least:
            if time < allowed:
                raise ConfigError(f'planner {name}: got {time} ns, allowed {allowed} ns or more')
        if self.keep_steps is not None and self.keep_steps < 1:
            raise ConfigError(f'planner keep_steps: got {self.keep_steps}, allowed 1 or more')
        if self.blend_steps < 0:
            raise ConfigError(f'planner blend_steps: got {self.blend_steps}, allowed 0 or more')
        for name in ('follow_tolerance', 'joint_state_error'):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ConfigError(f'planner {name}: got {getattr(self, name)}, allowed 0 or more')
        if not 0.0 <= self.position_tolerance < np.inf:
            raise ConfigError(f'planner position_tolerance: got {self.position_tolerance}, allowed 0 or more')
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
