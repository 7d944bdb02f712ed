"""What a node may ask of Linux to be on time: to run before all others, and to wake up without delay."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

from dp_ros.errors import ConfigError
from dp_ros.options import options_of
from dp_ros.policy.node_options import RealtimeOptions
from dp_ros.ros.lifecycle import ManagedNode

PARAMETERS = REALTIME_PRIORITY, CPU_DMA_LATENCY = options_of(RealtimeOptions)
THREADS = Path('/proc/self/task')
LATENCY_FILE = Path('/dev/cpu_dma_latency')
ANY = -1  # [us]: what Linux takes for "no request"


def take_priority(node: ManagedNode) -> None:
    """Give all threads of the process, and those that they make, the priority that the node's parameter says.

    Raises
    ------
    ConfigError
        If the system does not permit it.

    """
    priority: int = node.value(REALTIME_PRIORITY.name)
    if not priority:
        return
    if not THREADS.is_dir():
        raise ConfigError(f'{REALTIME_PRIORITY.name}: got {priority}, allowed 0: this system is not Linux')
    for thread in THREADS.iterdir():
        try:
            with suppress(ProcessLookupError):  # it has just ended
                os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(priority))
        except PermissionError as error:
            raise ConfigError(
                f'{REALTIME_PRIORITY.name}: got {priority}, allowed {_permitted()} for this user; rtprio in '
                '/etc/security/limits.d permits more, or --cap-add=sys_nice of a container'
            ) from error


class CpuLatency:
    """Keeps processors from sleeping so deep that waking up takes longer than `cpu_dma_latency` says.

    Linux's own way for it (PM QoS): it holds for all processors, and ends with the process at the latest. A processor
    that has slept is slow for a while after that too, with cold caches and a low clock.

    Parameters
    ----------
    node
        Whose parameter says how long.

    """

    def __init__(self, node: ManagedNode) -> None:
        self._node = node
        self._file: int | None = None

    def configure(self) -> None:
        """See that it can be asked for, if it is to be.

        Raises
        ------
        ConfigError
            If the system does not permit it.

        """
        latency: int = self._node.value(CPU_DMA_LATENCY.name)
        if latency == ANY:
            return
        got = f'{CPU_DMA_LATENCY.name}: got {latency}, allowed {ANY}'
        try:
            self._file = os.open(LATENCY_FILE, os.O_WRONLY)
        except PermissionError as error:
            raise ConfigError(
                f'{got} for this user, who may not write {LATENCY_FILE}; a udev rule permits it to a group, '
                f'KERNEL=="cpu_dma_latency", GROUP="realtime", MODE="0660", and --device={LATENCY_FILE} to a container'
            ) from error
        except OSError as error:
            raise ConfigError(
                f"{got} here: {LATENCY_FILE}: {error.strerror}; it is Linux's, and a container has it by "
                f'--device={LATENCY_FILE}'
            ) from error

    def activate(self) -> None:
        """Ask for it."""
        self._ask(self._node.value(CPU_DMA_LATENCY.name))

    def deactivate(self) -> None:
        """Let processors sleep."""
        with suppress(OSError):  # whoever deactivates has more to do
            self._ask(ANY)

    def cleanup(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _ask(self, latency: int) -> None:
        if self._file is not None:
            os.write(self._file, struct.pack('=i', latency))


def _permitted() -> str:
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    return f'0 to {most}' if most else '0'
