"""Joints that turn without end: recorded and live windows are the same, whatever turn an encoder says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.audit.audit import audit_bags
from dp_ros.audit.checks import findings
from dp_ros.cli.main import main
from dp_ros.data import Observation, Window
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import ConfigError, DataError
from dp_ros.messages.encoding import decode
from dp_ros.motion.settings.plan import PlanSettings, make_planner
from dp_ros.policy.alignment import WindowBuffer
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.continuity import check_continuity, overlap_with
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.turns import TURN, middles, principal, turned_streams
from dp_ros.recordings.episodes.episode import Episode, episodes_from_messages
from dp_ros.recordings.episodes.readers import read_recordings
from dp_ros.recordings.rosbag.reader import Stamped
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec
from dp_ros.training.samples.windows import WindowDataset, fit_normalizer
from test.tiny_bundle import write_tiny_bundle
from test.training.bag_maker import JOINTS, MS, T0, command, save, state

ARM = JointStream(
    name='arm', topic='/joint_states', joints=('b', 'a'), units=('rad', 'rad'), fields=('velocity', 'position')
)
TASK = TaskSpec(
    streams=(ARM,),
    action=ActionSpec(topic='/command', joints=JOINTS, units=('rad', 'rad')),
    obs_horizon=3,
    pred_horizon=8,
    exec_horizon=4,
    continuous=('a',),
)
RELATIVE = replace(TASK, action=replace(TASK.action, relative=True))
BLIND = replace(TASK, streams=(replace(ARM, joints=('b',), units=('rad',)),))
DT = 100 * MS


def path_at(step: float, start: float) -> np.ndarray:
    """Give where the joints truly are, without a jump: a goes on through half a turn."""
    return np.array([start + 0.05 * step, 0.4 * np.sin(0.1 * step)])


def wrapped(positions: np.ndarray) -> np.ndarray:
    """Give joint a as its encoder does."""
    return np.array([(positions[0] + np.pi) % (2 * np.pi) - np.pi, positions[1]])


def recorded(start: float = 2.5, steps: int = 40) -> list[Stamped]:
    made: list[Stamped] = []
    for i in range(steps):
        now = T0 + i * DT
        topic, received, msg = state(now, wrapped(path_at(i, start)))
        msg.velocity = np.array([0.5, 0.1])
        made += [command(now, wrapped(path_at(i + 2, start))), (topic, received, msg)]
    return made


def read(starts: Iterable[float] = (2.5, 2.7), task: TaskSpec = TASK) -> list[Episode]:
    return [e for s in starts for e in episodes_from_messages('bag', recorded(s), task)]


def live(task: TaskSpec, start: float) -> list[Window]:
    """Give the windows of messages as they come."""
    buffer, found = WindowBuffer(task.obs_horizon, DT), []
    for topic, received, msg in recorded(start):
        if topic == '/joint_states':
            streams = {stream.name: decode(stream, msg) for stream in task.streams}
            found.append(buffer.push(Observation(stamp=received, streams=streams)))
    return [window for window in found if window is not None]


@pytest.mark.parametrize('task', [TASK, RELATIVE, BLIND], ids=['absolute', 'relative', 'blind'])
def test_live_windows_are_those_that_were_learnt_bit_for_bit(task: TaskSpec) -> None:
    episodes = read(task=task)
    normalizer = fit_normalizer(episodes, task)
    (learnt,), _ = WindowDataset(episodes[:1], task, normalizer).batch(torch.arange(20))
    jumped = 0
    for window, expected in zip(live(task, 2.5), learnt[task.obs_horizon - 1 :].numpy(), strict=False):
        turned = turned_streams(task, middles(task, normalizer), window.streams)
        assert normalizer.normalize('arm', turned['arm']).tobytes() == expected.tobytes()
        raw = episodes[0].streams['arm'][list(episodes[0].stamps).index(window.stamps[0]) :][: task.obs_horizon]
        again = turned_streams(task, middles(task, normalizer), {'arm': raw})
        assert again['arm'].tobytes() == turned['arm'].tobytes()
        jumped += bool(np.abs(np.diff(window.streams['arm'], axis=0)).max() > 6.0)
    assert jumped == (0 if task is BLIND else 2)


@pytest.mark.parametrize('task', [TASK, RELATIVE], ids=['absolute', 'relative'])
def test_what_is_learnt_has_no_jump_and_actions_go_on_from_the_window(task: TaskSpec) -> None:
    episodes = read(task=task)
    assert np.abs(np.diff(episodes[0].streams['arm'], axis=0)).max() < 0.1
    assert np.abs(np.diff(episodes[0].actions, axis=0)).max() < 0.1
    normalizer = fit_normalizer(episodes, task)
    data = WindowDataset(episodes, task, normalizer)
    (streams,), actions = data.batch(torch.arange(len(data)))
    assert float(streams.abs().max()) == pytest.approx(1.0) and float(actions.abs().max()) == pytest.approx(1.0)
    newest = normalizer.denormalize('arm', streams.numpy())[:, -1, [3, 2]]
    acted = normalizer.denormalize(ACTION, actions.numpy()) - (0.0 if task is RELATIVE else newest[:, None])
    # Two steps ahead of where the joint is, and on from there.
    np.testing.assert_allclose(acted[:30, :, 0], np.tile(0.05 * np.arange(2, 10), (30, 1)), atol=1e-5)
    # From 2.5 to 2.7 + 39 steps: the middle is within what was recorded, not opposite to it.
    assert normalizer.middle('arm')[3] == pytest.approx(2.6 + 0.05 * 39 / 2 - TURN, abs=0.06)


def test_an_action_that_no_stream_observes_lies_about_the_middle_of_its_own() -> None:
    episodes = read(task=BLIND)
    normalizer = fit_normalizer(episodes, BLIND)
    data = WindowDataset(episodes, BLIND, normalizer)
    acted = normalizer.denormalize(ACTION, data.actions(torch.arange(len(data))).numpy())[..., 0]
    assert np.abs(np.diff(acted, axis=1)).max() < 0.1
    assert np.abs(acted[:, 0] - normalizer.middle(ACTION)[0]).max() <= TURN / 2


def test_whole_turns_are_added_and_taken_off_exactly() -> None:
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, 1000)
    within = principal(np.append(angles, [np.pi, -np.pi, TURN / 2, -TURN / 2, 0.0]))
    assert np.abs(within[:1000] - angles).max() < 1e-12
    assert within.min() >= -TURN / 2 and within.max() < TURN / 2
    for turns in (-7, 1, 200):
        assert principal(within + turns * TURN).tobytes() == within.tobytes()


@pytest.mark.parametrize(
    ('task', 'words'),
    [
        (replace(TASK, continuous=()), r"stream 'arm': a wraps: got a step of -6\.23 rad .* \(continuous: \[a\]\)"),
        (replace(BLIND, continuous=()), r'action: a wraps: got a step of -6\.23 rad'),
        (replace(TASK, continuous=('b',)), r"stream 'arm': a wraps"),
    ],
)
def test_a_joint_that_wraps_is_refused_unless_it_is_called_continuous(
    tmp_path: Path, task: TaskSpec, words: str
) -> None:
    bag = save(tmp_path / 'bag', recorded())
    with pytest.raises(DataError, match=words):
        list(read_recordings(bag, task))
    found = [f for f in findings(audit_bags(bag, task)) if f.level == 'error']
    assert 'wraps' in found[0].got and 'continuous' in found[0].got
    errors = [f for f in findings(audit_bags(bag, TASK)) if f.level == 'error']
    assert errors == []


def test_only_joints_in_rad_can_be_continuous() -> None:
    for wrong in (('c',), ('a', 'a')):
        with pytest.raises(ConfigError, match=r'continuous: got .*, allowed each of a, b once'):
            replace(TASK, continuous=wrong)
    with pytest.raises(ConfigError, match='continuous: got a, allowed each of b once'):
        metres = replace(ARM, units=('rad', 'm'))
        replace(TASK, streams=(metres,), action=replace(TASK.action, units=('m', 'rad')))


NORMALIZER = Normalizer(
    low={'arm': (-1, -1, -1, 2.5), ACTION: (2.5, -1)}, high={'arm': (1, 1, 1, 4.5), ACTION: (4.6, 1)}
)


@pytest.mark.parametrize('task', [TASK, RELATIVE], ids=['absolute', 'relative'])
def test_a_policy_gives_the_same_chunk_in_every_turn(tmp_path: Path, task: TaskSpec) -> None:
    write_tiny_bundle(tmp_path / 'b', task=task, normalizer=NORMALIZER)
    policy = DiffusionPolicy.load(tmp_path / 'b')
    place = principal(np.array([[3.1], [3.13], [3.16]]))
    window, turned = (
        policy.window(arm=np.hstack([np.zeros((3, 3)), place + turns * TURN]))
        for turns in (0, np.array([[2], [1], [1]]))
    )
    chunk = policy.chunk(window)
    assert policy.chunk(turned).actions.tobytes() == chunk.actions.tobytes()
    later = chunk.stamp + 2 * chunk.control_dt
    before = overlap_with(chunk, later, 2)
    other = overlap_with(replace(chunk, actions=chunk.actions + np.array([TURN, 0.0])), later, 2)
    first, second = (policy.chunk(window, overlap=overlap, start=chunk.actions) for overlap in (before, other))
    np.testing.assert_allclose(second.actions, first.actions, atol=1e-9)


def test_the_bundle_carries_it_to_the_planner_and_only_where_there_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_bundle(tmp_path / 'b', task=TASK, normalizer=NORMALIZER)
    assert main(['inspect', str(tmp_path / 'b')]) == 0
    assert 'joints that turn without end: a\n' in capsys.readouterr().out
    limits = {f'{j}.velocity': 1.0 for j in JOINTS}
    task = load_bundle(tmp_path / 'b').task
    assert task.continuous == ('a',)
    values = {f'limits.{name}': value for name, value in limits.items()}
    values |= {f'limits.{j}.acceleration': 1.0 for j in JOINTS}
    planner = make_planner(PlanSettings.of(values), task, None)
    assert planner.continuous.tolist() == [True, False]
    write_tiny_bundle(tmp_path / 'plain')
    assert 'continuous' not in json.loads((tmp_path / 'plain/bundle.json').read_text())['task']
    with pytest.raises(ConfigError, match=r"got 'ensemble' for a task with continuous joints \(a\), allowed none, rtc"):
        check_continuity('ensemble', ScheduleSpec(), task.continuous)
