"""Play episodes with a policy, and learn a critic from what came of them."""
