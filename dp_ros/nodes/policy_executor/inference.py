"""Windows in, chunks out, in a thread of its own: by the policy, or by its fallback once the policy has failed.

No callback waits for a network. What a network does wrong is found here: a number that is not finite makes no chunk,
and without a fallback no further one either, until it is activated again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dp_ros.data import Chunk, Goal, Window
from dp_ros.errors import DpRosError
from dp_ros.nodes.policy_executor.anytime_steps import AnytimeSteps
from dp_ros.nodes.policy_executor.inference_settings import Settings
from dp_ros.nodes.policy_executor.latest_job_thread import LatestJobThread
from dp_ros.policy.continuity import Continuation
from dp_ros.policy.goal_inputs import NO_GOAL
from dp_ros.policy.protocol import Policy
from dp_ros.ros.diagnostics import ERROR, OK, WARN

STOP_TIMEOUT = 5.0  # [s] for the inference under way to end
GIVE_WAY = 0.002  # [s] at most, until the thread has begun


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A window to predict from, with the settings and the goal of its moment."""

    window: Window
    settings: Settings
    number: int
    generation: int
    goal: Goal = NO_GOAL


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """A chunk with its times: robot time [ns] of the inference's start and end, and how long it took [s]."""

    chunk: Chunk
    policy: str
    number: int
    start: int
    end: int
    took: float
    calls: int
    budget: Mapping[str, object] = field(default_factory=dict)

    def entry(self) -> dict[str, object]:
        """Return what the ledger says of it."""
        return {
            'observation': self.chunk.stamp,
            'inference_start': self.start,
            'inference_end': self.end,
            'inference_ms': f'{self.took * 1e3:.3f}',
            'network_calls': self.calls,
            'policy': self.policy,
            'number': self.number,
            **self.budget,
        }


class Outlet(Protocol):
    """Where predictions go. Nothing of a window from before `Inference.start_anew` comes after it."""

    def publish(self, prediction: Prediction) -> None:
        """Let the chunk out. Callbacks wait meanwhile."""

    def tell(self, prediction: Prediction, published: int) -> None:
        """Say of a chunk that was out at ``published`` [ns] how it was made. Callbacks wait meanwhile."""


