"""Latency on recordings: what is played, how long sensors are waited for, and nodes on a robot that no world has."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('rosbags', reason='rosbags is not installed (extra: train)')

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError, DataError
from dp_ros.messages.encoding import JOINT_STATE, POSE, stamp_of
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.task.spec import ActionSpec, GoalImage, GoalPose, ImageStream, JointStream, PoseStream, TaskSpec
from dp_ros.tools.client import KEPT
from dp_ros.tools.played.player import BagPlayer, Settling, hindsight_topics, joint_topic, played_topics
from test.tiny_bundle import write_tiny_bundle
from test.training.arm_bags import ARM, CAMERA, COMMANDS, FINGER, STATES, WRIST, ArmBag
from test.training.bag_maker import MS, T0, TASK, arm, pose, save, state

JOINTS = (*ARM, FINGER)
OWN = TaskSpec(
    streams=(JointStream(name='arm', topic=STATES, joints=JOINTS, units=('rad',) * 6 + ('m',)),),
    action=ActionSpec(topic=COMMANDS, joints=ARM, units=('rad',) * 6),
    exec_horizon=4,
)


def test_a_tick_is_settled_when_every_sensor_has_sent_what_is_at_or_after_it() -> None:
    task = replace(TASK, arrival_wait=0.05)
    settling, tick = Settling(task), T0 + 400 * MS
    settling.sent('/joint_states', tick - 5 * MS, tick - 4 * MS)
    settling.sent('/joint_states', tick + 5 * MS, tick + 6 * MS)
    assert settling.at(tick) == tick + 50 * MS, 'the other is waited for, as long as the task says'
    settling.sent('/block_pose', tick + 20 * MS, tick + 22 * MS)
    settling.sent('/joint_states', tick + 25 * MS, tick + 40 * MS)
    assert settling.at(tick) == tick + 22 * MS
    settling.sent('/other', tick, tick + 45 * MS)
    assert settling.at(tick) == tick + 22 * MS, 'nobody waits for what is not observed'
    settling.sent('/block_pose', tick + 320 * MS, tick + 321 * MS)
    settling.sent('/joint_states', tick + 120 * MS, tick + 121 * MS)
    assert settling.at(tick + 100 * MS) == tick + 150 * MS, 'one that came later than the wait is not waited for'


@pytest.mark.ros
def test_messages_are_played_in_their_time_and_stamped_anew(ros: Any, tmp_path: Path) -> None:
    made = [state(T0 + i * 20 * MS, (i, 0.0), stamp=T0 + (i * 20 - 7) * MS) for i in range(25)]
    made += [state(T0 + 600 * MS, (25, 0.0), stamp=0), state(T0 + 1 * MS, (9.0, 9.0), topic='/elsewhere')]
    bag = save(tmp_path / 'bag', made)
    heard: list[tuple[int, JointState]] = []
    for topic in ('/joint_states', '/elsewhere'):
        ros.tester.create_subscription(JointState, topic, lambda m: heard.append((time.time_ns(), m)), 100)
    sent: list[tuple[str, int, int]] = []
    player = BagPlayer(ros.tester, {'/joint_states': {JOINT_STATE}}, (), lambda *what: sent.append(what))
    began = time.time_ns()
    for ahead in player.play(bag):
        ros.executor.spin_once(timeout_sec=ahead)
    ros.wait(lambda: heard and heard[-1][1].position[0] == 25, 'the last message')
    assert [topic for topic, _, _ in sent] == ['/joint_states'] * 26
    stamps = [stamp for _, stamp, _ in sent]
    assert {b - a for a, b in itertools.pairwise(stamps[:25])} == {20 * MS}
    assert began - 7 * MS <= stamps[0] and sent[-1][2] - began >= 600 * MS, 'not before it is due'
    assert stamps[-1] == sent[-1][2] and stamp_of(heard[-1][1]) == 0, 'no stamp stays none'
    by_place = {m.position[0]: stamp_of(m) for _, m in heard}
    assert all(by_place[i] == stamps[int(i)] for i in by_place if i < 25)
    assert len(player.late) == 26 and min(player.late) >= 0.0


@pytest.mark.ros
def test_what_a_recording_came_to_is_its_goal_and_said_first(ros: Any, tmp_path: Path) -> None:
    arms = [state(T0 + i * 20 * MS, (i, 0.0)) for i in range(3)]
    bags = [save(tmp_path / str(end), [*arms, pose(T0 + 50 * MS, end, 0.0)]) for end in (0.3, 0.7)]
    player = BagPlayer(
        ros.tester, {'/joint_states': {JOINT_STATE}, '/block_pose': {POSE}}, (), lambda *_: None,
        {'/goal_pose': '/block_pose'},
    )  # fmt: skip
    goals: list[float] = []
    for count, bag in enumerate(bags, 1):
        for number, ahead in enumerate(player.play(bag)):
            if number == 0:  # nothing of the recording is due before
                kept = ros.tester.create_subscription(
                    PoseStamped, '/goal_pose', lambda m: goals.append(m.pose.position.x), KEPT
                )
                ros.wait(lambda count=count: len(goals) == count, 'the goal')
                ros.tester.destroy_subscription(kept)
            ros.executor.spin_once(timeout_sec=ahead)
    assert goals == pytest.approx([0.3, 0.7])


def test_what_cannot_be_played_is_refused(tmp_path: Path) -> None:
    goal = GoalPose(features=('x', 'y'), source='hindsight', stream='place')
    place = PoseStream(name='place', topic='/place', features=('x', 'y'))
    hindsight = replace(TASK, streams=(*TASK.streams, place), goals=(goal,))
    assert hindsight_topics(hindsight) == {'/goal_pose': '/place'}
    assert '/goal_pose' not in played_topics(hindsight, '/joint_states')
    top = ImageStream(name='top', topic='/top', height=8, width=8, compressed=True)
    seen = replace(TASK, streams=(*TASK.streams, top), goals=(GoalImage(height=8, width=8, stream='top'),))
    with pytest.raises(ConfigError, match=r"goal 'goal_image' \(sensor_msgs/msg/Image\) in hindsight of 'top', allo"):
        hindsight_topics(seen)
    asked = replace(TASK, goals=(GoalPose(features=('x', 'y'), source='topic'),))
    assert '/goal_pose' in played_topics(asked, '/joint_states')
    blind = replace(TASK, streams=TASK.streams[1:])
    assert joint_topic(TASK, tmp_path) == '/joint_states'
    assert joint_topic(blind, save(tmp_path / 'one', arm(1.0))) == '/joint_states'
    twice = [*arm(1.0), state(T0, (0.0, 0.0), topic='/leader')]
    with pytest.raises(DataError, match=r'got joint states on /joint_states, /leader, allowed one topic of them'):
        joint_topic(blind, save(tmp_path / 'two', twice))


def test_recordings_are_in_place_of_a_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(write_tiny_bundle(tmp_path / 'tiny'))
    assert main(['latency', bundle, '--recordings', str(tmp_path), '--world', 'pusht']) == 1
    assert "world: got 'pusht' with recordings, allowed one of the two" in capsys.readouterr().err
    assert main(['latency', bundle, '--params-file', 'params.yaml']) == 1
    assert 'params_file: got params.yaml without recordings' in capsys.readouterr().err
    own = str(write_tiny_bundle(tmp_path / 'own', task=TASK, normalizer=_around((0.0, 0.0), ('arm', 'block'))))
    assert main(['latency', own]) == 1
    assert 'or --recordings, in place of a world' in capsys.readouterr().err


def _around(middle: tuple[float, ...], streams: tuple[str, ...]) -> Normalizer:
    """Give a normalizer by which a policy of random weights asks for about ``middle``, all but standing still."""
    size = {name: middle if name == 'block' else (0.0,) * len(middle) for name in streams}
    return Normalizer(
        low={ACTION: tuple(m - 0.01 for m in middle), **{n: tuple(v - 3.0 for v in s) for n, s in size.items()}},
        high={ACTION: tuple(m + 0.01 for m in middle), **{n: tuple(v + 3.0 for v in s) for n, s in size.items()}},
    )


@pytest.mark.slow
@pytest.mark.ros
def test_the_nodes_are_timed_on_recordings_of_an_arm_that_no_world_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = ArmBag(seconds=5.0, rest=2.0, without=(CAMERA, WRIST))
    bag = recorded.save(tmp_path / 'bag')
    start = (*recorded.arm(0.0), recorded.finger(0.0))
    calm = _around(start, ('arm',))
    arm_alone = Normalizer(
        low={**calm.low, ACTION: calm.low[ACTION][:6]}, high={**calm.high, ACTION: calm.high[ACTION][:6]}
    )
    bundle, out = write_tiny_bundle(tmp_path / 'own', task=OWN, normalizer=arm_alone), tmp_path / 'times.json'
    asked = ['latency', str(bundle), '--recordings', str(bag), '--exec-horizon', '4', '--json', str(out)]
    main([*asked, '--seconds', '12'])
    said, summary = capsys.readouterr().out, json.loads(out.read_text())
    ms: dict[str, Any] = summary['ms']
    assert summary['plays'] >= 2 and 'recordings played into the nodes' in said
    assert summary['chunks'] > 0, summary['refusals']
    assert all(ms['whole'][key] > ms['nodes'][key] > ms['planning'][key] > 0.0 for key in ('p50', 'p99'))
    assert 0.0 < ms['robot']['p50'] <= 1e3 * OWN.arrival_wait, 'joint states come every 8 ms'
    assert 'simulated_robot' not in summary['memory_mb'] and 'world' not in summary
