"""What the seams between chunks do to a motion, beside what happens inside chunks.

    a_i   the steps that were executed, one each control step, each from the chunk that was in force when it was due
    q_j   what the controller commanded, one each cycle; h [s] between two

    jump    || a_i - b_i ||                             a_i the first step from a chunk, b_i what the last one had there
    turn    || a_i+1 - 2 a_i + a_i-1 ||                 at a seam where the three are not all from one chunk
    jerk    || q_j+3 - 3 q_j+2 + 3 q_j+1 - q_j || / h^3  root mean square; at a seam within `AROUND` of a splice

Jump and turn are the policy's own; jerk is what a drive got, cross-faded and limited. Averages of chunks jump where an
older one ends, in the middle of the newest: so jerk is told of the whole motion too. The norm is over the joints, so
the numbers are in the joints' unit [rad or m], jerk per second cubed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dp_ros.data import NANOSECONDS, Chunk

AROUND = (-0.5, 1.5)
"""Control steps around a splice that are counted as the seam: up to the first new step and half-way to the next."""


@dataclass(frozen=True, kw_only=True)
class Seams:
    """One episode's seams: means, and for jerk the root mean square. NaN where there was nothing to measure."""

    jump: float
    turn_at_seams: float
    turn_inside: float
    jerk_at_seams: float
    jerk_inside: float
    jerk: float


MEASURES = tuple(f.name for f in fields(Seams))


class SeamRecorder:
    """Listens to one episode, with ``control_dt`` between steps and ``cycle`` between commands [ns]."""

    def __init__(self, control_dt: int, cycle: int) -> None:
        self._control_dt, self._cycle = control_dt, cycle
        self._commands: list[np.ndarray] = []
        self._began = 0
        self._splices: list[int] = []
        self._jumps: list[float] = []
        self._steps: list[np.ndarray] = []
        self._owners: list[int] = []
        self._chunk: Chunk | None = None
        self._first = self._number = 0

    def commanded(self, now: int, set_point: np.ndarray) -> None:
        """Take what was commanded (A,) in the cycle that ended at ``now`` [ns]; no cycle may be left out."""
        if not self._commands:
            self._began = now
        self._commands.append(set_point)

    def taken(self, chunk: Chunk, first_executed: int, splice: int) -> None:
        """Take a chunk that is executed from the step due at ``first_executed`` on, and spliced in at ``splice`` [ns].

        The first chunk of an episode begins at rest: no seam.
        """
        if self._chunk is not None:
            self._execute(first_executed)
            last, new = (_step(c, first_executed) for c in (self._chunk, chunk))
            self._jumps.append(float(np.linalg.norm(new - last)))
            self._splices.append(splice)
        self._chunk, self._first = chunk, first_executed
        self._number += 1

    def _execute(self, until: int) -> None:
        """Count the steps of the chunk in force that are due before ``until`` [ns] as executed."""
        assert self._chunk is not None
        executed = (self._chunk.due >= self._first) & (self._chunk.due < until)
        self._steps.extend(self._chunk.actions[executed])
        self._owners.extend([self._number] * int(executed.sum()))

    def finish(self, now: int) -> Seams:
        """Return what was measured up to ``now`` [ns]."""
        if self._chunk is not None:
            self._execute(now)
            self._chunk = None
        turns, at_seams = self._turns()
        jerk, around = self._jerk()
        return Seams(
            jump=_mean(np.array(self._jumps)),
            turn_at_seams=_mean(turns[at_seams]),
            turn_inside=_mean(turns[~at_seams]),
            jerk_at_seams=_mean(jerk[around] ** 2) ** 0.5,
            jerk_inside=_mean(jerk[~around] ** 2) ** 0.5,
            jerk=_mean(jerk**2) ** 0.5,
        )

    def _turns(self) -> tuple[np.ndarray, np.ndarray]:
        if len(self._steps) < 3:
            return np.zeros(0), np.zeros(0, dtype=bool)
        owners = np.array(self._owners)
        return np.linalg.norm(np.diff(self._steps, 2, axis=0), axis=1), owners[2:] != owners[:-2]

    def _jerk(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the jerk in the middle of every four cycles, and which are at seams."""
        if len(self._commands) < 4:
            return np.zeros(0), np.zeros(0, dtype=bool)
        cubed = (self._cycle / NANOSECONDS) ** 3
        jerk = np.linalg.norm(np.diff(self._commands, 3, axis=0), axis=1) / cubed
        middle = self._began + self._cycle * (np.arange(len(jerk)) + 1.5)
        around = np.zeros(len(jerk), dtype=bool)
        for splice in self._splices:
            before, after = (splice + share * self._control_dt for share in AROUND)
            around |= (middle >= before) & (middle < after)
        return jerk, around


def _step(chunk: Chunk, due: int) -> np.ndarray:
    """Return a chunk's step due at a time [ns]; after its last one the arm rests there."""
    return np.asarray(chunk.actions[min(int(np.searchsorted(chunk.due, due)), len(chunk.actions) - 1)])


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float('nan')
