"""Describe the robot: URDF, joint limits, kinematics, and the settings of its controller.

May import task and the modules beside the rooms. NumPy, no clock.
"""
