"""The node `trajectory_publisher`: chunks and joint states in, the trajectory that the controller gets out."""

from dp_ros.nodes.trajectory_publisher.node import main as main
