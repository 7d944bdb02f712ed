"""A policy among obstacles that it does not know: alone, with checks, with a way around, and beside two rivals.

Imports what `evaluation` may.
"""
