"""Simulate a point that goes to a target, around obstacles where there are any: the smallest robot there is."""
