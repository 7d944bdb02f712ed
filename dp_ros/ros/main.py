"""The main function that all nodes share."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import ok, try_shutdown

from dp_ros.errors import ConfigError, DpRosError
from dp_ros.ros.callback_errors import CallbackError, Patience
from dp_ros.ros.shutdown import Shutdown, handle_signals
from dp_ros.ros.usage import show_usage, wants_help

if TYPE_CHECKING:
    from dp_ros.ros.lifecycle import ManagedNode

LONGEST_WAIT = 1.0  # [s]: without one, the EventsExecutor of rclpy 7.1 takes a whole processor and calls nothing


def run(create: Callable[[], ManagedNode], args: Sequence[str] | None = None) -> int:
    """Run a node until it is interrupted or dies; return the process's exit code. `--help` is answered instead."""
    if wants_help(args):
        show_usage(sys.modules[create.__module__].__doc__ or '', [create])
        return 0

    def live(ending: Shutdown) -> int:
        node = create()
        try:
            code = spin((node,), ending)
        except BaseException:
            if ending.signalled and not ending.begun:  # interrupted while it was starting, and closed
                node.ended()
            raise
        if ended_in_order(code, ending):
            node.ended()
        return code

    return with_ros(args, live)


def with_ros(args: Sequence[str] | None, live: Callable[[Shutdown], int], threads: int = 1) -> int:
    """Return the exit code of ``live``, which calls `spin` in so many threads between ROS's beginning and its end."""
    with handle_signals(threads) as ending:

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
            ending.block_signals()
            try_shutdown()


def ended_in_order(code: int, ending: Shutdown) -> bool:
    """Whether nodes came to the end of `spin` because somebody wanted them to, and had no trouble on the way."""
    return code == 0 and ending.signalled


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


def spin(nodes: Sequence[ManagedNode], ending: Shutdown) -> int:
    """Start the nodes that start themselves, and work for all until one dies or they are to end; return the exit code.

    The first is started first, and ends last.
    """
    executor = make_executor()

    def wake() -> None:
        executor.create_task(lambda: None)  # `executor.wake` leaves an EventsExecutor waiting

    with ExitStack() as stack:
        for node in nodes:
            executor.add_node(node)
            stack.callback(node.destroy_node)
        stack.callback(executor.shutdown)
        for node in nodes:
            stack.callback(node.close)
            # Not executor.spin_until_future_complete: it adds a callback to the future for every message, and grows.
            node.died.add_done_callback(lambda _: wake())
        for node in nodes:
            if node.value('autostart') and not node.start():
                return 1 if node.context.ok() else 0
        ending.running(wake)  # first: an interrupt in the midst of collecting would be said, and lost
        gc.collect()
        gc.freeze()  # to look through what a process begins with takes longer than planning does
        patience = Patience()
        while not ending.asked and all(node.context.ok() and not node.died.done() for node in nodes):
            turn(executor, nodes, patience)
        for node in nodes:
            if node.died.done():
                get_logger('dp_ros').fatal(f'{node.get_name()} died: {node.died.exception()}')
                return 1
    return 0


def make_executor(context: Context | None = None) -> Executor:
    """Return rclpy's EventsExecutor, or its SingleThreadedExecutor where rclpy has no other."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


def turn(executor: Executor, nodes: Sequence[ManagedNode], patience: Patience) -> None:
    """Wait for work, and do one piece of it. Callbacks deal with their errors: what comes out is rclpy's own."""
    try:
        executor.spin_once(timeout_sec=LONGEST_WAIT)
    except ExternalShutdownException:
        raise
    except Exception as error:
        if not all(node.context.ok() for node in nodes):
            raise  # what fails because ROS has ended
        nodes[0].handle_error(CallbackError(where='rclpy', error=error, harmless=False))
        patience.failed(error)
    else:
        patience.went_well()
