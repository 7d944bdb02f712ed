"""Compare a policy with recorded episodes, open loop: what it would have commanded, and what was."""
