"""A policy beside recorded episodes: the windows are training's, the errors are right, what does not fit is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

pytest.importorskip('onnxruntime', reason='onnxruntime is not installed (extra: runtime)')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros.cli.main import main
from dp_ros.data import Window
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import ConfigError
from dp_ros.evaluation.denoising import BANNER, STRIP, WIDTH
from dp_ros.evaluation.recorded.moments import (
    LAST_MOTION,
    STAND_STILL,
    Moment,
    baselines,
    check_goals,
    goal_of,
    moments,
)
from dp_ros.evaluation.recorded.open_loop import observation_at, observations
from dp_ros.evaluation.recorded.summary import summarize_moments, table, worst
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.recordings.datasets.lerobot_export import LerobotSettings, export_lerobot
from dp_ros.recordings.episodes.episode import read_episode, window_indices
from dp_ros.recordings.episodes.segmentation import CutSettings
from dp_ros.task.goals import GoalPose, Instruction
from dp_ros.task.spec import TaskSpec
from dp_ros.task.yaml_reader import to_plain
from test.tiny_bundle import write_tiny_bundle
from test.training.bag_maker import MS, T0, TASK, arm, changed, plain, save, state

SHORT = replace(TASK, pred_horizon=4, exec_horizon=2)
NORMALIZER = Normalizer(
    low={'arm': (-1.0, -0.5), 'block': (-0.1, 0.0), ACTION: (-1.0, -0.5)},
    high={'arm': (1.0, 0.5), 'block': (0.1, 2.0), ACTION: (1.0, 0.5)},
)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that was trained on recordings that a marker cuts; its weights are random."""
    config = {'config': {'cut': {'by': 'marker', 'topic': '/marker'}, 'columns': {}}}
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    return write_tiny_bundle(folder, task=TASK, normalizer=NORMALIZER, provenance=config)


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    said = ((950, 'start'), (3050, 'stop'), (5950, 'start'))
    marks = [plain('String', '/marker', T0 + t * MS, word) for t, word in said]
    return save(tmp_path_factory.mktemp('bags') / 'one', arm() + marks)


def test_denoising_is_drawn_at_a_moment_of_a_recording(bundle: Path, bag: Path, tmp_path: Path) -> None:
    shown = ['--panels', 'ddim:4', 'ddim:2', '--chunks', '2', '--at', '0.5']
    out = tmp_path / 'out.gif'
    assert main(['denoise', str(bundle), '--recordings', str(bag), *shown, '--out', str(out)]) == 0
    frames = imageio.imread(out).astype(int)
    assert frames.shape[1:] == (2 * STRIP + BANNER, 2 * WIDTH, 3)
    right = frames[:, BANNER:, WIDTH:]
    drawn, waited = (np.abs(right[a] - right[b]).mean() for a, b in ((0, 2), (2, 3)))
    assert drawn > 5 * waited, 'the second is done after 2 calls, and waits'


def test_what_is_asked_of_a_recording_is_the_window_of_the_training(bundle: Path, bag: Path) -> None:
    read = load_bundle(bundle)
    episode = read_episode(bag, TASK, cut=CutSettings(by='marker', topic='/marker'))[0]
    asked, _, _ = observation_at(bag, read, 0.5)
    assert asked.stamp == episode.stamps[5]
    assert np.array_equal(asked.streams['arm'], episode.streams['arm'][4:6])
    _, _, last = observation_at(bag, read, (len(episode.stamps) - 1) * 0.1)
    assert np.isfinite(last).all(axis=1).sum() < len(last)
    stamps = [window.stamp for window, _ in observations(bag, read, 3)]
    assert stamps[0] == episode.stamps[0] and stamps[-1] == episode.stamps[-1] and len(stamps) == 3
    with pytest.raises(ConfigError, match=r'at: got 99 s, allowed up to \d'):
        observation_at(bag, read, 99.0)


