"""Real-time scheduling: what the kernel lets run at once, before all that has no such priority."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dp_ros.errors import ConfigError
from dp_ros.nodes.lifecycle import ManagedNode
from dp_ros.nodes.parameters import Param

REALTIME_PRIORITY = Param(
    name='realtime_priority', default=0, low=0, high=98,
    description='SCHED_FIFO priority of all threads of the process; 0: as any other. One for a whole process.',
)  # fmt: skip
THREADS = Path('/proc/self/task')


def take_priority(node: ManagedNode) -> None:
    """Give all threads of the process, and those that they make, the priority that the node's parameter says.

    Raises
    ------
    ConfigError
        If the system does not permit it, or another node of the process says otherwise.

    """
    priority = node.value(REALTIME_PRIORITY.name)
    if node.exchange is not None:
        node.exchange.agree(REALTIME_PRIORITY.name, node, priority)
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


def _permitted() -> str:
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    return f'0 to {most}' if most else '0'
