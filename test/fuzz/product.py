"""The publisher's own parts in simulated time, without ROS's middleware: the one file that knows how they fit.

`Motion` decides, with its planner, ladder and joint states; the node's callbacks around it are written down here
again, and what the graph shows is played. Times are robot time [ns] unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from dp_ros.data import Refusal
from dp_ros.errors import DpRosError
from dp_ros.messages import encoding
from dp_ros.motion.checks.workspace import Workspace
from dp_ros.motion.planner import Planner
from dp_ros.motion.safety.approach import Approach
from dp_ros.motion.safety.clock_watch import ClockWatch
from dp_ros.motion.safety.measured_states import MeasuredState
from dp_ros.motion.safety.safety_states import Cause, Reason, SafetyState, SafetyStateMachine, Thresholds
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.trajectory_publisher.command_sender import AGAIN, FAREWELL_AGAIN, CommandSender
from dp_ros.nodes.trajectory_publisher.controllers.command_topics import GraphState, serialized_message
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import SourceWatch
from dp_ros.nodes.trajectory_publisher.joint_states import JointStates
from dp_ros.nodes.trajectory_publisher.motion import Motion, Parts
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.task.spec import JointStream
from dp_ros.task.starts import DemonstratedStarts

from .curves import SECOND, Message
from .events import Event
from .graph import SeveralControllers
from .judge import Limits
from .variants import Variant

NEWCOMER = SECOND // 2
RESTARTS = 1
APPROACH_SPEED = 0.6  # [rad/s]


@dataclass
class Time:
    """The clocks that the product reads: steady time, which planning makes pass, and robot time, by its offset.

    ``step`` is when robot time jumps next [ns, steady], and by how much: maybe in the midst of planning.
    """

    steady: int
    offset: int = 0
    step: tuple[int, int] | None = None

    def robot(self) -> int:
        """Return robot time."""
        by = self.step[1] if self.step is not None and self.steady >= self.step[0] else 0
        return max(self.steady + self.offset + by, 1)


@dataclass
class Graph:
    """What the graph shows: who else publishes, whether the controller is there, and since when [ns, steady]."""

    time: Time
    peers: set[str] = field(default_factory=set)
    controller: bool = True
    since: int = 0
    restarted: bool = False

    def look(self) -> GraphState:
        """Return what `CommandTopics` would see."""
        faults = [] if (second := self.second('command')) is None else [second]
        if not self.controller:
            faults.append(Reason(cause=Cause.CONTROLLER, text='got nobody who listens'))
        restarted, self.restarted = ('arm_controller' if self.restarted else ''), False
        young = self.controller and self.time.steady - self.since < NEWCOMER
        return GraphState(
            faults=tuple(faults), restarted=restarted, untouched=() if restarted else (0,),
            listening=(0,) if self.controller else (),
            newcomer='arm_controller listens since a moment' if young else '',
        )  # fmt: skip

    def second(self, topic: str) -> Reason | None:
        """Return what is wrong with a topic that is to have one publisher."""
        if topic not in self.peers:
            return None
        return Reason(cause=Cause.PUBLISHER, text=f'{topic}: got a second publisher')

    @property
    def command(self) -> Any:
        """Return what the product sends by."""
        return self

    def leave(self, event: Event, now: int) -> None:
        """Let the controller go."""
        self.controller = False

    def come(self, event: Event, now: int) -> None:
        """Let it come again."""
        self.controller, self.restarted, self.since = True, True, now

    def forget(self) -> None:
        """Keep it: a controller that comes while the product is not active was restarted too."""

    def counts(self) -> tuple[int, ...]:
        """Return something that changes when the graph does."""
        return (int(self.controller), 1 + len(self.peers))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the product is made with."""

    joints: tuple[str, ...]
    control_dt: int
    limits: Limits
    planner: dict[str, Any]
    workspace: Workspace | None = None
    simulated: bool = False
    starts: DemonstratedStarts | None = None
    variant: Variant = field(default_factory=Variant)


