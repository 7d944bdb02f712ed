"""Turn rosbags and datasets into episodes, by the decoding and alignment that runs on the robot.

May import task, messages, policy, motion. No ROS: rosbags reads and writes.
"""
