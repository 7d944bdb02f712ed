"""Options that all nodes of the policy share: the bundle, its speed, and what Linux is to grant them. Without ROS."""

from __future__ import annotations

from dataclasses import dataclass

from dp_ros.options import option
from dp_ros.policy.policy_speed import FASTEST, SLOWEST


# fmt: off
@dataclass(frozen=True, kw_only=True)
class LifecycleOptions:
    """Options of every lifecycle node."""

    autostart: bool = option(
        True, 'Configure and activate at start; false leaves both to a lifecycle manager (ros2 lifecycle set ...).'
    )


@dataclass(frozen=True, kw_only=True)
class BundleOptions:
    """The bundle that a node runs, and its speed."""

    bundle: str = option(
        '', 'Folder of the policy bundle: a path, or one that came with dp_ros, as models/pusht_mirror. It gives '
        'streams, joints, rates and horizons, the same for all three nodes; the launch argument bundle:=... sets '
        'it.',
    )
    policy_speed: float = option(
        1.0, 'How many times as fast as it was shown the policy is played, the same for all three nodes: 0.5 for the '
        'first time on a robot; the launch argument policy_speed:=0.5 sets it. A control step is then that much '
        'shorter or longer, and so is all that is counted in control steps: the deadline, and the ages at which '
        'the arm stops, unless given in seconds. Refused for a policy that observes efforts, and where a step '
        "would be no longer than the bundle's arrival_wait.", low=SLOWEST, high=FASTEST,
    )


@dataclass(frozen=True, kw_only=True)
class RealtimeOptions:
    """What Linux is to grant a node's process."""

    realtime_priority: int = option(
        0, 'SCHED_FIFO priority of all threads of the process; 0: scheduled as any other. One for a whole process, and '
        'the same for all three nodes: less than the 50 of controller_manager, on a machine that is not to make the '
        'robot wait. The user must be permitted it: rtprio in /etc/security/limits.d.', low=0, high=98,
    )
    cpu_dma_latency: int = option(
        -1, 'Longest that a processor may take to wake up while the node is active; -1: as the system has it. By '
        '/dev/cpu_dma_latency, for all processors: 0 keeps them from sleeping at all, which takes power and makes all '
        'that the nodes do faster by a quarter. Where two nodes differ the smaller holds; in one process they must be '
        'the same. The user must be permitted to write that file: a udev rule, KERNEL=="cpu_dma_latency", '
        'GROUP="realtime", MODE="0660".', unit='us', low=-1, high=1_000_000,
    )
# fmt: on
