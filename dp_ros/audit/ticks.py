"""What is measured at control ticks: what training would see of the recordings, without their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from dp_ros.audit.statistics import Channels, LogHistogram
from dp_ros.data import NANOSECONDS, Observation
from dp_ros.recordings.episodes.builder import Run, measured_positions, position_columns
from dp_ros.recordings.episodes.stillness import moving_steps
from dp_ros.recordings.episodes.wrapping import unwrapped_episode
from dp_ros.task.spec import ImageStream, JointStream, PoseStream, TaskSpec
from dp_ros.task.units import QUATERNION

LAGS = np.arange(-3, 16)
HELD = 2.0
"""For how long the action may stay as it is while the robot moves [s]: it comes to rest long before."""
FROZEN = 1.0
"""For how long an observed stream may repeat itself while commands move [s]."""
_FAR = 20.0  # idle steps; joints that are nearer to where they come to rest tremble there


class TickAudit:
    """Ticks of all bags.

    Attributes
    ----------
    starts
        By bag, how many episodes it gave.
    skew
        Between the newest and the oldest stamp of an observation [s].
    ages
        By stream, of what counted at a tick [s].
    idle, idle_edges
        Ticks without motion, and those of them before the first motion of an episode or after its last.
    odd
        By what is odd about commands or cuts, in words, the bags.
    held
        By bag, for how long at most the action stayed as it was while the joints it is for moved [s], and since when.
    frozen
        By stream, the longest time that it repeated itself while commands moved [s], and in which bag.
    driven
        By topic and joint, what the joint did while its own command moved: where it stays then, it does not rest.
    turned
        By stream, how often a quaternion changed its sign from one tick to the next.

    """

    def __init__(self, task: TaskSpec, idle_speed: float) -> None:
        self.task = task
        self.skew = LogHistogram()
        self.ages = {s.name: LogHistogram() for s in task.streams}
        self.lengths: list[int] = []
        self.starts: dict[str, int] = {}
        self.failed: dict[str, str] = {}
        self.idle = self.idle_edges = 0
        self.odd: dict[tuple[str, str], list[str]] = {}
        self.held: dict[str, tuple[float, int]] = {}
        self.frozen: dict[str, tuple[float, str]] = {}
        self.driven: dict[tuple[str, str], Channels] = {}
        self.turned: dict[str, int] = {}
        self.example: tuple[str, np.ndarray, np.ndarray] | None = None
        self._still = idle_speed * task.control_dt
        self._pending: list[tuple[int, ...]] = []
        joints = len(task.action.joints)
        self._cross = np.zeros((len(LAGS), joints))
        self._energy = np.zeros((2, len(LAGS), joints))

    def observation(self, found: Observation) -> None:
        """Add an observation."""
        self._pending.append(tuple(found.ages[s.name] for s in self.task.streams))
        if len(self._pending) >= 1024:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            ages = np.array(self._pending, dtype=np.float64) / NANOSECONDS
            self._pending.clear()
            self.skew.add(np.ptp(ages, axis=1))
            for stream, column in zip(self.task.streams, ages.T, strict=True):
                self.ages[stream.name].add(column)

    def bag(self, name: str, runs: list[Run], oddities: Mapping[str, str]) -> None:
        """Add the episodes of a bag, and what is odd about its commands and cuts; DataError where a joint wraps."""
        episodes = [self._unwrapped(run) for run in runs]
        for what, text in oddities.items():
            self.odd.setdefault((what, text), []).append(name)
        self._flush()
        self.starts[name] = len(runs)
        for run, (streams, actions) in zip(runs, episodes, strict=True):
            self.lengths.append(len(run.stamps))
            self._motion(name, actions, streams)
            state = measured_positions(self.task, streams)
            if state is not None:
                self._hold(name, run.stamps, actions, state)
                self._lag(actions, state)
                if self.example is None or len(self.example[1]) < 20:
                    self.example = (name, actions[:600], state[:600])

    def _unwrapped(self, run: Run) -> tuple[dict[str, np.ndarray], np.ndarray]:
        vectors = [s.name for s in self.task.streams if not isinstance(s, ImageStream)]
        streams = {name: np.stack([values[name] for values in run.streams]) for name in vectors}
        return unwrapped_episode(self.task, streams, np.stack(run.actions))

    def _motion(self, bag: str, actions: np.ndarray, streams: dict[str, np.ndarray]) -> None:
        commanded = moving_steps(actions, self._still)
        moving = commanded.copy()
        for stream in self.task.streams:
            chosen = position_columns(stream)
            if chosen:
                moving |= moving_steps(streams[stream.name][:, chosen], self._still)
        self.idle += int((~moving).sum())
        steps = np.flatnonzero(moving)
        self.idle_edges += int(steps[0] + len(moving) - 1 - steps[-1]) if len(steps) else len(moving)
        for name, values in streams.items():
            self._freeze(bag, name, values, commanded)
        for stream in self.task.streams:
            if isinstance(stream, JointStream) and 'position' in stream.fields:
                self._drive(stream, actions, streams[stream.name][:, position_columns(stream)])
            elif isinstance(stream, PoseStream) and set(QUATERNION) <= set(stream.features):
                turns = streams[stream.name][:, [stream.features.index(part) for part in QUATERNION]]
                flips = int(((turns[1:] * turns[:-1]).sum(axis=1) < 0.0).sum())
                self.turned[stream.name] = self.turned.get(stream.name, 0) + flips

    def _drive(self, stream: JointStream, actions: np.ndarray, positions: np.ndarray) -> None:
        for column, joint in enumerate(stream.joints):
            if joint in self.task.action.joints:
                own = self.task.action.joints.index(joint)
                moved = moving_steps(actions[:, own : own + 1], self._still)
                rows = positions[1:][moved, column : column + 1]
                known = self.driven.setdefault((stream.topic, joint), Channels((joint,)))
                known.add(rows, np.zeros(len(rows), np.int64))

    def _hold(self, bag: str, stamps: list[int], actions: np.ndarray, joints: np.ndarray) -> None:
        """Note the longest time that the action stayed as it was while the joints had yet to come to rest."""
        for first, end in _constant(actions):
            far = (np.abs(joints[first:end] - joints[end]) > _FAR * self._still).any(axis=1)
            seconds = float(far.sum()) * self.task.control_dt
            if seconds > max(HELD, self.held.get(bag, (0.0, 0))[0]):
                self.held[bag] = (seconds, stamps[first])

    def _freeze(self, bag: str, name: str, values: np.ndarray, commanded: np.ndarray) -> None:
        """Note the longest time of equal rows, counting the steps in it at which commands moved."""
        steps = max((int(commanded[first:end].sum()) for first, end in _constant(values)), default=0)
        worst = steps * self.task.control_dt
        if worst > self.frozen.get(name, (0.0, ''))[0]:
            self.frozen[name] = (worst, bag)

    def _lag(self, actions: np.ndarray, state: np.ndarray) -> None:
        commanded, moved = np.diff(actions, axis=0), np.diff(state, axis=0)
        count = len(commanded)
        for row, lag in enumerate(LAGS.tolist()):
            if count <= abs(lag):
                continue
            a, s = commanded[max(0, -lag) : count - max(0, lag)], moved[max(0, lag) : count - max(0, -lag)]
            self._cross[row] += (a * s).sum(axis=0)
            self._energy[0, row] += (a * a).sum(axis=0)
            self._energy[1, row] += (s * s).sum(axis=0)

    @property
    def correlation(self) -> np.ndarray:
        """How alike commanded and observed steps are, by lag and joint (K, A); NaN where one never moved."""
        with np.errstate(invalid='ignore', divide='ignore'):
            found: np.ndarray = self._cross / np.sqrt(self._energy[0] * self._energy[1])
        return found

    @property
    def lag(self) -> float | None:
        """By how many control steps the state follows the action; None if they have no motion in common.

        Half of the joints are more alike then, half less: one that sags or is pushed says nothing of the clocks.
        """
        moving = ~np.isnan(self.correlation).any(axis=0)
        if not moving.any():
            return None
        alike = np.median(self.correlation[:, moving], axis=1)
        best = int(alike.argmax())
        if alike[best] < 0.2:
            return None
        if not 0 < best < len(alike) - 1:
            return float(LAGS[best])
        left, top, right = alike[best - 1 : best + 2]
        bend = left - 2.0 * top + right
        return float(LAGS[best] + (0.5 * (left - right) / bend if bend < 0.0 else 0.0))

    @property
    def ticks(self) -> int:
        """How many ticks have everything."""
        return sum(self.lengths)

    def padding(self) -> tuple[float, float]:
        """Return which share of the windows' action steps, and of their observations, copies an episode's edge."""
        from dp_ros.recordings.episodes.episode import window_indices  # its package asks for torch

        totals = np.zeros(4)
        for length, times in zip(*np.unique(self.lengths, return_counts=True), strict=True):
            observed, acted = window_indices(int(length), self.task)
            newest = acted[:, :1]
            after = newest + np.arange(self.task.pred_horizon) > length - 1
            before = newest + np.arange(1 - self.task.obs_horizon, 1) < 0
            totals += times * np.array([after.sum(), acted.size, before.sum(), observed.size])
        return float(totals[0] / max(1.0, totals[1])), float(totals[2] / max(1.0, totals[3]))


def _constant(rows: np.ndarray) -> list[tuple[int, int]]:
    """Return the stretches of equal rows (N, C), each with its first and its last row."""
    changed = np.flatnonzero((np.diff(rows, axis=0) != 0.0).any(axis=1))
    edges = np.concatenate([[-1], changed, [len(rows) - 1]])
    return [(first + 1, last) for first, last in pairwise(edges.tolist())]
