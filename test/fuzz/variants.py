"""Other robots for the sequences of `offline`, drawn beside all that is drawn there: with ``--variant``.

several     two or three controllers, each with its own joints, lag and losses: off, gone, or killed; and permission
home        where observations stay away, the arm goes home
continuous  joints turn without end, and joint states and chunks wrap
enable      permission is needed, and withdrawn: then the arm comes to rest
slow        joint states come at 10 or 25 Hz, without velocities or without stamps; joints accelerate weakly
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .controller import Controller, Setup
from .curves import SECOND, State
from .events import Event
from .judge import Box, Fault, Limits, Marks, endings, judged

KINDS = ('several', 'home', 'continuous', 'enable', 'slow')
TURN = 2 * np.pi
NOTICED = 15 * SECOND // 100  # after which permission is missed: a look, and planning before it
UNSEEN = ('lie', 'clock', 'stall', 'peer', 'lifecycle')  # with which an arm may be stopped later


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What differs; nothing, as it is made.

    Attributes
    ----------
    setups, losses
        Of each controller, and the share of its messages that is lost, where there are several.
    require
        Whether nothing may move before each was checked.
    home
        Where the arm goes (A,) [rad], or () where it holds.
    continuous
        Which joints turn without end (A,).
    wraps
        Whether chunks wrap as well.
    speeds, stamped
        Whether joint states have velocities, and stamps.
    period
        Of joint states [ns].

    """

    kind: str = ''
    seed: tuple[int, ...] = ()
    setups: tuple[Setup, ...] = ()
    losses: tuple[float, ...] = ()
    require: bool = True
    home: tuple[float, ...] = ()
    continuous: tuple[bool, ...] = ()
    wraps: bool = False
    speeds: bool = True
    stamped: bool = True
    period: int = SECOND // 100

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """The joints of each controller, where there are several."""
        return tuple(setup.joints for setup in self.setups)

    def events(self, events: Sequence[Event]) -> list[Event]:
        """Return the events as they are with this."""
        if not self.kind:
            return list(events)
        rng = np.random.default_rng([*self.seed, 4])
        slower = float(rng.choice([1.0, 4.0])) if self.setups else 1.0  # a beginning takes a second
        events = [self._event(replace(event, gap=slower * event.gap), rng) for event in events]
        return list(_quiet(events, rng)) if self.home else events

    def _event(self, event: Event, rng: np.random.Generator) -> Event:
        values = dict(event.values)
        if self.setups and event.kind in ('controller_off', 'controller_restart'):
            values['who'] = int(rng.integers(len(self.setups)))
            if rng.random() < 0.5:  # it is back before the others rest
                values['seconds'] = float(np.round(rng.uniform(0.1, 0.3), 3))
            if event.kind == 'controller_restart':
                for what in ('nameless', 'unchecked'):
                    values[what] = float(np.round(rng.choice([0.0, rng.uniform(0.0, 0.6)]), 3))
                values['killed'] = bool(rng.random() < 0.4)
        elif self.setups and rng.random() < 0.1:
            kind = str(rng.choice(['controller_off', 'controller_restart']))
            return self._event(Event(event.gap, kind, {'seconds': float(np.round(rng.uniform(0.1, 1.5), 3))}), rng)
        elif self.home and rng.random() < 0.12:
            return Event(event.gap, 'mute', {'seconds': float(np.round(rng.uniform(2.0, 9.0), 3))})
        elif rng.random() < {'enable': 0.15, 'several': 0.05}.get(self.kind, 0.0):
            return Event(event.gap, 'permission', {'seconds': float(np.round(rng.uniform(0.02, 3.0), 3))})
        elif any(self.continuous) and event.kind == 'lie' and values['what'] in ('glitch', 'burst', 'drift'):
            if rng.random() < 0.3:  # a driver that counts turns anew
                values |= {'what': 'burst', 'size': float(rng.choice([-TURN, TURN])) + 0.1 * values['size']}
        elif rng.random() < (0.1 if any(self.continuous) else 0.0):
            return Event(event.gap, str(rng.choice(['hold', 'reset', 'clock'])), {'by': float(rng.uniform(-2.0, 2.0))})
        return Event(event.gap, event.kind, values)

    def wrapped(self, positions: np.ndarray) -> np.ndarray:
        """Return positions (..., A) as they are published: of joints that turn without end within half a turn."""
        if not any(self.continuous):
            return positions
        turns = np.where(self.continuous & np.isfinite(positions), np.round(positions / TURN), 0.0)
        return positions - TURN * turns


def _quiet(events: Sequence[Event], rng: np.random.Generator) -> Iterator[Event]:
    """Yield events that are rarer while observations stay away, and none of which breaks the silence."""
    silent = 0.0
    for event in events:
        silent -= event.gap
        if event.kind == 'mute':
            silent = max(silent, event.values['seconds'])
        elif silent > 0.0 and (event.kind in ('chunk', 'lifecycle') or rng.random() < 0.8):
            event = Event(3.0 * event.gap, 'nothing')
        yield event