def test_a_bundle_is_tuned_on_a_recordings_observations(bundle: Path, bag: Path, monkeypatch) -> None:
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    from dp_ros.tools import tune

    monkeypatch.setattr(tune, 'warm_up', lambda *_: pytest.fail('it was measured on zeros'))
    said: list[str] = []
    settings = tune.TuneSettings(bundle=bundle, recordings=bag, threads=(1,), rounds=5, deadline=60.0)
    assert tune.run_tune(settings, said.append) == 0
    assert 'threads: 1' in said[-1]


def test_denoising_is_asked_in_a_world_or_on_a_recording(bundle: Path, bag: Path, tmp_path: Path, capsys) -> None:
    asked = ['denoise', str(bundle), '--recordings', str(bag), '--world', 'pusht', '--out', str(tmp_path / 'o.gif')]
    assert main(asked) == 1
    assert "world: got 'pusht' with recordings" in capsys.readouterr().err
    assert main(['denoise', str(bundle)]) == 1
    said = capsys.readouterr().err
    assert 'world for joints a, b: got none' in said and 'or --recordings, in place of a world' in said


def moment(error: Sequence[float], *, seconds: float = 0.0, number: int = 0, valid: int = 4) -> Moment:
    """Give a moment whose two samples are off by ``error`` [a, b], one above and one below what was commanded."""
    recorded = np.linspace(0.0, 1.0, 4)[:, None] * [1.0, 2.0]
    samples = np.stack([recorded + error, recorded - error])
    recorded = np.where(np.arange(4)[:, None] < valid, recorded, np.nan)
    kept = {STAND_STILL: np.zeros((4, 2)), LAST_MOTION: np.ones((4, 2))}
    return Moment(
        episode=f'e{number}', number=number, stamp=round(seconds * 1e9), seconds=seconds, samples=samples,
        recorded=recorded, measured=np.zeros((1, 2)), baselines=kept,
    )  # fmt: skip


def test_baselines_stand_still_and_go_on() -> None:
    positions = np.array([[0.0, 1.0], [0.1, 0.8], [0.2, 0.6]])
    found = baselines(positions, 2, 3)
    assert found[STAND_STILL] == pytest.approx(np.array([[0.2, 0.6]] * 3))
    assert found[LAST_MOTION] == pytest.approx(np.array([[0.2, 0.6], [0.3, 0.4], [0.4, 0.2]]))
    first = baselines(positions, 0, 2)  # nothing is known of motion before the first observation
    assert first[LAST_MOTION] == pytest.approx(first[STAND_STILL])


def test_moments_are_the_windows_of_training_and_the_policys_own_chunks(bundle: Path, bag: Path) -> None:
    policy = DiffusionPolicy.load(bundle, sampling_steps=2)
    (episode,) = read_episode(bag, TASK)
    found = list(moments(episode, policy, number=3, every=14, draws=2, seed=7))
    observed, _ = window_indices(len(episode.stamps), TASK)
    streams = episode.streams.items()
    windows = [Window(stamps=episode.stamps[i], streams={n: v[i] for n, v in streams}) for i in observed]
    assert [m.stamp for m in found] == [w.stamp for w in windows[::14]]
    for row, one in zip(range(0, len(windows), 14), found, strict=True):
        chunks = [policy.chunk(windows[row], np.random.default_rng([7, 3, row, draw])).actions for draw in range(2)]
        assert np.array_equal(one.samples, chunks)
        assert one.recorded[0] == pytest.approx(episode.actions[row])
        assert one.measured[-1] == pytest.approx(episode.streams['arm'][row])
    last = found[-1]
    left = len(episode.stamps) - round(last.seconds / TASK.control_dt)
    assert left < TASK.pred_horizon
    assert np.isfinite(last.recorded[:left]).all() and np.isnan(last.recorded[left:]).all()


