"""What is wrong with the commands that a controller was made to give, cycle by cycle.

Velocity and acceleration are divided differences of the commanded positions: those of a curve within its limits are
within them too, whatever the rate, so where a plan is in force nothing but rounding is allowed on top. Where it is not:

- a bridge, from where the robot is to a first point: strict too, unless something lied, jumped or was lost within
  `MEMORY` before, or the robot moved: then `SPEED_MARGIN` and `BEND_MARGIN` on top, and the controller's own step to
  where it measures the robot, which no message changes; one that begins at the last command steps twice in its first
  cycle, which from rest is twice the acceleration of the bridge
- the first message after some were lost or kept back by a stall, or after the controller came back, where no time is
  left for a bridge: a step of no more than a joint travels at its speed limit in a cycle and in `ASTRAY`, for so far
  off it may be, with whatever acceleration; unless joint states lied from `BLIND` before, or `IN_A_ROW` messages were
  lost, which is every copy of a plan: then nobody could know
- an ending: at rest in `stopping`, and where the robot is held away from its plan (it was off it, maybe before the
  ending already, or every copy of the stop was lost), the time of a way of `ERROR` later: for so much joint states may
  be wrong, and the controller starts its way to the point from where the robot truly is; of a way to a plan of which
  all copies were lost, where that is farther; and `COPIES`, in which the point is sent again; unless nothing
  was heard of the ending, for `IN_A_ROW` messages of it were lost, or joint states lied within `BLIND` before, so that
  nothing could be sent to an arm that was off its plan: then it finishes that
- a step of the clock, and the cycle in which the controller is switched on or off, are nobody's fault; nor is the
  leap that a step of the clock makes the controller take along its own trajectory, at once or when the time of it
  comes again, nor, for `NOTICE`, the bridge that it makes to a message sent before the step; where it leaps by more
  than `THROWN` in a cycle, all that follows begins at a robot that was thrown, and nothing is judged for `UPSET`, nor
  of a bridge that begins then
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .controller import Controller, Piece
from .curves import SECOND, Curve, Message, extrema

ROUNDING = 1e-6
NEAR = 1e-7  # [rad or m]
NEAR_IN_A_LIE = 1e-5  # [rad or m], on a bridge: a hold that replaces one on whose way the robot is
# Midway, a cubic that turns a joint around is faster by a third of its speed before.
SPEED_MARGIN, BEND_MARGIN = 1.0 / 3.0, 1.0
ASTRAY = 0.008  # [s] at the speed limit: as far as a robot may be from the plan and is taken to follow it
UPSET = SECOND
THROWN = 0.005  # [rad or m] in a cycle
BLIND = 3 * SECOND // 10
NOTICE = SECOND // 10
MEMORY = SECOND
ERROR = 0.2  # [rad or m] the product's joint_state_error
COPIES = 0.1  # [s]
IN_A_ROW = 8
STILL = 1e-6  # [/s]
REST = 1e-3  # [/s]
BLOCK = 20_000
DISTURBANCES = ('lie', 'clock', 'active', 'inactive', 'lost', 'stall', 'peer')


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits:
    """Of each joint, (A,)."""

    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Box:
    """Where a tool must be: ``tool`` maps positions (N, A) to points (N, D)."""

    tool: Callable[[np.ndarray], np.ndarray]
    lower: np.ndarray
    upper: np.ndarray
    slack: float = 1e-6


@dataclass(frozen=True, order=True)
class Fault:
    """Something that must not be, at a time [ns, steady]."""

    at: int
    kind: str
    text: str


@dataclass
class Marks:
    """What was done to the robot and its software, and when [ns, steady]."""

    spans: list[tuple[int, int, str]] = field(default_factory=list)
    own: dict[int, list[tuple[int, int, str]]] = field(default_factory=dict)

    def add(self, kind: str, since: int, until: int | None = None, who: int | None = None) -> None:
        """Note what lasted from ``since`` to ``until``, or was done to one of several controllers alone."""
        spans = self.spans if who is None else self.own.setdefault(who, [])
        spans.append((since, since if until is None else until, kind))

    def seen_by(self, who: int) -> Marks:
        """Return what was done to one of several controllers."""
        return Marks([*self.spans, *self.own.get(who, [])])

    def between(self, since: int, until: int, kinds: Iterable[str]) -> set[str]:
        """Return which of the kinds happened within a time."""
        return {kind for begin, end, kind in self.spans if kind in kinds and begin <= until and end >= since}


def judged(
    controller: Controller,
    limits: Limits,
    marks: Marks,
    since: int,
    until: int,
    box: Box | None = None,
    *,
    rests: bool = True,
) -> list[Fault]:
    """Return what was wrong from ``since`` to ``until`` [ns, steady]; with ``rests``, that it did not come to rest."""
    controller.advance(until)
    faults = [fault for arrival, message in _different(controller) for fault in _in_itself(message, arrival, limits)]
    faults += [
        Fault(at, 'rejected by the controller', why)
        for at, why in controller.heard.rejected
        if not marks.between(at - MEMORY, at + MEMORY // 10, ('clock', 'ended'))
    ]
    period = controller.setup.period
    for begin in range(since, until, BLOCK * period):
        end = min(begin + (BLOCK + 2) * period, until)
        cycles = np.arange(controller.cycle_at(begin), end, period)
        if len(cycles) > 3:
            faults += _cycles(controller, limits, marks, cycles, since) + _outside(controller, box, cycles)
    return sorted(faults + (endings([controller], limits, marks, until) if rests else []))


def _different(controller: Controller) -> list[tuple[int, Message]]:
    """Return the messages that were taken, without the copies of the one before."""
    found: list[tuple[int, Message]] = []
    for arrival, message in controller.heard.taken:
        if not found or not _same(found[-1][1], message):
            found.append((arrival, message))
    return found


def _same(one: Message, other: Message) -> bool:
    return one.stamp == other.stamp and np.array_equal(one.positions, other.positions)


def _in_itself(message: Message, arrival: int, limits: Limits) -> list[Fault]:
    """Return how a message leaves the limits, executed or not: it is what happens if no other follows."""
    columns = (message.positions, message.velocities, message.accelerations)
    if not all(np.isfinite(values).all() for values in columns if values is not None):
        return [Fault(arrival, 'message', 'not finite')]
    beyond = np.maximum(message.positions - limits.upper, limits.lower - message.positions).max()
    found = [Fault(arrival, 'message', f'a point {beyond:.3g} beyond a position limit')] if beyond > NEAR else []
    if len(message.times) < 2:
        return found
    least, greatest, speed, bend = extrema(Curve.through(message, 0))
    for what, value, allowed in (
        ('position', greatest - limits.upper, NEAR),
        ('position', limits.lower - least, NEAR),
        ('velocity', speed / limits.velocity - 1, ROUNDING),
        ('acceleration', bend / limits.acceleration - 1, 2 * ROUNDING),
    ):
        if not value.max() <= allowed:
            segment, joint = (int(i) for i in np.unravel_index(value.argmax(), value.shape))
            where = f'{what} of joint {joint} in segment {segment} of {len(speed)}'
            found.append(Fault(arrival, 'message', f'{where}: over its limit by {value.max():.3g}'))
    return found


def _cycles(controller: Controller, limits: Limits, marks: Marks, cycles: np.ndarray, since: int) -> list[Fault]:
    places = _smooth(controller, controller.commanded(cycles, 1)[0])
    dt = controller.setup.period / SECOND
    speed = np.diff(places, axis=0) / dt
    bend = np.diff(places, 2, axis=0) / dt**2
    fast, strong = np.ones(len(speed)), np.ones(len(bend))
    more = np.zeros_like(speed)
    for number in range(controller.piece_at(int(cycles[0])), len(controller.pieces)):
        piece = controller.pieces[number]
        if piece.since > cycles[-1]:
            break
        _relax(controller, number, marks, cycles, (fast, strong, more))
    near = np.full((len(places), 1), NEAR)
    near[1:][fast > 1.0] = NEAR_IN_A_LIE
    found = []
    for kind, values, at in (
        ('velocity', np.abs(speed) - more - limits.velocity * (fast[:, None] + ROUNDING), 1),
        ('acceleration', np.abs(bend) - limits.acceleration * (strong[:, None] + ROUNDING) - 1e-9 / dt, 1),
        ('position', np.maximum(places - limits.upper, limits.lower - places) - near, 0),
    ):
        over = ~(values <= 0.0)
        for row in _first_of_each(over.any(axis=1)):
            joint = int(np.nanargmax(values[row]))
            got = {'velocity': speed, 'acceleration': bend, 'position': places}[kind][row, joint]
            piece = controller.pieces[controller.piece_at(int(cycles[min(row + at, len(cycles) - 1)]))]
            found.append(Fault(int(cycles[row + at]), kind, f'{got:.4f} of joint {joint}, {_told(piece, since)}'))
    return found


def _smooth(controller: Controller, places: np.ndarray) -> np.ndarray:
    """Return positions (N, A) without whole turns of joints that turn without end: those move nothing."""
    turning = np.array(controller.setup.continuous or [False])
    return np.where(turning, np.unwrap(places, axis=0), places) if turning.any() else places


def _outside(controller: Controller, box: Box | None, cycles: np.ndarray) -> list[Fault]:
    if box is None:
        return []
    tool = box.tool(controller.commanded(cycles, 1)[0])
    beyond = np.maximum(tool - box.upper, box.lower - tool).max(axis=1)
    rows = _first_of_each(beyond > box.slack)
    return [Fault(int(cycles[row]), 'box', f'the tool is outside, by {beyond[row]:.3g}') for row in rows]


def _first_of_each(over: np.ndarray) -> list[int]:
    """Return where runs of true begin, at most a few: what follows is mostly the same fault."""
    rows = np.nonzero(over)[0]
    return [int(row) for i, row in enumerate(rows) if i == 0 or row - rows[i - 1] > 50][:5]


def _told(piece: Piece, origin: int) -> str:
    stamp = '' if piece.message is None else f', stamp {"0" if not piece.message.stamp else "absolute"}'
    return f'{piece.kind} since {(piece.since - origin) / SECOND:.3f} s{stamp}'


def _relax(
    controller: Controller,
    number: int,
    marks: Marks,
    cycles: np.ndarray,
    allowed: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Allow more in the cycles in which a piece begins, and on its bridge; see the module's text."""
    fast, strong, more = allowed
    piece = controller.pieces[number]
    before = controller.pieces[max(number - 1, 0)]
    begin = int(np.searchsorted(cycles, piece.since))
    step, turns = slice(max(begin - 1, 0), begin), slice(max(begin - 2, 0), begin)
    if piece.kind in ('stepped', 'held'):
        free = begin
        if piece.kind == 'stepped':
            free = max(begin, int(np.searchsorted(cycles, _upset_until(controller, number, marks))))
            for at in _leaps(controller, number):
                leap = int(np.searchsorted(cycles, at))
                fast[max(leap - 1, 0) : leap] = strong[max(leap - 2, 0) : leap] = np.inf
            if before.kind == 'bridged':
                rest = slice(begin, int(np.searchsorted(cycles, controller.until(number))))
                fast[rest] += SPEED_MARGIN
                strong[rest] += BEND_MARGIN
        fast[step.start : free], strong[turns.start : free] = np.inf, np.inf
        return
    lately = marks.between(min(before.since, piece.since - MEMORY), piece.since, DISTURBANCES)
    unnoticed = marks.between(piece.since - NOTICE, piece.since, ('clock',))  # sent before that could be seen
    if unnoticed and piece.message is not None and piece.message.stamp and _leap(controller, piece.since) > THROWN:
        # Where the robot is thrown to, and how fast, shows in all that begins where it is measured.
        free = int(np.searchsorted(cycles, piece.since + UPSET))
        fast[step.start : free] = strong[turns.start : free] = np.inf
    returns = before.kind in ('stepped', 'held') or marks.between(before.since, piece.since, ('lost', 'stall'))
    if piece.kind == 'anchored' or (returns and piece.bridge_end <= piece.since):
        if unnoticed:
            fast[step] = strong[turns] = np.inf
        if returns:
            strong[turns] = np.inf
            fast[step] = np.maximum(fast[step], 1.0 + ASTRAY * SECOND / controller.setup.period)
            lost = sum(kind == 'lost' and before.since < at <= piece.since for at, _, kind in marks.spans)
            if lost >= IN_A_ROW or marks.between(before.since - BLIND, piece.since, ('lie',)):
                fast[step] = np.inf
        return
    moving = _moving(controller, piece.since)
    if piece.own_step is not None and begin and begin <= len(more):
        more[begin - 1] += piece.own_step / (controller.setup.period / SECOND)
        if piece.own_step.max() > NEAR or moving:
            strong[turns] = np.inf
        if moving and controller.setup.from_desired:
            fast[step] += 1.0  # the last command counts from the cycle before: it steps twice
    if unnoticed and piece.message is not None and piece.message.stamp:
        free = int(np.searchsorted(cycles, min(piece.since + NOTICE, controller.until(number))))
        fast[step.start : free] = strong[turns.start : free] = np.inf
    if _thrown_before(controller, number):
        free = int(np.searchsorted(cycles, min(piece.bridge_end, controller.until(number)))) + 1
        fast[step.start : free] = strong[turns.start : free] = np.inf
    if lately or moving:
        end = int(np.searchsorted(cycles, piece.bridge_end)) + 1
        end = min(end, int(np.searchsorted(cycles, controller.until(number))))
        fast[max(begin - 1, 0) : end] += SPEED_MARGIN
        strong[max(begin - 2, 0) : end] += BEND_MARGIN
    if controller.setup.from_desired:  # it steps twice from rest too, which looks like twice the acceleration
        strong[turns] = np.maximum(strong[turns], 2.0 * (1.0 + BEND_MARGIN * bool(lately)))


