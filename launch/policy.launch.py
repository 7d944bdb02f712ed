"""Run a policy: its three nodes, each in its own process or all in one, and a simulated robot unless a real one runs.

The shipped policy on the simulated arm, and another one on a robot:

    ros2 launch dp_ros policy.launch.py
    ros2 launch dp_ros policy.launch.py sim:=false params_file:=my_robot.yaml bundle:=models/my_policy
"""

from importlib.util import find_spec
from typing import Any

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from dp_ros.simulation.registry import world_names, world_parameters, world_spec
from dp_ros.simulation.worlds import DEMO_WORLD
from launch import LaunchContext, LaunchDescription

SHARE = FindPackageShare('dp_ros')
RESPAWN = [SHARE, '/config/respawn.yaml']  # a file, since only one of several nodes knows the parameter
RESPAWN_DELAY = 1.0  # [s]
PUBLISHER = 'trajectory_publisher'
POLICY_NODES = ('observation_buffer', 'policy_executor', PUBLISHER)
CONTAINER = 'policy_container'

ARGUMENTS = [
    DeclareLaunchArgument(
        'world',
        default_value=DEMO_WORLD,
        description='World of the simulated robot.',
        choices=list(world_names()),
    ),
    DeclareLaunchArgument(
        'world_file',
        default_value='',
        description='In place of a world: the YAML file of one, which names any MuJoCo model.',
    ),
    DeclareLaunchArgument(
        'params_file',
        default_value='',
        description='YAML file with the parameters of all nodes; policy.yaml lists and explains every one. Empty: '
        "the world's.",
    ),
    DeclareLaunchArgument(
        'bundle',
        default_value='',
        description='Folder of the policy bundle; empty: the one that params_file names. A relative path is looked for '
        'in the current folder, then among the bundles that came with dp_ros.',
    ),
    DeclareLaunchArgument(
        'policy_speed',
        default_value='',
        description='How many times as fast as it was shown the policy is played, as 0.5 or 1.25, on all three nodes; '
        'empty: as params_file says.',
    ),
    DeclareLaunchArgument(
        'sim',
        default_value='true',
        description='Start the simulated robot; false: a robot and its joint_trajectory_controller run already.',
        choices=['true', 'false'],
    ),
    DeclareLaunchArgument(
        'composed',
        default_value='false',
        description="Run the policy's three nodes in one process: half the memory; what ends one ends all three.",
        choices=['true', 'false'],
    ),
    DeclareLaunchArgument('namespace', default_value='', description='Namespace of all nodes and relative topics.'),
    DeclareLaunchArgument(
        'use_sim_time',
        default_value='false',
        description='Take time from /clock, on every node; with sim:=true the simulated robot publishes it.',
        choices=['true', 'false'],
    ),
    DeclareLaunchArgument(
        'respawn',
        default_value='false',
        description='Start a policy node again when it ends, whatever ended it; false: the rest is shut down with it. '
        'The robot stays at rest until ~/reset where that is what the ladder says, and where the trajectory_publisher '
        'ended abnormally: it keeps a latch in a file (keep_latch, state_folder).',
        choices=['true', 'false'],
    ),
    DeclareLaunchArgument(
        'black_box',
        default_value='true',
        description="Keep the last minute of the policy's topics, and write it when the robot is stopped. "
        'Parameters of the node black_box decide where, and how much. Needs rosbags (pip: dp_ros[record]).',
        choices=['true', 'false'],
    ),
    DeclareLaunchArgument(
        'outcomes',
        default_value='false',
        description='Count what becomes of the episodes, in a file; parameters of the node outcomes decide where.',
        choices=['true', 'false'],
    ),
    DeclareLaunchArgument(
        'log_level',
        default_value='info',
        description='Least severe messages that are logged.',
        choices=['debug', 'info', 'warn', 'error', 'fatal'],
    ),
    DeclareLaunchArgument(
        'enclave',
        default_value='/dp_ros',
        description="What the nodes' SROS 2 enclaves are below, each of the name of its executable, as in "
        'config/sros2/policies.xml. Without ROS_SECURITY_ENABLE it means nothing.',
    ),
]


