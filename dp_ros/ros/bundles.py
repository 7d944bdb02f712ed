"""TODO."""

from __future__ import annotations

from dp_ros.errors import ConfigError
from dp_ros.paths import locate
from dp_ros.policy.bundle.manifest import Bundle, load_bundle
from dp_ros.policy.policy_speed import FASTEST, SLOWEST, at_speed
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.parameters import Param

BUNDLE = Param(name='bundle', default='', description='Folder of the policy bundle; it says streams, joints and rates.')


POLICY_SPEED = Param(
    name='policy_speed', default=1.0, low=SLOWEST, high=FASTEST,
    description='How many times as fast as it was shown the policy is played; the same for all three nodes.',
)  # fmt: skip


def read_bundle(node: ManagedNode, parameter: str = BUNDLE.name) -> Bundle:
    """Load the bundle that a parameter names, at the node's speed: a path, or a shipped one as models/pusht_state."""
    bundle = node.value(parameter)
    if not bundle:
        raise ConfigError(f"{parameter}: got '', allowed the path of a bundle folder")
    return at_speed(load_bundle(locate(bundle)), node.value(POLICY_SPEED.name))
