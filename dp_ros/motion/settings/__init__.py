"""Make limits, workspace and planner from the parameters of a trajectory_publisher, without ROS."""
