"""The node `trajectory_publisher`: chunks and joint states in, the trajectory that the controller gets out."""

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `trajectory_publisher`; it is imported now, so that its other modules can be without it."""
    from dp_ros.nodes.trajectory_publisher.node import main as run

    return run(args)
