"""Learn from trial and error in a simulated world, through the same loop that evaluations score policies in."""
