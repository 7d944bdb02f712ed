"""Options of the trajectory_publisher besides its plan: topics, URDF, controller and safety. Without ROS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dp_ros.errors import ConfigError
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.motion.settings.plan import PLAN_OPTIONS
from dp_ros.options import option, options_of

LONGEST = 3600.0  # [s]
RESET_COMMAND = 'ros2 run dp_ros dp_ros reset'


# fmt: off
@dataclass(frozen=True, kw_only=True)
class ArmOptions:
    """The arm that the policy moves, and its topics."""

    joints: tuple[str, ...] = option(
        (), "The robot's joints that the policy moves, in order; no other bundle fits. Empty: the bundle is taken at "
        'its word.', example='[joint_1, joint_2]',
    )
    units: tuple[str, ...] = option(
        (), 'Unit of each of the joints, m or rad; no other bundle fits. Empty: the bundle is taken at its word.',
        example='[rad, rad]',
    )
    control_dt: float = option(
        0.0, 'Time between actions, at policy_speed 1, that the robot is meant for; no other bundle fits. '
        '0: not checked.', unit='s', low=0.0, high=60.0,
    )
    joint_states: str = option(
        'joint_states', 'Measured joint states (sensor_msgs/JointState) come from here.', name='topics.joint_states'
    )
    command: str = option(
        '', 'Trajectories for the joint_trajectory_controller go here, all joints; empty: to the topics that the '
        'bundle names, below the namespace.', name='topics.command',
    )
    deadline: float = option(
        0.0, 'A command is late if it is out later than this after its observation; 0: control_dt.', unit='s',
        low=0.0, high=60.0, live=True,
    )


@dataclass(frozen=True, kw_only=True)
class UrdfOptions:
    """Where the URDF comes from: a file, or the topic on which it is latched."""

    urdf_file: str = option(
        '', 'A URDF for limits, continuous joints and the workspace; instead of topics.robot_description. Where it and '
        'limits.* or limits_file limit the same, the stricter counts.',
    )
    robot_description: str = option(
        '', 'The URDF is latched here (std_msgs/String), mostly on robot_description; empty: none is read.',
        name='topics.robot_description',
    )
    robot_description_timeout: float = option(
        5.0, 'Longest wait for topics.robot_description; configure fails without it.', unit='s', low=0.1, high=60.0
    )

    def __post_init__(self) -> None:
        if self.urdf_file and self.robot_description:
            raise ConfigError(
                f'urdf_file: got {self.urdf_file!r} and topics.robot_description {self.robot_description!r}, '
                'allowed one or the other'
            )


@dataclass(frozen=True, kw_only=True)
class ControllerOptions:
    """The controller that follows the trajectories."""

    controller: str = option(
        '', "The controller's node, arm_controller say: it alone is the controller, whoever else listens on the "
        'command topic, as a recorder does. Empty, or with outputs: the name that the topic is below. When it '
        'appears, and again when it has been restarted, its parameters are read; until then, and while they would '
        'move the robot wrongly, nothing moves. One that is no joint_trajectory_controller is judged by what it '
        'declares.',
    )
    require_controller: bool = option(
        True, 'No motion before the controller listens and was checked. false: move although nothing about the '
        'controller was checked, whoever listens; one that was checked, and would move the robot wrongly, still stops '
        'everything.',
    )
    controller_wait: float = option(
        2.0, 'A controller that has not answered for this long counts as silent; requests go on.', unit='s',
        low=0.0, high=60.0,
    )


@dataclass(frozen=True, kw_only=True)
class SafetyOptions:
    """When the arm slows down, stops and latches as observations get older, and who may release it. Times in [s]."""

    dry_run: bool = option(
        False, 'Compute, check and report everything, on ~/plan and /diagnostics, and send nothing: no command topic '
        'is even made.',
    )
    tail_after: float = option(
        0.0, 'Age of the observation behind the motion at which chunks count as late, and the plan is finished as '
        'sent; 0: exec_horizon + 2 control steps of the bundle. If the policy_executor has an exec_horizon of its '
        'own, give this and the next.', unit='s', low=0.0, high=LONGEST,
    )
    decelerate_after: float = option(
        0.0, 'Age of that observation at which the arm slows down along its path; 0: half-way from tail_after to the '
        'last step of the chunk.', unit='s', low=0.0, high=LONGEST,
    )
    hold_after: float = option(
        0.0, 'Age of that observation, or of the newest joint state, at which the arm is held, or goes home; 0: when '
        'the last chunk would have ended, its tail included.', unit='s', low=0.0, high=LONGEST,
    )
    latch_after: float = option(
        0.0, 'The same age at which only ~/reset lets the arm move again; 0: 3 s after hold_after.', unit='s',
        low=0.0, high=LONGEST,
    )
    joint_state_timeout: float = option(
        0.5, 'Age of the newest joint state at which a moving arm slows down along its path; up to hold_after.',
        unit='s', low=0.001, high=LONGEST,
    )
    fallback: Literal['hold', 'home', 'policy'] = option(
        'hold', 'What follows at hold_after where observations stay away. hold; home: go home, and latch there; '
        'policy: hold, while the policy_executor goes over to its fallback_bundle by itself.',
        choices=('hold', 'home', 'policy'),
    )
    home_duration: float = option(4.0, 'Least time of the way home.', unit='s', low=0.1, high=600.0)
    heartbeat_timeout: float = option(
        0.0, 'The arm moves only while true arrives on topics.enable at least this often; silence or false stops and '
        'latches. 0: no permission is needed.', unit='s', low=0.0, high=LONGEST,
    )
    enable: str = option(
        '~/enable', 'std_msgs/Bool from whoever permits motion: true permits, false or silence stops and latches.',
        name='topics.enable',
    )
    max_clock_step: float = option(
        0.1, 'The clock jumped if it gained or lost more than this within half a control step. Then the robot holds '
        'and the plan starts anew.', unit='s', low=0.001, high=LONGEST,
    )
    state_folder: str = option(
        '', 'Where the node keeps a small file, below dp_ros/latch, that shows whether it runs and whether it is '
        'latched: one that is started after another was killed or has crashed while active starts latched, and so '
        'does one that finds the file damaged. Only ~/reset releases it. A folder that the user may write to; '
        'empty: $ROS_HOME, or ~/.ros.',
    )
    keep_latch: bool = option(
        False, 'Keep a latch over an orderly end (Ctrl-C) too, for where the node is started again by itself. The '
        'launch argument respawn:=true sets it.',
    )
    allow_reset: Literal['service', 'local'] = option(
        'service', 'Who may release a latch. service: anyone on the network, by ~/reset; local: only this user at this '
        f'machine, by `{RESET_COMMAND}`, through a socket below $ROS_HOME/dp_ros/reset.', choices=('service', 'local'),
    )


@dataclass(frozen=True, kw_only=True)
class ApproachOptions:
    """What comes before the policy where the robot is away from where demonstrations began."""

    approach: bool = option(
        False, 'Go to where demonstrations began before the policy begins, where the bundle says where that is and the '
        'robot is elsewhere: once after each activation, slowly, straight in joint space, within limits and workspace. '
        'Nothing else is checked: look along that way. false: only /diagnostics says how far away it is.',
    )
    approach_speed: float = option(
        0.2, 'Of the fastest joint on that way.', unit='rad/s or m/s', low=0.001, high=10.0
    )


# fmt: on


PUBLISHER_OPTIONS = (
    *options_of(ArmOptions),
    *options_of(SafetyOptions),
    *options_of(ApproachOptions),
    *options_of(ControllerOptions),
    *options_of(UrdfOptions),
    *options_of(ObstacleOptions),
    *PLAN_OPTIONS,
)
