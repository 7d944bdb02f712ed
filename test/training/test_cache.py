"""Decoded episodes on disk: the same as from the recordings, made once, read in part."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import encoding as messages
from dp_ros.messages.encoding import decode
from dp_ros.recordings.episodes import builder
from dp_ros.recordings.episodes import cache as cache_module
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.cache import cached_episodes
from dp_ros.recordings.episodes.cache_store import CHUNK, JoinedFrames
from dp_ros.recordings.episodes.episode import read_episode, read_episodes
from dp_ros.recordings.episodes.segmentation import CutSettings
from dp_ros.recordings.rosbag.reader import Stamped
from dp_ros.recordings.rosbag.types import rosbags_types
from dp_ros.task.spec import ImageStream, Stream, TaskSpec
from test.training.bag_maker import MS, T0, TASK, arm, save

CAMERA = ImageStream(name='front camera', topic='/camera', height=12, width=16, compressed=True)
SEEING = replace(TASK, streams=(*TASK.streams, CAMERA))


def pictures(seconds: float, seed: int, start: int = T0) -> list[Stamped]:
    """Give pictures at 30 Hz, each its own; the first ones are black."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(int(30 * seconds)):
        t = start + i * 33 * MS
        pixels = rng.integers(256, size=(12, 16, 3), dtype=np.uint8) * np.uint8(i > 5)
        msg = messages.to_compressed_image(stamp=t, pixels=pixels, frame_id='c', encoding='png', types=rosbags_types())
        made.append(('/camera', t, msg))
    return made


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('recordings')
    for i in range(3):
        start = T0 + i * 60_000 * MS
        save(folder / f'e{i}', arm(9.0, start) + pictures(9.0, i, start))
    # A gap makes two episodes of the last.
    last = arm(3.0, T0) + pictures(3.0, 7) + arm(3.0, T0 + 60_000 * MS) + pictures(3.0, 8, T0 + 60_000 * MS)
    save(folder / 'e3', last)
    return folder


def same(got: list[Episode], expected: list[Episode]) -> None:
    assert [e.name for e in got] == [e.name for e in expected]
    for a, b in zip(got, expected, strict=True):
        assert a.stamps.tobytes() == b.stamps.tobytes()
        assert a.actions.tobytes() == b.actions.tobytes()
        assert list(a.streams) == list(b.streams)
        for name in a.streams:
            assert (a.streams[name].shape, a.streams[name].dtype) == (b.streams[name].shape, b.streams[name].dtype)
            assert np.asarray(a.streams[name]).tobytes() == b.streams[name].tobytes()


@pytest.mark.parametrize('workers', [1, 2])
def test_the_store_gives_what_the_recordings_give(bags: Path, tmp_path: Path, workers: int) -> None:
    expected = list(read_episodes(bags, SEEING))
    assert len(expected) == 5
    assert len(expected[0].stamps) > CHUNK
    first = list(cached_episodes(bags, SEEING, tmp_path / 'store', workers=workers))
    same(first, expected)
    zarr_group: Any = zarr.open_group(str(tmp_path / 'store'), mode='r')
    assert len(list(zarr_group.group_keys())) == 4


