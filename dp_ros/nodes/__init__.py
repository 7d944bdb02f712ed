"""The ROS 2 nodes. They are thin: they connect the parts of dp_ros to topics, parameters, services and clocks."""
