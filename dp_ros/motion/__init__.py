"""Make one trajectory within limits, or a stop, of a chunk, what was sent and now. NumPy, no clock.

May import robot, task and the modules beside the rooms.
"""
