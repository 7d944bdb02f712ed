"""Files from outside that would take all memory or time, reach elsewhere, or break a reader: refused by name."""

from __future__ import annotations

import json
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.bounded_files import MOST_TEXT, from_json, from_yaml, inside, open_regular, read_bytes, read_text, shown
from dp_ros.cli.main import main
from dp_ros.errors import ConfigError, DataError, listed, one_line
from dp_ros.policy.backends.onnx_check import check_onnx
from dp_ros.policy.bundle.files import read_npz
from dp_ros.robot.urdf import parse_urdf

BOMB = 'a: &a [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'b{i}: &b{i} [{", ".join(["*a" if i == 0 else f"*b{i - 1}"] * 9)}]\n' for i in range(10)
)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (BOMB, 'got more than 200000 values'),
        (BOMB.replace('b9: &b9', 'b9: &b9\n  <<: *b8\n  x:'), 'not valid YAML|more than'),
        ('[' * 50_000, 'more than 64 deep'),
        ('a: &a [*a]', 'more than 64 deep'),
        ('a: ' + '9' * 5000, 'got a number of 5000 characters, allowed up to 64'),
        ('a: 1\na: 2', 'got key a twice, allowed once'),
        ('a: 2026-99-99', 'not valid YAML'),
        ('!!python/object/apply:os.getcwd []', 'not valid YAML'),
        ('a: "\\ud800"', 'half a surrogate pair|not valid YAML'),
        ('#' * (MOST_TEXT + 1), f'allowed up to {MOST_TEXT}'),
    ],
)
def test_yaml_that_stands_for_too_much_is_refused(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        from_yaml(text)
    assert '\n' not in str(caught.value)


def test_yaml_may_have_aliases_and_merge_keys() -> None:
    assert from_yaml('a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}') == {'a': {'x': 1}, 'b': {'x': 1}, 'c': {'x': 1, 'y': 2}}
    assert from_yaml('') is None


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('[' * 100_000, 'not valid JSON|deep'),
        ('[' * 70 + ']' * 70, 'more than 64 deep'),
        ('9' * 5000, 'got a number of 5000 characters'),
        ('1e999', 'allowed finite numbers only'),
        ('{"a": 1, "a": 2}', 'got key a twice'),
        ('"\\ud800"', 'half a surrogate pair'),
        ('[' + '0,' * 300_000 + '0]', 'got more than 200000 values'),
    ],
)
def test_json_that_is_too_much_is_refused(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_json(text)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', Path('/dev/zero')):
        with pytest.raises(DataError, match='got a device, pipe or socket, allowed a regular file'):
            open_regular(path)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    (tmp_path / 'large').write_bytes(b'12345')
    with pytest.raises(DataError, match='got 5 bytes, allowed up to 4'):
        read_bytes(tmp_path / 'large', 4)
    (tmp_path / 'bytes').write_bytes(b'\xff')
    with pytest.raises(DataError, match='no UTF-8'):
        read_text(tmp_path / 'bytes')


def test_a_path_stays_in_its_folder(tmp_path: Path) -> None:
    folder, other = tmp_path / 'set', tmp_path / 'other'
    folder.mkdir()
    other.mkdir()
    (other / 'x').touch()
    (folder / 'out').symlink_to(other / 'x')
    (folder / 'round').symlink_to('round')
    for name in ('../other/x', '/etc/passwd', 'out', 'a/../../other/x', '', 'a\0b'):
        with pytest.raises(DataError, match='got'):
            inside(folder, name)
    assert inside(folder, 'data/x') == folder / 'data/x'
    # An installation may link file by file to a checkout.
    (folder / 'about').symlink_to(other / 'about')
    assert inside(folder, 'out', 'about') == folder / 'out'


def test_messages_stay_short_and_plain() -> None:
    assert len(shown(['x' * 1000] * 1000)) < 500
    assert one_line('a\nb\x1b[31m') == 'a b\\x1b[31m'
    assert len(one_line('x' * 10_000)) < 2100
    assert listed(range(1000)).endswith('99, and 900 more')


def test_the_command_line_prints_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'bundle').mkdir()
    (tmp_path / 'bundle/bundle.json').write_text(json.dumps({'schema_version': 1, 'a\nb\x1b': [1] * 1000}))
    assert main(['inspect', str(tmp_path / 'bundle')]) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1 and '\x1b' not in error


