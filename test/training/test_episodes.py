from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import encoding
from dp_ros.motion.trajectory import Trajectory
from dp_ros.recordings.episodes.command_track import CommandTrack
from dp_ros.recordings.episodes.episode import (
    Episode,
    episodes_from_messages,
    read_episode,
    read_episodes,
    wanted_topics,
)
from dp_ros.recordings.rosbag.reader import BagWriter, Stamped
from dp_ros.recordings.rosbag.types import rosbags_types
from dp_ros.simulation.controller.controller import JointTrajectoryController
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, PoseStream, TaskSpec

MS = 1_000_000
DT = 100 * MS
T0 = 1_700_000_000_000 * MS
ACTION = ActionSpec(topic='/command', joints=('a',), units=('rad',))
ARM = JointStream(name='arm', topic='/joint_states', joints=('a',), units=('rad',), max_age=0.15)
BLOCK = PoseStream(name='block', topic='/block_pose', features=('x',), max_age=0.15)
TASK = TaskSpec(streams=(ARM, BLOCK), action=ACTION)


def state(received: int, value: float, stamp: int | None = None) -> Stamped:
    stamp = received if stamp is None else stamp
    msg = encoding.to_joint_state(stamp=stamp, name=['z', 'a'], position=[9.0, value], types=rosbags_types())
    return '/joint_states', received, msg


def pose(received: int, value: float, stamp: int | None = None) -> Stamped:
    stamp = received if stamp is None else stamp
    msg = encoding.to_pose(
        stamp=stamp, position=(value, 0, 0), orientation=(0, 0, 0, 1), frame_id='f', types=rosbags_types()
    )
    return '/block_pose', received, msg


def command(
    received: int, values: list[float], *, stamp: int = 0, times: list[int] | None = None, velocities: Any = None
) -> Stamped:
    plan = Trajectory(
        stamp=stamp,
        joints=('a',),
        times=np.array([0] if times is None else times, dtype=np.int64),
        positions=np.array(values)[:, None],
        velocities=velocities,
    )
    return '/command', received, encoding.to_joint_trajectory(plan, types=rosbags_types())


def steady(ticks: int, start: int = T0) -> list[Stamped]:
    """Give a state, a pose and a command at every tick, with the tick's number in each."""
    made = []
    for i in range(ticks):
        t = start + i * DT
        made += [state(t, i), pose(t, 100 + i), command(t, [200.0 + i])]
    return made


def episodes(given: list[Stamped], task: TaskSpec = TASK) -> list[Episode]:
    return episodes_from_messages('bag', sorted(given, key=lambda m: m[1]), task)


def test_every_tick_has_its_observation_and_its_command() -> None:
    (episode,) = episodes(steady(5))
    assert episode.name == 'bag'
    assert episode.stamps.tolist() == [T0 + i * DT for i in range(5)]
    assert episode.streams['arm'].tolist() == [[float(i)] for i in range(5)]
    assert episode.streams['block'].tolist() == [[100.0 + i] for i in range(5)]
    assert episode.actions.tolist() == [[200.0 + i] for i in range(5)]
    assert [episode.stamps.dtype, episode.actions.dtype] == [np.dtype(np.int64), np.dtype(np.float64)]


def test_two_streams_may_share_a_topic() -> None:
    other = replace(ARM, name='other', joints=('z', 'a'), units=('rad', 'rad'))
    (episode,) = episodes(steady(3), replace(TASK, streams=(ARM, other)))
    assert episode.streams['other'].tolist() == [[9.0, float(i)] for i in range(3)]


def test_an_episode_starts_where_every_stream_and_a_command_is_there() -> None:
    late = [m for m in steady(6) if not (m[0] == '/command' and m[1] < T0 + 3 * DT)]
    (episode,) = episodes(late)
    assert episode.stamps[0] == T0 + 3 * DT


def test_an_episode_ends_with_the_last_message_of_the_streams() -> None:
    going_on = steady(4) + [command(T0 + i * DT, [0.0]) for i in range(4, 40)]
    (episode,) = episodes(going_on)
    assert episode.stamps[-1] == T0 + 3 * DT


def test_ticks_are_whole_multiples_of_control_dt_whatever_the_stamps() -> None:
    (episode,) = episodes(steady(5, start=T0 + 37 * MS))
    assert episode.stamps.tolist() == [T0 + i * DT for i in range(1, 5)]
    assert episode.actions.tolist() == [[200.0 + i] for i in range(4)]