def _upset_until(controller: Controller, number: int, marks: Marks) -> int:
    """Return until when a step of the clock excuses what the controller makes of its old trajectory."""
    piece, until = controller.pieces[number], controller.until(number)
    thrown = any(_leap(controller, at) > THROWN for at in _leaps(controller, number))
    upset = piece.since + UPSET if thrown else piece.since
    lied = marks.between(piece.since - BLIND, until, ('lie',))
    return max(upset, until) if lied else upset  # what is to replace the trajectory needs joint states


def _thrown_before(controller: Controller, number: int) -> bool:
    """Return whether a piece begins while nothing is judged after a step of the clock threw the robot.

    Or in the midst of a bridge that does: it is the same point again.
    """
    since, last = controller.pieces[number].since, controller.pieces[max(number - 1, 0)]
    if last.kind == 'bridged' and since < last.bridge_end and _thrown_before(controller, number - 1):
        return True
    for earlier in range(number - 1, -1, -1):
        piece = controller.pieces[earlier]
        if piece.since < since - UPSET:
            return False
        if piece.kind == 'stepped' and any(_leap(controller, at) > THROWN for at in _leaps(controller, earlier)):
            return True
    return False


def _leaps(controller: Controller, number: int) -> list[int]:
    """Return when a step of the clock may make the controller leap along its own trajectory."""
    piece = controller.pieces[number]
    # A trajectory whose time comes again is left for its last point there.
    again = int(piece.curve.knots[0]) - piece.offset - controller.setup.period
    until = min(controller.until(number), piece.since + UPSET)
    return [piece.since, *([again] if piece.since < again < until else [])]


