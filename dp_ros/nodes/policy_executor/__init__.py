"""The node `policy_executor`: aligned observations in, action chunks out."""

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `policy_executor`; it is imported now, so that its other modules can be without it."""
    from dp_ros.nodes.policy_executor.node import main as run

    return run(args)