def test_a_gap_splits_an_episode() -> None:
    first, second = episodes(steady(4) + steady(3, start=T0 + 60 * 10**9))
    assert (first.name, second.name) == ('bag.0', 'bag.1')
    # max_age is 0.15 s: one tick after the last message still has its observation.
    assert first.stamps.tolist() == [T0 + i * DT for i in range(5)]
    assert second.stamps.tolist() == [T0 + 60 * 10**9 + i * DT for i in range(3)]


def test_a_clock_that_jumps_by_years_costs_no_time() -> None:
    first, second = episodes(steady(4) + steady(3, start=T0 + 10 * 365 * 86_400 * 10**9))
    assert (len(first.stamps), len(second.stamps)) == (5, 3)


def test_a_header_stamp_of_zero_means_the_receive_time() -> None:
    zero = []
    for i, t in enumerate(range(T0, T0 + 4 * DT, DT)):
        zero += [state(t, i, stamp=0), pose(t, 100 + i, stamp=0), command(t, [200.0 + i])]
    (episode,), (expected,) = episodes(zero), episodes(steady(4))
    assert episode.stamps.tolist() == expected.stamps.tolist()
    assert episode.streams['arm'].tobytes() == expected.streams['arm'].tobytes()


def test_a_message_too_late_for_its_tick_counts_at_those_after() -> None:
    slow = replace(TASK, streams=(replace(ARM, max_age=0.35), replace(BLOCK, max_age=0.35)))
    made = [command(T0, [0.0]), state(T0 + 50 * MS, 1.0, stamp=T0), pose(T0 + 50 * MS, 2.0, stamp=T0)]
    (episode,) = episodes([*made, state(T0 + 400 * MS, 3.0)], slow)
    assert episode.stamps.tolist() == [T0 + DT, T0 + 2 * DT, T0 + 3 * DT]


def test_what_is_held_counts_between_two_messages_that_are_far_apart() -> None:
    slow = replace(TASK, streams=(replace(ARM, max_age=0.25), replace(BLOCK, max_age=0.25)))
    # Where the joint was when the command came is not known, so there is no set point before it is due.
    made = [command(T0 - MS, [0.0], times=[150 * MS]), state(T0, 1.0), pose(T0, 2.0)]
    (episode,) = episodes([*made, state(T0 + 400 * MS, 3.0)], slow)
    assert episode.stamps.tolist() == [T0 + 2 * DT]


def test_stamps_of_another_clock_are_refused_and_say_how_old() -> None:
    other = [state(t, 0.0, stamp=5 * 10**9 + t - T0) if topic == '/joint_states' else (topic, t, v)
             for topic, t, v in steady(4)]  # fmt: skip
    with pytest.raises(DataError, match=r'no control tick has every stream.*arm: newest message is 1699999995.* s old'):
        episodes(other)


def test_no_messages_are_refused() -> None:
    with pytest.raises(DataError, match='bag: no control tick'):
        episodes([])


def test_without_commands_the_error_says_so() -> None:
    with pytest.raises(DataError, match='action: no command yet'):
        episodes([m for m in steady(5) if m[0] != '/command'])


