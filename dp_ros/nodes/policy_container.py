"""The three nodes of a policy in one process: the same nodes, topics and parameters, and less time between them.

Observations and chunks are handed over in memory (`dp_ros.ros.intra_process`). When one of the nodes ends, all end,
the trajectory_publisher by stopping the arm.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

from dp_ros.errors import ConfigError
from dp_ros.nodes.observation_buffer.node import ObservationBuffer
from dp_ros.nodes.policy_executor.node import PolicyExecutor
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from dp_ros.ros.intra_process import Exchange
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.main import ended_in_order, guarded, spin, with_ros
from dp_ros.ros.shutdown import Ending

# The sinks first: nothing that is sent is missed. What stops the arm has a thread of its own and waits for no other
# node's callbacks; the two others share one, where an observation changes hands without a wait.
THREADS = ((TrajectoryPublisher,), (PolicyExecutor, ObservationBuffer))
SWITCH = 0.002  # [s] after which threads take turns; the default, 5 ms, is more than all else between the nodes


def _live(ending: Ending) -> int:
    exchange = Exchange()
    groups: list[list[ManagedNode]] = [[kind(exchange=exchange) for kind in kinds] for kinds in THREADS]
    names = [node.get_name() for nodes in groups for node in nodes]
    if len(set(names)) < len(names):
        raise ConfigError(f'policy_container: got the name {names[0]} for all nodes, allowed none: they have their own')
    codes = [1] * len(groups)  # of a thread that ended by an error nobody foresaw

    def live(number: int) -> None:
        try:
            codes[number] = guarded(lambda: spin(groups[number], ending))
        finally:
            ending.ask()

    threads = [threading.Thread(target=live, args=(n,), name=nodes[0].get_name()) for n, nodes in enumerate(groups)]
    ending.shelter()  # an interrupted join takes a thread for ended that is not
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if ended_in_order(max(codes), ending):
        for node in (node for nodes in groups for node in nodes):
            node.ended()
    return max(codes)


def main(args: Sequence[str] | None = None) -> int:
    """Run the three nodes."""
    sys.setswitchinterval(SWITCH)
    return with_ros(args, _live, threads=len(THREADS))


if __name__ == '__main__':
    raise SystemExit(main())
