"""A simulated robot with the topics of a real one: a world, and a joint_trajectory_controller in front of it.

Physics step n happens at t0 + n * 10 ms with t0 a whole multiple of 100 ms, and stamps are these nominal times, so
that readings fall exactly on control ticks. A step that comes late is caught up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dp_ros import messages
from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError, DpRosError
from dp_ros.nodes.diagnostics import OK, WARN
from dp_ros.nodes.lifecycle import WARN_PERIOD, ManagedNode, reliable, run
from dp_ros.nodes.parameters import Param
from dp_ros.policy.alignment import tick_at_or_after
from dp_ros.simulation.controller import Rejected
from dp_ros.simulation.pusht import PushTWorld
from dp_ros.simulation.robot import ImageReading, JointReading, PoseReading, Reading, SimulatedRobot

WORLDS = {'pusht': PushTWorld}
PARAMETERS = [
    Param(name='world', default='pusht', choices=tuple(WORLDS), description='The world to simulate.'),
    Param(name='camera', default=True, description='Render and publish the camera; false saves processor time.'),
    Param(
        name='seed', default=0, low=0, high=2**31 - 1, live=True,
        description='Decides the start of an episode; used at activation and by the service ~/reset.',
    ),
    Param(
        name='rate', default=1.0, low=0.0, high=100.0,
        description='Seconds of the world per second; 0: as fast as it computes. Other than 1 needs publish_clock.',
    ),
    Param(
        name='publish_clock', default=False,
        description='Count time from 0 and publish it on /clock; the other nodes then need use_sim_time.',
    ),
    Param(name='frame_id', default='pusht', description="Coordinate frame of the block's pose and the camera."),
    Param(name='topics.joint_states', default='joint_states', description='Joint states go out here, 100 Hz.'),
    Param(name='topics.pose', default='block_pose', description="The block's pose goes out here, 100 Hz."),
    Param(name='topics.image', default='camera/color/image_raw', description='Images go out here, 10 Hz.'),
    Param(
        name='topics.command', default='arm_controller/joint_trajectory',
        description='The controller takes trajectories from here.',
    ),
]  # fmt: skip
STATUS = 'simulation'
ALIGNED = NANOSECONDS // 10  # the slowest reading's period, and a whole number of every faster one's
EPISODE_STEPS = 10  # physics steps between two messages on ~/episode
LATE = NANOSECONDS // 10  # this far behind, the diagnostics warn
STOP_TIMEOUT = 5.0  # [s]


class SimulatedRobotNode(ManagedNode):
    """The node `simulated_robot`."""

    def __init__(self, **options: Any) -> None:
        # Guards the robot: its thread steps it, callbacks command and reset it.
        self._lock = threading.Lock()
        self._robot: SimulatedRobot | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._publishers_by_kind: dict[str, Any] = {}
        self._entities: list[Any] = []
        self._late = 0
        self.counts = {'accepted': 0, 'rejected': 0, 'steps': 0}
        super().__init__('simulated_robot', PARAMETERS, **options)

    # Lifecycle.

    def configure(self) -> None:
        """Make the world and the outputs."""
        if self.value('rate') != 1.0 and not self.value('publish_clock'):
            raise ConfigError(f'rate: got {self.value("rate")}, allowed 1.0 unless publish_clock is true')
        self._frame_id = self.value('frame_id')
        self._world = WORLDS[self.value('world')]()
        kinds = {
            'joints': (JointState, self.value('topics.joint_states'), reliable(10)),
            'pose': (PoseStamped, self.value('topics.pose'), reliable(10)),
            'image': (Image, self.value('topics.image'), reliable(2)),
            'episode': (DiagnosticStatus, '~/episode', reliable(10)),
            'clock': (Clock, '/clock', QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)),
        }
        if not self.value('publish_clock'):
            del kinds['clock']
        if not self.value('camera'):
            del kinds['image']
        self._publishers_by_kind = {
            kind: self.create_lifecycle_publisher(cls, topic, qos) for kind, (cls, topic, qos) in kinds.items()
        }

    def activate(self) -> None:
        """Begin an episode with the parameter `seed`, and let time run."""
        start = 0 if self.value('publish_clock') else tick_at_or_after(time.time_ns(), ALIGNED)
        self._robot = SimulatedRobot(self._world, start=start, camera=self.value('camera'))
        self._robot.reset(self.value('seed'))
        self.counts = dict.fromkeys(self.counts, 0)
        self._stop.clear()
        self._subscription = self.create_subscription(
            JointTrajectory, self.value('topics.command'), self._on_command, reliable(1)
        )
        self._service = self.create_service(Trigger, '~/reset', self._on_reset)
        self._thread = threading.Thread(target=self._run, args=(start,), name='physics', daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Stop time."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(STOP_TIMEOUT)
        self._thread = None
        self.destroy_subscription(self._subscription)
        self.destroy_service(self._service)
        self.diagnostics.forget(STATUS)

    def cleanup(self) -> None:
        """Remove the outputs."""
        for publisher in self._publishers_by_kind.values():
            self.destroy_lifecycle_publisher(publisher)
        self._publishers_by_kind = {}
        self._robot = None

    # Callbacks.

    def _on_command(self, message: JointTrajectory) -> None:
        assert self._robot is not None
        try:
            command = messages.trajectory_value(message)
        except DpRosError as error:
            self._reject(str(error))
            return
        with self._lock:
            verdict = self._robot.command(command)
        if isinstance(verdict, Rejected):
            self._reject(verdict.reason)
        else:
            self.counts['accepted'] += 1

    def _reject(self, reason: str) -> None:
        self.counts['rejected'] += 1
        self.get_logger().error(f'trajectory rejected: {reason}', throttle_duration_sec=WARN_PERIOD)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._robot is not None
        seed = self.value('seed')
        with self._lock:
            self._robot.reset(seed)
        response.success = True
        response.message = f'a new episode with seed {seed}'
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
                self.died.set_exception(error)

    def _run_by(self, clock: Any, began: int, start: int, rate: float) -> None:
        """Step when ``clock`` [ns] says so; at ``began`` on it the robot's time was ``start``."""
        assert self._robot is not None
        step = self._robot.step_duration
        while not self._stop.is_set():
            if rate > 0:
                early = began + round((self._robot.now + step - start) / rate) - clock()
                if early > 0 and self._stop.wait(early / NANOSECONDS):
                    return
                self._late = max(self._late, -early)
            with self._lock:
                readings = self._robot.step()
                episode = self._robot.episode
            if 'clock' in self._publishers_by_kind:
                self._publishers_by_kind['clock'].publish(Clock(clock=Time(nanoseconds=self._robot.now).to_msg()))
            for reading in readings:
                self._publish(reading)
            self.counts['steps'] += 1
            if self.counts['steps'] % EPISODE_STEPS == 0:
                self._publishers_by_kind['episode'].publish(_episode_message(episode))

    def _publish(self, reading: Reading) -> None:
        if isinstance(reading, JointReading):
            message = messages.to_joint_state(
                stamp=reading.stamp,
                name=reading.name,
                position=reading.position,
                velocity=reading.velocity,
                effort=reading.effort,
            )
            self._publishers_by_kind['joints'].publish(message)
        elif isinstance(reading, PoseReading):
            message = messages.to_pose(
                stamp=reading.stamp, position=reading.position, orientation=reading.orientation, frame_id=self._frame_id
            )
            self._publishers_by_kind['pose'].publish(message)
        elif isinstance(reading, ImageReading):
            message = messages.to_image(stamp=reading.stamp, pixels=reading.pixels, frame_id=self._frame_id)
            self._publishers_by_kind['image'].publish(message)

    def refresh(self) -> None:
        """Say whether time keeps up."""
        if not self.active:
            return
        late, self._late = self._late, 0
        level, text = (WARN, f'{late / 1e6:.0f} ms late') if late > LATE else (OK, 'running')
        self.diagnostics.report(STATUS, level, text, {**self.counts, 'late_ms_max': f'{late / 1e6:.1f}'})


def _episode_message(episode: Any) -> DiagnosticStatus:
    values = {
        'seed': episode.seed,
        'elapsed': episode.elapsed,
        'score': episode.score,
        'coverage': episode.coverage,
        'success': episode.success,
    }
    return DiagnosticStatus(
        level=OK,
        name='episode',
        message='success' if episode.success else 'running',
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `simulated_robot`."""
    return run(SimulatedRobotNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