class Product:
    """The node's callbacks around `Motion`.

    Parameters
    ----------
    options
        What the product is made with.
    time
        The clocks that it reads.
    send
        Is called with each trajectory, and the number of its controller.
    cost
        Draws what planning takes [ns].

    """

    def __init__(
        self, options: Options, time: Time, send: Callable[[Message, int], None], cost: Callable[[], int]
    ) -> None:
        self._options, self._time, self._send, self._cost = options, time, send, cost
        variant = options.variant
        self.graph: Graph | SeveralControllers = Graph(time, since=time.steady - 10 * SECOND)
        if variant.parts:
            time.steady -= SECOND  # known long enough
            self.graph = SeveralControllers(time, variant.parts, send, require=variant.require)
            time.steady += SECOND
        self.permitted = True
        self.said: list[str] = []
        self.motion: Motion | None = None
        self.again_at: int | None = None  # [ns, steady]
        self.farewell_at: int | None = None  # [ns, steady]; None unless it is ending
        self._sources = SourceWatch(RESTARTS)
        self._received: JointStates | None = None
        self.planner = self._planner()
        self.activate()

    def _planner(self) -> Planner:
        limits = self._options.limits
        columns = {
            name: tuple(float(v) for v in getattr(limits, name))
            for name in ('lower', 'upper', 'velocity', 'acceleration')
        }
        self.limits = JointLimits(joints=self._options.joints, **columns)
        return Planner(
            self._options.joints,
            self._options.control_dt,
            self.limits,
            workspace=self._options.workspace,
            continuous=self._options.variant.continuous or None,
            **self._options.planner,
        )

    # The node's callbacks.

    def activate(self) -> None:
        """Begin."""
        if self.motion is not None:
            return
        dt, variant = self._options.control_dt, self._options.variant
        self.graph.command.forget()
        stream = JointStream(
            name='joint_states', topic='joint_states', joints=self._options.joints,
            units=('rad',) * len(self._options.joints),
        )  # fmt: skip
        thresholds = Thresholds(
            tail=10 * dt, decelerate=13 * dt, hold=16 * dt + SECOND // 2, latch=16 * dt + 7 * SECOND // 2,
            joint_tail=min(SECOND // 4, 16 * dt), joint_decelerate=min(SECOND // 2, 16 * dt + SECOND // 2),
        )  # fmt: skip
        parts = Parts(
            planner=self.planner,
            safety=SafetyStateMachine(thresholds, fallback='home' if variant.home else 'hold'),
            joint_states=JointStates(
                stream, SECOND // 4, self.limits, self.planner.continuous, self._measured, self._received
            ),
            command=self.graph.command,
            permission=SimpleNamespace(fault=self._forbidden),
            watch=ClockWatch(SECOND // 10, simulated=self._options.simulated),
            sender=CommandSender(
                self.planner,
                self._prepared,
                self._sent,
                self._time.robot,
                steady=lambda: self._time.steady,
                repeat=self._sent,
                wake=self._wake,
            ),
            sources=[SimpleNamespace(fault=partial(self.graph.second, topic)) for topic in ('action_chunk', 'enable')],
            approach=Approach(
                self.planner, self._options.starts, stream.units, APPROACH_SPEED if self._options.starts else None
            ),
            say=self.said.append,
            note=self.said.append,
        )
        self._received = parts.joint_states
        patience = 1 << 62 if self._options.simulated else min(dt, SECOND // 10)
        self.motion = Motion(
            parts, home=np.array(variant.home) if variant.home else None, home_duration=2.0, patience=patience
        )

    def deactivate(self) -> None:
        """End."""
        if self.motion is not None:
            self.motion.end()
            self.farewell()

    def farewell(self) -> None:
        """Go on with the end: nothing but joint states is taken meanwhile."""
        assert self.motion is not None
        if self.motion.farewell():
            self.farewell_at = self._time.steady + FAREWELL_AGAIN
        else:
            self.motion, self.farewell_at, self.again_at = None, None, None

    def on_joint_state(self, message: Any, info: dict[str, Any]) -> None:
        """Take a joint state."""
        if self.motion is not None:
            self.motion.joint_states.receive(serialize_message(message), self._time.robot(), info)
            if self.motion.unsettled:
                self.motion.time()

    def on_chunk(self, message: Any, info: dict[str, Any]) -> None:
        """Take a chunk."""
        if self.motion is None:
            return
        self._sources.heard(info)
        if self._sources.several:
            self.motion.latch(Reason(cause=Cause.PUBLISHER, text='chunks from several publishers in turn'))
        received = self.motion.look()
        try:
            chunk = encoding.chunk_from_message(message, self._options.control_dt)
            verdict = self.motion.take(chunk, received)
            if isinstance(verdict, Refusal):
                self.said.append(f'refused: {verdict.reason}')
        except DpRosError as error:
            self.said.append(str(error))

    def look(self) -> None:
        """Do what the timer does."""
        if self.motion is not None:
            self.motion.look()

    def again(self) -> None:
        """Do what the timer does that sends again."""
        going = self.motion is not None and self.motion.again()
        self.again_at = self._time.steady + AGAIN if going else None

    def hold(self) -> None:
        """Do what ~/hold does."""
        if self.motion is not None:
            self.motion.latch(Reason(cause=Cause.OPERATOR, text='~/hold was called'))

    def reset(self) -> str:
        """Do what ~/reset does; return why not."""
        self._sources = SourceWatch(RESTARTS)
        objection = 'not active' if self.motion is None else self.motion.reset()
        self.said.append(f'not reset: {objection}' if objection else 'reset')
        return objection

    def set_blend(self, steps: int) -> None:
        """Set the live parameter."""
        self.planner.blend_steps = steps

    @property
    def latched(self) -> bool:
        """Whether only ~/reset lets the robot move."""
        return self.motion is not None and self.motion.safety.latched

    @property
    def goes_home(self) -> bool:
        """Tell whether the robot is on its way home."""
        return self.motion is not None and self.motion.safety.safety_state is SafetyState.HOME

    @property
    def moves_for(self) -> float:
        """Return how long the plan that was sent goes on [s]."""
        rests_at = None if self.motion is None else self.motion.rests_at
        return 0.0 if rests_at is None else max(rests_at - self._time.robot(), 0) / SECOND

    @property
    def why(self) -> str:
        """The rung and the reason for it."""
        return (
            'inactive'
            if self.motion is None
            else f'{self.motion.safety.safety_state.name}: {self.motion.safety.reason}'
        )

    def _forbidden(self) -> Reason | None:
        return None if self.permitted else Reason(cause=Cause.ENABLE, text='enable: got false')

    def _measured(self, state: MeasuredState) -> None:
        self.planner.measured(state.stamp, state.positions, state.velocities)

    def _wake(self) -> None:
        self.again_at = self._time.steady + AGAIN

    def _prepared(self, trajectory: Trajectory, topics: Sequence[int] | None) -> Any:
        self._time.steady += self._cost()
        if isinstance(self.graph, SeveralControllers):
            return self.graph.command.prepare(trajectory, serialized_message(trajectory), topics)
        return trajectory if topics is None else None  # the only one is gone

    def _sent(self, prepared: Any) -> None:
        if isinstance(self.graph, SeveralControllers):
            self.graph.command.send(prepared)
            return
        if prepared is None:
            return
        trajectory: Trajectory = prepared
        self._send(
            Message(
                stamp=trajectory.stamp,
                joints=trajectory.joints,
                times=np.array(trajectory.times),
                positions=np.array(trajectory.positions),
                velocities=None if trajectory.velocities is None else np.array(trajectory.velocities),
                accelerations=None if trajectory.accelerations is None else np.array(trajectory.accelerations),
            ),
            0,
        )
