"""Find what in recordings would be learnt wrongly.

May import recordings, task, messages, robot.
"""
