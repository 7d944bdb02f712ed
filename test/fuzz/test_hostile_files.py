"""Spoilt files of every kind: each is refused in one line or read, in bounded time and memory.

``make fuzz-files`` tries 3000 and prints the seeds; FUZZ_FILES and FUZZ_SEED choose others.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip('onnxruntime')
for module in ('rosbags', 'pyarrow', 'h5py', 'zarr', 'av'):
    pytest.importorskip(module, reason=f'{module} is not installed (extras: train, datasets)')

from test.fuzz.specimens import SPECIMENS
from test.fuzz.trials import trials

COUNT, SEED = int(os.environ.get('FUZZ_FILES', '110')), int(os.environ.get('FUZZ_SEED', '0'))
KINDS = os.environ.get('FUZZ_KINDS', ' '.join(SPECIMENS)).split()


@pytest.fixture(scope='module')
def specimens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('specimens')
    for kind, (make, _) in SPECIMENS.items():
        make(folder / kind)
    return folder


@pytest.mark.parametrize('kind', SPECIMENS)
def test_specimens_are_valid(specimens: Path, kind: str) -> None:
    SPECIMENS[kind][1](specimens / kind)


@pytest.mark.timeout(0)
def test_a_spoilt_file_is_refused_in_one_line_or_read(specimens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [(KINDS[i % len(KINDS)], SEED + i // len(KINDS)) for i in range(COUNT)]
    found, wrong = Counter[str](), []
    for trial in trials(tasks, specimens, min(4 if COUNT > 500 else 2, os.cpu_count() or 1)):
        found[f'{trial.kind} {trial.outcome}'] += 1
        if not trial.right:
            wrong.append(trial)
            with capsys.disabled():
                print(f'\n{trial}')
    with capsys.disabled():
        print(f'\n{COUNT} files from seed {SEED}: {dict(sorted(found.items()))}')
    assert sum(found.values()) == COUNT
    assert not wrong
