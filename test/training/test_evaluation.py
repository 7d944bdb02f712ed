"""Evaluation in one process."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')

from dp_ros.errors import ConfigError, DataError
from dp_ros.evaluation import episodes as evaluation
from dp_ros.evaluation.episode_bag import check_recording
from dp_ros.evaluation.episodes import DirectRunner, evaluate_direct
from dp_ros.evaluation.scores import EvaluationSettings, table
from dp_ros.evaluation.world_planner import make_planner
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.recordings.episodes.episode import read_episode
from dp_ros.simulation import registry
from dp_ros.simulation.registry import make_world, world_spec
from dp_ros.simulation.robot import SimulatedRobot
from dp_ros.simulation.worlds.pusht import world as pusht
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, PoseStream, TaskSpec
from test.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny')


def test_the_same_seeds_give_the_same_scores(tiny: Path) -> None:
    settings = EvaluationSettings(bundle=tiny, episodes=2, seed=3, seconds=3.0)
    first, second = evaluate_direct(settings), evaluate_direct(settings)
    assert first['scores'] == second['scores']
    assert first['chunks'] == second['chunks'] > 0


def test_another_noise_seed_gives_other_chunks_in_the_same_episodes(tiny: Path) -> None:
    settings = EvaluationSettings(bundle=tiny, seconds=1.0)
    usual, other = set_points(settings), set_points(replace(settings, noise_seed=1))
    np.testing.assert_array_equal(usual[0], other[0])
    assert np.abs(usual - other).max() > 0.0
    assert evaluate_direct(replace(settings, episodes=1, noise_seed=1))['noise_seed'] == 1


def test_workers_give_what_one_process_gives(tiny: Path) -> None:
    settings = EvaluationSettings(bundle=tiny, episodes=3, seed=3, seconds=2.0)
    alone, shared = evaluate_direct(settings), evaluate_direct(replace(settings, workers=2))
    assert shared['seeds'] == alone['seeds'] == [3, 4, 5]
    assert shared['scores'] == alone['scores'] and shared['chunks'] == alone['chunks']
    assert (shared['workers'], 'workers' in alone) == (2, False)
    with pytest.raises(ConfigError, match='workers: got 2 through ros, allowed 1'):
        replace(settings, workers=2, through='ros')


def set_points(settings: EvaluationSettings) -> np.ndarray:
    """Return what the controller was told at each control tick of an episode."""
    bundle = settings.load()
    runner = DirectRunner(bundle, DiffusionPolicy(bundle, open_backend(bundle)), settings)
    points: list[np.ndarray] = []
    runner.run(3, lambda robot: points.append(robot.controller.set_point))
    return np.array(points)


def test_a_policy_at_another_speed_does_what_one_with_that_control_dt_does(tmp_path: Path, tiny: Path) -> None:
    faster = write_tiny_bundle(tmp_path / 'faster', task=replace(load_bundle(tiny).task, control_dt=0.08))
    settings = EvaluationSettings(bundle=tiny, seconds=3.0)
    shown, scaled = set_points(settings), set_points(replace(settings, policy_speed=1.25))
    np.testing.assert_array_equal(scaled, set_points(replace(settings, bundle=faster)))
    assert len(scaled) > len(shown) and np.abs(scaled[: len(shown)] - shown).max() > 0.001
    bundle = load_bundle(tiny)
    assert replace(settings, policy_speed=1.25).about(bundle)['policy_speed'] == 1.25
    assert 'policy_speed' not in settings.about(bundle)


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a robot for one that follows, however much more a random network asks of it than it can do."""
    monkeypatch.setattr(evaluation, 'make_planner', partial(make_planner, follow_tolerance=9.0))


@pytest.mark.usefixtures('followed')
@pytest.mark.parametrize(('policy_speed', 'ticks'), [(1.0, 20), (1.4, 28), (0.3, 6), (1.25, 25)])
def test_control_ticks_come_as_often_as_the_speed_says_on_the_steps_of_the_physics_or_not(
    tiny: Path, policy_speed: float, ticks: int
) -> None:
    settings = EvaluationSettings(bundle=tiny, policy_speed=policy_speed, seconds=2.0)
    bundle = settings.load()
    runner = DirectRunner(bundle, DiffusionPolicy(bundle, open_backend(bundle)), settings)
    seen: list[int] = []
    result = runner.run(3, lambda robot: seen.append(robot.now))
    assert ticks <= len(seen) <= ticks + 1  # the first one may fall on the beginning
    assert result.chunks == pytest.approx(len(seen) / 8, abs=1.0)
    assert np.diff(seen) == pytest.approx(np.full(len(seen) - 1, runner.control_dt), abs=10_000_000)


