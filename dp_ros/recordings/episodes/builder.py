"""Messages of a recording to what is known at each control tick, and that to episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dp_ros.data import Observation
from dp_ros.errors import DataError
from dp_ros.messages.encoding import belongs, decode, stamp_of
from dp_ros.messages.images import size_of
from dp_ros.policy.alignment import AS_LEARNT, Aligner, AlignmentLimits, Missing, tick_at_or_after
from dp_ros.policy.turns import observed_at
from dp_ros.recordings.episodes.actions import STATE_AGE, ActionTracks, next_state_columns
from dp_ros.recordings.episodes.goals import GoalTrack, goals_as_streams, recorded_goals
from dp_ros.recordings.episodes.rewards import RewardTrack
from dp_ros.recordings.episodes.segmentation import BY_FILE, CutSettings, Cutter, busy_parts
from dp_ros.task.spec import REWARD, ImageStream, JointStream, Stream, TaskSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One demonstration, at consecutive control ticks.

    Attributes
    ----------
    name
        Of the recording it is from, with a number behind it if a gap or a cut splits that in several.
    stamps
        Ticks [ns], (N,) int64, whole multiples of ``control_dt``.
    streams
        By stream name: (N, C) float64, or (N, H, W, 3) uint8: an array, or frames on disk that are indexed as one.
        Recorded goals are among them, and of a task with rewards ``reward``, (N, 1).
    actions
        The set point commanded at each tick [rad or m], (N, A) float64.
    camera_shapes
        By camera, height and width of its pictures as they were recorded, where that is known.

    """

    name: str
    stamps: np.ndarray
    streams: dict[str, Any]
    actions: np.ndarray
    camera_shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


class FrameStore(Protocol):
    """Where decoded pictures go."""

    def add(self, stream: str, frame: np.ndarray) -> Any:
        """Keep a picture (H, W, 3) uint8; return what stands for it."""

    def stack(self, stream: str, kept: list[Any]) -> Any:
        """Return pictures (N, H, W, 3), from what stands for them."""


class InMemory:
    """Pictures in memory."""

    def add(self, stream: str, frame: np.ndarray) -> Any:
        """Return the picture."""
        return frame

    def stack(self, stream: str, kept: list[Any]) -> Any:
        """Return the pictures stacked."""
        return np.stack(kept)


class PictureError(DataError):
    """A picture that cannot be used. It is decoded when a tick asks for it, so the error says where it is from."""


@dataclass
class Run:
    """Consecutive ticks that have everything, of one episode of the cutter's."""

    cut: int
    stamps: list[int] = field(default_factory=list)
    streams: list[dict[str, Any]] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)

    def part(self, first: int, end: int) -> Run:
        """Return the ticks [first, end)."""
        return Run(self.cut, self.stamps[first:end], self.streams[first:end], self.actions[first:end])

    def next_states(self, columns: Sequence[int]) -> Run:
        """Return all ticks but the last, each with the next one's action in these columns."""
        actions = [action.copy() for action in self.actions[:-1]]
        for action, following in zip(actions, self.actions[1:], strict=True):
            action[columns] = following[columns]
        return Run(self.cut, self.stamps[:-1], self.streams[:-1], actions)


