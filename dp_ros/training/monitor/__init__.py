"""Learn the novelty of observations from successful episodes, and write it into a bundle."""
