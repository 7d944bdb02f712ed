"""A timer of robot time, which simulated time moves as well."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.clock_type import ClockType
from rclpy.duration import Duration

from dp_ros.ros.lifecycle import ManagedNode


class ClockTimer:
    """Calls at intervals of robot time; where that is simulated, at the first step of the clock after each.

    No timer of rclpy's then: of those, the EventsExecutor of rclpy 7.1 may call one twice at one simulated time, and
    not at the next.

    Parameters
    ----------
    node
        Whose clock counts.
    period
        From one call to the next [ns]; an attribute too.
    callback
        Called in the node's executor.
    steady
        Whether to count time that is not simulated by a clock that nobody sets.

    """

    def __init__(self, node: ManagedNode, period: int, callback: Callable[[], None], *, steady: bool = False) -> None:
        self._node, self.period = node, period
        self._jump = self._timer = None
        self._closed = False

        @wraps(callback)
        def call() -> None:
            if not self._closed:  # the executor may have taken it up before it was closed
                callback()

        self._callback = call
        if node.simulated_time:
            self._due = node.now() + period
            name = getattr(callback, '__qualname__', callback)
            forward, backward = Duration(nanoseconds=1), Duration(nanoseconds=-1)
            self._jump = node.get_clock().create_jump_callback(
                JumpThreshold(min_forward=forward, min_backward=backward, on_clock_change=True),
                post_callback=node.guarded(f'timer of {name}', self._on_step),
            )
        else:
            clock = Clock(clock_type=ClockType.STEADY_TIME) if steady else node.get_clock()
            self._timer = node.create_timer(period / 1e9, call, clock=clock)

    def set(self, period: int) -> None:
        """Call in ``period`` [ns], and at such intervals from then on."""
        self.period = period
        if self._timer is not None:
            self._timer.timer_period_ns = period
            self._timer.reset()
        else:
            self._due = self._node.now() + period

    def close(self) -> None:
        """Call no more."""
        self._closed = True
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        if self._jump is not None:
            self._jump.unregister()

    def _on_step(self, _: TimeJump) -> None:
        now = self._node.now()
        self._due = min(self._due, now + self.period)  # the clock may go back
        if now >= self._due:
            self._due += self.period * ((now - self._due) // self.period + 1)
            self._callback()