# Bundles.


def test_an_npz_is_not_larger_than_it_is(tmp_path: Path) -> None:
    def packed(shape: str, descr: str = '<f8', data: bytes = b'') -> bytes:
        header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + '\n'
        path = tmp_path / 'a.npz'
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('x.npy', b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header.encode() + data)
        return path.read_bytes()

    assert read_npz(packed('(1,)', data=bytes(8)))['x'].tolist() == [0.0]
    for content, words in (
        (packed('(10000000000,)'), 'allowed what is stored'),
        (packed('(-1,)'), 'allowed what is stored'),
        (packed('(1,)', '|O', bytes(8)), 'may be a pickle'),
        (packed('(40000000,)', data=bytes(320_000_000)), 'unpacks to 320000128 bytes, allowed up to'),
    ):
        with pytest.raises(DataError, match=words):
            read_npz(content)


def field(number: int, content: bytes | int) -> bytes:
    def varint(value: int) -> bytes:
        parts = []
        while value > 127:
            parts.append(value & 127 | 128)
            value >>= 7
        return bytes([*parts, value])

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


@pytest.mark.parametrize(
    ('graph', 'words'),
    [
        (field(5, field(1, 10**10) + field(9, b'1234')), 'for 4 bytes, allowed what is stored'),
        (field(5, field(1, field(1, 2**40)[1:])), 'allowed what is stored'),
        (field(5, field(14, 1)), 'got external data'),
        (field(5, field(13, b'x')), 'got external data'),
        (field(1, field(4, b'Constant') + field(5, field(5, field(14, 1)))), 'got external data'),
        (field(15, field(1, field(14, 1))), 'got external data'),
        (field(1, field(5, field(6, field(1, field(4, b'Loop'))))), 'got the operator Loop'),
        (b'\x0a\xff\xff\xff\xff\x0f', 'cut short or damaged'),
        (b'\x0f', 'got wire type 7'),
    ],
)
def test_a_graph_brings_what_it_says(graph: bytes, words: str) -> None:
    check_onnx(field(7, field(5, field(1, 2) + field(9, bytes(8)))))
    with pytest.raises(DataError, match=words):
        check_onnx(field(7, graph))


def test_a_graph_has_no_functions_of_its_own() -> None:
    with pytest.raises(DataError, match='got functions'):
        check_onnx(field(25, b''))


# URDF.


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('<!DOCTYPE r [<!ENTITY a "xx"><!ENTITY b "&a;&a;">]><robot>&b;</robot>', 'got a DOCTYPE'),
        ('<!DOCTYPE r SYSTEM "file:///etc/passwd"><robot/>', 'got a DOCTYPE'),
        ('<robot>' + '<a>' * 100_000, 'not valid XML'),
        ('<robot>' + '<joint/>' * 1001 + '</robot>', 'got 1001 joints, allowed up to 1000'),
        ('<robot>' + ' ' * 2**23 + '</robot>', 'characters, allowed up to'),
        (
            '<robot><joint name="j" type="revolute"><parent link="a"/><child link="b"/><axis xyz="1e300 0 0"/></joint>'
            '</robot>',
            'allowed up to 1e',
        ),
    ],
)
def test_a_urdf_that_is_too_much_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_urdf(text)


# Recordings.


def bag(path: Path, storage: str) -> Path:
    pytest.importorskip('rosbags', reason='rosbags is not installed (extra: train)')
    from test.training.bag_maker import arm, save

    return save(path, arm(1.0), storage)


def read(path: Path) -> Any:
    from dp_ros.recordings.episodes.episode import read_episodes
    from test.training.bag_maker import TASK

    return list(read_episodes(path, TASK))


@pytest.mark.parametrize(
    'change',
    [
        'CREATE VIEW messages AS WITH RECURSIVE r(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r) '
        "SELECT id, 1 AS topic_id, id AS timestamp, x'00' AS data FROM r",
        'CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, '
        'data BLOB GENERATED ALWAYS AS (zeroblob(1000000000)))',
    ],
)
def test_a_database_is_read_as_it_is_stored(tmp_path: Path, change: str) -> None:
    import sqlite3

    path = bag(tmp_path / 'bag', 'sqlite3')
    base = sqlite3.connect(next(path.glob('*.db3')))
    base.execute('ALTER TABLE messages RENAME TO before')
    base.execute(change)
    base.commit()
    base.close()
    with pytest.raises(DataError, match=r'where a table belongs|allowed stored ones'):
        read(path)


