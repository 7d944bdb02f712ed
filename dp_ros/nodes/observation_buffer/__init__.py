"""The node `observation_buffer`: sensors in, one aligned observation for each control tick out."""

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `observation_buffer`; it is imported now, so that its other modules can be without it."""
    from dp_ros.nodes.observation_buffer.node import main as run

    return run(args)
