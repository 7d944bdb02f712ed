"""Settings of the modelled joint_trajectory_controller, under the names and with the defaults of the real one."""

from __future__ import annotations

from dataclasses import dataclass

from dp_ros.errors import ConfigError, check_range, listed
from dp_ros.options import check_options, option

SPLINES, NONE = 'splines', 'none'
METHODS = (SPLINES, NONE)
COMMAND_INTERFACES = (('position',), ('position', 'velocity'))
STATE_INTERFACES = (('position',), ('position', 'velocity'))


@dataclass(frozen=True, kw_only=True)
class ControllerSpec:
    """What a controller is started with.

    Tolerances are one number for all joints or one for each. As in the real one, ``cmd_timeout`` is ignored unless it
    is longer than ``goal_time``.

    Attributes
    ----------
    state_interfaces, command_interfaces
        Without a measured velocity, bridges start at velocity 0. Only with a velocity command does
        ``stopped_velocity_tolerance`` mean anything.
    initial_scaling_factor
        ``speed_scaling.initial_scaling_factor``, 0 or more: 0.5 runs trajectories at half their speed.

    """

    rate: float = option(
        100.0, 'Control cycles a second; the physics stands still between its own steps.', unit='Hz',
        low=1.0, high=10000.0,
    )
    interpolate_from_desired_state: bool = option(
        False, 'Start the way to the first point at the last command instead of the measured state.'
    )
    allow_nonzero_velocity_at_trajectory_end: bool = option(False, 'Take messages whose last point is not at rest.')
    allow_partial_joints_goal: bool = option(False, 'Take messages that leave joints out.')
    interpolation_method: str = option(SPLINES, 'none: jump from point to point.', choices=METHODS)
    state_interfaces: tuple[str, ...] = ('position', 'velocity')
    command_interfaces: tuple[str, ...] = ('position',)
    continuous: tuple[str, ...] = option((), 'Joints that turn without end.')
    cmd_timeout: float = option(
        0.0, 'Longest time after the last point before the measured position is held; 0: for ever.', unit='s',
        low=0.0, high=1000.0,
    )
    trajectory_tolerance: float | tuple[float, ...] = option(
        0.0, 'constraints.<joint>.trajectory of every joint [rad or m]; 0: none.', low=0.0, high=1000.0
    )
    goal_tolerance: float | tuple[float, ...] = option(
        0.0, 'constraints.<joint>.goal of every joint [rad or m]; 0: none.', low=0.0, high=1000.0
    )
    goal_time: float = option(
        0.0, 'Longest time after the last point to come within goal_tolerance [s]; 0: for ever.', low=0.0, high=1000.0
    )
    stopped_velocity_tolerance: float = option(
        0.01, 'Served, but without meaning for position commands, as in the real controller.', low=0.0, high=1000.0
    )
    set_last_command_interface_value_as_state_on_activation: bool = option(
        True, 'Activated, hold what was commanded last instead of what is measured then.'
    )
    initial_scaling_factor: float = 1.0
    reject_non_finite: bool = option(
        True, 'Reject NaN and infinity; the real controller has no such check, and commands them.'
    )

    def __post_init__(self) -> None:
        check_options(self, 'controller ')
        for name, choices in (('state_interfaces', STATE_INTERFACES), ('command_interfaces', COMMAND_INTERFACES)):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f'controller {name}: got {value!r}, allowed {listed(map(repr, choices))}')
        check_range('controller initial_scaling_factor', self.initial_scaling_factor, 0.0, 1000.0)

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
