"""SROS 2's policies allow each node what it uses when it runs, and nothing else."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('mujoco', reason='mujoco is not installed')
pytest.importorskip('gym_pusht', reason='gym-pusht is not installed')

from rclpy.context import Context

from dp_ros.nodes.observation_buffer.node import ObservationBuffer
from dp_ros.nodes.policy_executor.node import PolicyExecutor
from dp_ros.nodes.simulated_robot.demonstrator import Demonstrator
from dp_ros.nodes.simulated_robot.node import SimulatedRobotNode
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from dp_ros.tools.black_box import BlackBox
from test.nodes.graph_uses import Use, Uses, running

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures('own_domain')]

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / 'config' / 'sros2' / 'policies.xml'
POLICY_NODES = (ObservationBuffer, PolicyExecutor, TrajectoryPublisher)
CONTAINER = 'policy_container'
ENCLAVES = ('observation_buffer', 'policy_executor', 'trajectory_publisher', CONTAINER, 'simulated_robot',
            'demonstrator')  # fmt: skip

BOX = 'black_box'
HEARD = Use(f'/{BOX}', 'subscribe', '/trajectory_publisher/ledger')
ASKED = Use('/trajectory_publisher', 'request', '/arm_controller/get_parameters')


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to run all nodes; together they use everything that parameters and shipped bundles can ask for."""

    params: str
    bundle: str
    every: tuple[str, ...] = ()
    robot: tuple[str, ...] = ()
    publisher: tuple[str, ...] = ()
    executor: tuple[str, ...] = ()


CASES = (
    Case(params='push_block', bundle='models/push_block_state'),
    Case(params='pusht', bundle='models/pusht_image'),
    Case(params='point_obstacle', bundle='models/point_obstacle', executor=('samples:=2', 'alternatives:=1')),
    Case(
        params='pusht',
        bundle='models/pusht_goal',
        every=('use_sim_time:=true',),
        robot=('publish_clock:=true',),
        publisher=('heartbeat_timeout:=1.0', 'fallback:=policy'),
        executor=('fallback_bundle:=models/pusht_goal',),
    ),
)


def run(case: Case, uses: Uses, folder: Path) -> None:
    """Start all nodes of a case, and note what they use."""
    context = Context()
    rclpy.init(context=context)
    given = {PolicyExecutor: case.executor, TrajectoryPublisher: case.publisher}

    def make(kind: Any, *settings: str) -> Any:
        words = [word for setting in settings for word in ('-p', setting)]
        params = str(ROOT / 'config' / f'{case.params}.yaml')
        return kind(context=context, cli_args=['--ros-args', '--params-file', params, *words])

    robot = make(SimulatedRobotNode, *case.robot)
    nodes = [
        *(make(kind, f'bundle:={case.bundle}', *case.every, *given.get(kind, ())) for kind in POLICY_NODES),
        make(Demonstrator, *case.every),
    ]
    box = make(BlackBox, f'folder:={folder}')
    try:
        assert robot.start()
        with running(context, robot, nodes[1]):  # the publisher asks the executor
            assert all(node.start() for node in nodes)
            with running(context, nodes[2]):  # it asks the controller when it sees it
                uses.wait_for(ASKED)
            assert box.start()
            with running(context, box):
                uses.wait_for(HEARD)
        for _ in range(5):  # what was created last is in the graph a moment later
            time.sleep(0.1)
            for name, namespace in robot.get_node_names_and_namespaces():
                uses.look(robot, name, namespace)
    finally:
        for node in (box, *reversed(nodes), robot):
            node.close()
            node.destroy_node()
        context.try_shutdown()
        # Before the next case has nodes of the same names: what a cycle keeps alive stays in the graph.
        del robot, nodes, box
        gc.collect()


