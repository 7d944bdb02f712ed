"""The launch file, where launch and launch_ros are installed. Running it needs dp_ros installed for ROS too."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

# Not `launch` itself: the repository's own folder of that name would do for that.
pytest.importorskip('launch.actions', reason='launch is not installed; it comes with ROS')
pytest.importorskip('launch_ros.actions', reason='launch_ros is not installed; it comes with ROS')

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, LogInfo, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.utilities import perform_substitutions
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription, LaunchService

PATH = Path(__file__).parents[2] / 'launch' / 'policy.launch.py'
ARGUMENTS = (
    'world', 'world_file', 'params_file', 'bundle', 'policy_speed', 'sim', 'composed', 'namespace', 'use_sim_time',
    'respawn', 'black_box', 'outcomes', 'log_level', 'enclave',
)  # fmt: skip
LIMIT = 60.0  # [s]

pytestmark = pytest.mark.ros


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location('policy_launch', PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nodes(**arguments: str) -> list[Node]:
    """Return the nodes that these launch arguments would start."""
    description = load().generate_launch_description()
    context = LaunchContext()
    context.launch_configurations.update({'black_box': 'false', **arguments})
    (actions,) = [e for e in description.entities if isinstance(e, OpaqueFunction)]
    for argument in description.entities:
        if isinstance(argument, DeclareLaunchArgument):
            argument.visit(context)
    found = actions.execute(context)
    return [n for n in found or [] if n.condition is None or n.condition.evaluate(context)]


def test_every_argument_has_a_description_and_a_default():
    description = load().generate_launch_description()
    arguments = {a.name: a for a in description.get_launch_arguments()}
    assert tuple(arguments) == ARGUMENTS
    for argument in arguments.values():
        assert '.' in argument.description
        assert argument.default_value is not None


@pytest.mark.parametrize(
    ('sim', 'executables'),
    [
        ('true', {'observation_buffer', 'policy_executor', 'trajectory_publisher', 'simulated_robot'}),
        ('false', {'observation_buffer', 'policy_executor', 'trajectory_publisher'}),
    ],
)
def test_the_simulated_robot_is_started_only_for_a_simulation(sim, executables):
    assert {n.node_executable for n in nodes(sim=sim, params_file='x.yaml')} == executables


def test_a_black_box_is_started_where_rosbags_is_and_ends_nothing_when_it_ends(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: name)
    *_, box = nodes(black_box='true', params_file='x.yaml')
    assert box.node_executable == 'black_box'
    assert not box.get_sub_entities()
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    *_, said = nodes(black_box='true', params_file='x.yaml')
    assert isinstance(said, LogInfo)


def test_composed_the_three_nodes_are_one_process_that_gives_them_their_names():
    (container,) = nodes(sim='false', composed='true', params_file='x.yaml')
    assert container.node_executable == 'policy_container'
    assert container._Node__node_name is None


@pytest.mark.parametrize(
    'argument', [{'composed': 'perhaps'}, {'sim': 'maybe'}, {'world': 'kitchen'}, {'log_level': 'loud'}]
)
def test_an_argument_that_is_not_allowed_is_refused(argument):
    with pytest.raises(RuntimeError, match=next(iter(argument))):
        nodes(params_file='x.yaml', **argument)


@pytest.mark.parametrize('composed', ['true', 'false'])
@pytest.mark.parametrize('respawn', ['true', 'false'])
def test_a_policy_node_that_ends_ends_all_or_is_started_again(respawn, composed):
    for node in nodes(sim='true', params_file='x.yaml', respawn=respawn, composed=composed):
        again = respawn == 'true' and node.node_executable != 'simulated_robot'
        assert node._ExecuteLocal__respawn == again
        assert bool(node._ExecuteLocal__on_exit) != again


@pytest.mark.parametrize('composed', ['true', 'false'])
@pytest.mark.parametrize('respawn', ['true', 'false'])
def test_a_publisher_that_is_started_again_keeps_its_latch(respawn, composed):
    module, context = load(), LaunchContext()
    context.launch_configurations.update(respawn=respawn)
    executables = ('policy_container',) if composed == 'true' else module.POLICY_NODES
    kept = {name: module.latch_files(context, name) for name in executables}
    publisher = executables[-1]
    assert {name for name, files in kept.items() if files} == ({publisher} if respawn == 'true' else set())
    for *_, below in (file for files in kept.values() for file in files):
        (node,) = yaml.safe_load((PATH.parents[1] / below.lstrip('/')).read_text()).items()
        assert node == ('/**/trajectory_publisher', {'ros__parameters': {'keep_latch': True}})


@pytest.mark.parametrize(('given', 'below'), [({}, '/dp_ros'), ({'enclave': '/cell_3/dp_ros'}, '/cell_3/dp_ros')])
@pytest.mark.parametrize('composed', ['true', 'false'])
def test_each_process_is_in_the_enclave_of_its_name(given, below, composed):
    context = LaunchContext()
    context.launch_configurations['enclave'] = below
    for node in nodes(sim='true', params_file='x.yaml', composed=composed, **given):
        words = [[getattr(substitution, 'text', None) for substitution in word] for word in node.cmd]
        enclave = node.cmd[words.index(['--enclave']) + 1]
        assert perform_substitutions(context, enclave) == f'{below}/{node.node_executable}'


def launch_until(done: Callable[[], bool], **arguments: str) -> int:
    """Run the launch file until ``done`` or ``LIMIT``, and shut it down; return its exit code."""
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(PATH)), launch_arguments=list(arguments.items())
    )
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([include]))

    def watch() -> None:
        end = time.monotonic() + LIMIT
        while not done() and time.monotonic() < end:
            pass  # `done` waits
        service.shutdown()

    # The service insists on the main thread.
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = service.run()
    watcher.join(LIMIT)
    return int(code)


@pytest.mark.parametrize(
    ('namespace', 'use_sim_time', 'policy_speed', 'composed'),
    [('', 'false', '', 'false'), ('left', 'true', '', 'false'), ('', 'false', '1.25', 'false'),
     ('', 'false', '', 'true'), ('left', 'true', '1.25', 'true')],
)  # fmt: skip
def test_launched_the_policy_moves_the_simulated_robot(
    installed, tmp_path, namespace, use_sim_time, policy_speed, composed
):
    rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
    pytest.importorskip('torch', reason='the bundle is exported from torch, which is not installed')
    from trajectory_msgs.msg import JointTrajectory

    bundle = _circling().write_circling_bundle(tmp_path / 'circling')
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('tester', namespace=namespace, context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    heard: list[Any] = []
    chunks: list[Any] = []
    node.create_subscription(JointTrajectory, 'arm_controller/joint_trajectory', heard.append, 10)
    node.create_subscription(JointTrajectory, 'policy_executor/action_chunk', chunks.append, 10)

    def moved() -> bool:
        executor.spin_once(timeout_sec=0.1)
        return bool(chunks) and any(motions())

    def motions() -> list[Any]:
        # Not the holds, one point for now, that a motion begins with where a listener is new.
        return [message for message in heard if len(message.points) > 1]

    arguments = {'namespace': namespace, 'use_sim_time': use_sim_time, 'composed': composed, 'log_level': 'warn'}
    if policy_speed:
        arguments['policy_speed'] = policy_speed
    code = launch_until(moved, bundle=str(bundle), world='pusht', **arguments)
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()
    assert motions(), f'waited {LIMIT} s for a motion'
    assert code == 0
    assert motions()[0].joint_names == ['pusher_x', 'pusher_y']
    assert (motions()[0].header.stamp.sec < 1_000_000) == (use_sim_time == 'true')
    assert chunks[0].points[1].time_from_start.nanosec == round(100_000_000 / float(policy_speed or 1.0))


def _circling() -> ModuleType:
    path = Path(__file__).parents[1] / 'circling_bundle.py'
    spec = importlib.util.spec_from_file_location('circling_bundle', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_speed_that_is_no_number_is_refused_before_anything_is_started():
    with pytest.raises(ValueError, match=r"policy_speed: got 'fast', allowed a number from 0.1 to 5.0, or nothing"):
        load().speed_of('fast')
    assert (load().speed_of(''), load().speed_of('0.5'), load().speed_of('2')) == (None, 0.5, 2.0)


@pytest.mark.parametrize(
    ('params_file', 'world', 'expected'),
    [
        ('', 'push_block', PATH.parents[1] / 'config/push_block.yaml'),
        ('', 'pick_place', PATH.parents[1] / 'config/pick_place.yaml'),
        ('', 'pusht', PATH.parents[1] / 'config/pusht.yaml'),
        ('', 'point_obstacle', PATH.parents[1] / 'config/point_obstacle.yaml'),
        ('x.yaml', 'pusht', Path('x.yaml')),
    ],
)
def test_the_world_chooses_the_parameter_file_unless_one_is_given(params_file, world, expected):
    context = LaunchContext()
    context.launch_configurations.update(params_file=params_file, world=world, world_file='')
    assert Path(load().params_file_of(context)) == expected
