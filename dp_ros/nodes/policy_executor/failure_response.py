"""Do what `on_failure` calls for where a failure is foretold, and listen to the trajectory_publisher meanwhile.

report
    nothing: it is said, and chunks go on.
hold
    the publisher is asked to hold: the arm comes to rest along its path, and is latched until ~/reset. No chunk is made
    until the publisher has latched, so that an arm whose publisher cannot be asked stops by the age of its observation.
replan
    a chunk is made at once, as from the start: it goes on from nothing, of other noise and of as many samples as the
    monitor draws.
fallback
    fallback_bundle takes over, until the next activation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from std_srvs.srv import Trigger

from dp_ros.errors import DataError
from dp_ros.messages.status import MonitorReport, Status, decode, encode
from dp_ros.nodes.policy_executor.inference import Inference
from dp_ros.nodes.policy_executor.inference_settings import Settings
from dp_ros.nodes.policy_executor.monitoring import Monitoring
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.ros.diagnostics import OK, WARN, status_message
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode

PUBLISHER = 'trajectory_publisher'
KEPT = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
UNDER_WAY = ('running',)
STOPPED = ('latched', 'homing', 'inactive')
Answer = Literal['go on', 'now', 'withhold']


class FailureResponse:
    """Publishes `~/monitor`, and answers its reports; all but `publish` in callbacks.

    Attributes
    ----------
    withheld
        Why no chunk is made, or ''.
    state
        The publisher's safety state; '' before it says so.

    """

    def __init__(self, node: ManagedNode) -> None:
        self._node = node
        self._reports = node.create_lifecycle_publisher(DiagnosticStatus, '~/monitor', KEPT)
        self._hold = node.create_client(Trigger, f'{PUBLISHER}/hold')
        self._statuses = node.create_subscription(DiagnosticStatus, f'{PUBLISHER}/status', self._on_status, KEPT)
        self.monitoring: Monitoring | None = None
        self.state = ''
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.withheld = ''
        self._failed = False

    def close(self) -> None:
        """Remove what was made."""
        self._node.destroy_lifecycle_publisher(self._reports)
        self._node.destroy_client(self._hold)
        self._node.destroy_subscription(self._statuses)

    def publish(self, report: MonitorReport) -> None:
        """Publish a report; in any thread."""
        level, text = (WARN, 'failing') if report.failing else (OK, report.reason or 'as usual')
        self._reports.publish(status_message(self._node, 'monitor', level, text, encode(report)))

    def _on_status(self, message: Any) -> None:
        try:
            status = decode(Status, message.values)
        except DataError as error:
            self._node.get_logger().error(f'{PUBLISHER}/status: {error}', throttle_duration_sec=WARN_PERIOD)
            return
        self.state = status.state
        if self.monitoring is not None:
            stopped = status.state not in UNDER_WAY
            self.monitoring.paused = f'the publisher is {status.state}: {status.reason}' * stopped
        if self.withheld and status.state in STOPPED:
            self.withheld = ''

    def answer(self, settings: Settings, inference: Inference) -> Answer:
        """Do what the newest report calls for; return whether the window that came is predicted from."""
        report = self.monitoring.take() if self.monitoring is not None else None
        if report is None or not report.failing:
            self._failed = self._failed and report is None
            return 'withhold' if self.withheld else 'go on'
        if not self._failed:
            self._node.get_logger().warning(f'{settings.on_failure}: the policy is about to fail: {report.reason}')
        self._failed = True
        if settings.on_failure == 'hold' and self.state not in STOPPED:
            return self._at_hold(report, inference)
        if settings.on_failure == 'replan':
            inference.start_anew()
            return 'now'
        if settings.on_failure == 'fallback':
            inference.switch(settings, f'the monitor foretells a failure: {report.reason}')
        return 'go on'

    def _at_hold(self, report: MonitorReport, inference: Inference) -> Answer:
        self.withheld = f'held, for the monitor foretells a failure: {report.reason}'
        inference.start_anew()
        if self._hold.service_is_ready():
            self._hold.call_async(Trigger.Request())
        else:
            self._node.get_logger().error(f'{self._hold.srv_name}: got no such service; no chunk is made any more')
        return 'withhold'


def replanned(settings: Settings) -> Settings:
    """Return the settings of a chunk that takes the place of one that fails: more samples, all sampling steps."""
    policy, spec = settings.policy, settings.policy.bundle.monitor
    assert spec is not None and isinstance(policy, DiffusionPolicy), 'make_settings refuses replan without a monitor'
    return replace(settings, policy=policy.with_settings(samples=max(spec.samples, policy.samples)), cost=None)
