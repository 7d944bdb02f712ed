"""Sequences of events against the real trajectory_publisher process.

PYTHONPATH=test python -m fuzz.live --sequences 200 --seed 1
PYTHONPATH=test python -m fuzz.live --only 1:17      sequence 17 of seed 1 alone, with all that happens in it
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

import numpy as np
import rclpy

from .attack import RECOVERY, Attack
from .controller import Controller
from .curves import SECOND
from .events import Event, drawn, themed
from .judge import Fault, Marks, judged
from .live_case import JOINTS, LIMITS, Case
from .report import say
from .rig import Rig
from .signals import Policy
from .wire import Publisher

WEIGHTS = {
    'chunk': 30.0, 'lie': 22.0, 'mute': 3.0, 'peer': 5.0, 'parameter': 4.0, 'stall': 6.0, 'lifecycle': 3.0, 'hold': 2.0,
    'reset': 4.0, 'garbage': 2.0, 'controller_off': 5.0, 'controller_restart': 2.0, 'end': 0.6, 'kill': 0.4,
}  # fmt: skip
CLOCK_WEIGHT = 8.0
START = 60.0


class Sequence:
    """One sequence, from the start of the process to the verdict."""

    def __init__(self, case: Case, rng: np.random.Generator, folder: Path, *, loud: bool) -> None:
        self.case, self.loud, self.faults = case, loud, list[Fault]()
        file = folder / 'parameters.yaml'
        file.write_text(case.parameters(folder))
        self.publisher = Publisher(file, folder)
        weights = WEIGHTS | ({'clock': CLOCK_WEIGHT} if case.simulated else {})
        self.theme, weights, longest = themed(rng, weights)
        self.events = drawn(rng, weights, len(JOINTS), longest=longest)
        self.origin = time.time_ns()
        offset = 100 * SECOND - self.origin if case.simulated else 0
        controller = Controller(case.setup, np.zeros(len(JOINTS)), self.origin, offset)
        policy = Policy.drawn(rng, LIMITS, case.control_dt)
        if case.box is not None:
            policy = policy.inside(case.box)
        marks = Marks()
        self.rig = Rig(
            controller, self.publisher, marks,
            latency=case.latency, loss=case.loss, rng=rng, simulated=case.simulated,
        )  # fmt: skip
        self.attack = Attack(
            port=self.rig, policy=policy, limits=LIMITS, joints=JOINTS,
            every=round(case.every * SECOND), rng=rng, marks=marks,
        )  # fmt: skip
        self.attack.mute_until = 1 << 62
        self.safety_state, self.lines = '', list[tuple[int, str]]()

    def run(self) -> list[Fault]:
        """Carry it out and judge it."""
        try:
            if not self._started():
                return [Fault(self.rig.now(), 'start', f'not ready in {START} s: {self.publisher.last_words()}')]
            self.attack.mute_until = 0
            self._spin(2.5)
            for event in self.events:
                self._spin(event.gap)
                self._say(str(event))
                self._let_happen(event)
            self._recover()
            self._end()
            self.faults += judged(
                self.rig.controller, LIMITS, self.attack.marks, self.origin, self.rig.now(), self.case.box
            )
            return sorted(self.faults)
        finally:
            self.publisher.close()
            self.rig.close()

    # Parts.

    def _started(self) -> bool:
        self.publisher.start()
        self.rig.safety_state = ''
        return self.rig.until(
            lambda: bool(self.rig.safety_state) or self.publisher.ended is not None, START, self.attack.tick
        ) and (self.publisher.ended is None)

    def _spin(self, seconds: float) -> None:
        self.rig.until(lambda: False, seconds, self._tick)

    def _tick(self) -> None:
        self.attack.tick()
        if self.rig.safety_state != self.safety_state:
            self.safety_state = self.rig.safety_state
            self._say(f'-- the node says {self.safety_state}')
        while self.rig.answers:
            _, name, success, text = self.rig.answers.pop(0)
            self._say(f'-- ~/{name} answered {"yes" if success else "no"}: {text}')
        if self.publisher.ended is not None:
            self._died()

    def _died(self) -> None:
        """A supervisor would start it again."""
        self._fault('died', f'exit code {self.publisher.ended}: {self.publisher.last_words()}')
        self._restart()

    def _restart(self, *, killed: bool = False) -> None:
        now = self.rig.now()
        if killed:  # what was sent last is carried out
            now += 16 * self.case.control_dt + SECOND
        span = (now, 1 << 62, 'ended')
        self.attack.marks.spans.append(span)
        self._say('-- started again')
        ready = self._started()
        self.attack.marks.spans.remove(span)
        self.attack.marks.add('ended', now, max(now, self.rig.now()))
        if not ready:
            self._fault('start', f'not ready again in {START} s: {self.publisher.last_words()}')

    def _let_happen(self, event: Event) -> None:
        self.attack.apply(event)
        if event.kind in ('end', 'kill'):
            self._ended()
            self._restart(killed=event.kind == 'kill')

    def _ended(self) -> None:
        """Wait until the process ended that was told to."""
        if not self.rig.until(lambda: self.publisher.ended is not None, 5.0, self.attack.tick):
            self._fault('end', 'it runs 5 s after it was told to end')
            self.publisher.close()

    def _recover(self) -> None:
        """Good data from now on: the robot moves again, after ~/reset where something latched."""
        self._spin(0.4)  # a restart takes its time
        self.attack.calm()
        self._say('-- good data from now on')
        for attempt in (1, 2):
            began = self.rig.now()
            allowed = self.attack.recovery()
            if self.rig.until(lambda: self._moves() or self.rig.latched(), allowed, self._tick) and self._moves():
                self._say(f'-- moves after {(self.rig.now() - began) / SECOND:.2f} s')
                return
            if not self.rig.latched():
                says = f'says {self.rig.safety_state!r}'
                self._fault('recovery', f'{says}, and does not move {allowed:.1f} s after good data began')
                return
            if attempt == 1:
                # The operator of the attack calls ~/reset.
                self.rig.until(lambda: not self.rig.latched(), RECOVERY, self._tick)
        self._fault('recovery', f'latched, and not to be reset in {RECOVERY} s of good data')

    def _moves(self) -> bool:
        return self.rig.controller.follows_plan(self.rig.now())

    def _end(self) -> None:
        self._spin(0.5)
        self.attack.mute_until = 1 << 62
        kind = self.case.ending
        self._say(f'-- the end: {kind}')
        begun = self.rig.now()
        if kind == 'end':
            self.rig.act(Event(0.0, 'end'))
            self._ended()
            begun = self.rig.now()
        elif kind == 'hold':
            self.rig.call('hold')
        else:
            self.rig.act(Event(0.0, 'lifecycle'))
        # A request takes its time on a busy machine.
        self.rig.until(lambda: False, 1.6, self._quiet_tick)
        self.attack.marks.add('ended', begun + SECOND // 2, self.rig.now())

    def _quiet_tick(self) -> None:
        if self.case.ending != 'end':
            self.attack.latched_since = None
            self.attack.tick()

    def _fault(self, kind: str, text: str) -> None:
        if kind == 'recovery':
            text = f'{text}; its log ends with\n{self.publisher.last_words()[-600:]}'
        self.faults.append(Fault(self.rig.now(), kind, text))
        self._say(f'!! {kind}: {text}')

    def _say(self, text: str) -> None:
        now = self.rig.now()
        self.lines.append((now, text))
        if self.loud:
            say(f'{(now - self.origin) / SECOND:9.3f} s  {text}')

    def told(self, faults: list[Fault]) -> list[str]:
        """Return what happened, the faults among it, up to the last of them."""
        found = [(fault.at, f'!! {fault.kind}: {fault.text}') for fault in faults[:12]]
        last = max(at for at, _ in found)
        lines = sorted([*((at, text) for at, text in self.lines if not text.startswith('!!')), *found])
        return [f'{(at - self.origin) / SECOND:9.3f} s  {text}' for at, text in lines if at <= last]


def run(seed: int, number: int, *, loud: bool) -> list[str]:
    """Run one sequence; return what was wrong."""
    case, rng = Case.drawn(seed, number)
    with tempfile.TemporaryDirectory() as folder:
        sequence = Sequence(case, rng, Path(folder), loud=loud)
        faults = sequence.run()
    if not faults:
        return []
    name = f'sequence {seed}:{number} ({sequence.theme}): {len(faults)} faults'
    return [name, f'  {case}', *sequence.told(faults)]


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sequences', type=int, default=20)
    parser.add_argument('--seed', type=int, default=int(time.time()) % 100_000)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--only', help='seed:number of a sequence to run alone')
    options = parser.parse_args()
    rclpy.init()
    if options.only:
        seed, number = (int(word) for word in options.only.split(':'))
        found = run(seed, number, loud=True)
        say('\n'.join(found) or 'nothing wrong')
        return bool(found)
    say(f'seed {options.seed}, {options.sequences} sequences against the real process')
    wrong = 0
    for number in range(options.first, options.first + options.sequences):
        found = run(options.seed, number, loud=False)
        wrong += bool(found)
        say('\n'.join(found) if found else f'sequence {options.seed}:{number}: nothing wrong')
    say(f'{wrong} of {options.sequences} sequences had faults')
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main())
