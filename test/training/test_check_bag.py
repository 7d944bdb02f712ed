"""Each fault that recordings have is found, and said with its level; recordings without one pass."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg

from dp_ros.audit.audit import Audit, Finding, audit_bags
from dp_ros.audit.check_bag import CheckSettings, check_bags
from dp_ros.audit.checks import findings
from dp_ros.audit.statistics import Channels, Decimated, LogHistogram, Longest
from dp_ros.audit.ticks import TickAudit
from dp_ros.cli.main import main
from dp_ros.errors import DataError
from dp_ros.messages import encoding as messages
from dp_ros.recordings.episodes.builder import Run
from dp_ros.recordings.episodes.episode import read_episode
from dp_ros.recordings.episodes.segmentation import CutSettings
from dp_ros.recordings.rosbag.reader import BagWriter, Stamped
from dp_ros.recordings.rosbag.types import rosbags_types, typestore
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, TaskSpec
from test.training.bag_maker import (
    JOINTS,
    MS,
    T0,
    TASK,
    arm,
    change_metadata,
    changed,
    command,
    path_at,
    plain,
    pose,
    save,
    state,
)

STATES = '/joint_states'


def audited(path: Path, task: TaskSpec | None = TASK) -> tuple[Audit, list[Finding]]:
    audit = audit_bags(path, task)
    return audit, findings(audit)


def wrong(found: list[Finding]) -> list[str]:
    return [f'{f.level} {f.where}: {f.what}: {f.got}' for f in found if f.level != 'ok']


@pytest.mark.parametrize('task', [TASK, None])
def test_a_good_recording_passes(tmp_path: Path, task: TaskSpec | None) -> None:
    audit, found = audited(save(tmp_path / 'bag', arm()), task)
    assert wrong(found) == []
    assert audit.task is not None and audit.task.action.joints == ('a', 'b')
    assert audit.ticks is not None and audit.ticks.lengths == [80]
    assert audit.topics['/joint_states'].intervals.mean == pytest.approx(0.02)
    assert audit.seconds == pytest.approx(7.98)


def test_a_recording_without_a_message_is_an_error(tmp_path: Path) -> None:
    for task in (TASK, None):
        _, found = audited(save(tmp_path / f'empty {task is None}', []), task)
        assert 'cannot be read whole' in wrong(found)[0] and 'got 0 messages, allowed 1 or more' in wrong(found)[0]
    assert check_bags(CheckSettings(path=tmp_path / 'empty True'), lambda text: None) == 1


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_file_that_holds_more_than_its_metadata_tells_of_is_named(tmp_path: Path, storage: str) -> None:
    bag = save(tmp_path / 'none', arm(), storage)
    change_metadata(bag, topics_with_message_count=[], message_count=0)
    _, found = audited(bag)
    assert 'got 0 messages, while the files hold 640 messages of which metadata.yaml lists 0 (400 on' in wrong(found)[0]
    bag = save(tmp_path / 'one', arm(), storage)
    counts = yaml.safe_load((bag / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    topics = counts['topics_with_message_count']
    kept = [entry for entry in topics if entry['topic_metadata']['name'] != '/block_pose']
    change_metadata(bag, topics_with_message_count=kept)
    _, found = audited(bag, None)
    assert wrong(found) == [
        'warning one: holds more than its metadata.yaml tells of: the files hold 640 messages of which metadata.yaml '
        'lists 480 (160 on /block_pose)'
    ]


def with_gripper() -> list[Stamped]:
    """Give the arm's recording with a gripper's joint states between, stamped a little before those of the arm."""
    grip = [
        state(T0 + i * 31 * MS, [0.01, 0.01], stamp=T0 + i * 31 * MS - 25 * MS, name=('l', 'r')) for i in range(258)
    ]
    made = [*arm(), *grip, state(T0 - MS, (), name=())]
    return changed(made, STATES, lambda i, m: state(m[1], m[2].position[::-1], name=('b', 'a')) if i == 9 else m)


@pytest.mark.parametrize('task', [TASK, None])
def test_joint_states_of_another_device_are_left_alone(tmp_path: Path, task: TaskSpec | None) -> None:
    bag = save(tmp_path / 'bag', with_gripper())
    audit, found = audited(bag, task)
    assert [line for line in wrong(found) if '/joint_states (l, r)' not in line] == []
    assert audit.topics['/joint_states'].intervals.mean == pytest.approx(0.02)
    assert audit.topics['/joint_states'].count == 400 and audit.topics['/joint_states (l, r)'].count == 258
    assert audit.topics['/joint_states'].channels.count == 400  # in whichever order
    (alone,) = read_episode(save(tmp_path / 'alone', arm()), TASK)
    (episode,) = read_episode(bag, TASK)
    assert episode.streams['arm'].tobytes() == alone.streams['arm'].tobytes()
    if task:
        said = [f'{f.where}: {f.what}: {f.got}' for f in found if 'left alone' in f.what]
        assert said == [
            '/joint_states: messages that name no joint: left alone: 1',
            '/joint_states (l, r): messages of joints that the task does not read: left alone: 258',
        ]


def test_where_one_device_falls_silent_the_other_hides_no_gap(tmp_path: Path) -> None:
    both = replace(TASK, streams=(*TASK.streams, replace(TASK.streams[0], name='gripper', joints=('l', 'r'))))
    made = changed(
        with_gripper(), STATES, lambda i, m: None if 4 * 10**9 < m[1] - T0 < 5 * 10**9 and 'l' in m[2].name else m
    )
    _, found = audited(save(tmp_path / 'bag', made), both)
    (gap,) = (f for f in found if f.what == 'gaps')
    assert gap.where == '/joint_states (l, r)' and '1.02 s' in gap.got


def shifted(by: int) -> Callable[[int, Stamped], Stamped]:
    def change(_: int, message: Stamped) -> Stamped:
        return state(message[1], message[2].position, stamp=message[1] + by)

    return change


def at(number: int, change: Callable[[Stamped], Stamped | None]) -> Callable[[int, Stamped], Stamped | None]:
    return lambda i, message: change(message) if i == number else message


def between(first: int, end: int, change: Callable[[Stamped], Stamped | None]) -> Callable[..., Stamped | None]:
    return lambda i, message: change(message) if first <= i < end else message


FAULTS: dict[str, tuple[str, Any, str]] = {
    'zero stamps in part': (
        STATES, lambda i, m: state(m[1], m[2].position, stamp=0 if i % 2 else m[1]),
        'warning /joint_states: header stamps are zero: 200 of 400 messages',
    ),
    'other epoch': (
        STATES, shifted(-T0 + 10**9),
        'error /joint_states: header stamps of another epoch than the receive times: 400 of 400 messages',
    ),
    'from the future': (
        STATES, shifted(40 * MS),
        'error /joint_states: header stamps later than the receive time: 400 of 400 messages',
    ),
    'backwards': (
        STATES, at(100, lambda m: state(m[1], m[2].position, stamp=m[1] - 300 * MS)),
        'warning /joint_states: header stamps run backwards: 1 times',
    ),
    'repeated': (
        STATES, lambda i, m: state(m[1], m[2].position, stamp=m[1] - (20 * MS if i % 2 else 0)),
        'error /joint_states: header stamps repeat: 200 times',
    ),
    'jump': (
        STATES, lambda i, m: state(m[1], m[2].position, stamp=m[1] - (0 if i < 200 else 30_000 * MS)),
        'warning /joint_states: clock jumps by more than 1 s against the receive times: 1 times',
    ),
    'late': (
        STATES, shifted(-60 * MS), 'warning /joint_states: arrives later than arrival_wait: 100% of messages',
    ),
    'gap': (STATES, between(100, 180, lambda m: None), 'warning /joint_states: gaps: 1, the longest 1.62 s in bag'),
    'slow': (STATES, lambda i, m: m if i % 15 == 0 else None, 'error /joint_states: slower than its max_age'),
    'uneven': (
        STATES, lambda i, m: None if i % 40 in (1, 2, 3) else m, 'warning /joint_states: uneven: 1 % of intervals',
    ),
    'not finite': (
        STATES, at(50, lambda m: state(m[1], [np.nan, 0.0])), 'error /joint_states a: not finite: 1 values',
    ),
    'no names': (
        STATES, lambda i, m: state(m[1], m[2].position, name=()),
        'error bag: training refuses the bag: no control tick has every stream and a command (arm: no message yet that '
        'names a, b; there came messages without names)',
    ),
    'renamed': (
        STATES, lambda i, m: state(m[1], m[2].position, name=('a', 'c')), 'error bag: training refuses the bag: topic',
    ),
    'never moves': (
        STATES, lambda i, m: state(m[1], [m[2].position[0], 0.25]), 'warning /joint_states b: never changes: 0.25',
    ),
    'saturated': (
        STATES, lambda i, m: state(m[1], np.minimum(m[2].position, 0.6)),
        'warning /joint_states a: saturated: often at its highest value',
    ),
    'outlier': (
        STATES, at(150, lambda m: state(m[1], m[2].position + np.array([30.0, 0.0]))),
        'warning /joint_states a: outlier that neither neighbour shares: off by 29.9',
    ),
    'frozen': (
        STATES, between(100, 250, lambda m: state(m[1], path_at(2.0))),
        'warning arm: repeats one value while commands move',
    ),
    'state before action': (
        STATES, lambda i, m: state(m[1], path_at(i * 0.02, -0.2)),
        'warning action: lag of the state behind the action: -2.',
    ),
    'follows slowly': (
        STATES, lambda i, m: state(m[1], path_at(i * 0.02, 0.9)),
        'warning action: lag of the state behind the action: 9.',
    ),
    'joint goes its own way': (
        STATES, lambda i, m: state(m[1], [m[2].position[0], 1e-3 * np.sin(50 * i)]),
        'warning action: joints that do not follow their command: b',
    ),
    'idle': ('/command', lambda i, m: m, 'warning ticks: idle'),
    'no command topic': ('/command', lambda i, m: None, 'error /command: not usable in 1 of 1 bags (bag): not rec'),
    'silent command': ('/command', lambda i, m: m if i > 75 else None, 'warning ticks: with every stream and a com'),
}  # fmt: skip


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_is_found(tmp_path: Path, fault: str) -> None:
    topic, change, expected = FAULTS[fault]
    made = arm()
    if fault == 'idle':
        made += [message for i in range(80) for message in still(T0 + 8 * 10**9 + i * 100 * MS)]
    _, found = audited(save(tmp_path / 'bag', changed(made, topic, change)))
    assert any(line.startswith(expected) for line in wrong(found)), wrong(found)


def still(t: int) -> list[Stamped]:
    return [state(t, [0.0, 0.0]), state(t + 50 * MS, [0.0, 0.0]), pose(t, 0.1, 0.1), command(t, [0.0, 0.0])]


def test_misspelt_joints_are_named_once_with_the_number_of_bags_in_the_words_of_the_training(tmp_path: Path) -> None:
    for i in range(12):
        made = changed(arm(1.0, T0 + i * 10**10), STATES, lambda _, m: state(m[1], m[2].position, name=('a', 'c')))
        save(tmp_path / f'bag{i:02}', made)
    words = "topic /joint_states: stream 'arm' joints: wanted b, which the message lacks; it has a, c"
    _, found = audited(tmp_path)
    assert f'error bag00, bag01, bag02 and 9 more: training refuses 12 bags: {words}' in wrong(found)
    with pytest.raises(DataError, match=words.partition(': ')[2]):
        read_episode(tmp_path / 'bag00', TASK)


@pytest.mark.parametrize(('compressed', 'do'), [(False, 'set'), (True, 'remove')])
def test_pictures_of_the_other_type_are_refused_with_what_to_do(tmp_path: Path, compressed: bool, do: str) -> None:
    camera = ImageStream(name='camera', topic='/camera', height=8, width=8, compressed=compressed)
    task = replace(TASK, streams=(*TASK.streams, camera))
    make = messages.to_image if compressed else messages.to_compressed_image
    pictures = [
        ('/camera', T0 + i * 100 * MS, make(stamp=T0 + i * 100 * MS, pixels=np.zeros((8, 8, 3), np.uint8),
                                            frame_id='', types=rosbags_types()))
        for i in range(10)
    ]  # fmt: skip
    bag = save(tmp_path / 'bag', [*arm(1.0), *pictures])
    advice = f'{do} compressed: true on its stream'
    _, found = audited(bag, task)
    assert any(f.where == '/camera' and f.level == 'error' and advice in f.advice for f in found)
    with pytest.raises(DataError, match=f'topic /camera: got type .*; {advice}'):
        read_episode(bag, task)


def test_bags_with_another_rate_or_a_dead_joint_are_named(tmp_path: Path) -> None:
    for i in range(4):
        made = arm(start=T0 + i * 60 * 10**9)
        if i == 3:
            made = changed(made, STATES, lambda k, m: state(m[1], [m[2].position[0], 0.5]) if k % 2 else None)
        save(tmp_path / f'bags/e{i}', made)
    lines = wrong(audited(tmp_path / 'bags')[1])
    assert any(line.startswith('warning /joint_states: another rate in 1 of 4 bags: e3 25/s') for line in lines), lines
    assert any(line.startswith('warning /joint_states b: frozen in 1 of 4 bags: e3') for line in lines), lines


def test_a_bag_cut_short_is_named_and_the_others_are_audited(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f'bags/e{i}', arm())
    (file,) = (tmp_path / 'bags/e1').glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    audit, found = audited(tmp_path / 'bags')
    assert [line.split(':')[0] for line in wrong(found)] == ['error e1']
    assert audit.ticks is not None and len(audit.ticks.lengths) == 2


def test_fewer_messages_than_announced_are_an_error(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', arm(), 'sqlite3')
    (file,) = bag.glob('*.db3')
    with sqlite3.connect(file) as base:
        base.execute('DELETE FROM messages WHERE id > 300')
    base.close()
    lines = wrong(audited(bag)[1])
    assert any('got 300 messages of 640 that it announces' in line for line in lines), lines


@pytest.mark.parametrize('task', [TASK, None])
def test_a_type_without_a_definition_is_named_and_does_no_harm(tmp_path: Path, task: TaskSpec | None) -> None:
    store = typestore()
    vendor = type(store)()
    vendor.register({**store.fielddefs, **get_types_from_msg('float64 a\n', 'vendor/msg/Odd')})
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        strange = writer.add_connection('/odd', 'vendor/msg/Odd', typestore=vendor)
        known = {}
        for topic, received, msg in sorted(arm(), key=lambda m: m[1]):
            if topic not in known:
                known[topic] = writer.add_connection(topic, msg.__msgtype__, typestore=store)
            writer.write(known[topic], received, store.serialize_cdr(msg, msg.__msgtype__))
            data = vendor.serialize_cdr(vendor.types['vendor/msg/Odd'](a=1.0), 'vendor/msg/Odd')
            writer.write(strange, received, data)
    _, found = audited(tmp_path / 'bag', task)
    assert wrong(found) == []
    assert any(f.where == '/odd' and 'vendor/msg/Odd' in f.got for f in found)


def picture(received: int, value: int, size: int = 16) -> Stamped:
    pixels = np.full((size, size, 3), value, np.uint8)
    return '/camera', received, messages.to_image(stamp=received, pixels=pixels, frame_id='c', types=rosbags_types())


def test_pictures_are_decoded_now_and_then_and_their_kinds_are_told(tmp_path: Path) -> None:
    made = arm() + [picture(T0 + i * 50 * MS, i % 250) for i in range(160)]
    camera = ImageStream(name='camera', topic='/camera', height=16, width=16)
    audit, found = audited(save(tmp_path / 'bag', made), replace(TASK, streams=(*TASK.streams, camera)))
    assert audit.topics['/camera'].forms == {'16 x 16 rgb8': 160}
    assert wrong(found) == []
    assert audit.ticks is not None and audit.ticks.skew.quantile(0.99) < 0.06


@pytest.mark.parametrize('data', [b'', b'\0', b'\0\1\0\0', b'\0\1\0\0' + bytes(8), b'\0\1\0\0' + b'\xff' * 20])
@pytest.mark.parametrize('kind', ['sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'])
def test_a_picture_of_next_to_no_bytes_is_an_error(tmp_path: Path, kind: str, data: bytes) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write_raw('/camera', kind, T0, data)
    _, found = audited(tmp_path / 'bag', None)
    assert any(line.startswith('error /camera: 1 messages cannot be used') for line in wrong(found)), wrong(found)


def test_pictures_that_change_their_size_are_refused(tmp_path: Path) -> None:
    made = arm() + [picture(T0 + i * 50 * MS, i % 250, 16 if i < 50 else 24) for i in range(160)]
    made = [m for m in made if m[0] != '/command' or m[1] > T0 + 1000 * MS]
    made[-160:-158] = [picture(T0, 0, 40), picture(T0 + 50 * MS, 0, 32)]  # before the first tick that counts
    camera = ImageStream(name='camera', topic='/camera', height=16, width=16)
    task = replace(TASK, streams=(*TASK.streams, camera))
    audit, found = audited(save(tmp_path / 'bag', made), task)
    counts = {40: 1, 32: 1, 16: 48, 24: 110}
    assert audit.topics['/camera'].forms == {f'{n} x {n} rgb8': count for n, count in counts.items()}
    assert any('got a picture of 24 x 24 pixels, 16 x 16 before' in line for line in wrong(found))
    with pytest.raises(DataError, match="stream 'camera': got a picture of 24 x 24 pixels, 16 x 16 before"):
        read_episode(tmp_path / 'bag', task)


def test_commands_that_stop_while_the_robot_goes_on_are_named(tmp_path: Path) -> None:
    made = changed(arm(), '/command', lambda i, m: m if i < 40 else None)
    _, found = audited(save(tmp_path / 'bag', made))
    assert any('error action: stays as it is while the robot moves: ' in line for line in wrong(found)), wrong(found)
    assert any(f'in bag, from {T0 / 1e9 + 3.9:.3f} s on' in line for line in wrong(found))


def test_joints_that_are_not_commanded_may_move_without_commands(tmp_path: Path) -> None:
    names = (*JOINTS, 'wheel')
    task = replace(TASK, streams=(replace(TASK.streams[0], joints=names, units=('rad',) * 3), *TASK.streams[1:]))
    made = changed(arm(), '/joint_states', lambda i, m: state(m[1], [0.1, 0.2, 0.01 * i], name=names))
    made = changed(made, '/command', lambda i, m: command(m[1], [0.1, 0.2]))
    assert not any('stays as it is' in line for line in wrong(audited(save(tmp_path / 'bag', made), task)[1]))


def test_a_robot_at_rest_needs_no_commands(tmp_path: Path) -> None:
    """It trembles where it is told to stay."""
    rest = path_at(3.9, 0.0)
    made = changed(arm(), '/command', lambda i, m: m if i < 40 else None)
    made = changed(made, '/joint_states', lambda i, m: m if i < 205 else state(m[1], rest + 0.001 * (-1) ** (i // 5)))
    assert not any('stays as it is' in line for line in wrong(audited(save(tmp_path / 'bag', made))[1]))


def test_commands_that_a_controller_rejects_are_counted(tmp_path: Path) -> None:
    made = changed(arm(), '/command', lambda i, m: (m[0], m[1], stamped(m[2], T0)) if i in (20, 30) else m)
    _, found = audited(save(tmp_path / 'bag', made))
    assert any('2 of 80 commands that end before they were received' in line for line in wrong(found))


def stamped(message: Any, stamp: int) -> Any:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return message


def test_a_picture_that_cannot_be_decoded_is_an_error(tmp_path: Path) -> None:
    made = [picture(T0 + i * 50 * MS, i) for i in range(20)]
    made[0][2].encoding = 'nv21'
    audit, found = audited(save(tmp_path / 'bag', made), None)
    assert any("got 'nv21'" in line for line in wrong(found))
    assert audit.ticks is None


def test_topics_without_joints_in_common_are_audited_one_by_one(tmp_path: Path) -> None:
    made = [plain('Float64MultiArray', '/forward', T0 + i * 100 * MS, [0.1 * i, 1.0]) for i in range(30)]
    audit, found = audited(save(tmp_path / 'bag', made), None)
    assert wrong(found) == []
    assert audit.topics['/forward'].count == 30
    assert any('give --config' in f.advice for f in found)


def test_recordings_are_audited_as_they_will_be_cut(tmp_path: Path) -> None:
    said = ((950, 'start'), (3050, 'stop'), (5950, 'start'))
    marks = [plain('String', '/marker', T0 + t * MS, word) for t, word in said]
    cut = CutSettings(by='marker', topic='/marker')
    audit = audit_bags(save(tmp_path / 'bag', arm() + marks), TASK, cut)
    assert audit.ticks is not None and audit.ticks.lengths == [21, 20]
    assert wrong(findings(audit)) == []
    lacking = audit_bags(save(tmp_path / 'other', arm()), TASK, cut)
    assert wrong(findings(lacking))[0].startswith('error /marker: not usable in 1 of 1 bags (other): not recorded')


def test_forwarded_commands_and_a_leader_are_audited_as_actions(tmp_path: Path) -> None:
    made = changed(arm(), '/command', lambda i, m: None)
    made += [plain('Float64MultiArray', '/forward', T0 + i * 100 * MS, path_at(i * 0.1, 0.0)) for i in range(80)]
    made += [state(T0 + i * 20 * MS, path_at(i * 0.02, 0.0), topic='/leader') for i in range(400)]
    bag = save(tmp_path / 'bag', made)
    for action in ({'source': 'float64_multi_array', 'source_topic': '/forward'},
                   {'source': 'joint_state', 'source_topic': '/leader'}):  # fmt: skip
        audit, found = audited(bag, replace(TASK, action=replace(TASK.action, **action)))
        assert wrong(found) == []
        assert audit.ticks is not None and audit.ticks.lag == pytest.approx(2.0, abs=0.1)


# The command.

CONFIG = """
name: test
steps: 1
task:
  streams:
    - {kind: joint_state, name: arm, topic: /joint_states, joints: [a, b], units: [rad, rad]}
  action: {topic: /command, joints: [a, b], units: [rad, rad]}