@pytest.mark.parametrize(
    ('bad', 'words'),
    [
        (state(T0 + DT, math.nan), ['topic /joint_states', "stream 'arm' position of a: got nan"]),
        (pose(T0 + DT, math.inf), ['topic /block_pose', "stream 'block': got inf"]),
    ],
)
def test_a_bad_message_is_refused_with_topic_and_time(bad: Stamped, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        episodes([*steady(3), bad])
    for word in ['bag', str(T0 + DT), *words]:
        assert word in str(caught.value)


def test_a_task_that_wants_one_topic_as_two_types_is_refused() -> None:
    task = replace(TASK, streams=(ARM, replace(BLOCK, topic='/joint_states')))
    with pytest.raises(ConfigError, match=r'topic /joint_states: the task wants it as geometry_msgs.*and sensor_msgs'):
        wanted_topics(task)


# The rule itself, against a slow reading of it.


@st.composite
def recordings(draw: st.DrawFn) -> list[Stamped]:
    made = []
    for make, period in ((state, draw(st.integers(7, 120))), (pose, draw(st.integers(7, 120)))):
        for i in range(draw(st.integers(1, 12))):
            stamp = T0 + i * period * MS + draw(st.integers(-10, 10)) * MS
            # Steps far below a whole turn, which would be a joint that wraps.
            made.append(make(stamp + draw(st.integers(0, 60)) * MS, (i + 1) / 8, stamp))
    for i in range(draw(st.integers(1, 6))):
        made.append(command(T0 + draw(st.integers(-50, 900)) * MS, [i / 8]))
    return sorted(made, key=lambda m: m[1])


def newest(of: list[tuple[int, int, float]], tick: int, wait: int, max_age: int) -> float | None:
    taken: list[tuple[int, int, float]] = []
    for stamp, arrival, value in of:
        if not taken or stamp > taken[-1][0]:
            taken.append((stamp, arrival, value))
    in_time = [entry for entry in taken if entry[0] <= tick and entry[1] <= tick + wait]
    return in_time[-1][2] if in_time and tick - in_time[-1][0] <= max_age else None


@settings(max_examples=300, deadline=None)
@given(made=recordings())
def test_episodes_follow_the_rule_of_alignment(made: list[Stamped]) -> None:
    values: dict[str, list[tuple[int, int, float]]] = {'/joint_states': [], '/block_pose': []}
    commands = []
    for topic, received, msg in made:
        if topic == '/command':
            commands.append((received, msg.points[0].positions[0]))
        else:
            value = msg.position[1] if topic == '/joint_states' else msg.pose.position.x
            values[topic].append((encoding.stamp_of(msg), received, value))
    last = max(stamp for entries in values.values() for stamp, _, _ in entries)
    expected = {}
    for tick in range(T0 - DT, last + 1, DT):
        found = [newest(values[topic], tick, 20 * MS, 150 * MS) for topic in ('/joint_states', '/block_pose')]
        action = next((value for received, value in reversed(commands) if received <= tick), None)
        if None not in found and action is not None:
            expected[tick] = (*found, action)
    if not expected:
        with pytest.raises(DataError, match='no control tick'):
            episodes(made)
        return
    got: dict[int, tuple[float, ...]] = {}
    for episode in episodes(made):
        assert np.all(np.diff(episode.stamps) == DT)
        columns = (episode.streams['arm'], episode.streams['block'], episode.actions)
        got |= {int(t): tuple(float(c[i, 0]) for c in columns) for i, t in enumerate(episode.stamps)}
    assert got == expected


# Commands.


def set_points(commands: list[Stamped], times: list[int]) -> list[float | None]:
    track = CommandTrack(ACTION)
    for _, received, msg in commands:
        track.push(received, msg)
    found = [track.at(T0 + t * MS) for t in times]
    return [None if f is None else float(f[0]) for f in found]


def test_a_single_point_that_is_due_holds_from_when_it_is_received() -> None:
    made = [command(T0, [1.0]), command(T0 + 50 * MS, [2.0])]
    assert set_points(made, [-1, 0, 49, 50, 5000]) == [None, 1.0, 1.0, 2.0, 2.0]


def test_points_are_interpolated_as_a_controller_does() -> None:
    made = [command(T0, [1.0, 3.0], times=[0, 100 * MS])]
    assert set_points(made, [0, 25, 100, 200]) == [1.0, 1.5, 3.0, 3.0]


def test_velocities_make_it_a_cubic() -> None:
    made = [command(T0, [0.0, 1.0], times=[0, 1000 * MS], velocities=np.zeros((2, 1)))]
    assert set_points(made, [250, 500]) == pytest.approx([0.15625, 0.5])


def test_a_past_stamp_puts_the_trajectory_in_the_past() -> None:
    made = [command(T0, [0.0, 4.0], times=[0, 400 * MS], stamp=T0 - 100 * MS)]
    assert set_points(made, [0, 100]) == [1.0, 2.0]


def test_the_first_command_is_known_from_its_stamp_on_if_it_was_received_a_moment_later() -> None:
    late = [command(T0 + 20 * MS, [1.0, 3.0], times=[0, 100 * MS], stamp=T0)]
    assert set_points(late, [-1, 0, 20, 100]) == [None, 1.0, pytest.approx(1.4), 3.0]
    later = [command(T0 + 100 * MS, [1.0, 3.0], times=[0, 200 * MS], stamp=T0)]
    assert set_points(later, [0, 49, 50, 100]) == [None, None, 1.5, 2.0]
    second = [command(T0, [0.0]), command(T0 + 120 * MS, [1.0, 3.0], times=[0, 100 * MS], stamp=T0 + 100 * MS)]
    assert set_points(second, [100, 119, 120]) == [0.0, 0.0, pytest.approx(1.4)]


def test_before_its_first_point_is_due_a_command_ramps_from_the_set_point_it_met() -> None:
    made = [command(T0, [1.0]), command(T0 + 100 * MS, [3.0], times=[100 * MS])]
    assert set_points(made, [50, 100, 150, 200, 300]) == [1.0, 1.0, 2.0, 3.0, 3.0]


def test_commands_that_replace_each_other_before_they_are_due_still_move_the_set_point() -> None:
    made = [command(T0, [0.0])] + [command(T0 + i * 20 * MS, [1.0], times=[100 * MS]) for i in range(1, 20)]
    assert set_points(made, [400]) == pytest.approx([1 - 0.8**18 * 0.8], abs=0.02)


def test_the_first_command_is_not_known_before_its_first_point() -> None:
    assert set_points([command(T0, [1.0], times=[100 * MS])], [0, 99, 100]) == [None, None, 1.0]


def test_the_set_point_counts_from_when_the_first_command_is_due() -> None:
    made = [*(m for m in steady(5) if m[0] != '/command'), command(T0 + 50 * MS, [4.0], times=[200 * MS])]
    made.append(command(T0 + 150 * MS, [6.0], times=[200 * MS]))  # meets it half-way, at 2
    (episode,) = episodes(made)
    assert episode.stamps.tolist() == [T0 + i * DT for i in (3, 4)]
    assert episode.actions[:, 0] == pytest.approx([5.0, 6.0])


@pytest.mark.parametrize('velocities', [None, np.array([[0.3]])], ids=['line', 'cubic'])
def test_one_point_commands_at_30_hz_are_followed_as_a_controller_does(velocities: Any) -> None:
    controller = JointTrajectoryController(('a',), rate=1000, allow_nonzero_velocity_at_trajectory_end=True)
    controller.reset(np.array([0.5]))
    track, followed, found = CommandTrack(ACTION), [], []
    before = measured = np.array([0.5])
    for step in range(1500):
        now = T0 + step * MS
        if step % 33 == 0 and step >= 100:
            _, _, msg = command(now, [0.5 + np.sin(step / 300)], times=[120 * MS], velocities=velocities)
            track.push(now, msg, measured)
            controller.command(encoding.trajectory_value(msg), now)
        speed = 1e3 * (measured - before)
        before, measured = measured, controller.update(now, measured, speed)
        followed.append(measured[0])
        found.append(None if (at := track.at(now)) is None else at[0])
    due = 132 + 120
    assert found[:due] == [None] * due and None not in found[due:]
    assert np.ptp(followed) > 0.3
    np.testing.assert_allclose(found[due:], followed[due:], atol=0.01)


def test_faster_commands_than_due_without_a_measured_state_are_named() -> None:
    nobody = replace(TASK, streams=(BLOCK,))
    made = [m for m in steady(8) if m[0] != '/command']
    made += [command(T0 + i * 33 * MS, [1.0], times=[100 * MS]) for i in range(20)]
    with pytest.raises(DataError, match=r'action: no command has been due yet, and where the joints were .* not known'):
        episodes(made, nobody)
    (episode,) = episodes(made)
    assert len(episode.stamps) == 7


def test_a_continuous_joint_ramps_the_shorter_way() -> None:
    track = CommandTrack(ACTION, ('a',))
    _, received, msg = command(T0, [-3.1], times=[100 * MS])
    track.push(received, msg, np.array([3.1]))
    track.push(T0 + 50 * MS, msg, np.array([3.1]))
    end = track.at(T0 + 100 * MS)
    assert end is not None and end[0] == pytest.approx((-np.pi - 3.1) / 2)


def test_a_command_that_ended_before_it_came_changes_nothing() -> None:
    made = [command(T0, [1.0]), command(T0 + 100 * MS, [9.0], stamp=T0 + 49 * MS)]
    assert set_points(made, [100]) == [1.0]


def test_a_command_that_the_recorder_heard_late_counts() -> None:
    made = [command(T0, [1.0]), command(T0 + 100 * MS, [9.0], stamp=T0 + 50 * MS)]
    assert set_points(made, [100]) == [9.0]


def test_a_command_of_another_clock_changes_nothing_and_counts_as_rejected() -> None:
    made = [command(T0, [1.0]), command(T0 + 100 * MS, [9.0], stamp=T0 + 10_101 * MS)]
    assert set_points(made, [100]) == [1.0]
    made[1] = command(T0 + 100 * MS, [9.0], stamp=T0 + 10_100 * MS)
    assert set_points(made, [100]) == [1.0]
    assert set_points(made, [5_100]) == [5.0]  # this one is on its way


@pytest.mark.parametrize('late', [1, 2])
def test_recordings_of_commands_that_were_rejected_are_refused(late: int) -> None:
    """One of five is borne, two are not."""
    made = [m for m in steady(9) if m[0] != '/command']
    made += [command(T0 + i * 100 * MS, [float(i)], stamp=T0 - 500 * MS if i < late + 1 and i else 0) for i in range(5)]
    made.sort(key=lambda m: m[1])
    if late == 1:
        episodes(made)
        return
    with pytest.raises(DataError, match=r'action: got 2 of 5 commands .* allowed 20%'):
        episodes(made)


def test_a_joint_named_twice_in_a_command_is_refused() -> None:
    plan = Trajectory(stamp=0, joints=('a', 'x'), times=np.array([0]), positions=np.array([[7.0, 8.0]]))
    message = encoding.to_joint_trajectory(plan, types=rosbags_types())
    message.joint_names = ['a', 'a']
    with pytest.raises(DataError, match='action joints: got a more than once'):
        CommandTrack(ACTION).push(T0, message)


def test_when_every_command_ended_before_it_came_the_error_counts_them() -> None:
    old = [command(t, [0.0], stamp=5) if topic == '/command' else (topic, t, v) for topic, t, v in steady(4)]
    with pytest.raises(DataError, match=r'got 4 of 4 commands that end before they were received'):
        episodes(old)


def test_command_joints_may_come_in_another_order_with_others_between() -> None:
    plan = Trajectory(stamp=0, joints=('x', 'a'), times=np.array([0]), positions=np.array([[7.0, 8.0]]))
    track = CommandTrack(ACTION)
    track.push(T0, encoding.to_joint_trajectory(plan, types=rosbags_types()))
    found = track.at(T0)
    assert found is not None
    assert found.tolist() == [8.0]


def _no_points(msg: Any) -> None:
    msg.points.clear()


def _nan(msg: Any) -> None:
    msg.points[0].positions[0] = math.nan


def _other_joint(msg: Any) -> None:
    msg.joint_names[0] = 'q'


def _backwards(msg: Any) -> None:
    msg.points.append(msg.points[0])


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (_no_points, 'got 0 points'),
        (_nan, 'got nan'),
        (_other_joint, 'wanted a, which the message lacks; it has q'),
        (_backwards, 'strictly increasing'),
    ],
)
def test_a_bad_command_is_refused(spoil: Callable[[Any], None], words: str) -> None:
    made = steady(3)
    spoil(made[-1][2])
    with pytest.raises(DataError, match=f'topic /command.*{words}'):
        episodes(made)