def test_recordings_are_decoded_once(bags: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list(cached_episodes(bags, SEEING, tmp_path, workers=1))
    read: list[Path] = []
    original = read_episode

    def noting(bag: Path, *args: Any, **named: Any) -> list[Episode]:
        read.append(bag)
        return original(bag, *args, **named)

    monkeypatch.setattr(cache_module, 'read_episode', noting)
    # Other horizons cut other windows from the same episodes.
    list(cached_episodes(bags, replace(SEEING, pred_horizon=20), tmp_path, workers=1))
    assert read == []
    os.utime(next((bags / 'e1').glob('*.mcap')))
    list(cached_episodes(bags, SEEING, tmp_path, workers=1))
    assert [p.name for p in read] == ['e1']


@pytest.mark.parametrize(
    'changed',
    [
        lambda t: (replace(t, streams=(*TASK.streams, replace(t.streams[-1], width=20))), CutSettings()),
        lambda t: (replace(t, control_dt=0.2), CutSettings()),
        lambda t: (t, CutSettings(by='idle', idle_seconds=0.3, idle_speed=1.0, idle_margin=0.0)),
    ],
)
def test_what_an_episode_holds_has_an_entry_of_its_own(bags: Path, tmp_path: Path, changed: Any) -> None:
    list(cached_episodes(bags / 'e0', SEEING, tmp_path, workers=1))
    task, cut = changed(SEEING)
    got = list(cached_episodes(bags / 'e0', task, tmp_path, cut=cut, workers=1))
    same(got, list(read_episodes(bags / 'e0', task, cut=cut)))


def test_a_recording_that_is_refused_leaves_no_entry(bags: Path, tmp_path: Path) -> None:
    absent = replace(SEEING, streams=(replace(SEEING.streams[0], topic='/other'), *SEEING.streams[1:]))
    for workers in (1, 2):
        with pytest.raises(DataError, match='lacks topic /other'):
            list(cached_episodes(bags, absent, tmp_path, workers=workers))
    assert sorted(p.name for p in tmp_path.iterdir()) == ['zarr.json']


def test_pictures_are_indexed_as_an_array(bags: Path, tmp_path: Path) -> None:
    (episode,) = cached_episodes(bags / 'e0', SEEING, tmp_path, workers=1)
    (expected,) = read_episodes(bags / 'e0', SEEING)
    frames, whole = episode.streams['front camera'], expected.streams['front camera']
    pairs = np.array([[0, 70], [70, 3]])
    for index in (5, -1, slice(60, 70), pairs, np.array([], dtype=int)):
        assert np.array_equal(frames[index], whole[index])
    assert np.array_equal(pickle.loads(pickle.dumps(frames))[3], whole[3])


def test_pictures_of_several_episodes_are_one_array(bags: Path, tmp_path: Path) -> None:
    episodes = list(cached_episodes(bags, SEEING, tmp_path, workers=1))
    parts = [e.streams['front camera'] for e in episodes]
    joined, whole = JoinedFrames(parts), np.concatenate([np.asarray(p) for p in parts])
    assert joined.shape == whole.shape
    index = np.random.default_rng(0).integers(len(whole), size=(50, 2))
    assert np.array_equal(joined[index], whole[index])


def test_a_damaged_entry_is_named(bags: Path, tmp_path: Path) -> None:
    (episode,) = cached_episodes(bags / 'e0', SEEING, tmp_path, workers=1)
    for chunk in tmp_path.glob('e0-*/frames/*/c/0/0/0/0'):
        chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(DataError, match=f'cache {tmp_path}/e0-.*cannot be read.*delete it'):
        episode.streams['front camera'][0]


def test_a_wrong_number_of_workers_is_refused(bags: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='workers: got -1, allowed 0 to 1024'):
        list(cached_episodes(bags, SEEING, tmp_path, workers=-1))


def test_only_pictures_that_count_at_a_tick_are_decoded(bags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def noting(stream: Stream, msg: Any) -> np.ndarray:
        decoded.append(stream.name)
        return decode(stream, msg)

    monkeypatch.setattr(builder, 'decode', noting)
    (episode,) = read_episodes(bags / 'e0', SEEING)
    assert decoded.count('front camera') == len(episode.stamps) < 100
    assert decoded.count('arm') == 450


def test_a_picture_that_counts_and_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    made = pictures(3.0, 0)
    made[60][2].data = made[60][2].data[:20]
    task: TaskSpec = replace(SEEING, control_dt=0.033, arrival_wait=0.0)
    where = rf"bag, topic /camera, stamped {messages.stamp_of(made[60][2])} ns: stream 'front camera': got 20 bytes"
    with pytest.raises(DataError, match=where):
        list(read_episodes(save(tmp_path / 'bag', arm(3.0) + made), task))
