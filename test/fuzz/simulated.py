"""The port to the product in simulated time: messages and planning take their time, and a stalled process none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .controller import Controller
from .curves import SECOND, Message
from .events import Event
from .judge import Marks
from .product import Options, Product, Time
from .signals import Chunk, JointState
from .variants import Robot
from .wire import chunk_message, joint_state_message

HOP = 2_000_000  # [ns] that a chunk or a joint state takes at most


@dataclass
class Waiting:
    """What has arrived and was not looked at: of joint states and chunks only the newest, as the queues' depth is 1."""

    joint_state: Any = None
    chunk: Any = None
    calls: list[str] = field(default_factory=list)


class Simulation:
    """World time runs in `advance`; the product's runs ahead of it while it plans, and it is busy until then.

    Parameters
    ----------
    options
        What the product is made with.
    robot, marks
        The controllers, and where is noted what was done.
    latency, loss
        Longest time that a trajectory takes [s], and the share that is lost.
    rng
        Draws both, and what planning costs.

    """

    def __init__(
        self,
        options: Options,
        robot: Robot,
        marks: Marks,
        *,
        latency: float,
        loss: float,
        rng: np.random.Generator,
        now: int,
    ) -> None:
        self.options, self.robot, self.marks = options, robot, marks
        several = len(robot.controllers) > 1
        self.controller: Controller | Robot = robot if several else robot.controllers[0]
        self._latency, self._loss, self._rng = latency, loss, rng
        self._now, self._busy = now, now
        self.time = Time(now, robot.offset)
        self.product = Product(options, self.time, self._sent, self._cost)
        self._arrivals: list[tuple[int, str, Any]] = []
        self._waiting = Waiting()
        self._look = now
        self._look_period = min(options.control_dt // 2, SECOND // 20)
        self._stalled = False
        self._off_by: dict[int, Event] = {}
        self._withdrawn, self._withdrawn_at = list[Event](), 0
        self._numbers: dict[tuple[str, bool], int] = {}
        self._order: dict[tuple[str, bool], int] = {}
        self.sent = 0

    # Port.

    def now(self) -> int:
        """Return steady time [ns]."""
        return self._now

    def latched(self) -> bool:
        """Return whether only ~/reset lets the robot move."""
        return self.product.latched

    def reset(self) -> None:
        """Call ~/reset."""
        self._waiting.calls.append('reset')

    def joint_state(self, state: JointState, peer: bool = False) -> None:
        """Publish a joint state."""
        self._arrive('joint_state', joint_state_message(state), peer)

    def chunk(self, chunk: Chunk, peer: bool = False) -> None:
        """Publish a chunk."""
        self._arrive('chunk', chunk_message(chunk), peer)

    def _arrive(self, what: str, message: Any, peer: bool) -> None:
        source = (what, peer)
        self._numbers[source] = number = self._numbers.get(source, 0) + 1
        info = {'publication_sequence_number': number, 'source_timestamp': self._now}
        # What one publisher sends arrives in order.
        self._order[source] = at = max(self._now + int(self._rng.integers(HOP)), self._order.get(source, 0) + 1)
        self._arrivals.append((at, what, (message, info)))

    def foresee(self, event: Event) -> None:
        """Let the product see a step of the clock at its time, should it plan then."""
        at = self._now + round(event.gap * SECOND)
        self.time.step = (at, self._step(event, at)) if event.kind == 'clock' else None

    def _step(self, event: Event, at: int) -> int:
        return max(round(event.values['by'] * SECOND), SECOND - at - self.controller.offset)

    def act(self, event: Event) -> None:
        """Do what is done to the product and the controller."""
        graph = self.product.graph
        if event.kind in ('hold', 'reset'):
            self._waiting.calls.append(event.kind)
        elif event.kind == 'parameter' and event.values['name'] == 'blend_steps':
            value = event.values['value']
            if isinstance(value, int) and 0 <= value <= 100:
                self.product.set_blend(value)
        elif event.kind == 'stall':
            self._stalled = True
        elif event.kind == 'lifecycle':
            self._waiting.calls.append('deactivate')
        elif event.kind == 'clock':
            by = self._step(event, self._now)
            for controller in self.robot.controllers:
                controller.step_clock(self._now, by)
            self.time.offset, self.time.step = self.robot.offset, None
        elif event.kind in ('controller_off', 'controller_restart'):
            who = event.values.get('who', 0)
            if self.robot.controllers[who].active:
                self.robot.controllers[who].deactivate(self._now)
                self._off_by[who] = event
                if event.kind == 'controller_restart':
                    graph.leave(event, self._now)
        elif event.kind == 'permission':
            self._withdrawn_at = self._withdrawn_at if self._withdrawn else self._now
            self._withdrawn.append(event)
            self.product.permitted = False
        elif event.kind == 'peer' and not event.values['topic'].startswith('joint_states'):
            graph.peers.add(event.values['topic'])

    def undo(self, event: Event) -> None:
        """Take it back."""
        graph = self.product.graph
        if event.kind == 'stall':
            self._stalled = False
        elif event.kind == 'lifecycle':
            self._waiting.calls.append('activate')
        elif event.kind == 'permission':
            self._withdrawn.remove(event)
            self.product.permitted = not self._withdrawn
            if not self._withdrawn:
                self.marks.add('withdrawn', self._withdrawn_at, self._now)
        elif event is self._off_by.get(who := event.values.get('who', 0)):  # others that came meanwhile changed nothing
            del self._off_by[who]
            self.robot.controllers[who].activate(self._now)
            self.marks.add('active', self._now, who=event.values.get('who'))
            if event.kind == 'controller_restart':
                graph.come(event, self._now)
        elif event.kind == 'peer':
            graph.peers.discard(event.values['topic'])

    # Time.

    def advance(self, until: int) -> None:
        """Let world time run to ``until`` [ns, steady], and the product do what is due."""
        while True:
            timers = [self._look, self.product.again_at]
            if self.product.farewell_at is not None:
                timers = [self.product.farewell_at]
            due = min([*(at for at in timers if at is not None), *(at for at, _, _ in self._arrivals)])
            due = max(due, self._busy)
            if due > until or self._stalled:
                break
            self._now = max(due, self._now)
            self._serve()
        self._now = until
        for controller in self.robot.controllers:
            controller.advance(until)

    def _serve(self) -> None:
        """Let the product take what has arrived, one callback each."""
        arrived = [entry for entry in self._arrivals if entry[0] <= self._now]
        self._arrivals = [entry for entry in self._arrivals if entry[0] > self._now]
        for _, what, message in sorted(arrived, key=lambda entry: entry[0]):
            setattr(self._waiting, what, message)
        self.time.steady = max(self._now, self._busy)
        if self.product.farewell_at is not None:
            self._say_farewell()
            return
        waiting, self._waiting = self._waiting, Waiting()
        if waiting.joint_state is not None:
            self.product.on_joint_state(*waiting.joint_state)
        for done, name in enumerate(waiting.calls):
            getattr(self.product, name)()
            if self.product.farewell_at is not None:  # what was called after it waits
                self._waiting.calls = waiting.calls[done + 1 :]
                self._busy = self.time.steady
                return
        if waiting.chunk is not None:
            self.product.on_chunk(*waiting.chunk)
        if self.product.again_at is not None and self.product.again_at <= self._now:
            self.product.again()
        if self._look <= self._now:
            self._look += self._look_period * ((self._now - self._look) // self._look_period + 1)
            self.product.look()
        self._busy = self.time.steady

    def _say_farewell(self) -> None:
        """Let the product end: it polls joint states, and all else waits."""
        if self.product.farewell_at is None or self.product.farewell_at > self._now:
            return
        state, self._waiting.joint_state = self._waiting.joint_state, None
        if state is not None:
            self.product.on_joint_state(*state)
        self.product.farewell()
        self._busy = self.time.steady

    def _cost(self) -> int:
        """Return what planning takes [ns]: a few milliseconds mostly, now and then many."""
        slow = self._rng.random() < 0.02
        return int(self._rng.uniform(20e6, 120e6) if slow else self._rng.uniform(0.5e6, 4e6))

    def _sent(self, message: Message, number: int) -> None:
        self.sent += 1
        controller, several = self.robot.controllers[number], self.options.variant.losses
        arrival = self.time.steady + round(self._rng.uniform(0.0, self._latency) * SECOND)
        if self._rng.random() < (several[number] if several else self._loss):
            self.marks.add('lost', arrival, who=number if several else None)
            controller.heard.lost.append((arrival, message))
        else:
            controller.hear(message, arrival)
