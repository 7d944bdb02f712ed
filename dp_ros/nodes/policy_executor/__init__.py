"""The node `policy_executor`: aligned observations in, action chunks out."""

from dp_ros.nodes.policy_executor.node import main as main
