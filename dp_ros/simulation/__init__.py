"""Worlds, their robots, and the joint_trajectory_controller in front of them. No ROS, no clock."""