def test_errors_are_means_by_joint_and_by_step_beside_the_baselines() -> None:
    found = [moment([0.1, 0.2]), moment([0.3, 0.2], number=1, valid=2)]
    summary = summarize_moments(found, SHORT, bundle='tiny')
    policy = summary['errors']['policy']
    assert policy['executed'] == pytest.approx([0.2, 0.2])
    assert policy['per_step'][3] == pytest.approx([0.1, 0.2])  # the second episode ends before
    assert summary['errors'][STAND_STILL]['executed'] == pytest.approx([1 / 6, 1 / 3])
    assert summary['spread']['executed'] == pytest.approx([0.2, 0.2])
    assert summary['range'] == pytest.approx([1.0, 2.0])
    assert summary['relative']['policy'][0] == pytest.approx((0.2 / 1.0 + 0.2 / 2.0) / 2)
    assert summary['better_than'] == {STAND_STILL: ['b'], LAST_MOTION: ['a', 'b']}
    low, high = summary['policy_ci95'][0]
    assert (low, high) == pytest.approx((0.1, 0.3))
    json.dumps(summary, allow_nan=False)
    text = table(summary)
    assert 'nearer than stand still: 1 of 2 joints' in text
    assert 'farthest off: a in e1 at 0.0 s, 0.3' in text


def test_a_policy_that_is_no_better_than_standing_still_is_named() -> None:
    assert 'For no joint is the policy nearer' in table(summarize_moments([moment([2.0, 2.0])], SHORT, bundle='tiny'))


def test_the_nearest_sample_is_the_best_of_the_draws() -> None:
    one = moment([0.5, 0.5])
    one = replace(one, samples=np.stack([one.recorded + 0.5, one.recorded + 0.01]))
    assert summarize_moments([one], SHORT, bundle='')['errors']['nearest']['chunk'] == pytest.approx([0.01, 0.01])


def test_the_worst_moments_are_of_different_times() -> None:
    found = [moment([0.1 * i, 0.0], seconds=0.1 * i) for i in range(1, 10)] + [moment([0.0, 0.4], number=1)]
    assert [(m.number, round(m.seconds, 1), joint) for m, joint in worst(found, SHORT)] == [
        (0, 0.9, 0), (0, 0.5, 0), (1, 0.0, 1), (0, 0.1, 0)
    ]  # fmt: skip


def test_goals_in_hindsight_are_what_the_episode_came_to(bag: Path) -> None:
    (episode,) = read_episode(bag, TASK)
    task = replace(TASK, goals=(GoalPose(features=('x', 'y'), stream='block'),))
    assert np.array_equal(goal_of(episode, task, 5).streams['goal_pose'], episode.streams['block'][-1])
    with pytest.raises(ConfigError, match='a task with instruction, allowed goals that are poses or pictures'):
        check_goals(replace(TASK, goals=(Instruction(),)))


def test_without_observed_joints_there_are_no_baselines(bag: Path) -> None:
    task = TaskSpec(streams=TASK.streams[1:], action=TASK.action)
    one = replace(moment([0.1, 0.1]), baselines={}, measured=np.empty((0, 2)))
    assert 'no baselines: the task does not observe' in table(summarize_moments([one], task, bundle='tiny'))


