"""Obstacles: what stands and moves around the robot, whether a trajectory stays clear of it, and a way around.

Imports `motion` and `robot`, and lazily Pinocchio, Coal and OMPL (the extra `planning`). No ROS, no clock.
"""