def test_an_exec_horizon_beyond_the_chunk_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r'exec_horizon: got 17, allowed 1 to pred_horizon \(16\)'):
        evaluate_direct(EvaluationSettings(bundle=tiny, episodes=1, exec_horizon=17))


def test_a_delay_holds_back_every_command_by_so_many_control_steps(tiny: Path) -> None:
    def first_command(delay: int) -> int:
        settings = EvaluationSettings(bundle=tiny, seconds=3.0, delay=delay)
        bundle = load_bundle(tiny)
        runner = DirectRunner(bundle, DiffusionPolicy(bundle, open_backend(bundle)), settings)
        set_points: list[np.ndarray] = []
        runner.run(3, lambda robot: set_points.append(robot.controller.set_point))
        return int(np.argmax([np.abs(point - set_points[0]).max() > 0.0 for point in set_points]))

    undelayed = first_command(0)
    assert undelayed > 0
    assert first_command(2) - undelayed == 2
    assert first_command(5) - undelayed == 5


def test_a_delay_is_said_in_seconds_too(tiny: Path) -> None:
    summary = evaluate_direct(EvaluationSettings(bundle=tiny, episodes=1, seconds=1.0, delay=3))
    assert summary['delay'] == 3
    assert summary['latency_s'] == pytest.approx(0.3)
    assert 'delay' not in evaluate_direct(EvaluationSettings(bundle=tiny, episodes=1, seconds=1.0))


