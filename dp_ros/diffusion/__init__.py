"""Noise schedules and samplers in NumPy: the robot needs no torch."""
