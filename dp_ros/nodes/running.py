"""The main function that all nodes share."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import ok, try_shutdown

from dp_ros.errors import DpRosError
from dp_ros.nodes.ending import Ending, orderly
from dp_ros.nodes.lean_executor import make_executor

if TYPE_CHECKING:
    from dp_ros.nodes.lifecycle import ManagedNode


def run(create: Callable[[], ManagedNode], args: Sequence[str] | None = None) -> int:
    """Run a node until it is interrupted or dies; return the process's exit code."""
    return with_ros(args, lambda ending: spin(create(), ending))


def with_ros(args: Sequence[str] | None, live: Callable[[Ending], int], nodes: int = 1) -> int:
    """Return the exit code of ``live``, which runs so many nodes between ROS's beginning and its end."""
    with orderly(nodes) as ending:

        def begin() -> int:
            listed = list(args) if args is not None else None
            rclpy.init(args=listed, signal_handler_options=SignalHandlerOptions.NO)
            return live(ending)

        try:
            return guarded(begin)
        finally:
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


def spin(node: ManagedNode, ending: Ending) -> int:
    """Start a node if it starts itself, and work for it until it dies or is to end; return the exit code."""
    executor = make_executor()
    executor.add_node(node)
    try:
        if node.value('autostart') and not node.start():
            return 1 if node.context.ok() else 0
        # What is there by now stays: a full collection that looks through it all takes longer than planning does.
        gc.collect()
        gc.freeze()
        # Not executor.spin_until_future_complete: it adds a callback to the future for every message, and grows.
        node.died.add_done_callback(lambda _: executor.wake())
        ending.running(executor.wake)
        while node.context.ok() and not node.died.done() and not ending.asked:
            executor.spin_once()
        if node.died.done():
            get_logger('dp_ros').fatal(f'{node.get_name()} died: {node.died.exception()}')
            return 1
        return 0
    finally:
        node.close()
        executor.shutdown()
        node.destroy_node()
