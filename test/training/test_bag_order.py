from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from dp_ros.audit.audit import audit_bags
from dp_ros.errors import DataError
from dp_ros.recordings.episodes.episode import read_episode
from dp_ros.recordings.rosbag.metadata import Topic
from dp_ros.recordings.rosbag.order import check_order, merged
from dp_ros.recordings.rosbag.reader import STORAGES, BagReader, Stamped
from dp_ros.recordings.rosbag.storages import Raw
from test.training.bag_maker import MS, T0, TASK, arm, change_metadata, in_pieces, record, save
from test.training.mcap_maker import mcap_file

SECOND = 1000 * MS


@pytest.fixture(params=sorted(STORAGES))
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(seconds: float = 4.0, start: int = T0) -> list[Stamped]:
    return sorted(arm(seconds, start), key=lambda m: m[1])


def received(path: Path) -> list[int]:
    with BagReader(path) as bag:
        return [t for _, t, _, _ in bag.raw(list(bag.topics))]


def refused(path: Path, words: str) -> None:
    """Both training and check-bag refuse a recording, and say which."""
    with pytest.raises(DataError, match=words) as caught:
        read_episode(path, TASK)
    assert str(caught.value).startswith(f'bag {path}: ')
    assert list(audit_bags(path, TASK).broken.values()) == [str(caught.value)]


def same(path: Path, messages: Iterable[Stamped], other: Path) -> None:
    """Training reads the same as of a plain recording of the messages."""
    (got,), (expected,) = read_episode(path, TASK), read_episode(save(other, messages), TASK)
    np.testing.assert_array_equal(got.stamps, expected.stamps)
    np.testing.assert_array_equal(got.actions, expected.actions)
    for name, values in expected.streams.items():
        np.testing.assert_array_equal(got.streams[name], values)


# One file.


def set_back(seconds: float) -> list[Stamped]:
    return [(topic, t - int(seconds * SECOND) if t >= T0 + 2 * SECOND else t, message) for topic, t, message in made()]


SET_BACK = (
    r'receive times of /joint_states run backwards by 1\.5 s in the order of the file, at 1700000001980000000 ns: '
    'then comes 1700000000500000000 ns; allowed one clock that is not set back: cut the recording there'
)


def test_a_clock_set_back_while_recording_is_refused(tmp_path: Path, storage: str) -> None:
    refused(record(tmp_path / 'bag', set_back(1.5), storage), rf'bag\.(mcap|db3): {SET_BACK}')


@pytest.mark.parametrize('chunk', [0, 50])
@pytest.mark.parametrize('summary', [False, True])
def test_a_clock_set_back_is_noticed_without_an_index(tmp_path: Path, chunk: int, summary: bool) -> None:
    refused(mcap_file(tmp_path / 'x.mcap', set_back(1.5), chunk=chunk, summary=summary), SET_BACK)


def test_a_clock_set_back_in_a_single_file_is_refused_by_its_path(tmp_path: Path) -> None:
    record(tmp_path / 'bag', set_back(1.5))
    refused(tmp_path / 'bag/bag.mcap', f'^bag {tmp_path}/bag/bag.mcap: receive times')


def test_a_world_that_was_reset_is_refused(tmp_path: Path, storage: str) -> None:
    world = made(start=SECOND)
    refused(record(tmp_path / 'bag', [*world, *world], storage), r'backwards by 4\.0 s .* then comes 1000000000 ns')


def test_messages_a_little_out_of_order_are_sorted(tmp_path: Path, storage: str) -> None:
    messages = made()
    messages[100:130] = messages[100:130][::-1]
    bag = record(tmp_path / 'bag', messages, storage)
    assert received(bag) == sorted(t for _, t, _ in messages)
    same(bag, messages, tmp_path / 'other')


@pytest.mark.parametrize('chunk', [0, 50])
@pytest.mark.parametrize('summary', [False, True])
def test_files_without_an_index_are_sorted_too(tmp_path: Path, chunk: int, summary: bool) -> None:
    messages = made()
    messages[100:130] = messages[100:130][::-1]
    file = mcap_file(tmp_path / 'x.mcap', messages, chunk=chunk, summary=summary)
    assert received(file) == sorted(t for _, t, _ in messages)
    same(file, messages, tmp_path / 'other')


def test_topics_written_one_after_another_are_of_one_clock(tmp_path: Path, storage: str) -> None:
    same(record(tmp_path / 'bag', arm(4.0), storage), arm(4.0), tmp_path / 'other')


def test_what_cannot_be_sorted_without_an_index_is_refused(tmp_path: Path) -> None:
    refused(mcap_file(tmp_path / 'x.mcap', arm(4.0)), 'out of order by 4.0 s in a file without an index; allowed 1 s')


