"""The node `simulated_robot`: a world behind a joint_trajectory_controller, with the topics of hardware."""

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `simulated_robot`; it is imported now, so that its other modules can be without it."""
    from dp_ros.nodes.simulated_robot.node import main as run

    return run(args)
