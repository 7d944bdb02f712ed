"""Train and evaluate every combination of some settings, on the same episodes, with one table at the end."""
