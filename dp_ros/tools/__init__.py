"""What a person runs beside the nodes: a client, the demo, recording, measuring, tuning.

May import everything but cli.
"""