"""


def test_the_command_writes_its_report_and_says_by_its_code_how_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / 'good', arm())
    save(tmp_path / 'doubtful', changed(arm(), STATES, FAULTS['never moves'][1]))
    save(tmp_path / 'bad', changed(arm(), STATES, FAULTS['not finite'][1]))
    config = tmp_path / 'train.yaml'
    config.write_text(CONFIG)
    codes = {
        (name, strict): main(['check-bag', str(tmp_path / name), '--config', str(config), *strict])
        for name in ('good', 'doubtful', 'bad')
        for strict in ((), ('--strict',))
    }
    assert list(codes.values()) == [0, 0, 0, 3, 1, 1]
    assert '3 errors, 0 warnings' in capsys.readouterr().out


def test_one_joint_that_sags_before_its_command_says_nothing_of_the_clocks() -> None:
    """Two joints at a steady speed are hardly less alike a step earlier."""
    joints, t = ('a', 'b', 'c'), 0.1 * np.arange(80)
    task = TaskSpec(
        streams=(JointStream(name='arm', topic='/joint_states', joints=joints, units=('rad',) * 3),),
        action=ActionSpec(topic='/command', joints=joints, units=('rad',) * 3),
    )
    actions = np.clip(t - 1.0, 0.0, 5.0)[:, None] * np.array([0.2, 0.1, 0.15])
    positions = np.clip(t - 1.05, 0.0, 5.0)[:, None] * np.array([0.2, 0.1, 0.15])
    actions[11:, 2] += 0.1
    positions[10:, 2] += 0.1  # and is commanded to stay there
    ticks = TickAudit(task, 0.005)
    ticks.bag('bag', [Run(0, [*range(80)], [{'arm': row} for row in positions], [*actions])], {})
    assert ticks.lag == pytest.approx(0.5, abs=0.3)


def test_report_data_and_plots_are_files(tmp_path: Path) -> None:
    said: list[str] = []
    bag, out, data_file = save(tmp_path / 'bag', arm()), tmp_path / 'out', tmp_path / 'a/audit.json'
    settings = CheckSettings(path=bag, task=TASK, out=out, json=data_file)
    assert check_bags(settings, said.append) == 0
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        'channels.png', 'report.txt', 'ticks.png', 'times.png'
    ]  # fmt: skip
    data = json.loads((tmp_path / 'a/audit.json').read_text())
    assert data['ticks']['lag_steps'] == pytest.approx(2.0, abs=0.1)
    assert data['topics']['/joint_states']['rate'] == pytest.approx(50.0)
    assert 'lag of the state behind the action: 2.0 control steps (200 ms)' in ' '.join(said[0].split())


# The statistics.


def test_a_histogram_knows_quantiles_within_its_bins() -> None:
    values = np.random.default_rng(0).lognormal(-3, 1, 20_000)
    histogram = LogHistogram()
    for part in np.split(values, 20):
        histogram.add(part)
    for share in (0.01, 0.5, 0.99):
        assert histogram.quantile(share) == pytest.approx(np.quantile(values, share), rel=0.05)
    assert histogram.mean == pytest.approx(values.mean())
    assert histogram.deviation == pytest.approx(values.std())
    assert histogram.above(0.1) == pytest.approx((values > 0.1).sum(), rel=0.1)


def test_decimation_keeps_rows_of_the_whole_stream_at_even_distances() -> None:
    kept = Decimated(keep=100)
    for start in range(0, 7000, 7):
        kept.add(np.arange(start, start + 7)[:, None])
    rows = kept.rows[:, 0]
    assert 50 <= len(rows) <= 100
    assert set(np.diff(rows)) == {128}
    assert rows[0] == 0


def test_the_longest_are_kept_with_their_place() -> None:
    longest = Longest(keep=2)
    for part in range(10):
        longest.add(np.array([part, 100.0 - part, 0.0]), np.array([1, 2, 3]) + 10 * part, f'bag{part}')
    assert longest.entries == [(100.0, 'bag0', 2), (99.0, 'bag1', 12)]


def test_a_step_is_no_spike() -> None:
    channels = Channels(['a'])
    channels.start('bag')
    values = np.zeros(100)
    values[50:] = 1.0
    channels.add(values[:, None], np.arange(100))
    assert channels.spikes[0].entries[0][0] <= 0.0
    values[70] = 5.0
    channels.add(values[:, None], np.arange(100))
    assert channels.spikes[0].entries[0] == (4.0, 'bag', 70)


def test_a_joint_that_rests_at_its_end_is_not_saturated(tmp_path: Path) -> None:
    def at(t: float) -> np.ndarray:
        return np.array([np.sin(1.3 * t), min(max(0.0, t - 3.0), 0.6)])  # b waits at one end, and then at the other

    trembling = np.random.default_rng(0)
    made = [state(T0 + i * 20 * MS, at(i * 0.02) + trembling.uniform(-1e-5, 1e-5, 2)) for i in range(400)]
    made += [command(T0 + i * 100 * MS, at(i * 0.1 + 0.2)) for i in range(80)]
    _, found = audited(save(tmp_path / 'bag', made), replace(TASK, streams=TASK.streams[:1]))
    assert wrong(found) == []


def test_an_idle_robot_is_found_though_its_sensors_tremble(tmp_path: Path) -> None:
    rng, made = np.random.default_rng(0), []
    for i in range(1500):
        t = min(i * 0.02, 8.0)
        made.append(state(T0 + i * 20 * MS, path_at(t) + 1e-3 * rng.standard_normal(2)))
    made += [command(T0 + i * 100 * MS, path_at(min(i * 0.1, 8.0), 0.0)) for i in range(300)]
    audit, found = audited(save(tmp_path / 'bag', made), replace(TASK, streams=TASK.streams[:1]))
    assert audit.ticks is not None and audit.ticks.idle / audit.ticks.ticks == pytest.approx(22 / 30, abs=0.05)
    assert any(text.startswith('warning ticks: idle') for text in wrong(found))
    assert not any('saturated' in text for text in wrong(found))


def test_a_quaternion_that_turns_its_sign_is_named(tmp_path: Path) -> None:
    task = replace(TASK, streams=(TASK.streams[0], replace(TASK.streams[1], features=('qx', 'qy', 'qz', 'qw'))))
    made = [*arm()]
    for number, message in enumerate(m for m in made if m[0] == '/block_pose'):
        turn = message[2].pose.orientation
        turn.x, turn.w = 1.0, 0.01 * (-1) ** (number // 20)
    _, found = audited(save(tmp_path / 'bag', made), task)
    assert any('warning block: quaternion changes its sign: 7 times' in text for text in wrong(found))
