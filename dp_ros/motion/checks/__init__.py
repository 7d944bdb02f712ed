"""Check a whole trajectory, at every instant: against joint limits, and against a box around the tool.

May import robot, the trajectory and the modules beside the rooms.
"""
