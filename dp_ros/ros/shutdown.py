"""Ctrl-C, SIGTERM and a closed terminal, after which nodes end in order: the arm is stopped while ROS is still there.

rclpy's own handlers shut ROS down first, and then nothing can be sent any more.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rclpy.exceptions import InvalidHandle
from rclpy.utilities import try_shutdown

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONCE = 1.0  # [s] in which signals count as one: a terminal and a launcher may both send it


class Shutdown:
    """Whether the nodes of a process are to end. May be used from any thread.

    Parameters
    ----------
    threads
        How many they run in. Until all run, a signal interrupts them where they are, and so does one that comes when
        they have been ending for `ONCE`.

    Attributes
    ----------
    signalled
        Whether a signal has come.

    """

    def __init__(self, threads: int) -> None:
        self.signalled = False
        self._threads = threads
        self._wakes: list[Callable[[], None]] = []
        self._since: float | None = None
        self._sheltered = False
        self._asked = threading.Event()

    @property
    def asked(self) -> bool:
        """Whether to end."""
        return self._asked.is_set()

    @property
    def begun(self) -> bool:
        """Tell whether all threads run."""
        return len(self._wakes) >= self._threads

    def running(self, wake: Callable[[], None]) -> None:
        """Take a thread whose nodes run; ``wake`` makes it look whether to end."""
        self._wakes.append(wake)

    def ask(self) -> None:
        """Let all nodes end."""
        self._asked.set()
        for wake in list(self._wakes):
            with suppress(InvalidHandle, AttributeError):  # it is ending already
                wake()

    def block_signals(self) -> None:
        """Interrupt the main thread no more: what it does from here on must be done to its end."""
        self._sheltered = True

    def in_order(self) -> bool:
        """Whether a signal that comes now ends the nodes in order."""
        self.signalled = True
        if not self.begun:
            return False
        now = time.monotonic()
        self._since = self._since or now
        return now - self._since < ONCE

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Interrupt what the main thread is at, unless all is to end in order; called by Python."""
        if not self.in_order() and not self._sheltered:
            raise KeyboardInterrupt

    def watch(self, receiver: socket.socket) -> None:
        """Deal with signals while the main thread waits, where Python's handlers do not get their turn."""
        with receiver:
            while numbers := receiver.recv(1):
                if numbers[0] not in SIGNALS:
                    continue
                if self.in_order():
                    self.ask()
                else:
                    try_shutdown()


@contextmanager
def handle_signals(threads: int = 1) -> Iterator[Shutdown]:
    """Take signals in place of rclpy, in the main thread; once one has come, the process ignores others to its end."""
    ending = Shutdown(threads)
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    watcher = threading.Thread(target=ending.watch, args=(receiver,), name='signals', daemon=True)
    watcher.start()
    descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    hung_up = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN  # nohup ignores it
    numbers = SIGNALS if hung_up else SIGNALS[:2]
    handlers = {number: signal.signal(number, ending.on_signal) for number in numbers}
    try:
        yield ending
    finally:
        ending.block_signals()
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_IGN if ending.signalled else handler)
        signal.set_wakeup_fd(descriptor)
        sender.close()
        watcher.join()
