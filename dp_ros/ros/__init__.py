"""What all nodes share: lifecycle, parameters, diagnostics, queries, the executor, the end of a process.

May import policy, task and messages. rclpy lives here, in nodes and in tools.
"""
