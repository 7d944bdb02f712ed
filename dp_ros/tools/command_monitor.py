"""Monitor running nodes: listen from outside to what is commanded, measured and reported, and keep account.

What was sent is sampled every millisecond, and measured joints are compared with the positions they may have. Nothing
of the planner's own check is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dp_ros.evaluation.scores import percentiles
from dp_ros.messages import encoding
from dp_ros.messages.status import ChunkReport, Episode, Status, encode
from dp_ros.motion.trajectory import Trajectory
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.ros.bundles import below_namespace
from dp_ros.tools.node_processes import PUBLISHER, ROBOT
from dp_ros.tools.simulation_client import SimulationClient

SAMPLE = 1_000_000  # [ns]
ROUNDING = 1e-6
MEASURED_SLACK = 0.02  # [rad or m]: what a plant may add to a set point at its limit
KEPT = 50  # late chunks, stops and excesses that are written down one by one
STOPPED = ('holding', 'homing', 'latched')


@dataclass
class Minute:
    """What happened in one minute of wall time; latencies of chunks and the trajectory_publisher's own costs [s]."""

    memory_mb: dict[str, float] = field(default_factory=dict)
    latency: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    late: int = 0
    refused: int = 0

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            'chunks': len(self.latency),
            'late': self.late,
            'refused': self.refused,
            'latency_ms': percentiles(self.latency),
            'publisher_cost_ms': percentiles(self.cost),
            'memory_mb': self.memory_mb,
        }


class CommandMonitor:
    """Listens to commands, joint states and diagnostics, and keep account.

    Without ``topics``, commands come on the one that the bundle names.
    """

    def __init__(
        self,
        client: SimulationClient,
        bundle: Bundle,
        limits: Mapping[str, Mapping[str, float]],
        topics: Sequence[str] = (),
    ) -> None:
        action = bundle.task.action
        self._joints = action.joints
        columns = {q: np.array([limits[j].get(q, np.inf) for j in self._joints]) for q in ('velocity', 'acceleration')}
        self._speed, self._acceleration = columns['velocity'], columns['acceleration']
        self._lower = np.array([limits[j].get('lower', -np.inf) for j in self._joints])
        self._upper = np.array([limits[j].get('upper', np.inf) for j in self._joints])
        self.minute = Minute()
        self.trajectories = 0
        self.excesses: list[str] = []
        self.excess_count = 0
        self.worst = {'velocity': 0.0, 'acceleration': 0.0}
        self.late: list[dict[str, str]] = []
        self.costs: list[float] = []
        self.states: Counter[str] = Counter()
        self._state = ('', '')
        self.stops: list[str] = []
        self.rejected = 0
        node = client.node
        for topic in topics or [action.topic]:
            node.create_subscription(JointTrajectory, below_namespace(topic), self._on_command, 10)
        node.create_subscription(JointState, 'joint_states', self._on_joints, qos_profile_sensor_data)
        client.subscribe(Status, f'{PUBLISHER}/status', self._on_status)
        client.subscribe(ChunkReport, f'{PUBLISHER}/ledger', self._on_chunk)
        client.subscribe(Episode, f'{ROBOT}/episode', self._on_episode)

    def _on_command(self, message: JointTrajectory) -> None:
        self.trajectories += 1
        fields = encoding.trajectory_value(message)
        order = [self._joints.index(joint) for joint in fields.joints]  # one of several controllers has some of them
        sent = Trajectory(
            stamp=fields.stamp,
            joints=fields.joints,
            times=fields.times,
            positions=fields.positions,
            velocities=fields.velocities,
            accelerations=fields.accelerations,
        )
        begin, end = int(sent.times[0]), int(sent.times[-1])
        at = np.arange(begin, max(end, begin + 1), SAMPLE)
        positions, speeds = sent.sample(at)
        self._compare(fields.joints, 'position above', (positions - self._upper[order]).max(axis=0), 0.0)
        self._compare(fields.joints, 'position below', (self._lower[order] - positions).max(axis=0), 0.0)
        self._compare(fields.joints, 'velocity', np.abs(speeds).max(axis=0), self._speed[order])
        accelerations = np.abs(np.diff(speeds, axis=0)) / (SAMPLE / 1e9)
        if len(accelerations):
            self._compare(fields.joints, 'acceleration', accelerations.max(axis=0), self._acceleration[order])

    def _compare(self, joints: Sequence[str], what: str, got: np.ndarray, allowed: np.ndarray | float) -> None:
        if what in self.worst:
            self.worst[what] = max(self.worst[what], float((got / allowed).max()))
        room = ROUNDING * np.maximum(1.0, np.abs(allowed))
        # Asked as "not at most", so that NaN is an excess too.
        for joint, value, over in zip(joints, got, ~(got <= allowed + room), strict=True):
            if over:
                self._excess(f'sent {joint}: {what} {value:.6g}')

    def _excess(self, text: str) -> None:
        self.excess_count += 1
        if len(self.excesses) < KEPT:
            self.excesses.append(text)

    def _on_joints(self, message: JointState) -> None:
        places = {name: i for i, name in enumerate(message.name)}
        for joint, lower, upper in zip(self._joints, self._lower, self._upper, strict=True):
            if joint not in places:
                continue  # a gripper's joint states, say, come in messages of their own
            value = message.position[places[joint]]
            if not lower - MEASURED_SLACK <= value <= upper + MEASURED_SLACK:
                self._excess(f'measured {joint}: position {value:.6g}')

    def _on_status(self, status: Status) -> None:
        before, self._state = self._state, (status.state, status.cause)
        if self._state == before or status.state == 'inactive':
            return
        self.states[status.state + (f' ({status.cause})' if status.cause else '')] += 1
        if status.state in STOPPED and len(self.stops) < KEPT:
            self.stops.append(status.reason)

    def _on_episode(self, episode: Episode) -> None:
        self.rejected = max(self.rejected, episode.rejected)

    def _on_chunk(self, report: ChunkReport) -> None:
        if report.latency is None or report.cost is None:
            self.minute.refused += 1
            return
        self.minute.latency.append(report.latency)
        self.costs.append(report.cost)
        self.minute.cost.append(report.cost)
        if report.late:
            self.minute.late += 1
            if len(self.late) < KEPT:
                self.late.append(encode(report))
