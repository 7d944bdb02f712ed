"""Learn a critic from what a policy did and what came of it."""