# From files.


def save(path: Path, made: list[Stamped], storage: str = 'mcap') -> Path:
    with BagWriter(path, storage) as bag:
        for topic, received, msg in made:
            bag.write(topic, received, msg)
    return path


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_bag_gives_the_same_episode_as_its_messages(tmp_path: Path, storage: str) -> None:
    made = steady(50, start=T0 + 12 * MS)
    (read,) = read_episode(save(tmp_path / 'bag', made, storage), TASK)
    (expected,) = episodes(made)
    assert read.name == 'bag'
    assert read.stamps.tobytes() == expected.stamps.tobytes()
    assert read.actions.tobytes() == expected.actions.tobytes()
    for name, values in expected.streams.items():
        assert read.streams[name].tobytes() == values.tobytes()


def test_a_tree_of_bags_gives_all_their_episodes(tmp_path: Path) -> None:
    save(tmp_path / 'day/b', steady(3))
    save(tmp_path / 'day/a', steady(3) + steady(3, start=T0 + 60 * 10**9))
    assert [e.name for e in read_episodes(tmp_path, TASK)] == ['a.0', 'a.1', 'b']


def test_a_fault_in_a_bag_is_told_with_its_path(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', [*steady(3), state(T0 + 3 * DT, math.nan)])
    with pytest.raises(DataError, match=f'bag {bag}: bag, topic /joint_states, received at {T0 + 3 * DT} ns: '):
        read_episode(bag, TASK)


def test_images_are_kept_at_the_size_of_the_stream(tmp_path: Path) -> None:
    camera = ImageStream(name='camera', topic='/camera', height=8, width=8)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    made = []
    for topic, t, msg in steady(3):
        made.append((topic, t, msg))
        if topic == '/block_pose':
            image = encoding.to_image(stamp=t, pixels=pixels, frame_id='camera', types=rosbags_types())
            made.append(('/camera', t, image))
    task = replace(TASK, streams=(ARM, camera))
    (episode,) = read_episode(save(tmp_path / 'bag', made), task)
    assert episode.streams['camera'].shape == (3, 8, 8, 3)
    assert np.array_equal(episode.streams['camera'][0], encoding.resize_rgb(camera, pixels))
