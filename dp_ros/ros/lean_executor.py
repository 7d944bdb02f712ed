"""rclpy's single-threaded executor, without making anew what it waits for at every message.

rclpy 7.1 collects all entities of all nodes, makes a wait set of them, and runs a callback as a coroutine, each time it
wakes up: for a node of ours that is most of what a message costs. Here the wait set stands until an entity comes or
goes, and plain callbacks of subscriptions, timers and guard conditions are called at once. All the rest (services,
clients, events, coroutines, tasks, shutdown) is left to rclpy's own code. Events, as that someone listens with another
quality of service, are two fifths of what there is to wait for: once a second will do for them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import (
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
    timeout_sec_to_nsec,
)
from rclpy.guard_condition import GuardCondition
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from dp_ros.ros.wait_set import Ready, WaitSet

# Inner parts of rclpy that this executor stands on; the same in all of Jazzy so far.
INNER = ('_context', '_guard', '_is_shutdown', '_sigint_gc', '_tasks')
EVENTS = 1_000_000_000  # [ns] from one wait for events to the next


class RclpyExecutor(SingleThreadedExecutor):
    """rclpy's own, which says what it was at when an error comes out of it, and goes on after that.

    Attributes
    ----------
    at
        The subscription, timer or the like whose turn it is or was; None while waiting.
    taking
        Whether the error came before the callback was called: what it was to get could not be taken.

    """

    def __init__(self, *, context: Context | None = None) -> None:
        super().__init__(context=context)
        self.at: Any = None
        self.taking = False

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for work, and do one piece of it."""
        self._rclpys_turn(timeout_sec)

    def _rclpys_turn(self, timeout_sec: float | None) -> bool:
        """Let rclpy find one piece of work and do it; return whether there was any."""
        self.at, self.taking = None, False
        try:
            handler, self.at, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (TimeoutException, ShutdownException):
            return False
        handler()
        error = handler.exception()
        if error is None:
            return True
        # rclpy marks who takes as busy, with its group, and leaves it so if it fails: the node would be deaf for good.
        self.taking = self.at is not None and getattr(self.at, '_executor_event', False)
        if self.taking:
            self.at._executor_event = False
            self.at.callback_group.ending_execution(self.at)
        raise error


class LeanExecutor(RclpyExecutor):
    """Runs callbacks in the thread that spins it, in rclpy's order."""

    def __init__(self, *, context: Context | None = None) -> None:
        super().__init__(context=context)
        self._sets: dict[bool, WaitSet] = {}  # with events, and without
        self._events_due = 0  # [ns], steady
        self._in_vain = 0  # waits in a row that ended before their time, and found nothing
        self._ready: deque[tuple[Callable[[Any], None], Any]] = deque()

    def __del__(self) -> None:
        if hasattr(self, '_sigint_gc'):  # not where the context was shut down before rclpy's __init__ was through
            super().__del__()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for work, and do one piece of it.

        Raises
        ------
        ExternalShutdownException
            Once the context was shut down.

        """
        if any(not task.done() for task, *_ in list(self._tasks)):
            self._leave_to_rclpy(timeout_sec)  # a coroutine is under way, and its group may let nothing else run
            return
        self.at, self.taking = None, False
        if not self._ready:
            self._collect(timeout_sec)
        if self._ready:
            run, self.at = self._ready.popleft()
            run(self.at)

    def _spin_once_impl(self, timeout_sec: Any = None, wait_condition: Callable[[], bool] = lambda: False) -> None:
        # rclpy's, for a future; its wait takes the guard that says what came or went.
        self._sets.clear()
        super()._spin_once_impl(timeout_sec, wait_condition)

    def _collect(self, timeout_sec: float | None) -> None:
        if self._is_shutdown:
            return
        if not self._context.ok():
            raise ExternalShutdownException
        ready = self._wait(timeout_sec)
        if self._is_shutdown:
            return
        if not self._context.ok():
            raise ExternalShutdownException
        self._ready.extend((self._run_timer, timer) for timer in ready.timers)
        self._ready.extend((self._run_subscription, subscription) for subscription in ready.subscriptions)
        self._ready.extend((self._run_guard, guard) for guard in ready.guards)
        if ready.more:
            self._ready.append((self._leave_to_rclpy, 0.0))

    def _wait(self, timeout_sec: float | None) -> Ready:
        nanoseconds = timeout_sec_to_nsec(timeout_sec)  # negative: for ever
        end = time.monotonic_ns() + nanoseconds
        while True:
            now = time.monotonic_ns()
            left = nanoseconds if nanoseconds < 0 else max(end - now, 0)
            due = self._events_due - now
            events = due <= 0
            if events:
                self._events_due = now + EVENTS
            wait_set = self._set(events=events)
            pause = wait_set.without_events and not 0 <= left <= due
            patience = due if pause else left
            try:
                ready = wait_set.wait(patience)
            except InvalidHandle:
                self._sets.clear()
                continue
            self._note(empty=not ready, early=patience < 0 or time.monotonic_ns() < now + patience)
            if ready or not pause:
                return ready

    def _note(self, *, empty: bool, early: bool) -> None:
        """Let the next wait be for events, if it is one of them that ends others: until it is taken it does so at once.

        A timer that is set anew ends one as well, but not two in a row.
        """
        self._in_vain = self._in_vain + 1 if empty and early else 0
        if self._in_vain > 1:
            self._events_due = self._in_vain = 0

    def _set(self, *, events: bool) -> WaitSet:
        if events not in self._sets:
            guards = (self._guard, self._sigint_gc)
            self._sets[events] = WaitSet(self.get_nodes(), guards, self._context, events=events)
        return self._sets[events]

    @staticmethod
    def _run_timer(timer: Timer) -> None:
        try:
            with timer.handle:
                if not timer.handle.is_timer_ready():
                    return  # another callback has set or cancelled it
                timer.handle.call_timer()
        except InvalidHandle:
            return  # another callback has destroyed it
        timer.callback()

    def _run_subscription(self, subscription: Subscription) -> None:
        self.taking = True
        try:
            with subscription.handle:
                taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
        except InvalidHandle:
            return
        self.taking = False
        if taken is None:
            return
        message_only = subscription._callback_type is Subscription.CallbackType.MessageOnly
        subscription.callback(*(taken[:1] if message_only else taken))

    @staticmethod
    def _run_guard(guard: GuardCondition) -> None:
        guard.callback()

    def _leave_to_rclpy(self, timeout_sec: float | None) -> None:
        """Let rclpy find and do all that is ready, or wait for it."""
        self._sets.clear()  # perhaps entities came or went: the guard that says so is not ready twice
        while self._rclpys_turn(timeout_sec):
            if timeout_sec != 0.0:
                return


def make_executor(context: Context | None = None) -> RclpyExecutor:
    """Return a lean executor, or rclpy's own where that has changed inside."""
    lean = LeanExecutor(context=context)
    if all(hasattr(lean, name) for name in INNER) and hasattr(Subscription, 'CallbackType'):
        return lean
    lean.shutdown()
    return RclpyExecutor(context=context)
