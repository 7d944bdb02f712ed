"""Which files make a recording: rosbag2 folders and single files, found in a tree, and told from what only seems one.

rosbag2 splits a recording NAME into NAME_0.mcap, NAME_1.mcap and so on, and lists them in metadata.yaml when it ends.
Whatever cannot be told for certain is refused by name: a recording that is silently left out, or two that are read as
one, are seen by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dp_ros.bounded_files import inside
from dp_ros.errors import DataError, listed
from dp_ros.recordings.rosbag.metadata import Metadata, read_metadata
from dp_ros.recordings.rosbag.storages import STORAGE_OF, of_file

MOST_FOLDERS = 100_000
METADATA, ZSTD = 'metadata.yaml', '.zstd'
_ALLOWED = f'a rosbag2 folder, a file ({", ".join(STORAGE_OF)})'
# As rosbag2 numbers them: without leading zeros, which people write.
_PIECE = re.compile(r'(?P<stem>.*)_(?P<number>0|[1-9]\d*)')


def find_bags(path: Path | str) -> list[Path]:
    """Return every bag at or under ``path``, in order of name: folders, or single storage files. Hidden ones are not.

    A folder is a bag if it holds metadata.yaml, or one storage file or the pieces of one recording without it (a
    recorder that was killed). Other files without metadata.yaml are bags of their own. Links are followed; what is
    reached twice is given once.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f'bag {path}: does not exist; allowed {_ALLOWED}, or a tree of them')
    bags = [path] if path.is_file() else list(_under(path, set()))
    if not bags:
        raise DataError(f'bag {path}: got a folder with no rosbag2 recording in it, allowed one or more')
    return bags


def _under(folder: Path, seen: set[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    if len(seen) > MOST_FOLDERS:
        raise DataError(f'folder {folder}: one of more than {MOST_FOLDERS}, allowed up to that (links are followed)')
    own = _bags_in(folder)
    inner = [bag for p in _entries(folder) if p.is_dir() for bag in _under(p, seen)]
    if own and inner and not (folder / METADATA).exists():
        loose = listed(p.name for p in _storage_files(folder))
        raise DataError(
            f'bag {folder}: got files ({loose}) beside folders with recordings ({inner[0]}), allowed one or the other: '
            'give the files a folder of their own'
        )
    yield from own
    yield from inner


def _bags_in(folder: Path) -> list[Path]:
    files = _storage_files(folder)
    if (folder / METADATA).exists():
        return [folder]
    # A compressed one cannot be read, which is said when it is opened.
    whole = len(files) == 1 or in_pieces(files) or any(p.suffix == ZSTD for p in files)
    return [folder] if files and whole else files


def _storage_files(folder: Path) -> list[Path]:
    """Return the storage files in a folder; compressed ones only if they do not lie beside what was compressed."""
    names = {p.name for p in _entries(folder) if p.is_file()}
    plain = {name for name in names if Path(name).suffix in STORAGE_OF}
    packed = {name for name in names if Path(name).suffix == ZSTD and Path(Path(name).stem).suffix in STORAGE_OF}
    return [folder / name for name in sorted(plain | {name for name in packed if Path(name).stem not in plain})]


def _entries(folder: Path) -> list[Path]:
    try:
        return [p for p in sorted(folder.iterdir()) if not p.name.startswith('.')]
    except OSError as error:
        raise DataError(f'folder {folder}: cannot be read ({error.strerror}); allowed one that can') from error


def in_pieces(files: list[Path]) -> bool:
    """Whether files are named as the pieces of one recording, numbered without a gap."""
    matches = [_PIECE.fullmatch(p.stem) for p in files]
    named = {(m['stem'], p.suffix) for m, p in zip(matches, files, strict=True) if m}
    numbers = sorted(int(m['number']) for m in matches if m)
    return len(named) == 1 and numbers == list(range(numbers[0], numbers[0] + len(files)))


def files_of(path: Path) -> tuple[list[Path], Metadata | None]:
    """Return the storage files of the bag at ``path``, in order, and its metadata if any; errors do not name it."""
    if not path.exists():
        raise DataError(f'does not exist; allowed {_ALLOWED}')
    if path.is_file():
        _check_suffix(path)
        return [path], None
    files = _storage_files(path)
    if (path / METADATA).exists():
        return _listed_files(path, files)
    if not files:
        raise DataError(f'got a folder without {METADATA}, {" or ".join(STORAGE_OF)}, allowed one of them')
    for file in files:
        _check_suffix(file)
    if len(files) > 1 and not in_pieces(files):
        raise DataError(
            f'got files of several recordings ({listed(p.name for p in files)}), allowed one, or NAME_0, NAME_1 and so '
            'on; read them one by one'
        )
    return sorted(files, key=_number), None


def _number(file: Path) -> int:
    match = _PIECE.fullmatch(file.stem)
    return int(match['number']) if match else 0


def _check_suffix(file: Path) -> None:
    if file.suffix == ZSTD:
        raise DataError(
            f'{file.name} is compressed, and there is no {METADATA} that says how; allowed {listed(STORAGE_OF)} '
            f'(zstd -d {file.name}), or a whole folder (ros2 bag reindex)'
        )
    if file.suffix not in STORAGE_OF:
        raise DataError(f'got a file {file.name}, allowed {listed(STORAGE_OF)}')


def _listed_files(folder: Path, files: list[Path]) -> tuple[list[Path], Metadata]:
    with of_file(METADATA):
        metadata = read_metadata(folder / METADATA)
    missing = [name for name in metadata.files if not inside(folder, name, METADATA).is_file()]
    if missing:
        raise DataError(f'lacks {listed(missing)}, which {METADATA} lists; allowed a whole bag')
    known = {name.removesuffix(ZSTD) for name in metadata.files}
    more = [p.name for p in files if p.name.removesuffix(ZSTD) not in known]
    if more:
        raise DataError(
            f'got {listed(more)}, which {METADATA} does not list; allowed {listed(metadata.files)}: give the others a '
            'folder of their own, or make the list anew (ros2 bag reindex)'
        )
    paths = [folder / name for name in metadata.files]
    plain = [Path(p.name.removesuffix(ZSTD)) for p in paths]
    # The list is edited by hand, the numbers are not.
    if plain and in_pieces(plain):
        paths = [p for _, p in sorted(zip(map(_number, plain), paths, strict=True))]
    return paths, metadata
