"""From a model of somebody's own to trajectories on both of its controllers: recorded, learnt and run by cameras."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('mujoco', reason='the simulation is not installed')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from trajectory_msgs.msg import JointTrajectory

from dp_ros.cli.main import main
from dp_ros.messages.encoding import stamp_of
from dp_ros.simulation.registry import world_parameters
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.tools.graph_evaluation import configured
from dp_ros.tools.node_processes import POLICY_NODES, ROBOT, NodeSpec
from dp_ros.training.settings import TrainSettings
from test.simulation.own_arm import ARM, FINGER, write_own_arm

pytestmark = [pytest.mark.ros, pytest.mark.slow]
TOPICS = {'arm_controller/joint_trajectory': ARM, 'gripper_controller/joint_trajectory': (FINGER,)}


def learn(folder: Path, world: Path) -> Path:
    """Record, train and export as the guide does, with fewer steps; return the bundle."""
    bags, robot, run, bundle = (str(folder / name) for name in ('bags', 'my_robot', 'run', 'my_policy'))
    teleoperator = subprocess.Popen([sys.executable, str(world.with_name('teleoperate.py'))])
    try:
        assert main(['record', bags, '--world', str(world), '--source', 'teleoperated', '--seconds', '5']) == 0
    finally:
        teleoperator.terminate()
        teleoperator.wait()
    assert main(['init', bags, '--output', robot]) == 0
    training = folder / 'my_robot' / 'train.yaml'
    text = re.sub(r' *- kind: pose\n(?: {6}.*\n)+', '', training.read_text())
    for key, value in (('steps', '1'), ('batch', '2'), (' +preset', 'tiny')):
        text = re.sub(rf'(?m)^({key}): .*', rf'\1: {value}', text)
    training.write_text(text)
    kinds = [stream.kind for stream in read_yaml(training, TrainSettings).task.streams]
    assert sorted(kinds) == ['image', 'image', 'joint_state']
    assert main(['train', '--config', str(training), '--data', bags, '--run', run]) == 0
    assert main(['export', run, bundle]) == 0
    return Path(bundle)


def test_an_arm_of_one_s_own_that_sees_by_cameras_alone_is_driven_through_both_controllers(tmp_path: Path) -> None:
    """The arm stands when the nodes begin, and its cameras see nothing move: that is no reason to see nothing."""
    world = write_own_arm(tmp_path / 'my_arm')
    bundle = learn(tmp_path, world)
    parameters = tmp_path / 'my_robot' / 'params.yaml'
    # A busy machine is no reason either.
    text = re.sub(r'(?m)^( +follow_tolerance): .*', r'\1: 0.5', parameters.read_text())
    parameters.write_text(text.replace('dry_run: true', 'dry_run: false'))
    common = {'bundle': bundle, 'autostart': False}
    specs = [NodeSpec(name=ROBOT, parameters=world_parameters(str(world)))]
    specs += [NodeSpec(name=name, parameters=common) for name in POLICY_NODES]
    found: dict[str, list[JointTrajectory]] = {topic: [] for topic in TOPICS}
    with configured(specs, parameters, tmp_path / 'logs') as client:
        for topic in TOPICS:
            client.node.create_subscription(JointTrajectory, topic, found[topic].append, 10)
        client.begin(0)
        client.wait('running')
        client.wait_until(lambda: all(any(len(m.points) > 8 for m in sent) for sent in found.values()), 'no plan')
    for topic, joints in TOPICS.items():
        assert {tuple(message.joint_names) for message in found[topic]} == {joints}
    plans = [{stamp_of(m): [p.time_from_start for p in m.points] for m in sent} for sent in found.values()]
    both = plans[0].keys() & plans[1].keys()
    assert both and all(plans[0][stamp] == plans[1][stamp] for stamp in both)
