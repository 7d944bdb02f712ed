"""dp_ros: recorded demonstrations in, a diffusion policy on a ROS 2 arm out."""

__version__ = '0.1.0'
