"""Where recordings are cut: by markers, by calls of services, by idleness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import Writer
from rosbags.typesys import get_types_from_msg

from dp_ros.errors import ConfigError, DataError
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.episode import read_episode, read_episodes
from dp_ros.recordings.episodes.segmentation import STRING, CutSettings, Cutter, busy_parts
from dp_ros.recordings.rosbag.reader import STORAGES, Stamped
from dp_ros.recordings.rosbag.types import typestore
from test.training.bag_maker import MS, T0, TASK, command, plain, pose, save, state

DT = 100 * MS
SERVICE = '/recorder/record'


def steady(ticks: int) -> list[Stamped]:
    made = []
    for i in range(ticks):
        t = T0 + i * DT
        made += [state(t, [i, -i]), pose(t, 0.0, 0.0), command(t, [i, -i])]
    return made


def ticks_of(found: list[Episode]) -> list[list[int]]:
    return [((e.stamps - T0) // DT).tolist() for e in found]


def words(*said: tuple[int, Any], kind: str = 'String') -> list[Stamped]:
    return [plain(kind, '/marker', T0 + i * DT + 50 * MS, word) for i, word in said]


MARKER = CutSettings(by='marker', topic='/marker')


def test_a_string_marker_starts_and_stops_episodes(tmp_path: Path) -> None:
    said = words((1, 'episode START 1'), (4, 'Stop, please'), (5, 'comment'), (8, 'start'), (11, 'stop'))
    found = read_episode(save(tmp_path / 'bag', steady(15) + said), TASK, cut=MARKER)
    assert ticks_of(found) == [[2, 3, 4], [9, 10, 11]]
    assert [e.name for e in found] == ['bag.0', 'bag.1']


def test_a_bool_marker_is_true_from_start_to_stop(tmp_path: Path) -> None:
    said = words((1, True), (2, True), (4, False), (8, True), kind='Bool')
    found = read_episode(save(tmp_path / 'bag', steady(12) + said), TASK, cut=MARKER)
    assert ticks_of(found) == [[2, 3, 4], [9, 10, 11]]


def test_a_second_start_ends_the_episode_before(tmp_path: Path) -> None:
    found = read_episode(save(tmp_path / 'bag', steady(8) + words((1, 'start'), (4, 'start'))), TASK, cut=MARKER)
    assert ticks_of(found) == [[2, 3, 4], [5, 6, 7]]


def test_words_that_are_no_stop_are_not_passed_over(tmp_path: Path) -> None:
    said = words((1, 'start'), (3, 'end'), (4, 'start'), (6, 'end'))
    with pytest.raises(DataError, match="cut: got 2 starts, no stop, and 'end'; allowed starts alone"):
        read_episode(save(tmp_path / 'bag', steady(8) + said), TASK, cut=MARKER)


def test_what_is_odd_about_marks_is_told() -> None:
    cutter = Cutter(MARKER, {'/marker': STRING})
    for _, received, message in words((1, 'start'), (2, 'operator: Ann'), (4, 'start'), (5, 'stop')):
        cutter.push('/marker', received, message)
    assert cutter.objection() == ''
    assert cutter.oddity() == (
        "1 of 2 episodes are not stopped before the next; neither start nor stop is 'operator: Ann' (1 times)"
    )


def test_short_episodes_are_left_out(tmp_path: Path) -> None:
    said = words((1, 'start'), (2, 'stop'), (4, 'start'))
    cut = CutSettings(by='marker', topic='/marker', shortest=0.2)
    assert ticks_of(read_episode(save(tmp_path / 'bag', steady(8) + said), TASK, cut=cut)) == [[5, 6, 7]]


def test_a_bag_without_a_start_is_refused(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', steady(8) + words((1, 'stop')))
    with pytest.raises(DataError, match='cut: between two episodes, or before the first'):
        read_episode(bag, TASK, cut=MARKER)


def test_a_bag_without_the_marker_is_refused_with_what_it_has(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', steady(8))
    with pytest.raises(DataError, match='lacks topic /marker; it has /block_pose, /command, /joint_states'):
        list(read_episodes(bag, TASK, cut=MARKER))


def test_a_marker_of_another_type_is_refused(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', [*steady(8), plain('Float64MultiArray', '/marker', T0, [1.0])])
    with pytest.raises(DataError, match=r'topic /marker: got type .*MultiArray, allowed .*std_msgs/msg/(String|Bool)'):
        read_episode(bag, TASK, cut=MARKER)


# Services.

EVENTS = {
    'std_srvs/srv/SetBool_Event': 'bool data',
    'std_srvs/srv/Trigger_Event': 'uint8 structure_needs_at_least_one_member',
}


def with_calls(
    path: Path, calls: list[tuple[int, str, Any]], kind: str, storage: str = 'mcap', *, both: bool = False
) -> Path:
    """Write a bag with service events as rosbag2 records them: tick, service and the request (None: no contents)."""
    store, request, event_type = event_types(kind)
    events: list[tuple[str, int, str, bytes]] = []
    for number, (tick, service, value) in enumerate(calls):
        for event in (0, 1, 2) if both else (1, 2):
            contents = [store.types[request](value)] if value is not None and event < 2 else []
            stamp = store.types['builtin_interfaces/msg/Time'](sec=1, nanosec=2)
            gid = np.full(16, 7, np.uint8)
            head = store.types['service_msgs/msg/ServiceEventInfo'](
                event_type=event, stamp=stamp, client_gid=gid, sequence_number=number
            )
            data = store.serialize_cdr(store.types[event_type](head, contents, []), event_type)
            data = bytearray(data)
            data[32:36] = bytes([event] * 4)  # padding, which is anything
            events.append((f'{service}/_service_event', T0 + tick * DT + (50 + event) * MS, kind, data))
    plain_messages = [(t, at, m.__msgtype__, typestore().serialize_cdr(m, m.__msgtype__)) for t, at, m in steady(15)]
    with Writer(path, version=9, storage_plugin=STORAGES[storage]) as writer:
        known: dict[str, Any] = {}
        for topic, received, name, data in sorted([*plain_messages, *events], key=lambda m: m[1]):
            if topic not in known:
                # What rosbag2 calls the type of an event is not what rosbags would.
                own = {'msgdef': 'bool data', 'rihs01': 'RIHS01_0'} if name == kind else {'typestore': typestore()}
                known[topic] = writer.add_connection(topic, name, **own)
            writer.write(known[topic], received, data)
    return path


def event_types(kind: str) -> tuple[Any, str, str]:
    """Return a store with the types of a service's events, and its names for the request and the event."""
    store = type(typestore())()
    package, name = kind.replace('/srv/', '/msg/').removesuffix('_Event').rsplit('/', 1)
    request, event = f'{package}/{name}_Request', f'{package}/{name}_Event'
    store.register({**typestore().fielddefs, **get_types_from_msg(EVENTS[kind], request)})
    info = 'service_msgs/msg/ServiceEventInfo info\n'
    store.register(get_types_from_msg(f'{info}{request}[<=1] request\n{request}[<=1] response\n', event))
    return store, request, event


