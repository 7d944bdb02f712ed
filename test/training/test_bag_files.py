from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer

from dp_ros.audit.audit import audit_bags
from dp_ros.errors import DataError
from dp_ros.recordings.episodes.episode import read_episode, read_episodes
from dp_ros.recordings.rosbag.reader import STORAGES, BagReader, find_bags
from dp_ros.recordings.rosbag.types import typestore
from test.training.bag_maker import MS, T0, TASK, arm, change_metadata, file_of, in_pieces, plain, save
from test.training.mcap_maker import mcap_file


@pytest.fixture(params=sorted(STORAGES))
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def loose(folder: Path, names: tuple[str, ...], every: int = 60) -> list[Path]:
    """Write files of a second without metadata, ``every`` so many seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        kind = 'mcap' if name.endswith('.mcap') else 'sqlite3'
        bag = save(folder / 'x', arm(1.0, T0 + number * every * 1000 * MS), kind)
        file_of(bag).rename(folder / name)
        shutil.rmtree(bag)
    return [folder / name for name in names]


def compressed(bag: Path, storage: str) -> Path:
    store = typestore()
    writer = Writer(bag, version=9, storage_plugin=STORAGES[storage])
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, received, msg in sorted(arm(1.0), key=lambda m: m[1]):
            kind = msg.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], received, store.serialize_cdr(msg, kind))
    return bag


def refused(path: Path, words: str) -> None:
    """Both training and check-bag refuse a recording, and say which."""
    with pytest.raises(DataError, match=words) as caught:
        list(read_episodes(path, TASK))
    assert str(caught.value).startswith(f'bag {path}: ')
    assert list(audit_bags(path, TASK).broken.values()) == [str(caught.value)]


# Finding.


@pytest.mark.parametrize(
    'names',
    [
        ('ep0.mcap', 'ep1.mcap'),
        ('ep_00.mcap', 'ep_01.mcap'),
        ('a_0.mcap', 'b_1.mcap'),
        ('a_0.mcap', 'a_2.mcap'),
        ('a_0.db3', 'a_1.mcap'),
        ('a.mcap', 'a_0.mcap'),
    ],
)
def test_files_of_unrelated_names_are_recordings_of_their_own(tmp_path: Path, names: tuple[str, ...]) -> None:
    files = loose(tmp_path / 'day', names)
    assert find_bags(tmp_path) == files
    assert [e.name for e in read_episodes(tmp_path, TASK)] == [p.stem for p in files]
    with BagReader(files[0]) as bag:
        assert bag.topics['/joint_states'].count == 50
    words = re.escape(f'bag {tmp_path}/day: got files of several recordings ({", ".join(sorted(names))}), allowed one')
    with pytest.raises(DataError, match=words), BagReader(tmp_path / 'day'):
        pass


@pytest.mark.parametrize('names', [('one.mcap',), ('a_0.db3', 'a_1.db3'), ('a_8.mcap', 'a_9.mcap', 'a_10.mcap')])
def test_the_pieces_of_a_recording_are_their_folder(tmp_path: Path, names: tuple[str, ...]) -> None:
    loose(tmp_path / 'day', names, every=3)
    assert find_bags(tmp_path) == [tmp_path / 'day']
    assert [e.name for e in read_episodes(tmp_path, TASK)] == (
        ['day'] if len(names) == 1 else [f'day.{i}' for i in range(len(names))]
    )


def test_files_beside_folders_with_recordings_are_refused(tmp_path: Path) -> None:
    loose(tmp_path, ('test.mcap',))
    save(tmp_path / 'day/b0', arm(1.0))
    words = rf'bag {tmp_path}: got files \(test\.mcap\) beside folders with recordings \({tmp_path}/day/b0\)'
    with pytest.raises(DataError, match=words):
        find_bags(tmp_path)


def test_a_recording_within_another_is_one_more(tmp_path: Path) -> None:
    outer, inner = save(tmp_path / 'bag', arm(1.0)), save(tmp_path / 'bag/again', arm(1.0))
    assert find_bags(outer) == [outer, inner]
    assert [e.name for e in read_episodes(tmp_path, TASK)] == ['bag', 'again']


def test_links_are_followed_and_nothing_is_given_twice(tmp_path: Path) -> None:
    for name in ('far/day/b0', 'far/day/b1', 'far/other'):
        save(tmp_path / name, arm(1.0))
    tree = tmp_path / 'tree'
    tree.mkdir()
    (tree / 'day1').symlink_to(tmp_path / 'far/day')
    (tree / 'again').symlink_to(tmp_path / 'far/day/b1')
    (tree / 'bag').symlink_to(tmp_path / 'far/other')
    (tmp_path / 'far/day/loop').symlink_to(tree)
    assert find_bags(tree) == [tree / 'again', tree / 'bag', tree / 'day1/b0']


def test_a_folder_may_be_named_as_a_file_and_hidden_files_are_none(tmp_path: Path) -> None:
    bag = save(tmp_path / 'one.mcap', arm(1.0))
    (tmp_path / '._two.mcap').write_bytes(b'junk')
    (bag / '._one.mcap').write_bytes(b'junk')
    assert find_bags(tmp_path) == [bag]
    assert [e.name for e in read_episodes(tmp_path, TASK)] == ['one.mcap']


def test_episodes_have_the_whole_name_of_a_folder(tmp_path: Path) -> None:
    bag = save(tmp_path / 'take 2024.05.17', arm(1.0))
    file_of(bag).rename(tmp_path / 'a.b.mcap')
    assert [e.name for e in read_episode(tmp_path / 'a.b.mcap', TASK)] == ['a.b']
    assert [e.name for e in read_episode(save(tmp_path / 'take 2.5', arm(1.0)), TASK)] == ['take 2.5']


# What a recording consists of.


def test_compressed_files_without_metadata_are_refused_by_name(tmp_path: Path, storage: str) -> None:
    bag = compressed(tmp_path / 'bag', storage)
    assert [e.name for e in read_episodes(bag, TASK)] == ['bag']
    (bag / 'metadata.yaml').unlink()
    file = next(bag.glob('*.zstd'))
    assert find_bags(tmp_path) == [bag]
    refused(bag, rf'{file.name} is compressed, .* allowed \.mcap, \.db3 \(zstd -d {file.name}\)')
    refused(file, f'{file.name} is compressed')
    shutil.copy(file_of(save(tmp_path / 'other', arm(1.0), storage)), bag / 'bag_1.mcap')
    refused(bag, f'{file.name} is compressed')


@pytest.mark.parametrize('metadata', [True, False])
def test_a_file_beside_its_compressed_self_is_the_same(tmp_path: Path, storage: str, metadata: bool) -> None:
    bag = compressed(tmp_path / 'bag', storage)
    file = file_of(save(tmp_path / 'other/bag', arm(1.0), storage))
    shutil.copy(file, bag)
    if not metadata:
        (bag / 'metadata.yaml').unlink()
    assert [len(e.stamps) for e in read_episodes(bag, TASK)] == [10]


def test_a_file_that_the_metadata_does_not_list_is_refused_by_name(tmp_path: Path, storage: str) -> None:
    messages = sorted(arm(1.0), key=lambda m: m[1])
    bag = in_pieces(tmp_path / 'bag', [messages[:30], messages[30:60], messages[60:]], storage)
    names = sorted(p.name for p in bag.iterdir() if p.suffix != '.yaml')
    change_metadata(bag, relative_file_paths=names[:2])
    refused(bag, rf'got {names[2]}, which metadata\.yaml does not list; allowed {names[0]}, {names[1]}: give')


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    messages = sorted(arm(1.0), key=lambda m: m[1])
    bag = in_pieces(tmp_path / 'bag', [messages[:30], messages[30:]])
    (bag / 'bag_1.mcap').unlink()
    refused(bag, r'lacks bag_1\.mcap, which metadata\.yaml lists')


@pytest.mark.parametrize('metadata', [True, False])
def test_a_broken_file_among_several_is_named(tmp_path: Path, storage: str, metadata: bool) -> None:
    messages = sorted(arm(1.0), key=lambda m: m[1])
    bag = in_pieces(tmp_path / 'bag', [messages[:30], messages[30:60], messages[60:]], storage)
    if not metadata:
        (bag / 'metadata.yaml').unlink()
    (broken,) = bag.glob('bag_1.*')
    broken.write_bytes(broken.read_bytes()[:-2000])
    refused(bag, f'{broken.name}: .*cut short')


def test_a_broken_compressed_file_is_named(tmp_path: Path, storage: str) -> None:
    bag = compressed(tmp_path / 'bag', storage)
    file = next(bag.glob('*.zstd'))
    file.write_bytes(file.read_bytes()[:-500])
    refused(bag, f'{file.name}: damaged, cut short')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'version': 10}, r'metadata\.yaml: got version 10, allowed 1 to 9'),
        ({'storage_identifier': 'rosbag_v2'}, "got storage_identifier 'rosbag_v2', allowed mcap, sqlite3"),
        ({'compression_mode': 'FILE', 'compression_format': 'lz4'}, "got compression_format 'lz4', allowed zstd"),
        ({'compression_mode': 'STREAM'}, "got compression_mode 'stream', allowed none, file, message"),
    ],
)
def test_metadata_that_is_not_known_is_refused_as_such(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    bag = save(tmp_path / 'bag', arm(1.0))
    change_metadata(bag, **changes)
    refused(bag, words)


def test_metadata_without_what_is_not_needed_will_do(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', arm(1.0))
    change_metadata(bag, compression_mode=None, compression_format=None, files=None, duration=None)
    assert [len(e.stamps) for e in read_episodes(bag, TASK)] == [10]


def test_a_file_of_another_kind_is_refused_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('')
    refused(tmp_path / 'notes.txt', r'got a file notes\.txt, allowed \.mcap, \.db3')


# Topics.


def test_another_serialization_is_refused_where_it_is_wanted(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', [*arm(1.0), plain('String', '/other', T0, 'a')])
    info = yaml.safe_load((bag / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    topics = {entry['topic_metadata']['name']: entry for entry in info['topics_with_message_count']}
    topics['/other']['topic_metadata']['serialization_format'] = 'xcdr2'
    change_metadata(bag, topics_with_message_count=list(topics.values()))
    assert len(list(read_episodes(bag, TASK))) == 1
    topics['/command']['topic_metadata']['serialization_format'] = 'xcdr2'
    change_metadata(bag, topics_with_message_count=list(topics.values()))
    with pytest.raises(DataError, match='topic /command: got serialization format xcdr2, allowed cdr'):
        list(read_episodes(bag, TASK))
    assert audit_bags(bag, TASK).lacking == {'/command': {'got serialization format xcdr2': ['bag']}}
    with pytest.raises(DataError, match='got serialization format json, allowed cdr'):
        read_episode(mcap_file(tmp_path / 'x.mcap', arm(1.0), encoding='json'), TASK)


@pytest.mark.parametrize('metadata', [True, False])
def test_two_types_on_one_topic_are_refused_where_it_is_wanted(tmp_path: Path, storage: str, metadata: bool) -> None:
    def of_two_types(topic: str) -> Path:
        messages = [*arm(1.0), plain('String', topic, T0 + MS, 'a'), plain('Bool', topic, T0 + 2 * MS, True)]
        bag, store = tmp_path / topic.strip('/'), typestore()
        with Writer(bag, version=9, storage_plugin=STORAGES[storage]) as writer:
            known: dict[tuple[str, str], Any] = {}
            for topic, received, msg in sorted(messages, key=lambda m: m[1]):
                key = topic, msg.__msgtype__
                known.setdefault(key, None)
                known[key] = known[key] or writer.add_connection(*key, typestore=store)
                writer.write(known[key], received, store.serialize_cdr(msg, key[1]))
        if not metadata:
            (bag / 'metadata.yaml').unlink()
        return bag

    assert [len(e.stamps) for e in read_episodes(of_two_types('/other'), TASK)] == [10]
    assert audit_bags(tmp_path / 'other', TASK).broken == {}
    assert audit_bags(tmp_path / 'other').topics['/other'].count == 2
    words = 'topic /command: got type .*trajectory_msgs/msg/JointTrajectory and .*, allowed trajectory_msgs/msg/Joint'
    with pytest.raises(DataError, match=words):
        list(read_episodes(of_two_types('/command'), TASK))


@pytest.mark.parametrize(('key', 'what'), [('name', 'topic'), ('type', 'type'), ('serialization_format', 'format')])
def test_names_without_end_are_refused_in_a_short_line(tmp_path: Path, key: str, what: str) -> None:
    bag = save(tmp_path / 'bag', arm(1.0))
    about = yaml.safe_load((bag / 'metadata.yaml').read_text())
    topic = about['rosbag2_bagfile_information']['topics_with_message_count'][0]['topic_metadata']
    topic[key] = '/' + 'x' * 100_000
    (bag / 'metadata.yaml').write_text(yaml.safe_dump(about))
    with pytest.raises(DataError, match=rf'{what}: got a name of 100001 characters, allowed up to 255') as refused:
        list(read_episode(bag, TASK))
    assert len(str(refused.value)) < 500
