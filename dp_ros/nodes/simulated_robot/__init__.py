"""The node `simulated_robot`: a world behind a joint_trajectory_controller, with the topics of hardware."""

from dp_ros.nodes.simulated_robot.node import main as main
