"""Count what becomes of the policy's episodes: the node `outcomes`.

It listens, and takes no part in the motion. An episode is what lies between two outcomes: it begins when the arm first
follows chunks after the last one, and ends

- where a simulated robot says that its task is done, or begins another episode: that one has failed;
- where somebody calls `~/outcome` (`std_srvs/SetBool`: whether it succeeded);
- where the trajectory_publisher latches or is deactivated, and nobody says anything within `patience`: unknown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from std_srvs.srv import SetBool

from dp_ros.errors import ConfigError, DataError
from dp_ros.messages.status import Episode, MonitorReport, Status, decode
from dp_ros.options import build, option, options_of
from dp_ros.paths import locate, ros_home
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.ros.diagnostics import ERROR, OK, WARN
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode, reliable, run
from dp_ros.tools.outcomes.rate import Measured, advice, measured_of, rate_of
from dp_ros.tools.outcomes.store import EpisodeOutcome, Outcome, OutcomeStore, Source
from dp_ros.tools.recorder import LATCHED

NAME = 'outcomes'
ENDED = ('latched', 'homing', 'inactive')
DAY = 86400.0


# fmt: off
@dataclass(frozen=True, kw_only=True)
class OutcomesOptions:
    """Options of the node."""

    outcomes_file: str = option(
        '', 'SQLite file that outcomes are counted in; empty: dp_ros/outcomes.sqlite3 in the folder that ROS keeps '
        'files in (ROS_HOME, or ~/.ros).',
    )
    measured_bundle: str = option(
        '', 'Bundle whose measured success rate is compared with, as its monitor was calibrated; empty: '
        'measured_successes of measured_episodes.',
    )
    measured_successes: int = option(
        0, 'How many of measured_episodes succeeded.', low=0, high=1_000_000,
    )
    measured_episodes: int = option(
        0, 'Episodes in which the policy was measured; 0: nothing is compared.', low=0, high=1_000_000,
    )
    newest: int = option(100, 'Episodes that the rate is taken over, the newest ones.', low=1, high=100_000)
    days: float = option(30.0, 'Older episodes do not count.', unit='days', low=0.01, high=3650.0)
    patience: float = option(
        60.0, 'How long after a latch or a deactivation somebody may still say what became of the episode.', unit='s',
        low=0.0, high=3600.0,
    )
# fmt: on


PARAMETERS = options_of(OutcomesOptions)


class Outcomes(ManagedNode):
    """The node."""

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, PARAMETERS, **options)
        self._options = OutcomesOptions()
        self._store: OutcomeStore | None = None
        self._measured: Measured | None = None
        self._entities: list[Any] = []
        self._forget()

    def _forget(self) -> None:
        self._began: float | None = None  # of the episode under way
        self._ended: tuple[float, float, str] | None = None  # when and why it was cut off, and on the steady clock
        self._foretold = False
        self._bundle = ''
        self._world: Episode | None = None
        self._counted = False  # whether the world's episode under way has its outcome
        self._error = ''

    def configure(self) -> None:
        """Open the file, and find what to compare with."""
        self._options = build(OutcomesOptions, self.values())
        given = self._options.outcomes_file
        path = Path(given).expanduser() if given else ros_home() / 'dp_ros' / 'outcomes.sqlite3'
        try:
            self._store = OutcomeStore(path)
        except OSError as error:
            raise ConfigError(
                f'outcomes_file: got {path}, which cannot be opened ({error}), allowed another'
            ) from error
        self._measured = self._compared()

    def _compared(self) -> Measured | None:
        if self._options.measured_bundle:
            bundle = load_bundle(locate(self._options.measured_bundle))
            found = measured_of(bundle.provenance)
            if found is None:
                raise ConfigError(
                    f'measured_bundle: got {bundle.name}, which was measured nowhere, allowed one of dp_ros monitor '
                    'with a world; or measured_successes and measured_episodes'
                )
            return found
        if not self._options.measured_episodes:
            return None
        return Measured(successes=self._options.measured_successes, episodes=self._options.measured_episodes)

    def activate(self) -> None:
        """Listen from now on."""
        self._forget()
        for topic, qos, receive in (
            ('trajectory_publisher/status', LATCHED, self._on_status),
            ('policy_executor/monitor', LATCHED, self._on_monitor),
            ('simulated_robot/episode', reliable(10), self._on_episode),
        ):
            self._entities.append(self.create_subscription(DiagnosticStatus, topic, receive, qos))
        self._service = self.create_service(SetBool, '~/outcome', self._on_outcome)

    def deactivate(self) -> None:
        """Stop listening; what became of an episode under way is unknown."""
        if self._began is not None:
            self._count('unknown', 'none', 'deactivated')
        while self._entities:
            self.destroy_subscription(self._entities.pop())
        self.destroy_service(self._service)

    def cleanup(self) -> None:
        """Close the file."""
        if self._store is not None:
            self._store.close()
        self._store = None

    # What comes.

    def _decoded(self, kind: Any, topic: str, message: Any) -> Any:
        try:
            return decode(kind, message.values)
        except DataError as error:
            self.get_logger().error(f'{topic}: {error}', throttle_duration_sec=WARN_PERIOD)
            return None

    def _on_status(self, message: Any) -> None:
        status = self._decoded(Status, 'trajectory_publisher/status', message)
        if status is None:
            return
        if status.state == 'running':
            if self._ended is not None:  # it goes on, and nobody has said what became of the last one
                self._count('unknown', 'none', self._ended[2])
            if self._began is None and not self._counted:
                self._began, self._foretold = time.time(), False
        elif status.state in ENDED and self._began is not None and self._ended is None:
            self._ended = (time.time(), self.steady() / 1e9, f'{status.state}: {status.reason}'.rstrip(': '))

    def _on_monitor(self, message: Any) -> None:
        report = self._decoded(MonitorReport, 'policy_executor/monitor', message)
        if report is not None:
            self._bundle = report.policy or self._bundle
            self._foretold = self._foretold or report.failing

    def _on_episode(self, message: Any) -> None:
        episode = self._decoded(Episode, 'simulated_robot/episode', message)
        if episode is None:
            return
        before, self._world = self._world, episode
        if before is not None and (episode.seed != before.seed or episode.elapsed < before.elapsed):
            if self._began is not None:
                self._count('failure', 'world', f'seed {before.seed}, score {before.score:.3f}')
            self._counted = False
        if episode.success and self._began is not None:
            self._count('success', 'world', f'seed {episode.seed}')
            self._counted = True

    def _on_outcome(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if self._began is None:
            response.success, response.message = False, 'no episode is under way, and none has just ended'
            return response
        outcome: Outcome = 'success' if request.data else 'failure'
        self._count(outcome, 'person', self._ended[2] if self._ended else '')
        response.success, response.message = not self._error, self._error or f'counted: {outcome}'
        return response

    def _count(self, outcome: Outcome, source: Source, note: str) -> None:
        assert self._began is not None and self._store is not None
        ended = self._ended[0] if self._ended else time.time()
        episode = EpisodeOutcome(
            began=min(self._began, ended), ended=ended, outcome=outcome, source=source, bundle=self._bundle[:500],
            foretold=self._foretold, note=note[:500],
        )  # fmt: skip
        self._began, self._ended, self._foretold = None, None, False
        try:
            self._store.add(episode)
            self._error = ''
        except DataError as error:
            self._error = str(error)
            self.get_logger().error(f'not counted: {error}')
        self.refresh()

    # What is said.

    def refresh(self) -> None:
        """Give up waiting for what became of an episode, and report the rate."""
        if not self.active or self._store is None:
            return
        if self._ended is not None and self.steady() / 1e9 > self._ended[1] + self._options.patience:
            self._count('unknown', 'none', self._ended[2])
            return
        try:
            since = time.time() - self._options.days * DAY
            rate = rate_of(self._store.episodes(self._options.newest, since))
        except DataError as error:
            self.diagnostics.report(NAME, ERROR, str(error))
            return
        advised = advice(rate, self._measured)
        values: dict[str, object] = {
            'file': self._store.path, 'successes': rate.successes, 'failures': rate.failures, 'unknown': rate.unknown,
            'low': f'{rate.interval[0]:.3f}', 'high': f'{rate.interval[1]:.3f}',
        }  # fmt: skip
        if self._measured is not None and self._measured.episodes:
            low, high = self._measured.interval
            values |= {'measured_low': f'{low:.3f}', 'measured_high': f'{high:.3f}'}
        level = ERROR if self._error else WARN if advised else OK
        self.diagnostics.report(NAME, level, self._error or advised or rate.text(), values)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `outcomes`."""
    return run(Outcomes, args)


if __name__ == '__main__':
    raise SystemExit(main())
