"""Evaluation in one process."""

from pathlib import Path

import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')

from dp_ros.config import ActionSpec, JointStream, PoseStream, TaskSpec
from dp_ros.errors import ConfigError
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.simulation.scores import EvaluationSettings
from dp_ros.simulation.worlds import JOINTS, make_world
from dp_ros.training.evaluation import evaluate_direct, make_planner
from test.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny')


def test_the_same_seeds_give_the_same_scores(tiny: Path) -> None:
    settings = EvaluationSettings(bundle=tiny, episodes=2, seed=3, seconds=3.0)
    first, second = evaluate_direct(settings), evaluate_direct(settings)
    assert first['scores'] == second['scores']
    assert first['chunks'] == second['chunks'] > 0


def test_an_exec_horizon_beyond_the_chunk_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r'exec_horizon: got 17, allowed 1 to pred_horizon \(16\)'):
        evaluate_direct(EvaluationSettings(bundle=tiny, episodes=1, exec_horizon=17))


def test_another_world_is_evaluated_with_its_own_robot_and_limits(tmp_path: Path) -> None:
    pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
    joints = JOINTS['push_block']
    units = ('rad',) * len(joints)
    streams = (
        JointStream(name='joint_states', topic='/joint_states', joints=joints, units=units),
        PoseStream(name='block_pose', topic='/block_pose', features=('x', 'y', 'sin_yaw', 'cos_yaw')),
    )
    task = TaskSpec(
        streams=streams, action=ActionSpec(topic='/arm_controller/joint_trajectory', joints=joints, units=units)
    )
    ends = {'joint_states': 7, 'block_pose': 4, ACTION: 7}
    world = make_world('push_block')
    world.reset(100_000)
    # Random actions close to where the arm is: others would leave the workspace, and stop it.
    near = {ACTION: tuple(world.joint_positions - 0.004)}, {ACTION: tuple(world.joint_positions + 0.004)}
    normalizer = Normalizer(
        low={name: (-1.0,) * count for name, count in ends.items()} | near[0],
        high={name: (1.0,) * count for name, count in ends.items()} | near[1],
    )
    bundle = write_tiny_bundle(tmp_path / 'arm', task=task, normalizer=normalizer)
    summary = evaluate_direct(EvaluationSettings(bundle=bundle, world='push_block', episodes=1, seconds=2.0))
    assert summary['world'] == 'push_block'
    assert summary['chunks'] > 0
    assert summary['stops'] == {}
    assert make_planner(world, 'push_block', task).limits.velocity == (2.0,) * 6 + (3.0,)
