"""Carries out a sequence against nodes, be they real ones or simulated: that is the port's.

Between the events all is well: joint states at 100 Hz are true, and chunks of a smooth policy come as they should.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from .curves import SECOND, State
from .events import Event
from .judge import ERROR, Limits, Marks, way_time
from .signals import Chunk, JointState, Policy
from .variants import Variant

JOINT_STATE_PERIOD = SECOND // 100
OPERATOR = 7 * SECOND // 10  # after which someone calls ~/reset
RECOVERY = 4.0  # [s] of good data
REMEMBERED = 5 * SECOND  # for which the controller may be thought to hold the robot where it was told to be
LONGEST_PLAN = 4.0  # [s]: one that is under way is followed to its end first


class Seen(Protocol):
    """Return what is seen of the robot."""

    @property
    def offset(self) -> int:
        """Robot time less steady time [ns]."""

    def measured(self, at: int) -> State:
        """Return where it is at one time [ns, steady]."""

    def sent_away(self, at: int, since: int) -> np.ndarray:
        """Return how far (A,) the ends of messages that were sent ``since`` [ns, steady] are from where it is."""


class Port(Protocol):
    """What an attack acts on."""

    @property
    def controller(self) -> Seen:
        """Return what is commanded, and measured."""

    def now(self) -> int:
        """Return steady time [ns]."""

    def joint_state(self, state: JointState, peer: bool = False) -> None:
        """Publish a joint state."""

    def chunk(self, chunk: Chunk, peer: bool = False) -> None:
        """Publish a chunk."""

    def act(self, event: Event) -> None:
        """Do what is done to the nodes and the controller."""

    def undo(self, event: Event) -> None:
        """Take it back."""

    def latched(self) -> bool:
        """Return whether only ~/reset lets the robot move."""

    def reset(self) -> None:
        """Call ~/reset."""


@dataclass
class Attack:
    """The state of a sequence: what lies at the moment, what is to be taken back, and when."""

    port: Port
    policy: Policy
    limits: Limits
    joints: tuple[str, ...]
    every: int  # [ns] between two chunks
    rng: np.random.Generator
    marks: Marks = field(default_factory=Marks)
    variant: Variant = field(default_factory=Variant)
    lies: list[tuple[int, int, Event]] = field(default_factory=list)
    later: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    mute_until: int = 0
    next_chunk: int = 0
    next_state: int = 0
    latched_since: int | None = None
    _last_stamp: int = 0
    _last_state: JointState | None = None
    _told_away: list[tuple[int, np.ndarray]] = field(default_factory=list)

    def tick(self) -> None:
        """Do what is due."""
        now = self.port.now()
        for due in sorted((entry for entry in self.later if entry[0] <= now), key=lambda entry: entry[0]):
            self.later.remove(due)
            due[1]()
        if now >= self.next_state:
            period = self.variant.period
            self.next_state += period * ((now - self.next_state) // period + 1)
            self._joint_state(now)
        if now >= self.next_chunk:
            self.next_chunk = now + self.every
            if now >= self.mute_until:
                self.port.chunk(self.good(now))
        self._operator(now)

    def due(self) -> int:
        """Return when `tick` has something to do again [ns, steady]."""
        return min([self.next_state, self.next_chunk, *(at for at, _ in self.later)])

    def good(self, now: int) -> Chunk:
        """Return a chunk as it should be."""
        self._last_stamp = max(now + self.port.controller.offset - int(self.rng.integers(20_000_000, 80_000_000)), 1)
        return self._made(self._last_stamp, self.policy.steps)

    def _made(self, stamp: int, steps: int) -> Chunk:
        times = self.policy.control_dt * np.arange(steps, dtype=np.int64)
        return Chunk(
            stamp=stamp, joints=self.joints, times=times, actions=self._wrapped(self.policy.actions(stamp, steps))
        )

    def _wrapped(self, actions: np.ndarray) -> np.ndarray:
        return self.variant.wrapped(actions) if self.variant.wraps else actions

    def _operator(self, now: int) -> None:
        if not self.port.latched():
            self.latched_since = None
        elif self.latched_since is None:
            self.latched_since = now
        elif now - self.latched_since > OPERATOR:
            self.latched_since = now
            self.port.reset()

    # Events.

    def apply(self, event: Event) -> None:
        """Let an event happen."""
        now = self.port.now()
        seconds = float(event.values.get('seconds', 0.0))
        until = now + round(seconds * SECOND)
        if event.kind == 'chunk':
            for chunk in self._hostile(event, now):
                self.port.chunk(chunk)
        elif event.kind == 'mute':
            self.mute_until = until
        elif event.kind == 'lie':
            self.lies.append((now, until, event))
            self.marks.add('lie', now, until)
        else:
            self._act(event, now, until if seconds else None)

    def _act(self, event: Event, now: int, until: int | None) -> None:
        mark = {'controller_off': 'inactive', 'controller_restart': 'inactive'}.get(event.kind, event.kind)
        self.marks.add(mark, now, until, who=event.values.get('who'))
        self.port.act(event)
        if until is not None:
            self.later.append((until, lambda: self.port.undo(event)))
            if event.kind == 'peer':
                self.marks.add('lie', now, until)
                self._echo(event, until)

    def _echo(self, event: Event, until: int) -> None:
        """Publish joint states or chunks of another source until a time."""
        now = self.port.now()
        topic = event.values['topic']
        if now >= until or topic in ('enable', 'command'):
            return
        if topic == 'action_chunk':
            other = replace(self.policy, phase=self.policy.phase + 2.0)
            stamp = max(now + self.port.controller.offset - 50_000_000, 1)
            made = self._made(stamp, self.policy.steps)
            self.port.chunk(replace(made, actions=other.actions(stamp, self.policy.steps)), peer=True)
            self.later.append((now + 5 * JOINT_STATE_PERIOD, lambda: self._echo(event, until)))
            return
        place = 0.5 if event.values['topic'] == 'joint_states' else 0.0
        names = self.joints if place else ('finger_1', 'finger_2')
        stamp = max(now + self.port.controller.offset, 1)
        rest = [place] * len(names)
        self._note_away(rest if place else (), self.port.controller.measured(now).positions.tolist())
        self.port.joint_state(JointState(names=names, positions=rest, velocities=rest, stamp=stamp), peer=True)
        self.later.append((now + JOINT_STATE_PERIOD, lambda: self._echo(event, until)))

    def recovery(self) -> float:
        """Return how long it may take until the robot moves again from now on [s].

        That includes the controller's way from where joint states had it, if that was farther off than by `ERROR`, or
        from the end of a plan that it was sent, lost or not: for all that the publisher knows, it may hold the robot
        there, and is given the time for coming back.
        """
        now = self.port.now()
        since = now - REMEMBERED
        ways = [away for at, away in self._told_away if at > since]
        ways.append(self.port.controller.sent_away(now, since))
        return RECOVERY + max(way_time(self.limits, away) for away in ways) / 0.9

    def _note_away(self, positions: Sequence[float], true: Sequence[float]) -> None:
        if len(positions) == len(true):
            away = np.abs(np.subtract(positions, true))
            if np.isfinite(away).all() and away.max() > ERROR:
                self._told_away.append((self.port.now(), away))

    def calm(self) -> None:
        """End all that goes on, and take it back."""
        self.lies.clear()
        self.mute_until = 0
        pending, self.later = sorted(self.later, key=lambda entry: entry[0]), []
        for _, undo in pending:
            undo()
        self.later.clear()

    # What is said.

    def _joint_state(self, now: int) -> None:
        true = self.port.controller.measured(now)
        stamp = max(now + self.port.controller.offset, 1)
        state: JointState | None = JointState(
            names=self.joints, positions=true.positions.tolist(), velocities=true.velocities.tolist(), stamp=stamp
        )
        self.lies = [lie for lie in self.lies if lie[1] > now]
        for since, _, event in self.lies:
            state = state and self._lied(state, (now - since) / SECOND, event)
        if state is not None:
            self._last_state = state
            self._note_away(state.positions, true.positions.tolist())
            self.port.joint_state(self._published(state))

    def _published(self, state: JointState) -> JointState:
        variant, positions = self.variant, np.array(state.positions)
        if any(variant.continuous) and state.names == self.joints and len(positions) == len(self.joints):
            state = replace(state, positions=variant.wrapped(positions).tolist())
        return replace(
            state, velocities=state.velocities if variant.speeds else (), stamp=state.stamp if variant.stamped else 0
        )

    def _lied(self, state: JointState, since: float, event: Event) -> JointState | None:
        what, size, joint = event.values['what'], float(event.values['size']), int(event.values['joint'])
        positions, velocities = list(state.positions), list(state.velocities)
        if joint >= len(positions) or what == 'silent':
            return None if what == 'silent' else state
        if what in ('glitch', 'burst'):
            positions[joint] += size
        elif what == 'drift':
            positions[joint] += size * since
        elif what == 'noise':
            positions[joint] += 0.03 * min(abs(size), 1.0) * self.rng.standard_normal()
        elif what == 'not_finite':
            positions[joint] = float(np.nan if size > 0 else np.inf)
        elif what == 'speed':
            velocities[joint] = 1e200 if abs(size) > 1.0 else 12.0 * np.sign(size) if abs(size) > 0.1 else 30 * size
        elif what == 'frozen' and self._last_state is not None:
            return replace(self._last_state, stamp=state.stamp)
        elif what == 'stamp_repeats' and self._last_state is not None:
            return replace(state, stamp=self._last_state.stamp)
        elif what == 'renamed':
            return replace(state, names=(*state.names[:-1], 'nobody'))
        elif what == 'missing':
            return JointState(
                names=state.names[1:], positions=positions[1:], velocities=velocities[1:], stamp=state.stamp
            )
        elif what == 'short':
            return replace(state, positions=positions[:-1])
        ways = {'stamp_zero': 0, 'stamp_old': state.stamp - round(abs(size) * SECOND)}
        ways['stamp_ahead'] = state.stamp + round(abs(size) * SECOND)
        stamp = max(ways.get(what, state.stamp), 0)
        return replace(state, positions=positions, velocities=velocities, stamp=stamp)

    def _hostile(self, event: Event, now: int) -> list[Chunk]:
        rng, what = np.random.default_rng(event.values['seed']), event.values['what']
        robot = now + self.port.controller.offset
        good = self.good(now)
        actions, joint = good.actions.copy(), int(rng.integers(len(self.joints)))
        late = {'stale': -int(rng.integers(SECOND // 2, 5 * SECOND)), 'early': int(rng.integers(1, 3 * SECOND))}
        if what in late:
            return [self._made(max(robot + late[what], 1), self.policy.steps)]
        lengths = {'long': int(rng.choice([40, 200, 2000])), 'short': int(rng.integers(1, 4))}
        if what in lengths:
            return [self._made(good.stamp, lengths[what])]
        if what == 'jump':
            actions[int(rng.integers(16)) :, joint] += rng.choice([-1, 1]) * 10 ** rng.uniform(-2, 0.2)
        elif what == 'noise':
            actions += rng.standard_normal(actions.shape) * 10 ** rng.uniform(-3, -0.5)
        elif what == 'fast':
            actions = self.policy.centre + (actions - self.policy.centre) * float(rng.uniform(1.5, 4.0))
        elif what == 'not_finite':
            actions[int(rng.integers(16)), joint] = rng.choice([np.nan, np.inf, -np.inf])
        elif what == 'huge':
            actions[int(rng.integers(16)), joint] = rng.choice([1e300, -1e300, 1e18, 1e9])
        elif what in ('outside', 'just_outside'):
            more = rng.uniform(0.1, 2.0) if what == 'outside' else rng.uniform(0.0, 0.006)
            actions[int(rng.integers(16)) :, joint] = self.limits.upper[joint] + more
        elif what == 'reordered':
            return [replace(good, joints=good.joints[::-1], actions=actions[:, ::-1])]
        elif what == 'other_joints':
            return [replace(good, joints=(*good.joints[:-1], 'nobody'))]
        elif what == 'fewer_joints':
            return [replace(good, joints=good.joints[:-1], actions=actions[:, :-1])]
        elif what == 'other_steps':
            return [replace(good, times=good.times * 2)]
        elif what == 'zero_stamp':
            return [replace(good, stamp=0)]
        made = replace(good, actions=actions)
        if what == 'same_stamp':
            return [good, made]
        if what == 'twin':
            other = self._made(good.stamp + int(rng.integers(1, 20_000_000)), self.policy.steps)
            return [good, other]
        return [made]
