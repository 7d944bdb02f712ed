"""Make training samples of episodes: cut into windows and chunks, mirrored, their pictures changed at random.

May import recordings, policy, task and the modules beside the rooms.
"""