@pytest.mark.parametrize('service', ['SetBool', 'Trigger'])
def test_the_events_made_here_are_those_of_ros(service: str) -> None:
    serialization = pytest.importorskip('rclpy.serialization', reason='rclpy is not installed')
    srv = pytest.importorskip('std_srvs.srv', reason='std_srvs is not installed')
    ours, request, event = event_types(f'std_srvs/srv/{service}_Event')
    kind = getattr(srv, service)
    theirs = kind.Event()
    theirs.info.event_type, theirs.info.stamp.sec, theirs.info.stamp.nanosec = 1, 1, 2
    theirs.info.client_gid, theirs.info.sequence_number = np.arange(16, dtype=np.uint8), 5
    theirs.request = [kind.Request(data=True) if service == 'SetBool' else kind.Request()]
    head = ours.types['service_msgs/msg/ServiceEventInfo'](
        event_type=1, stamp=ours.types['builtin_interfaces/msg/Time'](sec=1, nanosec=2),
        client_gid=np.arange(16, dtype=np.uint8), sequence_number=5,
    )  # fmt: skip
    sent_request = ours.types[request](1 if service == 'SetBool' else 0)
    made = ours.serialize_cdr(ours.types[event](head, [sent_request], []), event)
    # ROS leaves padding as it finds it, and so it must not be read.
    padding = {5, 6, 7, *range(32, 36), *range(49, 52)}
    sent = bytes(serialization.serialize_message(theirs))
    assert all(sent[i] == byte for i, byte in enumerate(bytes(made)) if i not in padding)


@pytest.mark.parametrize('storage', sorted(STORAGES))
@pytest.mark.parametrize('both', [False, True])
def test_calls_of_set_bool_start_with_true_and_stop_with_false(tmp_path: Path, storage: str, both: bool) -> None:
    calls = [(1, SERVICE, True), (4, SERVICE, False), (8, SERVICE, True), (11, SERVICE, False)]
    bag = with_calls(tmp_path / 'bag', calls, 'std_srvs/srv/SetBool_Event', storage, both=both)
    found = read_episode(bag, TASK, cut=CutSettings(by='service', topic=SERVICE))
    assert ticks_of(found) == [[2, 3, 4], [9, 10, 11]]


@pytest.mark.parametrize('both', [False, True])
def test_any_other_call_starts_and_stops_in_turn(tmp_path: Path, both: bool) -> None:
    calls = [(i, SERVICE, 0) for i in (1, 4, 8, 11)]
    bag = with_calls(tmp_path / 'bag', calls, 'std_srvs/srv/Trigger_Event', both=both)
    found = read_episode(bag, TASK, cut=CutSettings(by='service', topic=SERVICE))
    assert ticks_of(found) == [[2, 3, 4], [9, 10, 11]]


