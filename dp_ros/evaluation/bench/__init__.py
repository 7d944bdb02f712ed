"""Measure what chunks, training steps and recordings cost, side by side with others."""
