"""Describe a task: streams, joints, units, rates, horizons, goals; and read it from strict YAML.

May import the modules beside the rooms alone.
"""
