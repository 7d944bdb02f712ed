"""A joint_trajectory_controller (ros2_controllers 4.42) and the robot behind it, worked out on demand.

Nothing runs in the background: what the controller commands is a sequence of pieces, each a curve and the cycle from
which it counts, so any moment can be asked for, and cycles are as even as the real ones however late the asking is.
The robot follows the commands after a fixed lag. Steady time [ns] orders everything; robot time, which stamps are in,
is steady time plus an offset that a step of the clock changes.

- A new message replaces the old trajectory whole, from the first cycle after its arrival; of several only the newest.
- Stamp 0 counts from that cycle. The first point due already: no bridge. Ahead: a bridge from the measured state, or
  from the last command at the time of its cycle.
- Each cycle commands what is due one period later. Behind the last point, that is held.
- A joint that turns without end begins a bridge in the turn of its first point.
- Inactive it takes nothing and keeps its last command; active again, it holds what is measured.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .curves import SECOND, Curve, Message, State

MOVES = 1e-3  # [/s]
NEVER = 1 << 62
TURN = 2 * np.pi
ENDED = 'it ends in the past'


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How the controller runs: ``rate`` [Hz], the robot's ``lag`` [s], and where bridges start."""

    joints: tuple[str, ...]
    rate: int = 250
    lag: float = 0.02
    from_desired: bool = False
    continuous: tuple[bool, ...] = ()  # which joints turn without end, if any do

    @property
    def period(self) -> int:
        """Time of a cycle [ns]."""
        return SECOND // self.rate