def _leap(controller: Controller, since: int) -> float:
    """Return how much farther the command moves in the cycle after ``since`` than in the one before."""
    cycles = controller.cycle_at(since) + controller.setup.period * np.arange(-2, 1)
    return float(np.abs(np.diff(_smooth(controller, controller.commanded(cycles, 1)[0]), 2, axis=0)).max())


def _moving(controller: Controller, cycle: int) -> bool:
    """Return whether the robot moved before a cycle."""
    last = cycle - controller.setup.period
    at = np.array([last, last - round(controller.setup.lag * SECOND)])
    return bool(np.abs(controller.commanded(at, 2)[1]).max() > STILL)


def stopping(limits: Limits, away: np.ndarray | None = None, *, smooth: bool = False) -> int:
    """Return how long an ending may take until all rests, where the robot may be ``away`` (A,) from its plan [ns].

    A ``smooth`` stop, whose acceleration is continuous, takes half as long again.
    """
    usual = max(0.5, 0.3 + (2.25 if smooth else 1.5) * float((limits.velocity / limits.acceleration).max()))
    return round((usual + (0.0 if away is None else COPIES + way_time(limits, np.maximum(away, ERROR)))) * SECOND)


def way_time(limits: Limits, away: np.ndarray) -> float:
    """Return how long a controller needs for its way from rest to rest across ``away`` (A,) [s]."""
    return float(np.maximum(np.sqrt(6.0 * away / limits.acceleration), 1.5 * away / limits.velocity).max())