@pytest.mark.parametrize('contents', [0, None])
def test_start_and_stop_may_be_services_of_their_own_and_need_no_contents(tmp_path: Path, contents: Any) -> None:
    calls = [(i, '/start' if i in (1, 2, 8) else '/stop', contents) for i in (1, 2, 4, 5, 8, 11)]
    bag = with_calls(tmp_path / 'bag', calls, 'std_srvs/srv/Trigger_Event')
    found = read_episode(bag, TASK, cut=CutSettings(by='service', topic='/start', stop_service='/stop'))
    assert ticks_of(found) == [[2], [3, 4], [9, 10, 11]]


def test_calls_of_set_bool_without_contents_are_refused(tmp_path: Path) -> None:
    bag = with_calls(tmp_path / 'bag', [(1, SERVICE, None)], 'std_srvs/srv/SetBool_Event')
    with pytest.raises(DataError, match='SetBool without its contents; allowed service introspection with contents'):
        read_episode(bag, TASK, cut=CutSettings(by='service', topic=SERVICE))


def test_a_service_that_was_not_recorded_is_refused(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', steady(8))
    with pytest.raises(DataError, match='lacks topic /recorder/record/_service_event'):
        read_episode(bag, TASK, cut=CutSettings(by='service', topic=SERVICE))


def test_events_cut_short_start_nothing() -> None:
    cutter = Cutter(CutSettings(by='service', topic='/s'), {'/s/_service_event': 'std_srvs/srv/Trigger_Event'})
    cutter.push('/s/_service_event', 5, b'\x00\x01\x00\x00\x01')
    assert cutter.episode(6) is None


# Idleness.

IDLE = CutSettings(by='idle', idle_seconds=1.0, idle_margin=0.2)


def motion(*parts: tuple[str, int]) -> np.ndarray:
    """Give positions (N, 1): stretches that move and stretches that rest."""
    steps = [0.1 if kind == 'move' else 0.0 for kind, count in parts for _ in range(count)]
    return np.cumsum([0.0, *steps])[:, None]


@pytest.mark.parametrize(
    ('parts', 'expected'),
    [
        ([('move', 20)], [(0, 21)]),
        ([('move', 10), ('rest', 9), ('move', 10)], [(0, 30)]),
        ([('move', 10), ('rest', 20), ('move', 10)], [(0, 13), (28, 41)]),
        ([('rest', 30), ('move', 10), ('rest', 30)], [(28, 43)]),
        ([('rest', 5), ('move', 10), ('rest', 5)], [(0, 21)]),
        ([('rest', 50)], []),
        ([('rest', 5)], [(0, 6)]),
    ],
)
def test_idle_stretches_divide_and_leave_their_margin(parts: Any, expected: list[tuple[int, int]]) -> None:
    assert busy_parts(motion(*parts), [], 0.1, IDLE) == expected


def test_what_is_observed_to_move_is_not_idle() -> None:
    resting, moving = motion(('rest', 30)), motion(('rest', 10), ('move', 20))
    assert busy_parts(resting, [moving], 0.1, IDLE) == [(8, 31)]


def test_a_recording_is_cut_where_the_robot_rests(tmp_path: Path) -> None:
    made = []
    for i, value in enumerate(motion(('move', 8), ('rest', 20), ('move', 8))[:, 0]):
        t = T0 + i * DT
        made += [state(t, [value, 0.0]), pose(t, 0.05 * i, 0.0), command(t, [value, 0.0])]
    found = read_episode(save(tmp_path / 'bag', made), TASK, cut=IDLE)
    assert [e.name for e in found] == ['bag.0', 'bag.1']
    assert ticks_of(found) == [list(range(11)), list(range(26, 37))]


def test_a_recording_that_is_all_idle_is_refused(tmp_path: Path) -> None:
    made = [m for i in range(30) for m in (state(T0 + i * DT, [0, 0]), pose(T0 + i * DT, 0, 0), command(T0, [0, 0]))]
    with pytest.raises(DataError, match='30 ticks, all idle or in episodes too short'):
        read_episode(save(tmp_path / 'bag', made), TASK, cut=IDLE)


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        ({'by': 'marker'}, 'cut.topic: got none, allowed the marker that cuts'),
        ({'by': 'marker', 'topic': '/m', 'start': 'go', 'stop': 'GO'}, "got 'go' and 'GO', allowed two words"),
        ({'idle_seconds': 0.0}, 'cut.idle_seconds: got 0.0, allowed 0.1 to 3600'),
        ({'idle_margin': 1.5}, 'cut.idle_margin: got 1.5, allowed up to half of idle_seconds'),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected.replace('(', r'\(')):
        CutSettings(**settings)
