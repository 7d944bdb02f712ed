"""A simulated robot with the topics of a real one: a world, and its joint_trajectory_controllers in front of it.

Physics step n happens at t0 + n * 10 ms with t0 a whole multiple of 100 ms, and stamps are these nominal times, so
that readings fall exactly on control ticks. A step that comes late is caught up. One that is more than a second late is
not: then time goes on from now, at a new t0, and the world has stood still meanwhile (`SimulatedRobot.skip_to`).
Pictures, which take most of the time, are drawn if somebody looks at them, and left out while steps are late.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from std_srvs.srv import SetBool, Trigger

from dp_ros.data import NANOSECONDS, Refusal
from dp_ros.errors import ConfigError
from dp_ros.nodes.simulated_robot import robot_outputs, simulated_controller
from dp_ros.nodes.simulated_robot.controller_parameters import ControllerParameters
from dp_ros.nodes.simulated_robot.robot_outputs import WORLD_FILE, RobotOutputs
from dp_ros.options import Option
from dp_ros.policy.alignment import tick_at_or_after
from dp_ros.ros.diagnostics import OK, WARN
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode, run
from dp_ros.simulation.controller.controller import Accepted, ControllerDied
from dp_ros.simulation.controller.validation import TrajectoryCommand
from dp_ros.simulation.registry import FROM_FILE, chosen_world, make_world, world_names, world_spec
from dp_ros.simulation.robot import SimulatedRobot
from dp_ros.simulation.worlds import DEFAULT_WORLD

PARAMETERS = [
    Option(
        name='world', default=DEFAULT_WORLD, choices=(*world_names(), FROM_FILE),
        description='The world to simulate; mjcf: the one that world_file describes.',
    ),
    WORLD_FILE,
    Option(name='camera', default=True, description='Render and publish the cameras; false saves processor time.'),
    Option(
        name='camera_rate', default=10.0, low=0.1, high=100.0,
        description='Pictures of each camera a second [Hz], each at the first physics step that is due.',
    ),
    Option(
        name='disturbance', default=0.0, low=0.0, high=2.0,
        description='How much the drives are disturbed and starts vary, for demonstrations of how to recover; '
        '1 is about 6 mm at the tool. Not every world allows more than 0.',
    ),
    Option(
        name='seed', default=0, low=0, high=2**31 - 1, live=True,
        description='Decides the start of an episode; used at activation and by the service ~/reset.',
    ),
    Option(
        name='meaning', default='', live=True,
        description='What an instruction asks for, of a world that can be asked in words; used as `seed` is. Empty: '
        'what the world asks for by itself.',
    ),
    Option(
        name='rate', default=1.0, low=0.0, high=100.0,
        description='Seconds of the world per second; 0: as fast as it computes. Other than 1 needs publish_clock.',
    ),
    Option(
        name='publish_clock', default=False,
        description='Count time from 0 and publish it on /clock; the other nodes then need use_sim_time.',
    ),
    Option(
        name='topics.command', default='',
        description="The controller (the first of several) takes trajectories from here; empty: the world's own topic.",
    ),
    *robot_outputs.PARAMETERS,
    *simulated_controller.PARAMETERS,
]  # fmt: skip
STATUS = 'simulation'
ALIGNED = NANOSECONDS // 10  # the slowest reading's period, and a whole number of every faster one's
EPISODE_STEPS = 10  # physics steps between two messages on ~/episode
COUNTS = ('accepted', 'rejected', 'ignored', 'lost', 'steps', 'resyncs', 'pictures_left_out')
LATE = NANOSECONDS // 10  # this far behind, the diagnostics warn
LOST = NANOSECONDS  # farther behind than this, time goes on from now
STOP_TIMEOUT = 5.0  # [s]


class SimulatedRobotNode(ManagedNode):
    """The node `simulated_robot`.

    Attributes
    ----------
    world
        What is simulated, from `configure` on.
    robot
        The world with its controllers, from `activate` to `cleanup`, else None; used with `lock` held.
    lock
        Guards the robot: a thread steps it, callbacks command and reset it.
    controller_nodes
        Serve the controllers' parameters, one for each; none where they have no names.
    behind
        How late the step at hand is [ns], below 0 if it came in time.
    last_rejection
        Why a controller refused a trajectory last, or ''.

    """

    def __init__(self, **options: Any) -> None:
        self.lock = threading.Lock()
        self.robot: SimulatedRobot | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._outputs: RobotOutputs | None = None
        self._late = 0
        self.behind = 0
        self._told_resyncs = 0
        self.controller_nodes: list[ControllerParameters] = []
        self._inputs: simulated_controller.CommandInputs | None = None
        self.last_rejection = ''
        self.counts = dict.fromkeys(COUNTS, 0)
        super().__init__('simulated_robot', PARAMETERS, **options)

    # Lifecycle.

    def configure(self) -> None:
        """Make the world and the outputs."""
        if self.value('rate') != 1.0 and not self.value('publish_clock'):
            raise ConfigError(f'rate: got {self.value("rate")}, allowed 1.0 unless publish_clock is true')
        world = chosen_world(self.value('world'), self.value('world_file'))
        self.world = make_world(world, disturbance=self.value('disturbance'))
        self._controllers = simulated_controller.outputs_of(self, world_spec(world))
        self.controller_nodes = simulated_controller.serve(self, self._controllers)
        self._outputs = RobotOutputs(
            self, self.world, world_spec(world), camera=self.value('camera'), clock=self.value('publish_clock')
        )

    def activate(self) -> None:
        """Begin an episode with the parameter `seed`, and let time run."""
        start = 0 if self.value('publish_clock') else tick_at_or_after(time.time_ns(), ALIGNED)
        self.robot = SimulatedRobot(
            self.world,
            start=start,
            camera=self.value('camera'),
            camera_rate=self.value('camera_rate'),
            controllers=simulated_controller.make_controllers(self, self._controllers),
            draws=self.draws,
        )
        self.robot.reset(self.value('seed'), self.value('meaning'))
        self.counts = dict.fromkeys(self.counts, 0)
        self._late = self.behind = self._told_resyncs = 0
        self.last_rejection = ''
        self._links = simulated_controller.lossy_links(self.value('seed'), len(self._controllers))
        self._stop.clear()
        assert self._outputs is not None
        self._outputs.describe()
        self._inputs = simulated_controller.CommandInputs(
            self, self._controllers, self.controller_nodes, self._on_command
        )
        self._services_on = [
            self.create_service(Trigger, '~/reset', self._on_reset),
            self.create_service(SetBool, '~/controller_active', self._on_controller_active),
        ]
        self._thread = threading.Thread(target=self._run, args=(start,), name='physics', daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Stop time."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(STOP_TIMEOUT)
        self._thread = None
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        for service in self._services_on:
            self.destroy_service(service)
        self.diagnostics.forget(STATUS)

    def cleanup(self) -> None:
        """Remove the outputs."""
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        self.robot = None
        for served in self.controller_nodes:
            served.close()
        self.controller_nodes = []

    def apply(self, values: Mapping[str, Any]) -> None:
        """Take over the controllers' speed."""
        for controller in () if self.robot is None else self.robot.controllers:
            controller.set_speed_scaling(values[simulated_controller.SCALING])

    # Callbacks.

    def _on_command(self, number: int, command: TrajectoryCommand) -> None:
        assert self.robot is not None
        if self._links[number].loses(self.value(simulated_controller.LOSS)):
            self.counts['lost'] += 1
            return
        try:
            with self.lock:
                verdict = self.robot.command(command, self.robot.controllers[number])
        except ControllerDied as error:
            self._die(error)
            return
        if isinstance(verdict, Refusal):
            self.counts['rejected'] += 1
            of = f'{self._controllers[number].name}: ' if len(self._controllers) > 1 else ''
            self.last_rejection = of + verdict.reason
            self.get_logger().error(f'trajectory rejected: {self.last_rejection}', throttle_duration_sec=WARN_PERIOD)
        else:
            self.counts['accepted' if isinstance(verdict, Accepted) else 'ignored'] += 1

    def _die(self, error: Exception) -> None:
        """End the process; what ended it first is what is said."""
        if not self.died.done():
            self.died.set_exception(error)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self.robot is not None
        seed, meaning = self.value('seed'), self.value('meaning')
        try:
            with self.lock:
                self.robot.reset(seed, meaning)
        except ConfigError as error:  # of the meaning; the episode is that of the seed
            response.message = str(error)
            self.get_logger().error(response.message)
            return response
        response.success = True
        response.message = f'a new episode with seed {seed}' + (f', which asks for {meaning}' if meaning else '')
        self.get_logger().info(response.message)
        return response

    def _on_controller_active(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        assert self.robot is not None
        with self.lock:
            self.robot.set_controller_active(request.data)
        response.success = True
        who = 'the controller is' if len(self._controllers) == 1 else 'the controllers are'
        response.message = f'{who} {"active" if request.data else "inactive"}'
        self.get_logger().info(response.message)
        return response

    # Time, in a thread of its own.

    def _run(self, start: int) -> None:
        try:
            if self.value('publish_clock'):
                self._run_by(time.monotonic_ns, time.monotonic_ns(), start, self.value('rate'))
            else:
                self._run_by(time.time_ns, start, start, 1.0)
        except Exception as error:  # a thread's death must be the process's
            if self.context.ok():
                self._die(error)

    def _run_by(self, clock: Any, began: int, start: int, rate: float) -> None:
        """Step when ``clock`` [ns] says so; at ``began`` on it the robot's time was ``start``, or is set anew."""
        assert self.robot is not None and self._outputs is not None
        step = self.robot.step_duration
        while not self._stop.is_set():
            if rate > 0:
                now = clock()
                early = began + round((self.robot.now + step - start) / rate) - now
                self.behind, self._late = -early, max(self._late, -early)
                if -early > LOST:
                    began, start = self._resync(now, -early)
                    continue
                if early > 0 and self._stop.wait(early / NANOSECONDS):
                    return
            with self.lock:
                readings = self.robot.step()
                episode = self.robot.episode
                self._outputs.tell_time(self.robot.now)
                for reading in readings:
                    self._outputs.tell_reading(reading)  # joint states are out before pictures are drawn
            self.counts['steps'] += 1
            if self.counts['steps'] % EPISODE_STEPS == 0:
                self._outputs.tell_episode(episode, self.counts['rejected'])

    def draws(self, camera: str) -> bool:
        """Return whether to draw a picture that is due: always where the robot makes the time."""
        assert self._outputs is not None
        if not self._outputs.seen(camera):
            return False
        late = self.behind > LATE and not self.value('publish_clock')
        self.counts['pictures_left_out'] += late
        return not late

    def _resync(self, now: int, late: int) -> tuple[int, int]:
        """Leave out the time that was lost; return a time of the clock, and the robot's time then [ns].

        A robot that makes the time goes on where it was: nobody else knows of the loss.
        """
        assert self.robot is not None
        began, start = now, self.robot.now
        if not self.value('publish_clock'):
            began = start = tick_at_or_after(now, ALIGNED)
            with self.lock:
                self.robot.skip_to(start)
        self.counts['resyncs'] += 1
        self.get_logger().warning(
            f'{late / NANOSECONDS:.1f} s late: time goes on from now, and the world has stood still meanwhile',
            throttle_duration_sec=WARN_PERIOD,
        )
        return began, start

    def refresh(self) -> None:
        """Say whether time keeps up."""
        if not self.active:
            return
        late, self._late = self._late, 0
        level, text = (WARN, f'{late / 1e6:.0f} ms late') if late > LATE else (OK, 'running')
        if self.counts['resyncs'] > self._told_resyncs:
            self._told_resyncs = self.counts['resyncs']
            text = f'{late / NANOSECONDS:.1f} s late: time went on from then, and the world had stood still'
        assert self.robot is not None
        controllers = self.robot.controllers
        for output, controller in zip(self._controllers, controllers, strict=True):
            if controller.reason:
                who = 'the controller' if len(controllers) == 1 else output.name
                level, text = WARN, f'{who} holds, {controller.reason}'
                break
        held_up = {kind: sum(controller.held_up[kind] for controller in controllers) for kind in controllers[0].held_up}
        values = {**self.counts, **held_up, 'last_rejection': self.last_rejection}
        self.diagnostics.report(STATUS, level, text, {**values, 'late_ms_max': f'{late / 1e6:.1f}'})


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `simulated_robot`."""
    return run(SimulatedRobotNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