def _away(controller: Controller, at: int) -> np.ndarray:
    """Return how far (A,) a command is from plans that were lost since the one that it follows came."""
    piece = controller.pieces[controller.piece_at(at)]
    place = controller.commanded(np.array([at]), 1)[0]
    lost = [message for arrival, message in controller.heard.lost if piece.since < arrival <= at and message.stamp]
    robot = np.array([at + piece.offset])
    plans = [Curve.through(message, message.stamp).sample(robot, 1)[0] for message in lost]
    return np.max([0.0 * place, *(np.abs(plan - place) for plan in plans)], axis=0)[0]


def _unheard(controller: Controller, marks: Marks, since: int, until: int) -> bool:
    """Return whether nothing was heard of an ending, and nothing could be: it was lost, or joint states had lied."""
    if any(since <= at < until for at, _ in controller.heard.taken):
        return False
    lost = sum(since <= at < until for at, _ in controller.heard.lost)
    return lost >= IN_A_ROW or (not lost and bool(marks.between(since - BLIND, since, ('lie',))))


def endings(controllers: Sequence[Controller], limits: Limits, marks: Marks, until: int) -> list[Fault]:
    """Return where something did not rest in time after it was to; ``limits`` are those of all joints."""
    found = []
    for since, end, kind in marks.spans:
        if kind != 'ended':
            continue
        plans = [controller.pieces[controller.piece_at(since)].message for controller in controllers]
        smooth = any(plan is not None and plan.accelerations is not None for plan in plans)
        late = since + stopping(limits, smooth=smooth)
        held = any(
            piece.message is not None and not piece.message.stamp
            for controller in controllers
            for piece in controller.pieces[controller.piece_at(since) :]
            if piece.since < late
        )
        away = np.concatenate([_away(controller, since) for controller in controllers]) if held else None
        begin = since + stopping(limits, away, smooth=smooth)
        for controller in controllers:
            if _unheard(controller, marks, since, late):
                piece = controller.pieces[controller.piece_at(since)]
                begin = max(begin, int(piece.curve.knots[-1]) - piece.offset + 2 * controller.setup.period)
        if begin >= min(end, until):
            continue
        for controller in controllers:
            cycles = np.arange(controller.cycle_at(begin), min(end, until), controller.setup.period)
            speed = np.abs(controller.commanded(cycles, 2)[1]).max(axis=1)
            if (speed > REST).any():
                last = int(np.nonzero(speed > REST)[0][-1])
                text = f'{(cycles[last] - since) / SECOND:.3f} s after the ending, {speed[last]:.4f}'
                found.append(Fault(int(cycles[last]), 'not at rest', text))
    return found