def test_the_command_writes_table_summary_and_plots(
    bundle: Path, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    given = ['--recordings', str(bag), '--draws', '2', '--sampling-steps', '2', '--threads', '1', '--output', str(out)]
    assert main(['evaluate', str(bundle), *given, '--json', str(tmp_path / 'too.json')]) == 0
    said = capsys.readouterr().out
    assert 'tiny: 6 moments of 2 episodes, 2 samples at each' in said  # cut by the marker, as its training was
    assert sorted(p.name for p in out.iterdir()) == ['error_per_step.png', 'evaluation.json', 'worst_moments.png']
    summary = json.loads((out / 'evaluation.json').read_text())
    assert summary == json.loads((tmp_path / 'too.json').read_text())
    assert (summary['every'], summary['sampling_steps'], summary['joints']) == (8, 2, ['a', 'b'])


@pytest.mark.parametrize(
    ('topic', 'change', 'reason'),
    [
        ('/block_pose', lambda i, m: None, 'lacks topic /block_pose'),
        ('/joint_states', lambda i, m: state(m[1], m[2].position, name=('a', 'c')), "stream 'arm' joints: wanted b"),
        ('/marker', lambda i, m: None, 'lacks topic /marker'),
    ],
)
def test_a_recording_that_does_not_fit_is_refused_by_name(
    bundle: Path, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], topic: str, change, reason: str
) -> None:
    marks = [plain('String', '/marker', T0 + 50 * MS, 'start')]
    bad = save(tmp_path / 'bad', changed(arm() + marks, topic, change))
    assert main(['evaluate', str(bundle), '--recordings', str(bad), '--draws', '1', '--sampling-steps', '1']) == 1
    said = capsys.readouterr().err
    assert f'error: recordings do not fit bundle tiny: bag {bad}' in said and reason in said


@pytest.mark.parametrize(
    ('given', 'reason'),
    [
        (['--recordings', 'bags', '--episodes', '3'], 'episodes: got with recordings, allowed recordings, every'),
        (['--output', 'out'], 'output: got without recordings'),
        (['--recordings', 'bags', '--draws', '0'], 'draws: got 0, allowed 1 to 64'),
    ],
)
def test_options_of_the_other_kind_of_evaluation_are_refused(
    bundle: Path, capsys: pytest.CaptureFixture[str], given: list[str], reason: str
) -> None:
    assert main(['evaluate', str(bundle), *given]) == 1
    assert reason in capsys.readouterr().err


def test_a_dataset_is_compared_by_the_columns_of_a_configuration(
    bundle: Path, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('pyarrow', reason='pyarrow is not installed (extra: datasets)')
    export_lerobot(read_episode(bag, TASK), TASK, tmp_path / 'set', LerobotSettings(instruction='move'))
    columns = {'arm': 'observation.state', 'block': 'observation.environment_state', 'action': 'action'}
    config = tmp_path / 'train.yaml'
    config.write_text(json.dumps({'name': 'x', 'steps': 1, 'task': to_plain(TASK), 'columns': columns}))
    given = ['evaluate', str(bundle), '--recordings', str(tmp_path / 'set'), '--draws', '1', '--sampling-steps', '1']
    assert main([*given, '--config', str(config)]) == 0
    assert 'tiny: 10 moments of 1 episode, 1 sample at each' in capsys.readouterr().out
    assert main(given) == 1  # the bundle's training was cut by a marker, and had no columns
    assert 'got them for' in capsys.readouterr().err


def test_topics_of_all_recordings_are_checked_before_the_first_is_read(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = changed(arm(), '/joint_states', lambda i, m: state(m[1], m[2].position, name=('a', 'c')))
    first = save(tmp_path / 'first', renamed)
    second = save(tmp_path / 'second', changed(arm(), '/block_pose', lambda i, m: None))
    assert main(['evaluate', str(bundle), '--recordings', str(first), str(second)]) == 1
    assert f'bag {second}: lacks topic /block_pose' in capsys.readouterr().err


def test_a_policy_without_noise_has_one_sample(bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = ScheduleSpec(name='none', diffusion_steps=1, prediction_type='sample')
    defaults = SamplerSettings(sampler='regression', sampling_steps=1)
    cloned = write_tiny_bundle(
        tmp_path / 'cloned', task=TASK, normalizer=NORMALIZER, schedule=schedule, defaults=defaults
    )
    assert main(['evaluate', str(cloned), '--recordings', str(bag), '--draws', '3']) == 0
    assert 'cloned: 10 moments of 1 episode, 1 sample at each' in capsys.readouterr().out
