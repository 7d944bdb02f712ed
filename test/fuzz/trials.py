"""Spoilt files opened by the real readers, each in a process that may be lost, watched for time and memory."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import IO

import numpy as np

from dp_ros.errors import DpRosError
from test.fuzz.mutations import spoil
from test.fuzz.specimens import SPECIMENS

MOST_SECONDS, MOST_MEGABYTES = 20.0, 1000
READY_SECONDS = 280.0
_ROOT = Path(__file__).resolve().parents[2]
# Python has a package test of its own.
_START = """
import sys, types
package = types.ModuleType('test')
package.__path__ = [sys.argv[1] + '/test']
sys.modules['test'] = package
sys.path.insert(0, sys.argv[1])
from test.fuzz.trials import work
work(*sys.argv[2:])
"""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of a spoilt file: ``refused`` and ``taken`` are right, all else is a finding."""

    kind: str
    seed: int
    what: str
    outcome: str
    detail: str

    @property
    def right(self) -> bool:
        """Whether that is as it should be."""
        return self.outcome in ('refused', 'taken')


class _Worker:
    """A process that opens one file after another; it has read each kind once before it gets any."""

    def __init__(self, folder: Path, number: int) -> None:
        self._arguments = [str(folder), str(folder / f'scratch-{os.getpid()}-{number}')]
        self.task: tuple[str, int] | None = None
        self._start()

    def _start(self) -> None:
        command = [sys.executable, '-c', _START, str(_ROOT), *self._arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.since, self._most = monotonic(), READY_SECONDS

    @property
    def output(self) -> IO[bytes]:
        """What it writes to."""
        assert self.process.stdout
        return self.process.stdout

    def give(self, left: Iterator[tuple[str, int]]) -> bool:
        """Give it its next task, if there is one."""
        self.task = next(left, None)
        if self.task is None:
            self.end()
            return False
        self.since, self._most = monotonic(), 2 * MOST_SECONDS
        assert self.process.stdin
        self.process.stdin.write(json.dumps(self.task).encode() + b'\n')
        self.process.stdin.flush()
        return True

    @property
    def late(self) -> bool:
        """Whether it has had its time."""
        return monotonic() - self.since > self._most

    def outcome(self) -> Trial | None:
        """Return what became of its task; None if it had none and is ready. A lost process is started again."""
        kind, seed = self.task or ('', 0)
        line = b'' if self.late else self.output.readline()
        if not line:
            outcome = 'hangs' if self.late else 'died'
            self.process.kill()
            self._start_again()
            return Trial(kind=kind, seed=seed, what='', outcome=outcome, detail=f'exit code {self._code}')
        if self.task is None:
            return None
        trial = Trial(**json.loads(line))
        if trial.outcome == 'large':  # its peak would count for the next
            self.process.kill()
            self._start_again()
        return trial

    def _start_again(self) -> None:
        self._code = self.process.wait()
        assert self.task is not None, f'the process that opens files ended with exit code {self._code}'
        self.task = None
        self._start()

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def trials(tasks: Iterable[tuple[str, int]], folder: Path, workers: int) -> Iterator[Trial]:
    """Yield what becomes of each (kind, seed), in no order."""
    left = iter(tasks)
    busy = [_Worker(folder, number) for number in range(workers)]
    try:
        while busy:
            ready, _, _ = select.select([worker.output for worker in busy], [], [], 0.2)
            for worker in [w for w in busy if w.output in ready or w.late]:
                trial = worker.outcome()
                if trial is not None:
                    yield trial
                again = trial is not None and worker.task is None
                if not again and not worker.give(left):
                    busy.remove(worker)
    finally:
        for worker in busy:
            worker.end()


def work(folder: str, scratch: str) -> None:
    """Open the files that are asked for on the standard input, and say what became of each."""
    warnings.simplefilter('ignore')
    resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))
    answers = os.fdopen(os.dup(1), 'wb', buffering=0)
    for stream in (1, 2):  # libraries write there what they raise, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    for kind in SPECIMENS:
        SPECIMENS[kind][1](Path(folder, kind))
    answers.write(b'ready\n')
    for line in sys.stdin:
        kind, seed = json.loads(line)
        shutil.rmtree(scratch, ignore_errors=True)
        Path(scratch).mkdir()
        answers.write(json.dumps(asdict(_try(kind, seed, Path(folder, kind), Path(scratch, kind)))).encode() + b'\n')


def _peak() -> int:
    """Return the most memory that this program has held [MB]; what getrusage says counts the parent's, too."""
    status = Path('/proc/self/status').read_text(encoding='ascii')
    return int(status.partition('VmHWM:')[2].split()[0]) // 1024


def _try(kind: str, seed: int, specimen: Path, copy: Path) -> Trial:
    shutil.copytree(specimen, copy)
    what = spoil(copy, np.random.default_rng([seed, sorted(SPECIMENS).index(kind)]))
    before = monotonic()
    try:
        SPECIMENS[kind][1](copy)
        outcome, detail = 'taken', ''
    except DpRosError as error:
        outcome, detail = 'refused', str(error)
    except BaseException as error:
        outcome, detail = 'crashed', f'{type(error).__name__}: {str(error)[:300]}'
    taken, peak = monotonic() - before, _peak()
    if outcome == 'refused' and ('\n' in detail or len(detail) > 5000):
        outcome, detail = 'long', detail[:300]
    if taken > MOST_SECONDS:
        outcome, detail = 'slow', f'{taken:.1f} s'
    if peak > MOST_MEGABYTES:
        outcome, detail = 'large', f'{peak} MB'
    return Trial(kind=kind, seed=seed, what=what, outcome=outcome, detail=detail)
