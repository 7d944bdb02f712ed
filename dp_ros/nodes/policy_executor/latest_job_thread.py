"""One thread with a mailbox for one job, so that inference never runs in a callback that others wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar('Job')


class LatestJobThread(Generic[Job]):
    """Hands jobs to ``handle`` in a thread of its own. The newest job wins: one that waits is replaced.

    Parameters
    ----------
    handle
        Called with each job, in the thread. It deals with its own errors.

    Attributes
    ----------
    skipped
        How many jobs were replaced before they began.

    """

    def __init__(self, handle: Callable[[Job], None], name: str) -> None:
        self.skipped = 0
        self._handle = handle
        self._busy = False
        self._job: Job | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> bool:
        """Whether a job has not begun yet."""
        return self._job is not None

    @property
    def idle(self) -> bool:
        """Whether the thread has nothing to do."""
        return not self._busy and self._job is None

    def submit(self, job: Job) -> None:
        """Put a job into the mailbox."""
        with self._changed:
            self.skipped += self._job is not None
            self._job = job
            self._changed.notify()

    def forget(self) -> None:
        """Empty the mailbox; a job that has begun goes on."""
        with self._changed:
            self._job = None

    def stop(self, timeout: float) -> bool:
        """End the thread after the job it is at; return whether it ended within ``timeout`` [s]."""
        with self._changed:
            self._job = None
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._job is not None)
                if self._stopping:
                    return
                job, self._job = self._job, None
                self._busy = True
            assert job is not None
            try:
                self._handle(job)
            finally:
                self._busy = False
