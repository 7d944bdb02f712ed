from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer
from rosbags.typesys import get_types_from_msg

from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import encoding
from dp_ros.recordings.rosbag.reader import STORAGES, BagReader, BagWriter, find_bags
from dp_ros.recordings.rosbag.types import rosbags_types, typestore

JOINTS = {'/joint_states': [encoding.JOINT_STATE]}
TIMES = [1_700_000_000_000_000_000 + i * 1_000_000 for i in range(300)]


@pytest.fixture(params=sorted(STORAGES))
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def joint_state(stamp: int, value: float = 0.0) -> Any:
    return encoding.to_joint_state(stamp=stamp, name=['a', 'b'], position=[value, -value], types=rosbags_types())


def pose(stamp: int) -> Any:
    return encoding.to_pose(
        stamp=stamp, position=(1, 2, 3), orientation=(0, 0, 0, 1), frame_id='f', types=rosbags_types()
    )


def write(path: Path, storage: str, count: int = 300) -> Path:
    with BagWriter(path, storage) as bag:
        for i, t in enumerate(TIMES[:count]):
            bag.write('/joint_states', t, joint_state(t, i / 7))
            bag.write('/block_pose', t + 500, pose(t))
    return path


def storage_file(bag: Path) -> Path:
    (file,) = (p for p in bag.iterdir() if p.suffix in ('.mcap', '.db3'))
    return file


def values(path: Path) -> Iterator[tuple[int, int, list[float]]]:
    with BagReader(path) as bag:
        for _, received, msg in bag.messages(JOINTS):
            yield received, encoding.stamp_of(msg), msg.position.tolist()


EXPECTED = [(t, t, [i / 7, -i / 7]) for i, t in enumerate(TIMES)]


def test_a_bag_gives_back_what_was_written(tmp_path: Path, storage: str) -> None:
    assert list(values(write(tmp_path / 'bag', storage))) == EXPECTED


def test_messages_of_several_topics_come_in_order_of_receive_time(tmp_path: Path, storage: str) -> None:
    write(tmp_path / 'bag', storage, 3)
    with BagReader(tmp_path / 'bag') as bag:
        got = [(topic, t) for topic, t, _ in bag.messages({**JOINTS, '/block_pose': [encoding.POSE]})]
        assert {name: topic.count for name, topic in bag.topics.items()} == {'/joint_states': 3, '/block_pose': 3}
    assert got == [(topic, t + dt) for t in TIMES[:3] for topic, dt in (('/joint_states', 0), ('/block_pose', 500))]


def test_a_bag_without_metadata_can_be_read(tmp_path: Path, storage: str) -> None:
    write(tmp_path / 'bag', storage)
    (tmp_path / 'bag/metadata.yaml').unlink()
    assert list(values(tmp_path / 'bag')) == EXPECTED
    assert list(values(storage_file(tmp_path / 'bag'))) == EXPECTED


def test_the_pieces_of_a_split_without_metadata_are_one_bag_in_order_of_time(tmp_path: Path, storage: str) -> None:
    folder = tmp_path / 'bag'
    folder.mkdir()
    for part, chosen in (('x_10', TIMES[100:]), ('x_9', TIMES[:100])):
        with BagWriter(tmp_path / part, storage) as bag:
            for t in chosen:
                bag.write('/joint_states', t, joint_state(t, TIMES.index(t) / 7))
        shutil.move(storage_file(tmp_path / part), folder)
    assert find_bags(folder) == [folder]
    assert list(values(folder)) == EXPECTED


