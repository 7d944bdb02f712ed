"""A client of node processes that this program has started, a simulated robot among them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from std_srvs.srv import Trigger

from dp_ros.messages.status import ChunkReport, Episode, Status
from dp_ros.tools.client import ClientError, PolicyClient
from dp_ros.tools.node_processes import EXECUTOR, PUBLISHER, ROBOT, NodeProcesses

FRESH = 1.0
"""An episode that has taken no longer has just begun [s]."""

REASONS = 5  # of refusals that are kept, the most frequent ones


@dataclass
class Ledger:
    """What the publisher reported of its chunks since the episode began.

    Attributes
    ----------
    latency
        From observation to trajectory of each chunk that was sent [s].
    late, waited
        How many were sent after their deadline, and were refused while a plan began or a controller was checked.
    refusals
        How many were refused for what they asked or what was wrong, by kind.
    stop
        Why the robot was latched, or ''.

    """

    latency: list[float] = field(default_factory=list)
    late: int = 0
    waited: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    stop: str = ''


class SimulationClient(PolicyClient):
    """Runs episodes. A node process that ends by itself is an error of whatever method is waiting.

    ``ledger`` is of this episode's chunks, ``episode`` how it goes; None before its first message.
    """

    def __init__(self, processes: NodeProcesses) -> None:
        self.processes = processes
        self.ledger = Ledger()
        self.episode: Episode | None = None
        super().__init__()
        self.subscribe(ChunkReport, f'{PUBLISHER}/ledger', self._on_chunk)
        self.subscribe(Episode, f'{ROBOT}/episode', self._on_episode)

    @property
    def elapsed(self) -> float:
        """Robot time since the episode began [s]."""
        return 0.0 if self.episode is None else self.episode.elapsed

    @property
    def score(self) -> float:
        """The episode's score so far, 0 to 1."""
        return 0.0 if self.episode is None else self.episode.score

    @property
    def succeeded(self) -> bool:
        """The episode's task is done."""
        return self.episode is not None and self.episode.success

    def begin(self, seed: int) -> None:
        """Reset the robot with a seed, which draws the policy's noise too, and start the policy from inactive."""
        self.reset_robot(seed)
        self.set_parameter(EXECUTOR, 'seed', seed)
        self.wait('inactive')
        self.transition(PUBLISHER, 'activate')
        self.reset(within=self.timeout)  # a latch stays when the publisher is deactivated
        self.wait('waiting')
        self.ledger = Ledger()
        self.start()

    def reset_robot(self, seed: int) -> None:
        """Begin an episode of the robot with a seed."""
        self.set_parameter(ROBOT, 'seed', seed)
        before = self.elapsed
        answer = self.call(Trigger, f'{ROBOT}/reset', Trigger.Request())
        if not answer.success:
            raise ClientError(f'{ROBOT}: refused to reset: {answer.message}')
        self.episode = None
        self.wait_until(
            # Where the seed stays, a message of the last episode may still be on its way.
            lambda: self.episode is not None and self.episode.seed == seed and self.elapsed <= max(before, FRESH),
            f'{ROBOT}/episode: got none with seed {seed}',
        )

    def _on_chunk(self, report: ChunkReport) -> None:
        if report.latency is None and report.passing:
            self.ledger.waited += 1
        elif report.latency is None:
            self.ledger.refusals[report.kind_of_refusal] += 1
        else:
            self.ledger.latency.append(report.latency)
            self.ledger.late += report.late

    def _on_episode(self, episode: Episode) -> None:
        self.episode = episode

    def _on_status(self, status: Status) -> None:
        super()._on_status(status)
        if status.state == 'latched':
            self.ledger.stop = status.reason

    def _reason(self, name: str) -> str:
        return self.processes.last_error(name)

    def _check(self) -> None:
        self.processes.check()