@pytest.mark.usefixtures('followed')
def test_chunks_still_come_where_predicting_takes_longer_than_exec_horizon(tiny: Path) -> None:
    settings = EvaluationSettings(bundle=tiny, episodes=1, seed=3, seconds=4.0, delay=4, exec_horizon=1)
    summary = evaluate_direct(settings)
    # One at a time: from each to the next it takes four of the 40 control steps.
    assert 8 <= summary['chunks'] <= 10


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'delay': 9}, r'delay \+ exec_horizon: got 9 \+ 8, allowed up to pred_horizon \(16\)'),
        ({'delay': 4, 'exec_horizon': 13}, r'delay \+ exec_horizon: got 4 \+ 13, allowed up to pred_horizon'),
        ({'sampling_steps': 0}, 'sampling_steps: got 0, allowed 1 to 1000'),
        ({'exec_horizon': 0}, 'exec_horizon: got 0, allowed 1 to 1000'),
        ({'delay': -1}, 'delay: got -1, allowed 0 to 1000'),
        ({'blend_steps': 101}, 'blend_steps: got 101, allowed 0 to 100'),
        ({'delay': 1, 'through': 'ros'}, 'delay: got 1 through ros, allowed direct only'),
    ],
)
def test_a_delay_that_cannot_be_is_refused(tiny: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate_direct(EvaluationSettings(bundle=tiny, episodes=1, **wrong))


def test_seams_are_measured_and_the_cross_fade_is_as_asked_for(tiny: Path) -> None:
    settings = EvaluationSettings(bundle=tiny, episodes=1, seed=3, seconds=4.0, blend_steps=0)
    bundle = load_bundle(tiny)
    runner = DirectRunner(bundle, DiffusionPolicy(bundle, open_backend(bundle)), settings)
    assert runner.planner().blend_steps == 0
    summary = evaluate_direct(settings)
    assert summary['blend_steps'] == 0
    assert summary['seams']['episodes']['jump'] == [pytest.approx(summary['seams']['jump'], rel=1e-4)]
    assert summary['seams']['jump'] > 0.0 and summary['seams']['jerk_at_seams'] > 0.0


def test_another_world_is_evaluated_with_its_own_robot_and_limits(tmp_path: Path) -> None:
    pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
    joints = world_spec('push_block').joints
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


def test_a_policy_that_does_not_look_can_be_recorded_for_one_that_does(tmp_path: Path, tiny: Path) -> None:
    """The pictures are the world's at each control tick, and what the policy does is what it does without them."""
    plain = EvaluationSettings(bundle=tiny, episodes=1, seed=3, seconds=2.0, record=tmp_path / 'plain')
    asked = replace(plain, record=tmp_path / 'seen', record_camera=True)
    results = []
    for settings in (plain, asked):
        frames: dict[int, np.ndarray] = {}
        policy = DiffusionPolicy(settings.load(), open_backend(settings.load()))

        def watch(robot: SimulatedRobot, frames: dict[int, np.ndarray] = frames) -> None:
            frames[robot.now] = robot.world.render('camera')
            robot.success = len(frames) == 15

        results.append(DirectRunner(settings.load(), policy, settings).run(3, watch))
    assert [r.score for r in results] == [results[0].score] * 2 and all(r.success for r in results)
    state = plain.load().task
    camera = ImageStream(name='camera', topic='/camera/color/image_raw', height=96, width=96)
    task = replace(state, streams=(state.streams[0], camera))
    (episode,) = read_episode(tmp_path / 'seen' / 'seed_3', task)
    assert len(episode.stamps) > 5
    for stamp, picture in zip(episode.stamps, episode.streams['camera'], strict=True):
        assert (picture == frames[int(stamp)]).all()
    with pytest.raises(DataError, match=r'camera'):
        read_episode(tmp_path / 'plain' / 'seed_3', task)


def test_episodes_that_succeed_can_be_recorded_and_learnt_from(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recording gives back what the policy saw and what the controller was told."""
    successes = iter([*[False] * 10, True])  # in the first episode, at the second second
    monkeypatch.setattr(pusht, 'SUCCESS_COVERAGE', 2.0)
    settings = EvaluationSettings(bundle=tiny, episodes=2, seed=3, seconds=2.0, record=tmp_path / 'new')
    runner = DirectRunner(settings.load(), DiffusionPolicy(settings.load(), open_backend(settings.load())), settings)
    watched: list[tuple[int, np.ndarray, np.ndarray]] = []

    def watch(robot: SimulatedRobot) -> None:
        watched.append((robot.now, robot.world.joint_positions, robot.controller.set_point))
        robot.success = next(successes, True)

    assert runner.run(3, watch).success
    assert not runner.run(4, lambda robot: None).success
    assert [path.name for path in sorted((tmp_path / 'new').iterdir())] == ['seed_3']
    (episode,) = read_episode(tmp_path / 'new' / 'seed_3', settings.load().task)
    seen = {now: (state, set_point) for now, state, set_point in watched}
    assert len(episode.stamps) > 5
    for stamp, state, action in zip(episode.stamps, episode.streams['joint_states'], episode.actions, strict=True):
        assert state == pytest.approx(seen[int(stamp)][0], abs=1e-9)
        assert action == pytest.approx(seen[int(stamp)][1], abs=1e-6)
    with pytest.raises(ConfigError, match=r'record .*new: got one that holds something, allowed a new folder'):
        evaluate_direct(settings)
    task = settings.load().task
    other = replace(task, action=replace(task.action, source='joint_state', source_topic='/leader/joint_states'))
    with pytest.raises(ConfigError, match=r'record: the task learns from /leader/joint_states .*, allowed /joint_s'):
        check_recording(tmp_path / 'other', other, world_spec('pusht'))
    with pytest.raises(ConfigError, match=r'record_camera: got it without record, allowed with it only'):
        replace(settings, record=None, record_camera=True)
    shared = evaluate_direct(replace(settings, record=tmp_path / 'shared', workers=2, episodes=3))
    assert shared['episodes'] == 3
    with pytest.raises(ConfigError, match=r'record: got .* through ros, allowed direct only'):
        replace(settings, through='ros')


def test_an_episode_in_which_nothing_moved_says_why(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = world_spec('pusht')
    text, usual = spec.parameters.read_text(), 'pusher_x: {lower: -0.05, upper: 0.562'
    assert usual in text
    narrow = tmp_path / 'narrow.yaml'
    narrow.write_text(text.replace(usual, 'pusher_x: {lower: -2.0, upper: -1.0'))
    monkeypatch.setitem(registry.worlds(), 'pusht', replace(spec, parameter_file=narrow))
    summary = evaluate_direct(EvaluationSettings(bundle=tiny, seconds=1.0, episodes=1, seed=3))
    assert summary['chunks'] == 0 and summary['predictions'] > 0
    assert f'deadline misses   0 of {summary["predictions"]} chunks' in table({**summary, 'deadline_misses': 0})
    refused = {'refused_chunks': 5, 'waiting_chunks': 1, 'refusals': {'stale: N s': 3, 'early: N s': 2}}
    lines = [line.strip() for line in table({**summary, **refused}).splitlines()]
    at = lines.index('refused chunks    5, and 1 while a plan began')
    assert lines[at + 1 : at + 3] == ['3 times: stale: N s', '2 times: early: N s']
    assert re.search(r'pusher_x position: got .*, allowed -2 to -1', summary['stops'][3])
    assert 'stopped           seed 3: ' in table(summary)