def test_a_chunk_without_messages_does_not_hide_the_index(tmp_path: Path) -> None:
    """With one, topics may lie far apart in the file; without, they could not be sorted."""
    messages = sorted(made(), key=lambda m: (m[0], m[1]))
    path = mcap_file(tmp_path / 'x.mcap', messages, chunk=40, summary=True, indexed=True)
    same(path, messages, tmp_path / 'other')


# Several files.


def test_the_pieces_of_a_split_may_overlap_a_little(tmp_path: Path, storage: str) -> None:
    messages = made()
    early, late = messages[:150], messages[150:]
    early[-10:], late[:10] = late[:10], early[-10:]
    bag = in_pieces(tmp_path / 'bag', [early, late], storage)
    assert received(bag) == [t for _, t, _ in messages]
    same(bag, messages, tmp_path / 'other')
    (bag / 'metadata.yaml').unlink()
    same(bag, messages, tmp_path / 'another')


def test_pieces_of_one_time_are_refused_by_name(tmp_path: Path, storage: str) -> None:
    bag = in_pieces(tmp_path / 'bag', [made(), made(start=T0 + 2 * SECOND)], storage)
    words = r'bag_1\.(mcap|db3): receive times of /joint_states begin 2\.0 s before those of bag_0\.(mcap|db3) end'
    refused(bag, words)
    (bag / 'metadata.yaml').unlink()
    refused(bag, words)


def test_files_that_are_only_named_like_pieces_are_not_joined(tmp_path: Path, storage: str) -> None:
    bag = in_pieces(tmp_path / 'bag', [made(), made(start=T0 + 60 * SECOND)], storage)
    assert len(received(bag)) == 2 * len(made())  # metadata.yaml says that they are
    (bag / 'metadata.yaml').unlink()
    refused(bag, r'bag_1\.(mcap|db3) begins 56\.\d s after the file before it ended, and no metadata\.yaml says')


def test_a_clock_set_back_between_two_pieces_is_refused(tmp_path: Path, storage: str) -> None:
    bag = in_pieces(tmp_path / 'bag', [made(start=T0 + 60 * SECOND), made()], storage)
    refused(bag, r'bag_1\.(mcap|db3): .* begin 64\.0 s before those of bag_0\.(mcap|db3) end')


def test_pieces_listed_in_another_order_are_read_in_that_of_their_numbers(tmp_path: Path, storage: str) -> None:
    messages = made()
    bag = in_pieces(tmp_path / 'bag', [messages[:100], messages[100:200], messages[200:]], storage)
    change_metadata(bag, relative_file_paths=[f'bag_{i}{bag_suffix(bag)}' for i in (2, 0, 1)])
    same(bag, messages, tmp_path / 'other')


def bag_suffix(bag: Path) -> str:
    return next(p.suffix for p in bag.iterdir() if p.suffix != '.yaml')


def test_a_file_listed_twice_is_refused(tmp_path: Path, storage: str) -> None:
    bag = save(tmp_path / 'bag', arm(1.0), storage)
    change_metadata(bag, relative_file_paths=[f'bag{bag_suffix(bag)}'] * 2)
    refused(bag, r'metadata\.yaml: got bag\.(mcap|db3) twice in relative_file_paths')


def test_pieces_without_an_index_are_merged(tmp_path: Path) -> None:
    messages = made()
    early, late = messages[:150], messages[150:]
    early[-10:], late[:10] = late[:10], early[-10:]
    mcap_file(tmp_path / 'bag/x_0.mcap', early)
    mcap_file(tmp_path / 'bag/x_1.mcap', late, chunk=30)
    same(tmp_path / 'bag', messages, tmp_path / 'other')
    shutil.copy(tmp_path / 'bag/x_0.mcap', tmp_path / 'bag/x_2.mcap')
    refused(tmp_path / 'bag', r'x_2\.mcap: .* before those of x_1\.mcap end')


def test_a_part_without_messages_says_nothing_of_the_order() -> None:
    """Recorders index channels that a chunk has nothing of."""

    class Parts:
        topics: Sequence[Topic] = ()

        def receive_times(self) -> Iterator[tuple[str, list[int]]]:
            yield from (('/a', []), ('/a', [T0 + 5]), ('/b', []), ('/b', [T0]))

        def messages(self, _: object) -> Iterator[Raw]:
            yield from ()

        def close(self) -> None:
            pass

    assert check_order([('x', Parts())]) == [T0]


def test_no_stream_is_asked_before_its_turn() -> None:
    asked = []

    def stream(start: int) -> Iterator[Raw]:
        asked.append(start)
        yield from (('/a', start + i, '', b'') for i in range(10))

    messages = merged((start, stream(start)) for start in (0, 5, 100))
    assert [next(messages)[1] for _ in range(20)] == sorted([*range(10), *range(5, 15)])
    assert asked == [0, 5]
    assert len(list(messages)) == 10