def parameters_of(setup: Setup) -> dict[str, Any]:
    """Return what the real controller's node says of itself, as far as it matters here."""
    interfaces = ['position', 'velocity']
    return {
        'joints': list(setup.joints),
        'command_joints': list(setup.joints),
        'command_interfaces': interfaces[:1],
        'state_interfaces': interfaces,
        'interpolation_method': 'splines',
        'interpolate_from_desired_state': setup.from_desired,
        'allow_nonzero_velocity_at_trajectory_end': False,
        'allow_partial_joints_goal': False,
        'allow_integration_in_goal_trajectories': False,
        'set_last_command_interface_value_as_state_on_activation': True,
        'open_loop_control': False,
        'action_monitor_rate': 20.0,
        'cmd_timeout': 0.0,
        'constraints.goal_time': 0.0,
        'constraints.stopped_velocity_tolerance': 0.01,
        'constraints.decelerate_on_cancel': False,
        'speed_scaling.initial_scaling_factor': 1.0,
        'speed_scaling.state_interface': '',
        'speed_scaling.command_interface': '',
        'update_rate': setup.rate,
        **{f'constraints.{joint}.{kind}': 0.0 for joint in setup.joints for kind in ('trajectory', 'goal')},
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A curve that is commanded from the cycle at ``since`` [ns, steady] on.

    Attributes
    ----------
    offset, kind
        Robot time less steady time [ns]; ``held``, ``anchored``, ``bridged``, or ``stepped`` with the clock.
    message
        What it was made of, with when it was heard.
    bridge_end
        When a bridge ends [ns, steady].
    own_step
        How far the controller's choice of where to begin a bridge is from what it commanded (A,).

    """

    since: int
    curve: Curve
    offset: int
    kind: str
    message: Message | None = None
    bridge_end: int = 0
    own_step: np.ndarray | None = None


@dataclass
class Heard:
    """Keep what became of the messages, with arrival: lost, or come; of those that came, taken or rejected."""

    lost: list[tuple[int, Message]] = field(default_factory=list)
    came: list[tuple[int, Message]] = field(default_factory=list)
    taken: list[tuple[int, Message]] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    ignored: int = 0


class Controller:
    """See the module's text. It holds ``start`` (A,) from ``now`` [ns, steady] on."""

    def __init__(self, setup: Setup, start: np.ndarray, now: int, offset: int = 0) -> None:
        self.setup, self.offset, self.active = setup, offset, True
        self.heard = Heard()
        self.pieces = [Piece(since=now - 10 * SECOND, curve=Curve.held(start), offset=offset, kind='held')]
        self._since = [self.pieces[0].since]
        self._origin = now
        self._waiting: list[tuple[int, Message]] = []
        self._arrived = 0

    # What it commands.

    def commanded(self, at: np.ndarray, orders: int = 3) -> list[np.ndarray]:
        """Return what cycles at the times (N,) [ns, steady] command: `Curve.sample`, one period ahead."""
        return self._sampled(at, self.setup.period, orders)

    def measured(self, at: int) -> State:
        """Return where the robot is at one time [ns, steady]."""
        return self._state(at - round(self.setup.lag * SECOND))

    def sent_away(self, at: int, since: int) -> np.ndarray:
        """Return how far (A,) the ends of messages that were sent it ``since`` [ns, steady] are from where it is."""
        place = self.measured(at).positions
        sent = [message for arrival, message in (*self.heard.came, *self.heard.lost) if arrival >= since]
        sent = [message for message in sent if message.joints == self.setup.joints]
        return np.max([0.0 * place, *(np.abs(message.positions[-1] - place) for message in sent)], axis=0)

    def _state(self, at: int) -> State:
        piece = self.pieces[self.piece_at(at)]
        return piece.curve.state(at + piece.offset)

    def _sampled(self, at: np.ndarray, ahead: int, orders: int) -> list[np.ndarray]:
        which = np.searchsorted(np.array(self._since), at, side='right') - 1
        found = [np.zeros((len(at), len(self.setup.joints))) for _ in range(orders)]
        for number in np.unique(which):
            piece = self.pieces[max(number, 0)]
            mask = which == number
            for values, sampled in zip(
                found, piece.curve.sample(at[mask] + (piece.offset + ahead), orders), strict=True
            ):
                values[mask] = sampled
        return found

    def cycle_at(self, at: int) -> int:
        """Return the first cycle at or after a time [ns, steady]."""
        return self._origin - (self._origin - at) // self.setup.period * self.setup.period

    # What happens to it.

    def hear(self, message: Message, arrival: int) -> None:
        """Take a message into account that arrives at a time [ns, steady], be it later or a little ago.

        Those of one publisher arrive in the order in which they were sent.
        """
        self._arrived = max(arrival, self._arrived + 1)
        self._waiting.append((self._arrived, message))
        self.heard.came.append((self._arrived, message))

    def advance(self, now: int) -> None:
        """Take what has arrived by ``now`` [ns, steady]."""
        while self._waiting and self._waiting[0][0] <= now:
            arrival, message = self._waiting.pop(0)
            if not self.active:
                self.heard.ignored += 1
                continue
            reason = self.refusal(message, arrival + self.offset)
            if reason.startswith(ENDED):
                continue  # another copy of what is executed, or of a plan that has ended: it would move nothing
            if reason:
                self.heard.rejected.append((arrival, reason))
                continue
            self.heard.taken.append((arrival, message))
            self._take(message, max(self.cycle_at(arrival), self.pieces[-1].since))

    def deactivate(self, now: int) -> None:
        """Keep the last command, and take nothing any more."""
        self.advance(now)
        self.active = False
        self._append(Piece(since=now, curve=Curve.held(self._last(now)), offset=self.offset, kind='held'))

    def activate(self, now: int) -> None:
        """Hold what is measured, and take messages."""
        self.advance(now)
        self.active = True
        held = Curve.held(self.measured(now).positions)
        self._append(Piece(since=now, curve=held, offset=self.offset, kind='held'))

    def step_clock(self, now: int, by: int) -> None:
        """Let robot time jump by ``by`` [ns]."""
        self.advance(now)
        last = self.pieces[-1]
        curve = last.curve if by >= 0 else self._gone_back(last, now, by)
        self.offset += by
        self._append(Piece(since=now, curve=curve, offset=self.offset, kind='stepped', message=last.message))

    def _gone_back(self, last: Piece, now: int, by: int) -> Curve:
        """Return what becomes of a trajectory when the clock is set back.

        Within a segment it goes on. Sampling never goes back to an earlier one: it ends in the last point, at once, or,
        before the time at which the trajectory was taken, when that comes again. Until then the last command stays.
        """
        curve, ahead = last.curve, now + self.offset + self.setup.period
        taken = last.since + last.offset
        segment = int(curve.knots.searchsorted(ahead, side='right')) - 1
        if 0 <= segment < len(curve.coefficients) and ahead + by >= max(int(curve.knots[segment]), taken):
            return curve
        if not len(curve.coefficients) or ahead >= curve.knots[-1] or ahead + by >= taken:
            return Curve.held(curve.after)
        knots = np.array([taken], dtype=np.int64)
        return Curve(knots, np.zeros((0, *curve.coefficients.shape[1:])), self._last(now), curve.after)

    def refusal(self, message: Message, now: int) -> str:
        """Return why the real one would not take a message at robot time ``now`` [ns], or ''."""
        if sorted(message.joints) != sorted(self.setup.joints):
            return f'joints {message.joints}'
        if not len(message.times):
            return 'no points'
        if message.stamp < 0:
            return f'a stamp below 0, which ends the real one: {message.stamp}'
        if message.times[0] < 0 or (np.diff(message.times) <= 0).any():
            return f'times {message.times}'
        if message.velocities is not None and np.abs(message.velocities[-1]).max() > 1e-6:
            return f'it ends in motion: {message.velocities[-1]}'
        if message.stamp and message.stamp + int(message.times[-1]) < now:
            return f'{ENDED}, {(now - message.stamp - int(message.times[-1])) / SECOND:.3f} s ago'
        return ''

    def _last(self, now: int) -> np.ndarray:
        """Return the last command before ``now``: of the cycle before it."""
        return self._commanded_state(self.cycle_at(now) - self.setup.period).positions

    def _take(self, message: Message, cycle: int) -> None:
        message = _in_order(message, self.setup.joints)
        start = message.stamp or cycle + self.offset
        curve = Curve.through(message, start)
        now, kind, own = cycle + self.offset, 'anchored', None
        before = cycle - self.setup.period
        if self.setup.from_desired:
            since, at = before + self.offset, self._commanded_state(before)
        else:
            since, at = now, self.measured(cycle)
        # The sample one period ahead is what is commanded first.
        if int(curve.knots[0]) > since:
            kind = 'bridged'
            own = np.abs(self._turned(at.positions - self._commanded_state(cycle - self.setup.period).positions))
            if any(self.setup.continuous):
                at = replace(at, positions=message.positions[0] + self._turned(at.positions - message.positions[0]))
            curve = curve.led_by(since, at, message)
        end = start + int(message.times[0]) - self.offset
        self._append(
            Piece(
                since=cycle, curve=curve, offset=self.offset, kind=kind, message=message, bridge_end=end, own_step=own
            )
        )

    def _turned(self, way: np.ndarray) -> np.ndarray:
        """Return a way (A,) without whole turns of joints that turn without end."""
        if not any(self.setup.continuous):
            return way
        return np.where(self.setup.continuous, way - TURN * np.round(way / TURN), way)

    def _commanded_state(self, cycle: int) -> State:
        piece = self.pieces[self.piece_at(cycle)]
        return piece.curve.state(cycle + self.setup.period + piece.offset)

    def _append(self, piece: Piece) -> None:
        while self.pieces[-1].since >= piece.since and len(self.pieces) > 1:
            self.pieces.pop()
            self._since.pop()
        self.pieces.append(piece)
        self._since.append(piece.since)

    def follows_plan(self, now: int) -> bool:
        """Return whether a plan makes the robot move at a time [ns, steady], and not a way to where it is held."""
        return self.planned(now) and bool(np.abs(self.measured(now).velocities).max() > MOVES)

    def planned(self, now: int) -> bool:
        """Return whether it is on a plan."""
        piece = self.pieces[self.piece_at(now)]
        return piece.message is not None and len(piece.message.times) > 1

    def until(self, number: int) -> int:
        """Return when a piece ends [ns, steady]."""
        return self.pieces[number + 1].since if number + 1 < len(self.pieces) else NEVER

    def piece_at(self, at: int) -> int:
        """Return the number of the piece that is commanded at a time [ns, steady]."""
        return max(bisect_right(self._since, at) - 1, 0)


def _in_order(message: Message, joints: tuple[str, ...]) -> Message:
    if message.joints == joints:
        return message
    order = [message.joints.index(joint) for joint in joints]
    columns = [
        None if values is None else values[:, order]
        for values in (message.positions, message.velocities, message.accelerations)
    ]
    assert columns[0] is not None
    return Message(
        stamp=message.stamp,
        joints=joints,
        times=message.times,
        positions=columns[0],
        velocities=columns[1],
        accelerations=columns[2],
    )
