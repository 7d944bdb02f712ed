"""Make a planner from the parameters of a trajectory_publisher: the node does so, and so does the evaluation.

What is scored is then what drives. Parameters come by name, as people give them; nothing here reads them from ROS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.motion.checks.workspace import AXES, Workspace
from dp_ros.motion.options import KEPT_BEYOND, PlanOptions
from dp_ros.motion.planner import Planner
from dp_ros.options import INFINITE, Option, build, option, options_of
from dp_ros.paths import locate
from dp_ros.robot.joint_limits import MAGNITUDES, JointLimits
from dp_ros.robot.limits_file import read_joint_limits
from dp_ros.robot.model import RobotModel
from dp_ros.task.spec import TaskSpec

LIMITS, WORKSPACE = 'limits.', 'workspace.'
UNITS = dict(zip(('lower', 'upper', *MAGNITUDES), ('', '', '/s', '/s^2', '/s^2', '/s^3'), strict=True))
QUANTITIES = {quantity: -INFINITE if quantity == 'lower' else INFINITE for quantity in UNITS}


def _coordinate(axis: str) -> Any:
    return option(0.0, f'{axis} of the point in the axes of workspace.link.', unit='m', low=-10.0, high=10.0)


def _least(axis: str) -> Any:
    return option(-INFINITE, f'Least {axis} that the point may have.', unit='m', low=-INFINITE, high=INFINITE)


def _greatest(axis: str) -> Any:
    return option(INFINITE, f'Greatest {axis} that the point may have.', unit='m', low=-INFINITE, high=INFINITE)


@dataclass(frozen=True, kw_only=True)
class WorkspaceBox:
    """A box that a point of a link must not leave, before the URDF is known."""

    link: str = option('', 'Link of the URDF of which a point must not leave a box; empty: no box is checked.')
    frame: str = option('', "Link in whose axes the box is given; empty: the URDF's root.")
    point_x: float = _coordinate('x')
    point_y: float = _coordinate('y')
    point_z: float = _coordinate('z')
    x_min: float = _least('x')
    x_max: float = _greatest('x')
    y_min: float = _least('y')
    y_max: float = _greatest('y')
    z_min: float = _least('z')
    z_max: float = _greatest('z')

    def workspace(self, joints: tuple[str, ...], robot: RobotModel | None) -> Workspace | None:
        """Return the box around the link of a robot, or None if there is none to check."""
        lower, upper = (self.x_min, self.y_min, self.z_min), (self.x_max, self.y_max, self.z_max)
        if not self.link:
            if any(abs(bound) < INFINITE for bound in (*lower, *upper)):
                raise ConfigError('workspace.link: got nothing, allowed a link of the URDF, since bounds are given')
            return None
        if robot is None:
            raise ConfigError(
                f'workspace.link: got {self.link!r} without a URDF, allowed urdf_file or topics.robot_description'
            )
        point = [getattr(self, f'point_{axis}') for axis in AXES]
        chain = robot.chain(joints, self.link, frame=self.frame, point=point)
        return Workspace(chain=chain, lower=lower, upper=upper)


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What the parameters say of limits and plan, before robot and task are known.

    Attributes
    ----------
    given
        The limits among the parameters, by ``<joint>.<quantity>`` [rad or m, /s, /s^2, /s^3].

    """

    continuous: tuple[str, ...] = option(
        (), "Those of the joints that turn without end, besides the URDF's and the bundle's.", example='[joint_2]'
    )
    limits_file: str = option('', 'A joint_limits.yaml as for MoveIt; instead of limits.*.')
    given: Mapping[str, float] = field(default_factory=dict)
    box: WorkspaceBox = field(default_factory=WorkspaceBox)
    options: PlanOptions = field(default_factory=PlanOptions)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> PlanSettings:
        """Return what parameters say, by name and as people give them; others than those of the plan may be there."""
        return replace(
            build(cls, values),
            given={name.removeprefix(LIMITS): value for name, value in values.items() if name.startswith(LIMITS)},
            box=build(WorkspaceBox, values, WORKSPACE),
            options=build(PlanOptions, values),
        )

    def limits(self, joints: tuple[str, ...], robot: RobotModel | None) -> JointLimits:
        """Return the limits of ``joints``: the stricter of those given or of the file, and the robot's own.

        Without a robot, something must be given of each joint.
        """
        if self.limits_file and self.given:
            raise ConfigError(
                f'limits_file: got {self.limits_file!r} and {listed(self._names())}, allowed one or the other'
            )
        known = {f'{joint}.{quantity}' for joint in joints for quantity in QUANTITIES}
        unknown = [LIMITS + name for name in self.given if name not in known]
        if unknown:
            raise ConfigError(
                f'limits: got {listed(unknown)}, allowed {listed(QUANTITIES)} of {listed(joints)}, '
                f'as {LIMITS}{joints[0]}.velocity'
            )
        bare = [joint for joint in joints if not any(name.startswith(f'{joint}.') for name in self.given)]
        if bare and not self.limits_file and robot is None:
            raise ConfigError(
                f'limits: got none for {listed(bare)} ({listed(QUANTITIES)}), allowed one or more for each joint, '
                f'limits_file or a URDF: set {listed(f"{LIMITS}{joint}.velocity" for joint in bare)}'
            )
        limits = read_joint_limits(locate(self.limits_file), joints) if self.limits_file else self._declared(joints)
        return limits if robot is None else limits.stricter(robot.limits(joints))

    def _names(self) -> list[str]:
        return [LIMITS + name for name in self.given]

    def _declared(self, joints: tuple[str, ...]) -> JointLimits:
        columns = {
            quantity: tuple(self.given.get(f'{joint}.{quantity}', none) for joint in joints)
            for quantity, none in QUANTITIES.items()
        }
        # Whoever gives no deceleration means that of acceleration.
        brakes = zip(columns['deceleration'], columns['acceleration'], strict=True)
        columns['deceleration'] = tuple(a if d == INFINITE else d for d, a in brakes)
        return JointLimits(joints=joints, **columns)


PLAN_OPTIONS = (*options_of(PlanSettings), *options_of(PlanOptions), *options_of(WorkspaceBox, WORKSPACE))


def limit_options(joints: Sequence[str]) -> list[Option]:
    """Return the options of the limits of ``joints``."""
    return [
        Option(
            name=f'{LIMITS}{joint}.{quantity}',
            default=none,
            low=-INFINITE,
            high=INFINITE,
            unit=f'rad{UNITS[quantity]} or m{UNITS[quantity]}',
            description=f'Limit of {joint}: {quantity}.',
        )
        for joint in joints
        for quantity, none in QUANTITIES.items()
    ]


def make_planner(settings: PlanSettings, task: TaskSpec, robot: RobotModel | None) -> Planner:
    """Return the planner of a task's joints, on a robot; None where no URDF is given.

    Raises
    ------
    ConfigError
        If settings, task and robot don't fit each other.

    """
    joints = task.action.joints
    if not set(settings.continuous) <= set(joints):
        raise ConfigError(f'continuous: got {listed(settings.continuous)}, allowed some of {listed(joints)}')
    turning = {*settings.continuous, *task.continuous, *(robot.continuous(joints) if robot else ())}
    options = replace(
        settings.options,
        keep_steps=settings.options.keep_steps or task.exec_horizon + KEPT_BEYOND,
        continuous=tuple(joint in turning for joint in joints),
        workspace=settings.box.workspace(joints, robot),
    )
    return Planner(joints, to_nanoseconds(task.control_dt), settings.limits(joints, robot), **vars(options))
