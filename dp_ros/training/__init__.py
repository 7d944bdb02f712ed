"""Learn offline: episodes become samples, a run folder with a trained network, and a bundle.

May import networks, recordings, policy, diffusion, task and the modules beside the rooms.
"""
