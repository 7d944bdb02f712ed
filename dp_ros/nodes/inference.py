"""Windows in, chunks out, in a thread of its own: by the policy, or by its fallback once the policy has failed.

No callback waits for a network. What a network does wrong is found here: a number that is not finite makes no chunk,
and without a fallback no further one either, until it is activated again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_ros.config import ImageStream
from dp_ros.data import Chunk, Window, to_nanoseconds
from dp_ros.errors import DpRosError
from dp_ros.nodes.diagnostics import ERROR, OK, WARN
from dp_ros.nodes.inference_settings import Settings
from dp_ros.nodes.worker import Worker
from dp_ros.policy.continuity import Continuation
from dp_ros.policy.policy import DiffusionPolicy

STOP_TIMEOUT = 5.0  # [s] for the inference under way to end


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A window to predict from, with the settings of its moment."""

    window: Window
    settings: Settings
    number: int
    generation: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """A chunk with its times: robot time [ns] of the inference's start and end, and how long it took [s]."""

    chunk: Chunk
    policy: str
    number: int
    start: int
    end: int
    took: float

    def entry(self) -> dict[str, object]:
        """Return what the ledger says of it."""
        return {
            'observation': self.chunk.stamp,
            'inference_start': self.start,
            'inference_end': self.end,
            'inference_ms': f'{self.took * 1e3:.3f}',
            'policy': self.policy,
            'number': self.number,
        }


class Inference:
    """Predicts from the newest window it is given; one that waits is replaced by a newer one.

    Parameters
    ----------
    publish
        Called with each prediction, in the thread; never after `start_anew` for a window from before.
    now
        Reads robot time [ns].
    say
        Logs an error, in the thread.

    """

    def __init__(
        self, publish: Callable[[Prediction], None], now: Callable[[], int], say: Callable[[str], None]
    ) -> None:
        self._publish, self._now, self._say = publish, now, say
        # Guards what the thread shares with callbacks: generation, counts, and the right to publish.
        self._lock = threading.Lock()
        self._generation = 0
        self._continuation = Continuation()
        self._under_way: float | None = None
        self.clear()
        self._worker: Worker[Job] = Worker(self._infer, 'inference')

    def clear(self) -> None:
        """Begin anew with the first policy, and count from 0."""
        self.number = 0
        self.latched = ''
        self.switched = ''  # why the fallback took over
        self.counts = {'chunks': 0, 'deadline_misses': 0, 'discarded': 0, 'failed': 0, 'fallback_chunks': 0}
        self._timing = {'inference_ms': 0.0, 'inference_ms_max': 0.0, 'latency_ms': 0.0, 'latency_ms_max': 0.0}
        self._missed_in_a_row = 0
        self._missed = ''

    @property
    def waiting(self) -> bool:
        """Whether a window waits for the one before it."""
        return self._worker.waiting

    @property
    def skipped(self) -> int:
        """How many windows were replaced before they were predicted from."""
        return self._worker.skipped

    def submit(self, window: Window, settings: Settings) -> None:
        """Predict from a window as soon as the thread is free."""
        self._worker.submit(Job(window=window, settings=settings, number=self.number, generation=self._generation))
        self.number += 1

    def start_anew(self) -> None:
        """Forget the window that waits, and discard what is being predicted."""
        with self._lock:
            self._generation += 1
            self._continuation = Continuation()
        self._worker.forget()

    def stop(self) -> None:
        """End the thread."""
        if not self._worker.stop(STOP_TIMEOUT):
            self._say(f'inference did not end within {STOP_TIMEOUT} s; its thread is left behind')

    # In the thread.

    def _infer(self, job: Job) -> None:
        try:
            self._make(job)
        except Exception as error:  # whatever it was, the robot must not go on with a policy that fails
            self._latch(job, error)

    def _make(self, job: Job) -> None:
        start, began = self._now(), time.perf_counter()
        self._under_way = time.monotonic()
        try:
            chunk, policy = self._predict(job)
        finally:
            self._under_way = None
        took = time.perf_counter() - began
        with self._lock:
            if job.generation != self._generation:
                self.counts['discarded'] += 1
                return
            chunk = self._continuation.take(chunk, self._now() - chunk.stamp, job.settings.continuity)
            self._publish(
                Prediction(chunk=chunk, policy=policy, number=job.number, start=start, end=self._now(), took=took)
            )
            self._account(job, took)

    def _predict(self, job: Job) -> tuple[Chunk, str]:
        """Return a chunk, and which bundle it is from."""
        settings, seed = job.settings, [job.settings.seed, job.number]
        if settings.fallback is None or not self.switched:
            try:
                overlap = self._continuation.overlap(job.window.stamp) if settings.continuity == 'rtc' else None
                chunk = settings.policy.chunk(job.window, np.random.default_rng(seed), overlap)
                return chunk, settings.policy.bundle.name
            except Exception as error:
                with self._lock:
                    self.counts['failed'] += 1
                if settings.fallback is None:
                    raise
                self._switch(job, settings.fallback, str(error))
        return settings.fallback.chunk(job.window, np.random.default_rng(seed)), settings.fallback.bundle.name

    def _switch(self, job: Job, fallback: DiffusionPolicy, reason: str) -> None:
        if job.generation == self._generation:
            self.switched = reason
            self._say(f'the fallback {fallback.bundle.name} takes over: {reason}')

    def _account(self, job: Job, took: float) -> None:
        settings, latency = job.settings, self._now() - job.window.stamp
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
            if job.generation != self._generation:
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
        return OK, 'predicting'

    def values(self) -> dict[str, object]:
        """Return counts and times."""
        timing = {key: f'{value:.2f}' for key, value in self._timing.items()}
        return {**self.counts, 'skipped': self.skipped, **timing}


def warm_up(policy: DiffusionPolicy) -> float:
    """Run a policy twice on zeros, so that its first chunk is on time; return how long one took [s]."""
    task = policy.bundle.task
    streams: Mapping[str, Any] = {
        s.name: np.zeros((task.obs_horizon, *s.shape), np.uint8 if isinstance(s, ImageStream) else np.float64)
        for s in task.streams
    }
    window = Window(stamps=to_nanoseconds(task.control_dt) * np.arange(1, task.obs_horizon + 1), streams=streams)
    began = time.perf_counter()
    for _ in range(2):
        policy.chunk(window, np.random.default_rng(0))
    return (time.perf_counter() - began) / 2
