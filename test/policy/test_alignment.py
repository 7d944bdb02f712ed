"""The rule of alignment, and what a robot may ask for beyond it."""

from __future__ import annotations

import numpy as np
import pytest

from dp_ros.data import Observation
from dp_ros.errors import ConfigError
from dp_ros.policy.alignment import Aligner, AlignmentLimits, Missing
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, PoseStream, TaskSpec

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
ARM = JointStream(name='arm', topic='/joint_states', joints=('a',), units=('rad',))
BLOCK = PoseStream(name='block', topic='/block_pose', features=('x',))
CAMERA = ImageStream(name='camera', topic='/image', height=8, width=8)
COMMAND = ActionSpec(topic='/arm_controller/joint_trajectory', joints=('a',), units=('rad',))


def aligner(*streams, **strictness):
    return Aligner(TaskSpec(streams=streams, action=COMMAND), AlignmentLimits(**strictness))


def push(aligner, stream, stamp, value=0.0, *, arrival=None):
    """Push a message stamped ``stamp`` ms after T0, that arrived then if not told otherwise."""
    arrived = T0 + (stamp if arrival is None else arrival) * MS
    return aligner.push(stream.name, T0 + stamp * MS, arrived, np.array([value]))


def picture(aligner, stamp, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return aligner.push(CAMERA.name, T0 + stamp * MS, T0 + stamp * MS, pixels)


def reasons(found):
    assert isinstance(found, Missing)
    return dict(found.reasons)


def test_the_streams_own_max_age_holds_unless_a_shorter_one_is_asked_for():
    for asked, fresh in (({}, True), ({'arm': 0}, True), ({'arm': 60 * MS}, True), ({'arm': 59 * MS}, False)):
        streams = aligner(ARM, max_age=asked)
        push(streams, ARM, 40)
        found = streams.observe(T0 + 100 * MS)
        assert isinstance(found, Observation) == fresh
        if not fresh:
            assert reasons(found) == {'arm': 'newest message is 0.060 s old, allowed 0.059 s'}


def test_an_age_beyond_the_one_the_policy_learnt_with_is_refused():
    with pytest.raises(ConfigError, match=r'max_age\.arm: got 0\.2 s, allowed up to 0\.1 s'):
        aligner(ARM, max_age={'arm': 200 * MS})
    with pytest.raises(ConfigError, match=r'max_age\.elbow: got a stream that the task lacks, allowed arm'):
        aligner(ARM, max_age={'elbow': MS})
    with pytest.raises(ConfigError, match='max_skew: got -1 ns, allowed 0 or more'):
        AlignmentLimits(max_skew=-1)


@pytest.mark.parametrize(('skew', 'allowed', 'observed'), [(80, 80, True), (81, 80, False), (99, 0, True)])
def test_the_stamps_of_an_observation_lie_no_farther_apart_than_the_skew(skew, allowed, observed):
    streams = aligner(ARM, BLOCK, max_skew=allowed * MS)
    push(streams, ARM, 100 - skew)
    push(streams, BLOCK, 100)
    found = streams.observe(T0 + 100 * MS)
    assert isinstance(found, Observation) == observed
    if not observed:
        assert reasons(found) == {'arm': 'stamped 0.081 s before block, allowed 0.080 s'}


def test_a_camera_that_repeats_its_picture_under_new_stamps_is_frozen():
    streams = aligner(CAMERA, max_frozen=300 * MS)
    for stamp in range(0, 800, 100):
        picture(streams, stamp, seed=min(stamp, 200))
    assert isinstance(streams.observe(T0 + 500 * MS), Observation)
    assert reasons(streams.observe(T0 + 600 * MS)) == {'camera': 'frozen: one picture for 0.400 s, allowed 0.300 s'}
    assert streams.buffers['camera'].frozen == 500 * MS
    picture(streams, 800, seed=9)
    assert isinstance(streams.observe(T0 + 800 * MS), Observation)


def test_repeated_pictures_count_where_nothing_is_asked_and_repeated_joint_states_always():
    streams = aligner(CAMERA)
    for stamp in range(0, 800, 100):
        picture(streams, stamp, seed=0)
    assert isinstance(streams.observe(T0 + 700 * MS), Observation)
    streams = aligner(ARM, max_frozen=100 * MS)
    for stamp in range(0, 800, 100):
        push(streams, ARM, stamp, 1.0)
    assert isinstance(streams.observe(T0 + 700 * MS), Observation)


def test_a_camera_whose_stamps_stand_still_ages_out():
    streams = aligner(CAMERA)
    for arrival in range(0, 500, 100):
        streams.push('camera', T0, T0 + arrival * MS, np.zeros((8, 8, 3), np.uint8))
    (reason,) = reasons(streams.observe(T0 + 400 * MS)).values()
    assert reason == (
        'newest message is 0.400 s old, allowed 0.200 s; '
        'the last to come was dropped, stamped 0.000 s before the newest'
    )
    assert streams.buffers['camera'].dropped == 4


def test_a_stamp_from_the_future_does_not_hold_up_the_stream():
    streams = aligner(ARM)
    assert push(streams, ARM, 80)
    assert not push(streams, ARM, 10_090, 9.0, arrival=90)
    assert push(streams, ARM, 100, 2.0)
    found = streams.observe(T0 + 100 * MS)
    assert isinstance(found, Observation) and found.streams['arm'] == 2.0
    assert streams.buffers['arm'].ahead == 1
    for stamp in range(110, 500, 10):
        push(streams, ARM, stamp + 10_000, arrival=stamp)
    assert reasons(streams.observe(T0 + 400 * MS))['arm'].endswith('dropped, stamped 10.000 s ahead of its arrival')


def test_a_clock_a_little_ahead_does_not_make_a_message_younger():
    streams = aligner(ARM)
    push(streams, ARM, 500, arrival=0)
    assert reasons(streams.observe(T0 + 500 * MS)) == {'arm': 'newest message is 0.500 s old, allowed 0.100 s'}


def test_stamps_that_jump_back_are_dropped_until_time_has_caught_up():
    streams = aligner(ARM)
    push(streams, ARM, 1000)
    for arrival in range(1010, 1400, 10):
        push(streams, ARM, arrival - 500, 3.0, arrival=arrival)
    assert 'stamped 0.110 s before the newest' in reasons(streams.observe(T0 + 1300 * MS))['arm']
    push(streams, ARM, 1400, 4.0)
    assert isinstance(streams.observe(T0 + 1400 * MS), Observation)


def test_after_a_jump_of_the_clock_messages_are_forgotten_and_counts_are_not():
    streams = aligner(ARM)
    push(streams, ARM, 100)
    push(streams, ARM, 90)
    streams.clear()
    assert reasons(streams.observe(T0 + 100 * MS)) == {'arm': 'no message yet'}
    assert streams.buffers['arm'].dropped == 1
