"""Sequences of events against the publisher's planner, ladder and motion in simulated time.

PYTHONPATH=test python -m fuzz.offline --sequences 10000 --seed 1
PYTHONPATH=test python -m fuzz.offline --only 1:17      sequence 17 of seed 1 alone, with all that happens in it
PYTHONPATH=test python -m fuzz.offline --variant several      of other robots: see variants.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from dp_ros.motion.checks.workspace import Workspace
from dp_ros.robot.kinematics import Chain
from dp_ros.robot.urdf import parse_urdf
from dp_ros.task.starts import DemonstratedStarts

from .attack import LONGEST_PLAN, RECOVERY, Attack
from .controller import Controller, Setup
from .curves import SECOND
from .events import Event, drawn, themed
from .judge import Box, Fault, Limits, Marks, stopping
from .planar import box_of, urdf_text
from .product import Options
from .report import say
from .signals import Policy
from .simulated import Simulation
from .variants import KINDS, Robot, Variant, varied

WEIGHTS = {
    'chunk': 30.0, 'lie': 22.0, 'mute': 3.0, 'peer': 3.0, 'parameter': 2.0, 'stall': 6.0, 'lifecycle': 3.0, 'hold': 2.0,
    'reset': 4.0, 'clock': 2.0, 'controller_off': 5.0, 'controller_restart': 2.0,
}  # fmt: skip
START = 1_700_000_000 * SECOND
X_MIN = 0.05  # [m]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a sequence is about, all drawn from its seed."""

    seed: tuple[int, int]
    control_dt: int
    simulated: bool
    boxed: bool
    latency: float
    loss: float
    every: int
    setup: Setup
    limits: Limits
    planner: dict[str, Any]
    ending: str
    near: float = 0.0  # position limits as times of how far the policy goes; 0: far from there
    starts: float = 0.0  # where demonstrations began, each joint [rad]; 0: the bundle does not say
    variant: Variant = field(default_factory=Variant)

    @classmethod
    def drawn(cls, seed: int, number: int) -> tuple[Case, np.random.Generator]:
        """Draw one, and return what draws the rest."""
        rng = np.random.default_rng([seed, number])
        count = int(rng.choice([1, 2, 3, 7], p=[0.2, 0.4, 0.3, 0.1]))
        setup = Setup(
            joints=tuple(f'joint_{i}' for i in range(count)),
            rate=int(rng.choice([100, 125, 250, 500, 1000])),
            lag=float(np.round(rng.uniform(0.0, 0.06), 4)),
            from_desired=bool(rng.random() < 0.4),
        )
        control_dt = int(rng.choice([100, 100, 100, 50, 50, 20])) * 1_000_000
        bend = float(rng.choice([5.0, 10.0, 20.0]))
        limits = Limits(
            lower=np.full(count, -2.9), upper=np.full(count, 2.9), velocity=rng.choice([1.0, 2.0, 3.0], size=count),
            acceleration=np.full(count, bend),
        )  # fmt: skip
        latency = float(np.round(rng.uniform(0.0, 0.02), 4))
        planner = {
            'splice_margin': round((max(0.03, latency + 2.5 / setup.rate)) * SECOND),
            'blend_steps': int(rng.choice([0, 4, 8])),
            'stop_on_path': bool(rng.random() < 0.7),
            'accelerations': bool(rng.random() < 0.2),
            'keep_steps': 12,
        }
        case = cls(
            seed=(seed, number),
            control_dt=control_dt,
            simulated=bool(rng.random() < 0.2),
            boxed=bool(count > 1 and rng.random() < 0.2),
            latency=latency,
            loss=float(rng.choice([0.0, 0.0, 0.0, 0.1, 0.5])),
            every=max(int(rng.choice([4, 8])) * control_dt, SECOND // 10),
            setup=setup,
            limits=limits,
            planner=planner,
            ending=str(rng.choice(['hold', 'deactivate'])),
        )
        other = np.random.default_rng([seed, number, 1])  # so that all the rest is as it was before there was this
        if not case.boxed and other.random() < 0.3:
            case = replace(case, starts=float(other.choice([-1.0, 1.0]) * other.uniform(0.1, 0.4)))
        other = np.random.default_rng([seed, number, 2])
        if not (case.boxed or case.starts) and other.random() < 0.3:
            case = replace(case, near=float(other.uniform(1.0, 1.1)))
        if other.random() < 0.3:
            uneven = np.round(bend * other.uniform(0.5, 2.0, count), 2)
            case = replace(case, limits=replace(limits, acceleration=uneven))
        return case, rng

    @property
    def box(self) -> Box | None:
        """What the tool must stay in."""
        return box_of(len(self.setup.joints), x_min=X_MIN) if self.boxed else None

    @property
    def options(self) -> Options:
        """What the product is made with."""
        workspace = None
        if self.boxed:
            chain: Chain = parse_urdf(urdf_text(self.setup.joints, self.limits)).chain(self.setup.joints, 'tool')
            inf = float('inf')
            workspace = Workspace(chain=chain, lower=(X_MIN, -inf, -inf), upper=(inf, inf, inf))
        starts = None
        if self.starts:
            at = self.starts + (np.where(self.variant.continuous, 3.0, 0.0) if any(self.variant.continuous) else 0.0)
            at = self.variant.wrapped(np.broadcast_to(at, len(self.setup.joints)))
            starts = DemonstratedStarts.of(self.setup.joints, at[None])
        return Options(
            joints=self.setup.joints, control_dt=self.control_dt, limits=self.limits, planner=self.planner,
            workspace=workspace, simulated=self.simulated, starts=starts,
            variant=self.variant,
        )  # fmt: skip


class Sequence:
    """One sequence, and its verdict."""

    def __init__(self, case: Case, rng: np.random.Generator, *, loud: bool) -> None:
        self.case, self.loud, self.faults = case, loud, list[Fault]()
        self.lines: list[tuple[int, str]] = []
        joints = case.setup.joints
        self.theme, weights, longest = themed(rng, WEIGHTS)
        self.events = case.variant.events(drawn(rng, weights, len(joints), longest=longest))
        policy = Policy.drawn(rng, case.limits, case.control_dt)
        if case.box is not None:
            policy = policy.inside(case.box)
        if case.near:
            far = np.maximum(case.near * policy.amplitude, 0.1)
            self.case = case = replace(case, limits=replace(case.limits, lower=-far, upper=far))
        if any(case.variant.continuous):
            policy = replace(policy, centre=np.where(case.variant.continuous, 3.0, 0.0))
        offset, first = 100 * SECOND - START if case.simulated else 0, 0
        controllers = list[Controller]()
        for setup in case.variant.setups or (replace(case.setup, continuous=case.variant.continuous),):
            place = policy.centre[first : first + len(setup.joints)]
            controllers.append(Controller(setup, place, START, offset))
            first += len(place)
        marks = Marks()
        self.world = Simulation(
            case.options, Robot(controllers), marks, latency=case.latency, loss=case.loss, rng=rng, now=START
        )
        self.attack = Attack(
            port=self.world, policy=policy, limits=case.limits, joints=joints, every=case.every, rng=rng, marks=marks,
            variant=case.variant, next_state=START, next_chunk=START + SECOND // 2,
        )  # fmt: skip
        self._told = ''

    def run(self) -> list[Fault]:
        """Carry it out and judge it."""
        try:
            self._spin(1.5)
            for event in self.events:
                self.world.foresee(event)
                self._spin(event.gap)
                self._say(str(event))
                self.attack.apply(event)
            self._recover()
            self._end()
        except Exception:
            self._fault('exception', traceback.format_exc(limit=-4))
        world = self.world
        self.faults += world.robot.judged(self.case.limits, self.attack.marks, START, world.now(), self.case.box)
        return sorted(self.faults)

    def _spin(self, seconds: float, *, until_moving: bool = False) -> bool:
        end = self.world.now() + round(seconds * SECOND)
        while self.world.now() < end:
            self.world.advance(min(self.attack.due(), end))
            self.attack.tick()
            why = self.world.product.why
            if why.split(':')[0] != self._told:
                self._told = why.split(':')[0]
                self._say(f'-- {why}')
            for text in self.world.product.said:
                self._say(f'-- says: {text}')
            self.world.product.said.clear()
            if until_moving and (self._moves() or self.world.latched()):
                return True
        return False

    def _recover(self) -> None:
        """Good data from now on: the robot moves again, after ~/reset where something latched."""
        self._spin(0.4)  # a restart takes its time
        self.attack.calm()
        self._say('-- good data from now on')
        for _ in range(400):
            if self.world.product.goes_home:
                self._spin(0.05)
        began = self.world.now()
        for _ in range(2):
            # All copies of a plan may be lost, and a plan that is not followed is not stopped everywhere.
            allowed = self.attack.recovery() * (1 + (self.case.loss > 0.4))
            allowed += min(self.world.product.moves_for, LONGEST_PLAN)
            self._spin(allowed, until_moving=True)
            if self._moves():
                self._say(f'-- moves after {(self.world.now() - began) / SECOND:.2f} s')
                return
            if not self.world.latched():
                self._fault('recovery', f'no motion {allowed:.1f} s after good data began: {self.world.product.why}')
                return
            end = self.world.now() + round(RECOVERY * SECOND)
            while self.world.latched() and self.world.now() < end:
                self._spin(0.05)
        self._fault('recovery', f'latched, and not to be reset in {RECOVERY} s of good data: {self.world.product.why}')

    def _moves(self) -> bool:
        return self.world.controller.follows_plan(self.world.now()) and not self.world.product.goes_home

    def _end(self) -> None:
        self._spin(0.5)
        self.attack.mute_until = 1 << 62
        self._say(f'-- the end: {self.case.ending}')
        kind = 'hold' if self.case.ending == 'hold' else 'lifecycle'
        begun = self.world.now()
        self.world.act(Event(0.0, kind))
        farthest = np.ones(len(self.case.setup.joints))
        end = begun + stopping(self.case.limits, farthest, smooth=self.case.planner['accelerations']) + SECOND // 4
        while self.world.now() < end:
            self.attack.latched_since = None
            self._spin(0.1)
        self.attack.marks.add('ended', begun, end)

    def _fault(self, kind: str, text: str) -> None:
        self.faults.append(Fault(self.world.now(), kind, text))
        self._say(f'!! {kind}: {text}')

    def _say(self, text: str) -> None:
        self.lines.append((self.world.now(), text))

    def told(self) -> list[str]:
        """Return what happened, the faults among it, up to the last of them."""
        faults = [(fault.at, f'!! {fault.kind}: {fault.text}') for fault in self.faults[:12]]
        last = max((at for at, _ in faults), default=0)
        lines = sorted([*((at, text) for at, text in self.lines if not text.startswith('!!')), *faults])
        return [f'{(at - START) / SECOND:9.3f} s  {text}' for at, text in lines if self.loud or at <= last]


def run(seed: int, number: int, *, loud: bool = False, variant: str = '') -> tuple[int, list[str], list[str]]:
    """Run one sequence; return its number, kinds of fault, and what happened."""
    case, rng = Case.drawn(seed, number)
    if variant:
        case = varied(case, variant)
    sequence = Sequence(case, rng, loud=loud)
    faults = sequence.run()
    sequence.faults = faults
    kinds = sorted({fault.kind for fault in faults})
    told = [f'sequence {seed}:{number} ({sequence.theme}): {len(faults)} faults', f'  {case}', *sequence.told()]
    return number, kinds, told if faults or loud else []


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sequences', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=int(time.time()) % 100_000)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--processes', type=int, default=os.cpu_count())
    parser.add_argument('--show', type=int, default=5, help='how many failing sequences are told in full')
    parser.add_argument('--variant', choices=KINDS, default='', help='of another kind of robot: see variants.py')
    parser.add_argument('--only', help='seed:number of a sequence to run alone')
    options = parser.parse_args()
    if options.only:
        seed, number = (int(word) for word in options.only.split(':'))
        _, kinds, told = run(seed, number, loud=True, variant=options.variant)
        say('\n'.join([*told, ', '.join(kinds) or 'nothing wrong']))
        return bool(kinds)
    say(f'seed {options.seed}, {options.sequences} sequences in simulated time')
    began, wrong, counts = time.monotonic(), list[int](), dict[str, int]()
    with multiprocessing.get_context('spawn').Pool(options.processes) as pool:
        numbers = range(options.first, options.first + options.sequences)
        for number, kinds, told in pool.imap_unordered(
            partial(run, options.seed, variant=options.variant), numbers, chunksize=4
        ):
            if not kinds:
                continue
            wrong.append(number)
            say(f'{options.seed}:{number}  {", ".join(kinds)}')
            for kind in kinds:
                counts[kind] = counts.get(kind, 0) + 1
            if len(wrong) <= options.show:
                say('\n'.join(told))
    took = time.monotonic() - began
    say(f'{len(wrong)} of {options.sequences} sequences had faults, in {took:.0f} s: {counts}')
    if wrong:
        say(f'of seed {options.seed}: {sorted(wrong)[:60]}')
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main())
