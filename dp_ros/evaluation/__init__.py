"""Play episodes of a policy in a world and score them: settings, scores, comparisons, sweeps, films.

May import every room below: simulation, motion, policy, training, recordings, networks. No ROS.
"""
