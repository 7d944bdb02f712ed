"""The three nodes of a policy in one process: the same nodes, topics and parameters, in half the memory.

When one of the nodes ends, all end, the trajectory_publisher by stopping the arm.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

from dp_ros.errors import ConfigError
from dp_ros.nodes.observation_buffer.node import ObservationBuffer
from dp_ros.nodes.policy_executor.node import PolicyExecutor
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from dp_ros.ros import realtime
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.main import ended_in_order, guarded, spin, with_ros
from dp_ros.ros.shutdown import Shutdown
from dp_ros.ros.usage import show_usage, wants_help

# The sinks first: nothing that is sent is missed. What stops the arm has a thread of its own and waits for no other
# node's callbacks; the two others share one.
THREADS = ((TrajectoryPublisher,), (PolicyExecutor, ObservationBuffer))
SWITCH = 0.002  # [s] after which threads take turns; the default, 5 ms, is more than all else between the nodes


def _live(ending: Shutdown) -> int:
    groups: list[list[ManagedNode]] = [[kind() for kind in kinds] for kinds in THREADS]
    nodes = [node for group in groups for node in group]
    _check(nodes)
    codes = [1] * len(groups)  # of a thread that ended by an error nobody foresaw

    def live(number: int) -> None:
        try:
            codes[number] = guarded(lambda: spin(groups[number], ending))
        finally:
            ending.ask()

    threads = [threading.Thread(target=live, args=(n,), name=group[0].get_name()) for n, group in enumerate(groups)]
    ending.block_signals()  # an interrupted join takes a thread for ended that is not
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if ended_in_order(max(codes), ending):
        for node in nodes:
            node.ended()
    return max(codes)


def _check(nodes: Sequence[ManagedNode]) -> None:
    """Refuse names that are the same, and parameters of the whole process that are not."""
    if len({node.get_name() for node in nodes}) < len(nodes):
        raise ConfigError(
            f'policy_container: got the name {nodes[0].get_name()} for all nodes, allowed none: they have their own'
        )
    for parameter in realtime.PARAMETERS:
        values = {node.get_fully_qualified_name(): node.value(parameter.name) for node in nodes}
        if len(set(values.values())) > 1:
            got = ', '.join(f'{value} of {name}' for name, value in values.items())
            raise ConfigError(f'{parameter.name} in one process: got {got}, allowed the same')


def main(args: Sequence[str] | None = None) -> int:
    """Run the three nodes."""
    if wants_help(args):
        show_usage(__doc__ or '', [kind for group in THREADS for kind in group])
        return 0
    sys.setswitchinterval(SWITCH)
    return with_ros(args, _live, threads=len(THREADS))


if __name__ == '__main__':
    raise SystemExit(main())
