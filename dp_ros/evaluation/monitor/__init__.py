"""Calibrate a failure monitor on the policy's own successful episodes, and measure how well it foretells failures."""
