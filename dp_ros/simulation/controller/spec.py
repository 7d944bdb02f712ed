"""Settings of the modelled joint_trajectory_controller, under the names and with the defaults of the real one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dp_ros.errors import ConfigError, check_range, listed

SPLINES, NONE = 'splines', 'none'
METHODS = (SPLINES, NONE)
COMMAND_INTERFACES = (('position',), ('position', 'velocity'))
STATE_INTERFACES = (('position',), ('position', 'velocity'))


@dataclass(frozen=True, kw_only=True)
class ControllerSpec:
    """What a controller is started with.

    Attributes
    ----------
    rate
        Control cycles a second [Hz]; ``update_rate``.
    interpolate_from_desired_state
        Whether a bridge starts at the last command instead of the measured state.
    allow_nonzero_velocity_at_trajectory_end, allow_partial_joints_goal
        What the validation lets through.
    interpolation_method
        ``splines``, or ``none``: steps from point to point.
    state_interfaces, command_interfaces
        Without a measured velocity, bridges start at velocity 0. Only with a velocity command does
        ``stopped_velocity_tolerance`` mean anything.
    continuous
        Joints that turn without end: a bridge takes the shorter way round.
    cmd_timeout
        Longest time after the last point [s] before the measured position is held; 0 is for ever. As in the real one it
        is ignored unless it is longer than ``goal_time``.
    goal_time
        Longest time after the last point to come within ``goal_tolerance`` [s]; 0 is for ever.
    trajectory_tolerance, goal_tolerance
        ``constraints.<joint>.trajectory`` and ``.goal`` [rad or m]: one number for all joints or one for each; 0 is
        none.
    stopped_velocity_tolerance
        Part of the goal's tolerance [rad/s or m/s]; 0 is none.
    set_last_command_interface_value_as_state_on_activation
        Whether it begins, when activated, by holding what was commanded last, or what is measured then.
    initial_scaling_factor
        ``speed_scaling.initial_scaling_factor``, 0 or more: 0.5 runs trajectories at half their speed.
    reject_non_finite
        Reject NaN and infinity. The real controller has no such check, and commands them: false is faithful, true,
        the default, is safe.

    """

    rate: float = 100.0
    interpolate_from_desired_state: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool = False
    allow_partial_joints_goal: bool = False
    interpolation_method: str = SPLINES
    state_interfaces: tuple[str, ...] = ('position', 'velocity')
    command_interfaces: tuple[str, ...] = ('position',)
    continuous: tuple[str, ...] = ()
    cmd_timeout: float = 0.0
    goal_time: float = 0.0
    trajectory_tolerance: float | tuple[float, ...] = 0.0
    goal_tolerance: float | tuple[float, ...] = 0.0
    stopped_velocity_tolerance: float = 0.01
    set_last_command_interface_value_as_state_on_activation: bool = True
    initial_scaling_factor: float = 1.0
    reject_non_finite: bool = True

    def __post_init__(self) -> None:
        check_range('controller rate', self.rate, 1.0, 10000.0, unit='Hz')
        for name, choices in (
            ('interpolation_method', METHODS),
            ('state_interfaces', STATE_INTERFACES),
            ('command_interfaces', COMMAND_INTERFACES),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f'controller {name}: got {value!r}, allowed {listed(map(repr, choices))}')
        for name in ('cmd_timeout', 'goal_time', 'stopped_velocity_tolerance', 'initial_scaling_factor'):
            self._check_not_negative(name, getattr(self, name))
        for name in ('trajectory_tolerance', 'goal_tolerance'):
            value = getattr(self, name)
            for each in value if isinstance(value, tuple) else (value,):
                self._check_not_negative(name, each)

    @staticmethod
    def _check_not_negative(name: str, value: float) -> None:
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(f'controller {name}: got {value}, allowed finite numbers from 0 up')

    def check_joints(self, joints: tuple[str, ...]) -> None:
        """Raise :class:`ConfigError` if these settings don't fit a controller of ``joints``."""
        if not joints or len(set(joints)) != len(joints):
            raise ConfigError(f'controller joints: got {listed(joints)}, allowed one or more different names')
        if not set(self.continuous) <= set(joints):
            raise ConfigError(f'controller continuous: got {listed(self.continuous)}, allowed some of {listed(joints)}')
        for name in ('trajectory_tolerance', 'goal_tolerance'):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != len(joints):
                raise ConfigError(f'controller {name}: got {len(value)} numbers, allowed one or {len(joints)}')