@pytest.mark.parametrize('mode', [CompressionMode.FILE, CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_compressed_bags_can_be_read(tmp_path: Path, storage: str, mode: CompressionMode) -> None:
    if mode == CompressionMode.STORAGE and storage == 'sqlite3':
        pytest.skip('sqlite3 has no compression of its own')
    store = typestore()
    writer = Writer(tmp_path / 'bag', version=9, storage_plugin=STORAGES[storage])
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection('/joint_states', encoding.JOINT_STATE, typestore=store)
        for i, t in enumerate(TIMES):
            writer.write(connection, t, store.serialize_cdr(joint_state(t, i / 7), encoding.JOINT_STATE))
    assert list(values(tmp_path / 'bag')) == EXPECTED


def test_bags_as_rosbag2_py_writes_them_can_be_read(tmp_path: Path, storage: str) -> None:
    serialization = pytest.importorskip('rclpy.serialization', reason='rclpy is not installed')
    with BagWriter(tmp_path / 'bag', storage) as bag:
        for i, t in enumerate(TIMES):
            msg = encoding.to_joint_state(stamp=t, name=['a', 'b'], position=[i / 7, -i / 7])
            data = serialization.serialize_message(msg)
            bag.write_raw('/joint_states', encoding.JOINT_STATE, t, data)
    assert list(values(tmp_path / 'bag')) == EXPECTED


def test_quality_of_service_may_read_otherwise_in_the_metadata(tmp_path: Path, storage: str) -> None:
    metadata = write(tmp_path / 'bag', storage) / 'metadata.yaml'
    text = metadata.read_text()
    assert 'offered_qos_profiles: []' in text
    profile = '[{history: keep_last, depth: 5, reliability: reliable, durability: volatile, '
    times = ', '.join(f'{name}: {{sec: 1, nsec: 0}}' for name in ('deadline', 'lifespan', 'liveliness_lease_duration'))
    other = f'{profile}{times}, liveliness: automatic, avoid_ros_namespace_conventions: false}}]'
    metadata.write_text(text.replace('offered_qos_profiles: []', f'offered_qos_profiles: {other}'))
    assert list(values(tmp_path / 'bag')) == EXPECTED


# Finding.


def test_a_tree_gives_its_bags_in_order_of_name_and_leaves_hidden_folders_out(tmp_path: Path, storage: str) -> None:
    for name in ('b/two', 'a/one', '.hidden/three', 'b/.partial/four'):
        write(tmp_path / name, storage, 1)
    assert find_bags(tmp_path) == [tmp_path / 'a/one', tmp_path / 'b/two']


def test_a_tree_without_bags_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f'{tmp_path}.*no rosbag2 recording'):
        find_bags(tmp_path)


@pytest.mark.parametrize('call', [find_bags, lambda p: list(values(p))])
def test_a_path_that_does_not_exist_is_refused(tmp_path: Path, call: Any) -> None:
    with pytest.raises(DataError, match=r'nothing: does not exist; allowed .*\.mcap, \.db3'):
        call(tmp_path / 'nothing')


# Bad bags.


def test_an_empty_bag_is_refused(tmp_path: Path, storage: str) -> None:
    with Writer(tmp_path / 'bag', version=9, storage_plugin=STORAGES[storage]):
        pass
    with pytest.raises(DataError, match='bag: got 0 messages, allowed 1 or more'):
        list(values(tmp_path / 'bag'))


def test_a_missing_topic_is_refused_with_those_that_exist(tmp_path: Path, storage: str) -> None:
    write(tmp_path / 'bag', storage, 1)
    with BagReader(tmp_path / 'bag') as bag, pytest.raises(DataError) as caught:
        bag.messages({'/states': [encoding.JOINT_STATE]})
    assert f'{tmp_path / "bag"}: lacks topic /states; it has /block_pose, /joint_states' in str(caught.value)


def test_a_topic_of_another_type_is_refused(tmp_path: Path, storage: str) -> None:
    write(tmp_path / 'bag', storage, 1)
    with BagReader(tmp_path / 'bag') as bag, pytest.raises(DataError) as caught:
        bag.messages({'/joint_states': [encoding.POSE]})
    assert f'got type {encoding.JOINT_STATE}, allowed {encoding.POSE}' in str(caught.value)


def test_a_topic_without_messages_is_refused(tmp_path: Path, storage: str) -> None:
    with Writer(tmp_path / 'bag', version=9, storage_plugin=STORAGES[storage]) as writer:
        writer.add_connection('/joint_states', encoding.JOINT_STATE, typestore=typestore())
        other = writer.add_connection('/block_pose', encoding.POSE, typestore=typestore())
        writer.write(other, 1, typestore().serialize_cdr(pose(1), encoding.POSE))
    with pytest.raises(DataError, match='topic /joint_states: got 0 messages'):
        list(values(tmp_path / 'bag'))


def with_vendor_type(path: Path, storage: str, definition: str) -> Path:
    """Write a bag with a topic of a type that nobody knows; ``definition`` replaces the word ros2msg in it."""
    store = typestore()
    vendor = type(store)()
    vendor.register({**store.fielddefs, **get_types_from_msg('float64 a\n', 'vendor/msg/Odd')})
    odd = vendor.types['vendor/msg/Odd']
    with Writer(path, version=9, storage_plugin=STORAGES[storage]) as writer:
        strange = writer.add_connection('/odd', 'vendor/msg/Odd', typestore=vendor)
        known = writer.add_connection('/joint_states', encoding.JOINT_STATE, typestore=store)
        for i, t in enumerate(TIMES):
            writer.write(strange, t, vendor.serialize_cdr(odd(a=1.0), 'vendor/msg/Odd'))
            writer.write(known, t, store.serialize_cdr(joint_state(t, i / 7), encoding.JOINT_STATE))
    file = storage_file(path)
    if storage == 'mcap':
        file.write_bytes(file.read_bytes().replace(b'ros2msg', definition.encode()))
    else:
        with sqlite3.connect(file) as base:
            base.execute('UPDATE message_definitions SET encoding = ?', (definition,))
        base.close()
    return path


@pytest.mark.parametrize('definition', ['ros2msg', 'unknown'])
def test_unknown_types_on_other_topics_do_no_harm(tmp_path: Path, storage: str, definition: str) -> None:
    with_vendor_type(tmp_path / 'bag', storage, definition)
    assert list(values(tmp_path / 'bag')) == EXPECTED
    with BagReader(tmp_path / 'bag') as bag:
        assert bag.topics['/odd'].type == 'vendor/msg/Odd'
        with pytest.raises(DataError, match='topic /odd: got type vendor/msg/Odd, allowed sensor_msgs'):
            bag.messages({'/odd': [encoding.JOINT_STATE]})


def test_an_unknown_type_may_have_no_definition_at_all(tmp_path: Path) -> None:
    assert list(values(with_vendor_type(tmp_path / 'bag', 'sqlite3', ''))) == EXPECTED


@pytest.mark.parametrize('part', [0.0, 0.0001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize('metadata', [True, False])
def test_a_bag_cut_short_is_refused(tmp_path: Path, storage: str, part: float, metadata: bool) -> None:
    write(tmp_path / 'bag', storage)
    file = storage_file(tmp_path / 'bag')
    file.write_bytes(file.read_bytes()[: int(part * file.stat().st_size)])
    if not metadata:
        (tmp_path / 'bag/metadata.yaml').unlink()
    with pytest.raises(DataError, match=f'bag {tmp_path / "bag"}: .*; allowed a whole bag'):
        list(values(tmp_path / 'bag'))


@pytest.mark.parametrize('seed', range(20))
def test_damaged_bytes_are_refused_or_harmless(tmp_path: Path, storage: str, seed: int) -> None:
    write(tmp_path / 'bag', storage)
    file = storage_file(tmp_path / 'bag')
    data = np.frombuffer(file.read_bytes(), dtype=np.uint8).copy()
    rng = np.random.default_rng(seed)
    data[rng.integers(len(data), size=50)] = rng.integers(256, size=50)
    file.write_bytes(data.tobytes())
    try:
        list(values(tmp_path / 'bag'))
    except DataError as error:
        assert str(tmp_path / 'bag') in str(error)


def test_fewer_messages_than_announced_are_refused(tmp_path: Path) -> None:
    write(tmp_path / 'bag', 'sqlite3')
    with sqlite3.connect(storage_file(tmp_path / 'bag')) as base:
        base.execute('DELETE FROM messages WHERE id > 400')
    base.close()
    with pytest.raises(DataError, match='got 200 messages of 300 that it announces on /joint_states'):
        list(values(tmp_path / 'bag'))


def test_a_message_that_is_no_cdr_is_refused_by_topic_and_time(tmp_path: Path, storage: str) -> None:
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.write_raw('/joint_states', encoding.JOINT_STATE, 7, b'\x00\x01\x00\x00nonsense')
    with pytest.raises(DataError, match=r'bag topic /joint_states at 7 ns: 12 bytes are no sensor_msgs/msg/JointState'):
        list(values(tmp_path / 'bag'))


def test_metadata_that_is_no_yaml_is_refused(tmp_path: Path, storage: str) -> None:
    write(tmp_path / 'bag', storage, 1)
    (tmp_path / 'bag/metadata.yaml').write_text('{')
    with pytest.raises(DataError, match='damaged, cut short or of no known format'):
        list(values(tmp_path / 'bag'))


# Writing.


def test_nothing_is_overwritten(tmp_path: Path, storage: str) -> None:
    write(tmp_path / 'bag', storage, 1)
    with pytest.raises(ConfigError, match='bag: exists already; allowed a new folder'):
        write(tmp_path / 'bag', storage, 1)


def test_an_interrupted_recording_leaves_nothing(tmp_path: Path, storage: str) -> None:
    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / 'bag', storage) as bag:
        bag.write('/joint_states', 1, joint_state(1))
        assert not (tmp_path / 'bag').exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_storage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 'rosbag1', allowed mcap, sqlite3"):
        BagWriter(tmp_path / 'bag', 'rosbag1')


def test_a_type_that_is_not_jazzy_s_cannot_be_written(tmp_path: Path, storage: str) -> None:
    words = 'topic /odd: got type vendor/msg/Odd'
    with pytest.raises(ConfigError, match=words), BagWriter(tmp_path / 'bag', storage) as bag:
        bag.write_raw('/odd', 'vendor/msg/Odd', 1, b'')
    assert list(tmp_path.iterdir()) == []
