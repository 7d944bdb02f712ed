"""A model of ros2_controllers' joint_trajectory_controller, from its sources."""
