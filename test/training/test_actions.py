"""Actions from each source that recordings have them in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.audit.audit import audit_bags
from dp_ros.audit.checks import findings
from dp_ros.errors import ConfigError, DataError
from dp_ros.recordings.episodes.actions import action_sources, source_types
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.episode import episodes_from_messages, read_episode, wanted_topics
from dp_ros.recordings.rosbag.reader import Stamped
from dp_ros.recordings.rosbag.types import typestore
from dp_ros.task.spec import ActionSource, ActionSpec, TaskSpec
from dp_ros.task.yaml_reader import parse, to_plain
from test.training.bag_maker import MS, T0, TASK, command, plain, pose, save, state

TICKS = 6
DT = 100 * MS


def task(**action: Any) -> TaskSpec:
    return replace(TASK, action=replace(TASK.action, **action))


def observed(ticks: int = TICKS) -> list[Stamped]:
    made = []
    for i in range(ticks):
        made += [state(T0 + i * DT, [i, -i]), pose(T0 + i * DT, 0.0, 0.0)]
    return made


def episodes(made: list[Stamped], spec: TaskSpec) -> list[Episode]:
    return episodes_from_messages('bag', sorted(made, key=lambda m: m[1]), spec)


def leader(i: int, *, late: int = 0) -> Stamped:
    values = {'lead_b': -10.0 - i, 'grip': 0.0, 'lead_a': 10.0 + i}
    t = T0 + i * DT
    return state(t + late, list(values.values()), stamp=t, topic='/leader', name=list(values))


LEADER = task(source='joint_state', source_topic='/leader', source_joints=('lead_a', 'lead_b'))


def test_a_leader_s_joint_states_are_set_points_by_name() -> None:
    (episode,) = episodes(observed() + [leader(i) for i in range(TICKS)], LEADER)
    assert episode.actions.tolist() == [[10.0 + i, -10.0 - i] for i in range(TICKS)]


def test_a_leader_message_counts_by_its_stamp_if_it_arrives_in_time() -> None:
    (episode,) = episodes(observed() + [leader(i, late=(60 if i == 3 else 15) * MS) for i in range(TICKS)], LEADER)
    assert episode.actions[:, 0].tolist() == [10.0, 11.0, 12.0, 12.0, 14.0, 15.0]


def test_a_silent_leader_commands_nothing() -> None:
    found = episodes(observed(20) + [leader(i) for i in range(20) if not 5 <= i < 12], LEADER)
    assert [len(e.stamps) for e in found] == [7, 8]


def test_a_leader_without_the_joint_is_refused_by_name() -> None:
    nameless = replace(LEADER, action=replace(LEADER.action, source_joints=()))
    with pytest.raises(DataError, match=r'action: no message yet that names a, b; there came lead_b, grip, lead_a'):
        episodes([*observed(), leader(0)], nameless)


def test_forwarded_commands_are_taken_in_the_order_of_the_joints_and_held() -> None:
    made = observed() + [plain('Float64MultiArray', '/command', T0 + i * DT, [i, 100.0]) for i in (0, 1, 4)]
    (episode,) = episodes(made, task(source='float64_multi_array'))
    assert episode.actions.tolist() == [[i, 100.0] for i in (0, 1, 1, 1, 4, 4)]


@pytest.mark.parametrize(
    ('values', 'words'),
    [([1.0], r'got 1 numbers, allowed 2 \(a, b, in this order\)'), ([1.0, np.nan], 'got nan .*finite numbers only')],
)
def test_forwarded_commands_of_another_length_or_not_finite_are_refused(values: list[float], words: str) -> None:
    made = [*observed(), plain('Float64MultiArray', '/command', T0, values)]
    with pytest.raises(DataError, match=f'topic /command, .*{words}'):
        episodes(made, task(source='float64_multi_array'))


def test_the_next_state_is_the_action_of_a_tick_and_the_last_tick_has_none() -> None:
    (episode,) = episodes(observed(), task(source='next_state'))
    assert len(episode.stamps) == TICKS - 1
    assert episode.streams['arm'].tolist() == [[i, -i] for i in range(TICKS - 1)]
    assert episode.actions.tolist() == [[i + 1, -i - 1] for i in range(TICKS - 1)]


def test_a_gap_has_no_next_state() -> None:
    made = observed() + [replaced for m in observed() for replaced in [moved(m, 60 * 10**9)]]
    found = episodes(made, task(source='next_state'))
    assert [e.actions[-1, 0] for e in found] == [5.0, 5.0]


def moved(message: Stamped, by: int) -> Stamped:
    topic, received, msg = message
    if topic == '/joint_states':
        return state(received + by, msg.position)
    return pose(received + by, 0.0, 0.0)


def test_the_next_state_is_that_of_the_topic_that_observes_the_joints() -> None:
    assert source_types(task(source='next_state')) == {'/joint_states': {'sensor_msgs/msg/JointState'}}
    elsewhere = task(source='next_state', source_topic='/other')
    assert source_types(elsewhere) == {'/other': {'sensor_msgs/msg/JointState'}}
    with pytest.raises(ConfigError, match=r'no stream observes a, b \(none has joints\); allowed .* or source_topic'):
        action_sources(replace(task(source='next_state'), streams=TASK.streams[1:]))


def test_a_trajectory_may_be_recorded_elsewhere_and_call_joints_otherwise() -> None:
    made = []
    for i in range(TICKS):
        _, received, msg = command(T0 + i * DT, [i, 7.0])
        msg.joint_names = ['x', 'y']
        made.append(('/recorded', received, msg))
    (episode,) = episodes(observed() + made, task(source_topic='/recorded', source_joints=('y', 'x')))
    assert episode.actions.tolist() == [[7.0, i] for i in range(TICKS)]


@pytest.mark.parametrize(
    ('spec', 'kind'),
    [
        (task(), 'trajectory_msgs/msg/JointTrajectory'),
        (task(source='float64_multi_array'), 'std_msgs/msg/Float64MultiArray'),
        (task(source='joint_state', source_topic='/command'), 'sensor_msgs/msg/JointState'),
    ],
)
def test_a_bag_is_asked_for_the_source_s_type(tmp_path: Path, spec: TaskSpec, kind: str) -> None:
    assert wanted_topics(spec)['/command'] == {kind}
    other = plain('String', '/command', T0, 'go')
    bag = save(tmp_path / 'bag', [*observed(), other])
    with pytest.raises(DataError, match=f'topic /command: got type std_msgs/msg/String, allowed {kind}'):
        read_episode(bag, spec)


@pytest.mark.parametrize(
    ('raw', 'words'),
    [
        ({'source': 'leader'}, 'action.source: got .leader., allowed joint_trajectory, joint_state, float64'),
        ({'source': 'joint_state'}, "source_topic: got none, allowed the leader's JointState topic"),
        ({'source_joints': ['x']}, 'source_joints: got 1 for 2 joints, allowed one for each joint, or none'),
        ({'source_joints': ['x', 'x']}, 'source_joints: got x, x, allowed no name twice'),
        ({'source': 'float64_multi_array', 'source_joints': ['x', 'y']}, 'allowed none with float64_multi_array'),
    ],
)
def test_a_wrong_source_is_refused(raw: dict[str, Any], words: str) -> None:
    plain_spec = {'topic': '/command', 'joints': ['a', 'b'], 'units': ['rad', 'rad'], **raw}
    with pytest.raises(ConfigError, match=words):
        parse(ActionSpec, plain_spec, 'task.action')


def test_a_source_survives_being_written_and_read() -> None:
    assert parse(TaskSpec, to_plain(LEADER), 'task') == LEADER


# Several sources: an arm and a gripper on controllers of their own.

GRIP = '/gripper/command'


def gripper(received: int, opening: float, form: str) -> Stamped:
    if form == 'floats':
        return plain('Float64MultiArray', GRIP, received, [opening])
    if form == 'gripper':
        kind = typestore().types['control_msgs/msg/GripperCommand']
        return GRIP, received, kind(position=opening, max_effort=5.0)
    if form == 'leader':
        return state(received, [9.0, opening], topic=GRIP, name=('x', 'lead'))
    _, _, msg = command(received, [opening, 9.0])
    msg.joint_names = ['lead' if form == 'renamed' else 'b', 'x']
    return GRIP, received, msg


def both(form: str) -> TaskSpec:
    called = ('lead',) if form in ('leader', 'renamed') else ()
    return task(
        sources=(
            ActionSource(topic=GRIP, joints=('b',), source_joints=called),
            ActionSource(topic='/arm/command', joints=('a',)),
        )
    )


def arm_alone(i: int) -> Stamped:
    _, received, msg = command(T0 + i * DT, [10.0 + i, 0.0])
    msg.joint_names = ['a', 'other']
    return '/arm/command', received, msg


@pytest.mark.parametrize('form', ['trajectory', 'renamed', 'floats', 'gripper', 'leader'])
def test_an_arm_and_a_gripper_may_be_commanded_on_topics_of_their_own(tmp_path: Path, form: str) -> None:
    spec = both(form)
    # The leader goes on and on; the others say once what they want.
    told = range(2, TICKS) if form == 'leader' else [2]
    made = [*observed(), *(arm_alone(i) for i in range(TICKS)), *(gripper(T0 + i * DT, 0.5, form) for i in told)]
    bag = save(tmp_path / 'bag', sorted(made, key=lambda m: m[1]))
    (episode,) = read_episode(bag, spec)
    # Until then its controller holds the gripper where it was measured at first.
    assert episode.actions.tolist() == [[10.0 + i, -0.0 if i < 2 else 0.5] for i in range(TICKS)]
    assert parse(TaskSpec, to_plain(spec)) == spec
    found = [f for f in findings(audit_bags(bag, spec)) if f.level == 'error']
    assert [f.what for f in found] == []


def test_an_arm_that_goes_where_its_tool_is_led_keeps_the_commands_of_its_gripper(tmp_path: Path) -> None:
    arm = ActionSource(topic='/joint_states', joints=('a',), next_state=True)
    spec = task(sources=(arm, ActionSource(topic=GRIP, joints=('b',))))
    made = [*observed(), *(gripper(T0 + i * DT, float(i), 'floats') for i in range(TICKS))]
    bag = save(tmp_path / 'bag', sorted(made, key=lambda m: m[1]))
    (episode,) = read_episode(bag, spec)
    (whole,) = read_episode(bag, replace(spec, action=replace(spec.action, sources=(), source='next_state')))
    assert episode.actions.tolist() == [[a, float(i)] for i, (a, _) in enumerate(whole.actions.tolist())]
    assert len(episode.stamps) == TICKS - 1 and source_types(spec)['/joint_states'] == {'sensor_msgs/msg/JointState'}


def test_what_was_never_commanded_and_is_not_measured_is_named() -> None:
    unseen = replace(both('floats'), streams=TASK.streams[1:])
    with pytest.raises(DataError, match=rf'action: no command yet on {GRIP}'):
        episodes([*observed(), *(arm_alone(i) for i in range(TICKS))], unseen)
    silent = [*observed(12), *(arm_alone(i) for i in range(12)), gripper(T0, 0.5, 'leader')]
    (episode,) = episodes(silent, both('leader'))
    assert len(episode.stamps) == 3, 'a leader that fell silent is not held'


def test_each_source_has_the_types_that_commands_come_in() -> None:
    types = source_types(both('gripper'))
    assert 'control_msgs/msg/GripperCommand' in types[GRIP] and len(types['/arm/command']) == 4
    all_there = replace(both('floats').action, sources=(ActionSource(topic='/all', joints=('b', 'a')),))
    assert 'control_msgs/msg/GripperCommand' not in source_types(replace(TASK, action=all_there))['/all']


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'sources': both('floats').action.sources[:1]}, 'got joints b, allowed each of a, b in one source'),
        ({'sources': both('floats').action.sources * 2}, 'topics: got .* allowed no name twice'),
        ({'source': 'next_state'}, 'got them with source, source_topic or source_joints, allowed alone'),
        ({'source_topic': '/x'}, 'got them with source, source_topic or source_joints, allowed alone'),
    ],
)
def test_sources_that_contradict_themselves_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f'action sources.*{words}'):
        replace(both('floats').action, **change)