def varied(case: Any, kind: str) -> Any:
    """Return a `Case` with a variant of a kind; all is drawn beside what the case is drawn from."""
    seed = (*case.seed, 3)
    rng = np.random.default_rng(seed)
    setup, limits = case.setup, case.limits
    variant = Variant(kind=kind, seed=seed)
    if kind == 'several':
        count = max(len(setup.joints), 2)
        limits = _of(limits, np.arange(count) % len(setup.joints))
        joints = tuple(f'joint_{i}' for i in range(count))
        cuts = np.sort(rng.choice(np.arange(1, count), size=min(count - 1, int(rng.choice([1, 1, 2]))), replace=False))
        setups = [
            replace(setup, joints=tuple(part), lag=float(np.round(rng.uniform(0.0, 0.06), 4)),
                    from_desired=bool(rng.random() < 0.4))
            for part in np.split(np.array(joints), cuts)
        ]  # fmt: skip
        setups = [replace(each, joints=tuple(str(joint) for joint in each.joints)) for each in setups]
        losses = tuple(float(loss) for loss in rng.choice([0.0, 0.0, 0.1, 0.5], size=len(setups)))
        case = replace(case, setup=replace(setup, joints=joints), boxed=False, loss=max(losses))
        variant = replace(variant, setups=tuple(setups), losses=losses, require=bool(rng.random() < 0.7))
    elif kind == 'home':
        variant = replace(variant, home=tuple(np.round(rng.uniform(-1.0, 1.0, len(setup.joints)), 3).tolist()))
        case = replace(case, boxed=False)
    elif kind == 'continuous':
        turning = rng.random(len(setup.joints)) < 0.6
        turning[0] = True
        limits = replace(
            limits, lower=np.where(turning, -np.inf, limits.lower), upper=np.where(turning, np.inf, limits.upper)
        )
        variant = replace(variant, continuous=tuple(turning.tolist()), wraps=bool(rng.random() < 0.5))
        case = replace(case, boxed=False, near=0.0)
    elif kind == 'slow':
        weak = float(rng.choice([0.5, 1.0, 2.0]))
        limits = replace(limits, acceleration=np.full(len(setup.joints), weak)) if rng.random() < 0.5 else limits
        period = int(rng.choice([SECOND // 100, SECOND // 25, SECOND // 10]))
        variant = replace(variant, speeds=bool(rng.random() < 0.5), stamped=bool(rng.random() < 0.6), period=period)
    return replace(case, limits=limits, variant=variant)


def _of(limits: Limits, columns: np.ndarray) -> Limits:
    return Limits(
        lower=limits.lower[columns], upper=limits.upper[columns], velocity=limits.velocity[columns],
        acceleration=limits.acceleration[columns],
    )  # fmt: skip


class Robot:
    """Several controllers, seen as one.

    Attributes
    ----------
    controllers
        In the order of their joints.

    """

    def __init__(self, controllers: Sequence[Controller]) -> None:
        self.controllers = tuple(controllers)

    @property
    def offset(self) -> int:
        """Robot time less steady time [ns]."""
        return self.controllers[0].offset

    def measured(self, at: int) -> State:
        """Return where the robot is at one time [ns, steady]."""
        states = [controller.measured(at) for controller in self.controllers]
        return State(
            positions=np.concatenate([state.positions for state in states]),
            velocities=np.concatenate([state.velocities for state in states]),
            accelerations=np.concatenate([state.accelerations for state in states]),
        )

    def sent_away(self, at: int, since: int) -> np.ndarray:
        """Return how far (A,) the ends of messages that were sent ``since`` [ns, steady] are from where it is."""
        return np.concatenate([controller.sent_away(at, since) for controller in self.controllers])

    def follows_plan(self, now: int) -> bool:
        """Return whether all are on plans, and one of them moves."""
        planned = all(controller.planned(now) for controller in self.controllers)
        return planned and any(controller.follows_plan(now) for controller in self.controllers)

    def judged(self, limits: Limits, marks: Marks, since: int, until: int, box: Box | None) -> list[Fault]:
        """Return what was wrong with any of them, each by its own limits and by what was done to it."""
        for begin, end, kind in list(marks.spans):
            if kind == 'withdrawn' and not marks.between(begin - SECOND, end, UNSEEN):
                marks.add('ended', begin + NOTICED, end)
        if len(self.controllers) == 1:
            return judged(self.controllers[0], limits, marks, since, until, box)
        faults, first = list[Fault](), 0
        for number, controller in enumerate(self.controllers):
            columns = np.arange(first, first + len(controller.setup.joints))
            first += len(columns)
            found = judged(controller, _of(limits, columns), marks.seen_by(number), since, until, rests=False)
            faults += [replace(fault, text=f'controller {number}: {fault.text}') for fault in found]
        return sorted(faults + endings(self.controllers, limits, marks, until))
