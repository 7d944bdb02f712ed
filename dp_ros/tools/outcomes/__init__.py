"""Count what became of a policy's episodes, over days: a store, the node that fills it, and what is printed of it.

May import what tools may.
"""