def test_a_chunk_unpacks_to_what_it_says(tmp_path: Path) -> None:
    pytest.importorskip('rosbags', reason='rosbags is not installed (extra: train)')
    import lz4.frame
    from rosbags.rosbag2.reader import zstd  # type: ignore[attr-defined]

    from dp_ros.recordings.rosbag.unpacking import Allowance, check_packed, unpack

    zeros = bytes(10**7)
    streamed = zstd.ZstdCompressor()
    for kind, packed in (
        ('zstd', zstd.compress(zeros)),
        ('zstd', streamed.compress(zeros) + streamed.flush()),
        ('lz4', lz4.frame.compress(zeros)),
        ('lz4', lz4.frame.compress(zeros, store_size=False)),
    ):
        check_packed(packed, kind, len(zeros))
        for content, size in ((packed, 1000), (packed + packed, len(zeros)), (packed[:-8], len(zeros))):
            with pytest.raises(Exception, match=r'allowed|[Cc]ompress|frame|incomplete|size'):
                check_packed(content, kind, size)
    assert unpack(zstd.compress(zeros), Allowance(0)) == zeros
    with pytest.raises(DataError, match='unpacks to more than'):
        Allowance(0).take(2**31)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda p: (p / 'metadata.yaml').write_text(BOMB), 'got more than 200000 values'),
        (lambda p: move_out(next(p.glob('*.mcap'))), r'a link to .*, allowed files within'),
        (lambda p: next(p.glob('*.mcap')).write_bytes(b'\x89MCAP0\r\n\x06' + b'\xff' * 50), 'damaged or cut short'),
    ],
)
def test_a_bag_stays_in_its_folder(tmp_path: Path, change: Callable[[Path], Any], words: str) -> None:
    path = bag(tmp_path / 'bag', 'mcap')
    change(path)
    with pytest.raises(DataError, match=words):
        read(path)


def move_out(path: Path) -> None:
    elsewhere = path.parents[1] / f'other-{path.name}'
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def test_a_store_that_asks_for_pickle_is_refused(tmp_path: Path) -> None:
    zarr = pytest.importorskip('zarr', reason='zarr is not installed (extra: train)')
    from dp_ros.recordings.datasets.zarr import PushtZarr

    root = zarr.open_group(str(tmp_path / 'store'), mode='w', zarr_format=2)
    for name, values in (('data/state', np.ones((4, 5))), ('data/action', np.ones((4, 2))), ('meta/episode_ends', [4])):
        root.create_array(name, data=np.asarray(values))
    about = tmp_path / 'store/data/state/.zarray'
    right = json.loads(about.read_text())
    for change, words in (
        ({'dtype': '|O', 'filters': [{'id': 'pickle', 'protocol': 4}], 'fill_value': 0}, 'cannot be read'),
        ({'shape': [10**10, 5]}, 'bytes, allowed up to'),
        ({'chunks': [10**10, 5]}, 'allowed up to'),
        ({'compressor': {'id': 'zlib', 'level': 1}}, "got compressor 'zlib', allowed blosc or none"),
    ):
        about.write_text(json.dumps({**right, **change}))
        with pytest.raises(DataError, match=words):
            PushtZarr(tmp_path / 'store')
    about.write_text(json.dumps(right))
    os.mkfifo(tmp_path / 'store/data/action/9.9')
    with pytest.raises(DataError, match='got a device, pipe or socket'):
        PushtZarr(tmp_path / 'store')
    (tmp_path / 'store/data/action/9.9').unlink()
    move_out(about)
    with pytest.raises(DataError, match='got a link'):
        PushtZarr(tmp_path / 'store')


def test_no_reader_loads_a_pickle(tmp_path: Path) -> None:
    torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    from dp_ros.training.run_folder import load_checkpoint

    class Attack:
        def __reduce__(self) -> Any:
            return (sys.exit, (3,))

    torch.save({'x': Attack()}, tmp_path / 'a.pt')
    with pytest.raises(DataError, match='cannot be read'):
        load_checkpoint(tmp_path / 'a.pt')
