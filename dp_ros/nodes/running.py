"""The main function that all nodes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import ok, try_shutdown

from dp_ros.errors import ConfigError, DpRosError
from dp_ros.nodes import garbage
from dp_ros.nodes.ending import Ending, orderly
from dp_ros.nodes.lean_executor import make_executor

if TYPE_CHECKING:
    from dp_ros.nodes.lifecycle import ManagedNode


def run(create: Callable[[], ManagedNode], args: Sequence[str] | None = None) -> int:
    """Run a node until it is interrupted or dies; return the process's exit code."""
    return with_ros(args, lambda ending: spin((create(),), ending))


def with_ros(args: Sequence[str] | None, live: Callable[[Ending], int], threads: int = 1) -> int:
    """Return the exit code of ``live``, which calls `spin` in so many threads between ROS's beginning and its end."""
    with orderly(threads) as ending:

        def begin() -> int:
            listed = list(args) if args is not None else None
            try:
                rclpy.init(args=listed, signal_handler_options=SignalHandlerOptions.NO)
            except RuntimeError as error:  # no key where SROS 2 demands one, or arguments that are none of ROS's
                raise ConfigError(f'ROS: got no beginning ({error}), allowed one') from error
            return live(ending)

        try:
            return guarded(begin)
        finally:
            ending.shelter()
            try_shutdown()


def guarded(live: Callable[[], int]) -> int:
    """Return the exit code of ``live``, or that of the error that ended it."""
    try:
        return live()
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except DpRosError as error:
        get_logger('dp_ros').fatal(str(error))
        return 1
    except Exception:
        if ok():
            raise
        return 0  # a signal that did not wait came while something was being published


def spin(nodes: Sequence[ManagedNode], ending: Ending) -> int:
    """Start the nodes that start themselves, and work for all until one dies or they are to end; return the exit code.

    The first is started first, and ends last.
    """
    executor = make_executor()
    with ExitStack() as stack:
        for node in nodes:
            executor.add_node(node)
            stack.callback(node.destroy_node)
        stack.callback(executor.shutdown)
        for node in nodes:
            stack.callback(node.close)
            # Not executor.spin_until_future_complete: it adds a callback to the future for every message, and grows.
            node.died.add_done_callback(lambda _: executor.wake())
        for node in nodes:
            if node.value('autostart') and not node.start():
                return 1 if node.context.ok() else 0
        ending.running(executor.wake)  # first: an interrupt in the midst of collecting would be said, and lost
        garbage.put_off()
        while not ending.asked and all(node.context.ok() and not node.died.done() for node in nodes):
            executor.spin_once()
        for node in nodes:
            if node.died.done():
                get_logger('dp_ros').fatal(f'{node.get_name()} died: {node.died.exception()}')
                return 1
    return 0
