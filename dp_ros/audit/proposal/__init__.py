"""Propose a training file and a parameter file from what recordings hold.

May import what audit may, and robot.
"""
