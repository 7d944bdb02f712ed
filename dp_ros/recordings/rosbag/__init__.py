"""Read and write rosbag2 recordings, within bounds."""
