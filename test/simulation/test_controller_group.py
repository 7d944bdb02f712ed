"""Several controllers in front of one world: each with its joints, all in time with each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dp_ros.data import Refusal
from dp_ros.errors import ConfigError
from dp_ros.evaluation.demonstrations import RecordSettings, demonstration
from dp_ros.evaluation.episodes import DirectRunner
from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.messages.encoding import JOINT_TRAJECTORY
from dp_ros.motion.trajectory import Trajectory
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.simulation import registry
from dp_ros.simulation.controller.controller import Accepted, JointTrajectoryController
from dp_ros.simulation.registry import make_world
from dp_ros.simulation.robot import SimulatedRobot, controllers_of
from dp_ros.simulation.world import controller
from dp_ros.simulation.worlds.point_navigation.spec import POINT_NAVIGATION as ONE
from dp_ros.task.spec import ActionSource

MS = 1_000_000
ARM, GRIPPER = controller('arm_controller', ['point_x']), controller('gripper_controller', ['point_y'])
TWO = replace(ONE, controllers=(GRIPPER, ARM))
SETTINGS = EvaluationSettings(bundle=Path('models/point_navigation'), world=ONE.name, seconds=4.0)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put each joint of point_navigation behind a controller of its own."""
    monkeypatch.setitem(registry.worlds(), ONE.name, TWO)
    yield


def set_points(settings: EvaluationSettings = SETTINGS) -> np.ndarray:
    bundle = settings.load()
    runner = DirectRunner(bundle, DiffusionPolicy(bundle, open_backend(bundle)), settings)
    points: list[np.ndarray] = []
    runner.run(3, lambda robot: points.append(robot.set_point))
    return np.array(points)


def test_a_policy_moves_the_joints_through_two_controllers_as_through_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    through_one = set_points()
    monkeypatch.setitem(registry.worlds(), ONE.name, TWO)
    # A spline of one joint is multiplied out in another order than one of two: the last bit may differ.
    np.testing.assert_allclose(set_points(), through_one, rtol=0.0, atol=1e-12)
    assert np.ptp(through_one, axis=0).min() > 0.1


def test_each_controller_takes_its_part_and_judges_its_own_messages() -> None:
    world = make_world(ONE.name)
    robot = SimulatedRobot(world, start=0, controllers=controllers_of(TWO, world))
    gripper, arm = robot.controllers
    assert (gripper.joints, arm.joints) == (('point_y',), ('point_x',))
    start = robot.set_point

    def hold(**positions: float) -> Trajectory:
        points = np.array([list(positions.values())])
        return Trajectory(stamp=0, joints=tuple(positions), times=np.array([100 * MS]), positions=points)

    assert isinstance(robot.command(hold(point_y=0.1), gripper), Accepted)
    assert isinstance(robot.command(hold(point_y=0.1), arm), Refusal)
    assert isinstance(robot.command(hold(point_y=0.1)), Refusal), 'of a trajectory of all joints'
    for _ in range(20):
        list(robot.step())
    np.testing.assert_allclose(robot.set_point, [start[0], 0.1])
    assert isinstance(robot.command(hold(point_y=-0.2, point_x=0.3)), Accepted)
    for _ in range(20):
        list(robot.step())
    np.testing.assert_allclose(robot.set_point, [0.3, -0.2])


def test_recordings_have_each_controllers_commands_on_its_own_topic(two: None, tmp_path: Path) -> None:
    task = SETTINGS.load().task
    settings = replace(SETTINGS, record=tmp_path / 'bags', seconds=20.0)
    bundle = settings.load()
    DirectRunner(bundle, DiffusionPolicy(bundle, open_backend(bundle)), settings).run(100_000)
    topics = ('/gripper_controller/joint_trajectory', '/arm_controller/joint_trajectory')
    with BagReader(tmp_path / 'bags' / 'seed_100000') as bag:
        counts = {topic: bag.topics[topic].count for topic in topics}
        joints = {tuple(m.joint_names) for _, _, m in bag.messages({t: [JOINT_TRAJECTORY] for t in topics})}
    assert counts[topics[0]] == counts[topics[1]] > 2 and joints == {('point_x',), ('point_y',)}
    sources = tuple(ActionSource(topic=f'/{c.topic}', joints=c.joints) for c in TWO.controllers)
    task = replace(task, action=replace(task.action, sources=sources))
    world = make_world(ONE.name)
    robot = SimulatedRobot(world, start=0, camera=False, controllers=controllers_of(TWO, world))
    shown = RecordSettings(out=tmp_path / 'out', task=task, world=ONE.name, seconds=2.0)
    stamps: dict[str, list[int]] = {topic: [] for topic in topics}
    for topic, stamp, _, _ in demonstration(robot, shown, 5).whole().messages:
        if topic in stamps:
            stamps[topic].append(stamp)
    assert stamps[topics[0]] == stamps[topics[1]] and len(stamps[topics[0]]) > 5


@pytest.mark.parametrize(
    ('controllers', 'message'),
    [
        ((ARM,), 'controllers: outputs joints: got point_x, allowed each of point_x, point_y once'),
        ((ARM, replace(GRIPPER, joints=('point_x', 'point_y'))), 'got point_x, point_x, point_y, allowed each'),
        ((ARM, replace(GRIPPER, topic=ARM.topic)), 'outputs topic: got .* allowed a different one for each'),
        ((ARM, replace(GRIPPER, name=ARM.name)), 'got arm_controller, arm_controller, allowed a different name'),
        ((controller('a', ['point_y', 'point_x']),), 'controllers: a: got joints point_y, point_x, allowed point_x'),
    ],
)
def test_each_joint_has_one_controller_and_each_controller_one_topic(controllers: tuple, message: str) -> None:
    with pytest.raises(ConfigError, match=f'world point_navigation: .*{message}'):
        replace(ONE, controllers=controllers)
    with pytest.raises(ConfigError, match='controller joints: got point_x, allowed point_x, point_y'):
        SimulatedRobot(make_world(ONE.name), start=0, controllers=[JointTrajectoryController(('point_x',))])