class Inference:
    """Predicts from the newest window it is given; one that waits is replaced by a newer one.

    Parameters
    ----------
    outlet
        Where predictions go, in the thread.
    now
        Reads robot time [ns].
    say
        Logs an error, in the thread.
    watch
        Called in the thread with what a chunk of the first policy was made of, once that is out.

    Attributes
    ----------
    outlet, now
        As given.
    thread
        Predicts, from the newest window that it is given.
    generation
        Counts how often all began anew: what is predicted from an earlier window is discarded.
    continuation
        What the next chunk goes on from.

    """

    def __init__(
        self,
        outlet: Outlet,
        now: Callable[[], int],
        say: Callable[[str], None],
        watch: Callable[[Job], None] = lambda _: None,
    ) -> None:
        self.outlet, self.now, self._say, self._watch = outlet, now, say, watch
        # Guards what the thread shares with callbacks: generation, counts, and the right to publish.
        self._lock = threading.Lock()
        self.generation = 0
        self.continuation = Continuation()
        self._executed = 0, 0  # a chunk's stamp [ns], and which alternative of it is executed
        self._under_way: float | None = None
        self._begun = threading.Event()
        self.clear()
        self.thread: LatestJobThread[Job] = LatestJobThread(self._infer, 'inference')

    def clear(self) -> None:
        """Begin anew with the first policy, and count from 0."""
        self.number = 0
        self.latched = ''
        self.switched = ''  # why the fallback took over
        self.counts = {'chunks': 0, 'deadline_misses': 0, 'discarded': 0, 'failed': 0, 'fallback_chunks': 0}
        self._timing = {'inference_ms': 0.0, 'inference_ms_max': 0.0, 'latency_ms': 0.0, 'latency_ms_max': 0.0}
        self._missed_in_a_row = 0
        self._missed = ''
        self._delay = 0
        self._anytime = AnytimeSteps()

    @property
    def waiting(self) -> bool:
        """Whether a window waits for the one before it."""
        return self.thread.waiting

    @property
    def skipped(self) -> int:
        """How many windows were replaced before they were predicted from."""
        return self.thread.skipped

    def submit(self, window: Window, settings: Settings, goal: Goal = NO_GOAL) -> None:
        """Predict from a window as soon as the thread is free; return when it has begun, or soon."""
        job = Job(window=window, settings=settings, number=self.number, generation=self.generation, goal=goal)
        idle = self.thread.idle
        self._begun.clear()
        self.thread.submit(job)
        self.number += 1
        if idle:
            # One interpreter serves both threads: whoever submits would otherwise keep it from who is to predict.
            self._begun.wait(GIVE_WAY)

    def executed(self, stamp: int, alternative: int) -> None:
        """Note which alternative of the chunk of ``stamp`` [ns] is executed, 0 for itself: the next goes on from it.

        Of another than the last chunk nothing is noted: a report may come late, or be of before all began anew.
        """
        with self._lock:
            if stamp == self.continuation.newest:
                self._executed = stamp, alternative

    def start_anew(self) -> None:
        """Forget the window that waits, and discard what is being predicted."""
        with self._lock:
            self.generation += 1
            self.continuation, self._executed = Continuation(), (0, 0)
        self.thread.forget()

    def latch(self, reason: str) -> None:
        """Make no chunk any more until `clear`, and discard what is being predicted."""
        with self._lock:
            self.generation += 1
            self.latched = f'stopped: {reason}'
        self.thread.forget()
        self._say(f'{self.latched}; deactivate and activate to go on')

    def switch(self, settings: Settings, reason: str) -> None:
        """Let the fallback predict from now on, and discard what is being predicted."""
        assert settings.fallback is not None, 'make_settings refuses a switch without a fallback'
        self.start_anew()
        with self._lock:
            if not self.switched:
                self.switched = reason
                self._say(f'the fallback {settings.fallback.bundle.name} takes over: {reason}')

    def stop(self) -> None:
        """End the thread."""
        if not self.thread.stop(STOP_TIMEOUT):
            self._say(f'inference did not end within {STOP_TIMEOUT} s; its thread is left behind')

    # In the thread.

    def _infer(self, job: Job) -> None:
        try:
            self._make(job)
        except Exception as error:  # whatever it was, the robot must not go on with a policy that fails
            self._latch(job, error)

    def _make(self, job: Job) -> None:
        start, began = self.now(), time.perf_counter()
        self._under_way = time.monotonic()
        self._begun.set()
        try:
            chunk, policy, calls = self.predict(job)
        finally:
            self._under_way = None
        took = time.perf_counter() - began
        with self._lock:
            if job.generation != self.generation:
                self.counts['discarded'] += 1
                return
            chunk = self.continuation.take(chunk, self.now() - chunk.stamp, job.settings.continuity, job.goal)
            self._delay = self.continuation.delay(chunk.control_dt, job.settings.inference_delay)
            budget = {} if self.switched else self._anytime.entry(job.settings)
            predicted = Prediction(
                chunk=chunk, policy=policy, number=job.number, start=start, end=self.now(), took=took, calls=calls,
                budget=budget,
            )  # fmt: skip
            self.outlet.publish(predicted)
            published = self.now()
            if not self.switched:
                self._anytime.took(job.settings, time.perf_counter() - began)
            self._account(job, took, published)
            self.outlet.tell(predicted, published)
        if not self.switched:
            self._watch(job)

    def predict(self, job: Job) -> tuple[Chunk, str, int]:
        """Return a chunk, which bundle it is from, and how many network calls it took."""
        settings, seed = job.settings, [job.settings.seed, job.number]
        if settings.fallback is None or not self.switched:
            try:
                chunk, calls = self._paced(job, np.random.default_rng(seed))
                return chunk, settings.policy.bundle.name, calls
            except Exception as error:
                with self._lock:
                    self.counts['failed'] += 1
                    if settings.fallback is None:
                        raise
                    self._switch(job, settings.fallback, str(error))
        chunk = settings.fallback.chunk(job.window, np.random.default_rng(seed), goal=job.goal)
        return chunk, settings.fallback.bundle.name, settings.fallback.calls()

    def _paced(self, job: Job, rng: np.random.Generator) -> tuple[Chunk, int]:
        left = job.settings.deadline - (self.now() - job.window.stamp)
        settings, stamp = job.settings, job.window.stamp
        with self._lock:
            continuation = self.continuation  # `start_anew` puts another in its place; this one only the thread changes
            continuation.taken(*self._executed)
        start = continuation.start(stamp, job.goal)
        overlap = continuation.overlap(stamp, settings.continuity, settings.inference_delay)
        policy, gained = self._anytime.choose(settings, left / 1e9, start), continuation.gained(stamp)
        return policy.chunk(job.window, rng, overlap, job.goal, start, gained=gained), policy.calls(start)

    def _switch(self, job: Job, fallback: Policy, reason: str) -> None:
        """Let the fallback predict from now on; with the lock held, so that no `start_anew` comes in between."""
        if job.generation == self.generation:
            self.switched = reason
            self.continuation = Continuation()  # the chunks of a policy that failed have no say any more
            self._say(f'the fallback {fallback.bundle.name} takes over: {reason}')

    def _account(self, job: Job, took: float, published: int) -> None:
        settings, latency = job.settings, published - job.window.stamp
        for key, value in (('inference_ms', took * 1e3), ('latency_ms', latency / 1e6)):
            self._timing[key] = value
            self._timing[f'{key}_max'] = max(value, self._timing[f'{key}_max'])
        self.counts['chunks'] += 1
        self.counts['fallback_chunks'] += bool(self.switched)
        if latency <= settings.deadline:
            self._missed_in_a_row = 0
            return
        self.counts['deadline_misses'] += 1
        self._missed_in_a_row += 1
        self._missed = (
            f'deadline missed: the chunk of {job.window.stamp} was out {latency / 1e6:.1f} ms after its '
            f'observation, allowed {settings.deadline / 1e6:.1f} ms (inference {took * 1e3:.1f} ms)'
        )
        if settings.fallback is not None and not self.switched and self._missed_in_a_row >= settings.fallback_after:
            self._switch(job, settings.fallback, f'{self._missed_in_a_row} deadlines missed in a row')

    def _latch(self, job: Job, error: Exception) -> None:
        with self._lock:
            if job.generation != self.generation:
                return
            self.latched = f'stopped: {error}' if isinstance(error, DpRosError) else f'stopped: {error!r}'
        self._say(f'{self.latched}; deactivate and activate to go on')

    # What is said about it.

    def missed(self) -> str:
        """Return the last deadline missed since this was asked before, or ''."""
        missed, self._missed = self._missed, ''
        return missed

    def status(self, settings: Settings) -> tuple[bytes, str]:
        """Return level and text of what is not as it should be, or OK."""
        began = self._under_way
        busy = 0.0 if began is None else time.monotonic() - began
        if self.latched:
            return ERROR, self.latched
        if busy > 2 * settings.deadline / 1e9:
            return ERROR, f'inference has taken {busy:.1f} s so far, allowed {settings.deadline / 1e9:.3f} s'
        if self.switched and settings.fallback is not None:
            return WARN, f'the fallback {settings.fallback.bundle.name} predicts: {self.switched}'
        pred_horizon = settings.policy.bundle.task.pred_horizon
        if self._delay + settings.exec_horizon > pred_horizon:
            return WARN, (
                f'inference_delay as measured + exec_horizon: got {self._delay} + {settings.exec_horizon}, '
                f'allowed up to pred_horizon ({pred_horizon})'
            )
        return OK, self._anytime.text() or 'predicting'

    def values(self, settings: Settings) -> dict[str, object]:
        """Return counts and times."""
        timing = {key: f'{value:.2f}' for key, value in self._timing.items()}
        budget = self._anytime.values(settings)
        return {**self.counts, 'skipped': self.skipped, 'inference_delay': self._delay, **timing, **budget}
