"""Decode ROS messages into arrays and encode arrays as messages, live and recorded.

May import task and the modules beside the rooms.
"""