class Collector:
    """Feeds messages to the aligner, and asks it at each tick as soon as no later message can count there.

    Parameters
    ----------
    cut, cutter
        What divides a recording, and who hears of it.
    frames
        Where pictures go; only those that count at a tick are decoded. None: nowhere, and they are not.
    seen
        Called with each observation that has a command. Its pictures are not decoded.

    """

    def __init__(
        self,
        task: TaskSpec,
        *,
        alignment_limits: AlignmentLimits = AS_LEARNT,
        cut: CutSettings = BY_FILE,
        cutter: Cutter | None = None,
        frames: FrameStore | None = None,
        seen: Callable[[Observation], None] | None = None,
    ) -> None:
        self._task = task
        self._aligner = Aligner(task, alignment_limits)
        self._actions = ActionTracks(task)
        places = [observed_at(task, joint) for joint in task.action.joints]
        self._places = [place for place in places if place] if all(places) else []
        self._cut, self._cutter = cut, cutter or Cutter(BY_FILE, {})
        self._frames, self._seen = frames, seen
        # Whether a picture is that of the message before matters to a camera that may not freeze.
        self._early = alignment_limits.max_frozen > 0
        self._cameras = {s.name: s for s in task.streams if isinstance(s, ImageStream)}
        self._goals = {goal.name: GoalTrack(goal) for goal in recorded_goals(task)}
        self._rewards = None if task.reward is None else RewardTrack(task.reward, self._aligner.wait)
        self._kept: dict[str, tuple[Any, Any]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._tick: int | None = None
        self._newest = 0
        self._runs: list[Run] = []
        self.missing: Missing | None = None
        self.found = 0

    def observation(self, stream: Stream, received: int, msg: Any) -> None:
        """Add a message of a stream."""
        if isinstance(stream, JointStream) and not belongs(stream, msg):
            self._advance(received)
            self._aligner.buffers[stream.name].leave(stream.joints, msg.name)
            return
        late = stream.name in self._cameras and not self._early
        self.value(stream.name, received, stamp_of(msg), boxed(msg) if late else decode(stream, msg))

    def value(self, name: str, received: int, stamp: int, value: np.ndarray) -> None:
        """Add what a message of a stream holds, or for a picture the message, or what has its size, `boxed`."""
        self._advance(received)
        stamp = stamp or received
        self._aligner.push(name, stamp, received, value)
        self._newest = max(self._newest, stamp)

    def command(self, topic: str, received: int, msg: Any) -> None:
        """Add a message of one of the action's sources."""
        self._advance(received)
        self._actions.push(topic, received, msg, self._measured(received))

    def _measured(self, now: int) -> np.ndarray | None:
        """Return where the commanded joints are, (A,), by the last joint states; None where one is not known."""
        found = []
        for name, column in self._places:
            last = self._aligner.buffers[name].last
            if last is None or now - last.arrival > STATE_AGE:
                return None
            found.append(last.value[column])
        return np.array(found) if found else None

    def goal(self, name: str, received: int, msg: Any) -> None:
        """Add a message that asks for the goal ``name``."""
        self._advance(received)
        self._goals[name].push(received, msg)

    def reward(self, received: int, msg: Any) -> None:
        """Add a message of the reward's topic."""
        self._advance(received)
        assert self._rewards is not None
        self._rewards.push(received, msg)

    def mark(self, topic: str, received: int, message: Any) -> None:
        """Add a message of a topic that cuts."""
        self._advance(received)
        self._cutter.push(topic, received, message)

    def finish(self) -> list[Run]:
        """Ask for the ticks up to the last message of the streams; return what was found.

        Raises
        ------
        DataError
            If what came as commands, or as marks that cut, is not that.

        """
        self._advance(self._newest + self._aligner.wait + 1)
        for objection in (self._actions.objection(), self._cutter.objection()):
            if objection:
                raise DataError(objection)
        # Commands may have gone on after the streams ended; what was held over there was not observed.
        runs = [r.part(0, sum(stamp <= self._newest for stamp in r.stamps)) for r in self._runs]
        self.found = sum(len(r.stamps) for r in runs)
        columns = next_state_columns(self._task)
        if columns:
            runs = [run.next_states(columns) for run in runs]
        if self._cut.by == 'idle':
            runs = [part for run in runs for part in self._busy(run)]
        least = max(1.0, self._cut.shortest / self._task.control_dt)
        return [run for run in runs if len(run.stamps) >= least]

    @property
    def camera_shapes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each camera's pictures, as they came."""
        return {name: (height, width) for name, (width, height) in self._sizes.items()}

    def oddities(self) -> dict[str, str]:
        """Return what is odd about commands and cuts, and no reason to refuse them."""
        found = {'action': self._actions.oddity(), 'cut': self._cutter.oddity()}
        return {what: text for what, text in found.items() if text}

    def _busy(self, run: Run) -> list[Run]:
        if not run.stamps:
            return []
        chosen = {s.name: columns for s in self._task.streams if (columns := position_columns(s))}
        states = [np.stack([values[name][c] for values in run.streams]) for name, c in chosen.items()]
        parts = busy_parts(np.stack(run.actions), states, self._task.control_dt, self._cut)
        return [run.part(first, end) for first, end in parts]

    def _advance(self, now: int) -> None:
        dt, wait = self._aligner.control_dt, self._aligner.wait
        if self._tick is None:
            # An earlier tick has no command: none was received before the first message.
            self._tick = tick_at_or_after(now, dt)
        while self._tick + wait < now:
            if not self._observe(self._tick) and self._tick > self._covered():
                # Nothing can be found before the next message: a gap of days costs no more than one of a second.
                self._tick = max(self._tick + dt, tick_at_or_after(now - wait, dt))
            else:
                self._tick += dt

    def _covered(self) -> int:
        """Return the last time at which the messages so far may still count [ns]."""
        return min((b.newest or 0) + b.max_age for b in self._aligner.buffers.values())

    def _observe(self, tick: int) -> bool:
        found = self._aligner.observe(tick)
        if isinstance(found, Missing):
            self.missing = found
            return False
        cut = self._cutter.episode(tick)
        if cut is None:
            self.missing = Missing(stamp=tick, reasons={'cut': 'between two episodes, or before the first'})
            return False
        places = [found.streams[name][column] for name, column in self._places]
        action = self._actions.at(tick, np.array(places) if places else None)
        if action is None:
            self.missing = Missing(stamp=tick, reasons={'action': self._actions.missing()})
            return False
        goals = goals_as_streams(list(self._goals.values()), tick)
        if isinstance(goals, str):
            self.missing = Missing(stamp=tick, reasons={goals: 'no goal yet'})
            return False
        if self._rewards is not None:
            reward = self._rewards.at(tick)
            if reward is None:
                self.missing = Missing(stamp=tick, reasons={REWARD: self._rewards.missing()})
                return False
            goals = {**goals, REWARD: reward}
        last = self._runs[-1] if self._runs else None
        if last is None or last.stamps[-1] != tick - self._aligner.control_dt or last.cut != cut:
            self._runs.append(Run(cut))
        run = self._runs[-1]
        run.stamps.append(tick)
        values = {**found.streams, **goals}
        self._check_sizes(tick, values)
        run.streams.append({name: self._keep(name, value) for name, value in values.items()})
        run.actions.append(action)
        if self._seen:
            self._seen(found)
        return True

    def _check_sizes(self, tick: int, values: Mapping[str, np.ndarray]) -> None:
        """Refuse pictures of another size than before: a camera that is set anew shows another part of the world."""
        for name, camera in self._cameras.items():
            size = size_of(values[name][()]) if values[name].dtype == object else None
            before = self._sizes.setdefault(name, size) if size else None
            if size and before and size != before:
                raise PictureError(
                    f'topic {camera.topic}: stream {name!r}: got a picture of {size[0]} x {size[1]} pixels, '
                    f'{before[0]} x {before[1]} before, at {tick} ns; allowed one size in a recording'
                )

    def _keep(self, name: str, value: np.ndarray) -> Any:
        camera = self._cameras.get(name)
        if camera is None and value.dtype != np.uint8:
            return value
        if self._frames is None:
            return None
        source = value[()] if value.dtype == object else value
        known = self._kept.get(name)
        if known is None or known[0] is not source:
            frame = _decoded(camera, source) if camera and value.dtype == object else value
            known = self._kept[name] = (source, self._frames.add(name, frame))
        return known[1]


def position_columns(stream: Stream) -> slice | None:
    """Return where a stream's vector has joint positions; None if it has none."""
    if not isinstance(stream, JointStream) or 'position' not in stream.fields:
        return None
    count, first = len(stream.joints), stream.fields.index('position')
    return slice(first * count, (first + 1) * count)


def measured_positions(task: TaskSpec, streams: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the commanded joints' own positions (N, A), of an episode's streams; None unless all are observed."""
    columns: list[np.ndarray] = []
    for joint in task.action.joints:
        for stream in task.streams:
            chosen = position_columns(stream)
            if isinstance(stream, JointStream) and chosen and joint in stream.joints:
                columns.append(streams[stream.name][:, chosen][:, stream.joints.index(joint)])
                break
    return np.stack(columns, axis=1) if len(columns) == len(task.action.joints) else None


def _decoded(camera: ImageStream, message: Any) -> np.ndarray:
    try:
        return decode(camera, message)
    except DataError as error:
        raise PictureError(f'topic {camera.topic}, stamped {stamp_of(message)} ns: {error}') from error


def boxed(message: Any) -> np.ndarray:
    """Return a message as an array of its own, to be decoded when it counts."""
    box = np.empty((), dtype=object)
    box[()] = message
    return box
