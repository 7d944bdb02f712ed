"""Recordings played into the running nodes: the sensors of a bag, stamped anew, in place of a robot's or a world's.

Imports tools, recordings and evaluation.
"""