def _node(executable: str, params_file: str, parameters: list[Any], **options: Any) -> Node:
    return Node(
        package='dp_ros',
        executable=executable,
        name=None if executable == CONTAINER else executable,  # a name would be that of all three
        namespace=LaunchConfiguration('namespace'),
        parameters=[params_file, *parameters],
        arguments=[
            '--ros-args',
            '--log-level',
            LaunchConfiguration('log_level'),
            '--enclave',
            [LaunchConfiguration('enclave'), f'/{executable}'],
        ],
        output='screen',
        **options,
    )


def _ending(context: LaunchContext, executable: str) -> dict[str, Any]:
    """Return what happens when a node ends. Without it, the others come to rest; they don't go on with the rest."""
    if executable != 'simulated_robot' and LaunchConfiguration('respawn').perform(context) == 'true':
        return {'respawn': True, 'respawn_delay': RESPAWN_DELAY}
    return {'on_exit': Shutdown(reason=f'{executable} ended')}


def latch_files(context: LaunchContext, executable: str) -> list[Any]:
    """Return the parameters by which the publisher, alone or among others, stays latched when it is started again."""
    respawn = LaunchConfiguration('respawn').perform(context) == 'true'
    return [RESPAWN] if respawn and executable in (PUBLISHER, CONTAINER) else []


def speed_of(given: str) -> float | None:
    """Return the argument `policy_speed` as a number, or None where nothing is given."""
    try:
        return float(given) if given else None
    except ValueError:
        raise ValueError(f'policy_speed: got {given!r}, allowed a number from 0.1 to 5.0, or nothing') from None


def world_of(context: LaunchContext) -> str:
    """Return the world of the simulated robot: a name, or the path of a file."""
    return LaunchConfiguration('world_file').perform(context) or LaunchConfiguration('world').perform(context)


def params_file_of(context: LaunchContext) -> str:
    """Return the path of the nodes' parameters: the one given, or the world's."""
    given = LaunchConfiguration('params_file').perform(context)
    return given or str(world_spec(world_of(context)).parameters)


def _black_box(context: LaunchContext, params_file: str, sim_time: Any) -> list[Node | LogInfo]:
    """Return the node `black_box`, whose end ends nothing else."""
    if LaunchConfiguration('black_box').perform(context) == 'false':
        return []
    if find_spec('rosbags') is None:
        return [LogInfo(msg="black_box: not started: got no rosbags, allowed with pip's dp_ros[record]")]
    return [_node('black_box', params_file, [{'use_sim_time': sim_time}])]


def _outcomes(context: LaunchContext, params_file: str, sim_time: Any) -> list[Node]:
    """Return the node `outcomes`, whose end ends nothing else."""
    if LaunchConfiguration('outcomes').perform(context) == 'false':
        return []
    return [_node('outcomes', params_file, [{'use_sim_time': sim_time}])]


def _nodes(context: LaunchContext) -> list[Node | LogInfo]:
    sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    bundle = LaunchConfiguration('bundle').perform(context)
    params_file = params_file_of(context)
    speed = speed_of(LaunchConfiguration('policy_speed').perform(context))
    policy = [
        {'use_sim_time': sim_time},
        *([{'bundle': bundle}] if bundle else []),
        *([] if speed is None else [{'policy_speed': speed}]),
    ]
    # The simulated robot makes the time, so it doesn't take it from /clock.
    robot = [{**world_parameters(world_of(context)), 'publish_clock': sim_time, 'use_sim_time': False}]
    composed = LaunchConfiguration('composed').perform(context) == 'true'
    executables = (CONTAINER,) if composed else POLICY_NODES
    return [
        *(
            _node(executable, params_file, policy + latch_files(context, executable), **_ending(context, executable))
            for executable in executables
        ),
        _node(
            'simulated_robot',
            params_file,
            robot,
            condition=IfCondition(LaunchConfiguration('sim')),
            **_ending(context, 'simulated_robot'),
        ),
        *_black_box(context, params_file, sim_time),
        *_outcomes(context, params_file, sim_time),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the nodes and their arguments, as `ros2 launch` asks for them."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])