@pytest.fixture(scope='module')
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[Use]]]:
    """Return what each enclave's nodes use."""
    found: dict[str, set[Use]] = defaultdict(set)
    with pytest.MonkeyPatch.context() as monkeypatch:
        uses = Uses(monkeypatch)
        for case in CASES:
            run(case, uses, tmp_path_factory.mktemp('black_box'))
    for use in uses.found:
        name = use.node.strip('/').removesuffix('_query_*')
        enclave = 'simulated_robot' if name == 'arm_controller' else name
        found[enclave].add(use)
        if enclave not in ('simulated_robot', 'demonstrator', BOX):
            found[CONTAINER].add(use)
    yield found


def allowed() -> dict[str, set[Use]]:
    """Return what the file allows, with full names."""
    found: dict[str, set[Use]] = defaultdict(set)
    for enclave in ElementTree.parse(POLICIES).getroot().iter('enclave'):
        for profile in enclave.iter('profile'):
            namespace = profile.attrib['ns'].rstrip('/')
            node = f'{namespace}/{profile.attrib["node"]}'
            for rules in profile:
                ((action, verdict),) = rules.attrib.items()
                assert verdict == 'ALLOW'
                for name in (str(entry.text) for entry in rules):
                    full = name if name.startswith('/') else f'{namespace}/{name}'
                    full = f'{node}{name[1:]}' if name.startswith('~') else full
                    found[enclave.attrib['path']].add(Use(node, action, full))
    return found


@pytest.mark.parametrize('enclave', ENCLAVES)
def test_a_node_is_allowed_what_it_uses_and_no_more(used, enclave):
    missing = used[enclave] - allowed()[f'/dp_ros/{enclave}']
    assert not missing, f'{POLICIES} does not allow what {enclave} uses'
    unused = allowed()[f'/dp_ros/{enclave}'] - used[enclave]
    assert not unused, f'{POLICIES} allows what {enclave} does not use'


def test_the_black_box_may_listen_to_what_the_three_nodes_use_and_command_nothing(used):
    box = allowed()[f'/dp_ros/{BOX}']
    assert not used[BOX] - box
    theirs = {use.name for use in allowed()[f'/dp_ros/{CONTAINER}'] if use.action in ('publish', 'subscribe')}
    assert {use.name for use in box if use.action == 'subscribe'} == theirs - {'/parameter_events'}


def test_nobody_but_the_publisher_and_the_demonstrator_commands_the_controller():
    command = '/arm_controller/joint_trajectory'
    who = {path for path, uses in allowed().items() if any(u.action == 'publish' and u.name == command for u in uses)}
    assert who == {f'/dp_ros/{name}' for name in ('trajectory_publisher', CONTAINER, 'demonstrator')}


def test_nobody_changes_parameters_or_states_of_the_nodes():
    asked = {use.name.rsplit('/', 1)[1] for uses in allowed().values() for use in uses if use.action == 'request'}
    assert asked == {'get_parameters', 'list_parameters', 'hold', 'reset'}


@pytest.mark.parametrize('node', ['trajectory_publisher', CONTAINER])
def test_without_a_key_where_one_is_demanded_a_node_says_so_and_does_not_start(tmp_path, node):
    (tmp_path / 'enclaves').mkdir()
    security = {
        'ROS_SECURITY_ENABLE': 'true',
        'ROS_SECURITY_STRATEGY': 'Enforce',
        'ROS_SECURITY_KEYSTORE': str(tmp_path),
    }
    command = [sys.executable, '-m', f'dp_ros.nodes.{node}', '--ros-args', '--enclave', f'/dp_ros/{node}']
    done = subprocess.run(
        command, env={**os.environ, **security}, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert 'SECURITY ERROR' in done.stderr + done.stdout
    assert 'Traceback' not in done.stderr


def test_arguments_that_ros_does_not_know_are_named():
    command = [sys.executable, '-m', 'dp_ros.nodes.observation_buffer.node', '--ros-args', '-p', 'no value']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert 'no value' in done.stderr
    assert 'Traceback' not in done.stderr
