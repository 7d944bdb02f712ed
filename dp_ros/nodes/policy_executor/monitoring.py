"""Look at the windows of chunks that are out: the failure monitor, in the thread of inference.

It works after its chunk was published, in the time until the next one is due, so no chunk is later for it. Where that
time is too short the window is left out and counted. `FailureResponse` does what a verdict calls for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.errors import DpRosError
from dp_ros.messages.status import MonitorReport
from dp_ros.nodes.policy_executor.inference import Job
from dp_ros.policy.failure_monitor import FailureMonitor, Verdict
from dp_ros.ros.diagnostics import OK, WARN

STREAM = 1  # of random numbers, beside that of the chunks


class Monitoring:
    """Scores windows, and publishes a report of each.

    Parameters
    ----------
    monitor
        None for a bundle without one.
    missing
        Why there is none, or ''.
    publish
        Called with each report, in the thread.
    now
        Reads robot time [ns].

    Attributes
    ----------
    monitor
        As given.
    paused
        Why windows do not count, as the trajectory_publisher says, or ''; callbacks swap it.
    report
        The newest; None before the first.

    """

    def __init__(
        self,
        monitor: FailureMonitor | None,
        missing: str,
        publish: Callable[[MonitorReport], None],
        now: Callable[[], int],
    ) -> None:
        self.monitor, self._missing, self._publish, self._now = monitor, missing, publish, now
        self.clear()

    def clear(self) -> None:
        """Begin anew, and count from 0."""
        self.paused = ''
        self.report: MonitorReport | None = None
        self._generation: int | None = None
        self._cost = 0.0  # [s] of a window, the newest
        self._counts = {'windows': 0, 'failing': 0, 'paused': 0, 'left_out': 0}
        self._fresh: MonitorReport | None = None

    def say_none(self, stamp: int) -> None:
        """Publish that there is no monitor, to whoever waits for its level."""
        if self.monitor is None:
            self._publish(MonitorReport(observation=stamp, reason=self._missing))

    def look(self, job: Job) -> None:
        """Score a window whose chunk is out; in the thread."""
        settings, monitor = job.settings, self.monitor
        if monitor is None or not settings.monitor_every or job.number % settings.monitor_every:
            return
        task = settings.policy.bundle.task
        left = job.window.stamp + settings.exec_horizon * to_nanoseconds(task.control_dt) - self._now()
        if self._cost > left / 1e9:
            self._counts['left_out'] += 1
            self._cost *= 0.9  # what was slow once is tried again
            return
        if job.generation != self._generation:
            self._generation = job.generation
            monitor.begin()
        if self.paused:
            monitor.pause()
            self._counts['paused'] += 1
            self._tell(MonitorReport(observation=job.window.stamp, action=settings.on_failure, reason=self.paused))
            return
        began = time.perf_counter()
        rng = np.random.default_rng([settings.seed, job.number, STREAM])
        try:
            verdict, trouble = monitor.verdict(job.window, rng, job.goal), ''
        except DpRosError as error:  # the arm must not go on as if somebody watched
            verdict, trouble = None, f'the monitor fails: {error}'
        self._cost = time.perf_counter() - began
        self._counts['windows'] += 1
        report = self._reported(job, monitor, verdict, trouble)
        self._counts['failing'] += report.failing
        self._tell(report)

    def _reported(self, job: Job, monitor: FailureMonitor, verdict: Verdict | None, trouble: str) -> MonitorReport:
        spec = monitor.spec
        scores = {} if verdict is None else {n: verdict.scores[n] for n in ('novelty', 'entropy', 'consistency')}
        return MonitorReport(
            observation=job.window.stamp,
            level=None if verdict is None else verdict.level,
            failing=verdict is None or verdict.failing,
            reason=trouble if verdict is None else monitor.reason(verdict),
            action=job.settings.on_failure,
            policy=job.settings.policy.bundle.name,
            novelty_threshold=spec.novelty,
            entropy_threshold=spec.entropy,
            consistency_threshold=spec.consistency,
            samples=spec.samples,
            cost=self._cost,
            **scores,
        )

    def _tell(self, report: MonitorReport) -> None:
        self.report = self._fresh = report
        self._publish(report)

    def take(self) -> MonitorReport | None:
        """Return the newest report the first time that it is asked for, else None; in a callback."""
        report, self._fresh = self._fresh, None
        return report

    def status(self) -> tuple[bytes, str, Mapping[str, object]]:
        """Return level, text and values for diagnostics."""
        if self.monitor is None:
            return OK, self._missing, {}
        report = self.report
        values: dict[str, object] = {**self._counts, 'cost_ms': f'{self._cost * 1e3:.1f}'}
        if report is None:
            return OK, 'no window yet', values
        if report.level is not None:
            values |= {'level': f'{report.level:.3f}', 'novelty': f'{report.novelty:.4g}',
                       'entropy': f'{report.entropy:.4g}', 'consistency': f'{report.consistency:.4g}'}  # fmt: skip
        if report.failing:
            return WARN, f'the policy is about to fail: {report.reason}', values
        if report.level is None:
            return OK, f'paused: {report.reason}', values
        return OK, 'as usual' if not report.reason else f'as usual together, though {report.reason}', values
