"""Sequence models: return, actions, rewards and states as tokens, predicted one by one and planned over. NumPy."""
