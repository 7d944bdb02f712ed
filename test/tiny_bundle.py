"""A real bundle, made in a second: small networks with random weights, a task of PushT's shape. For tests of what loads it.

A test imports it as a plain module (``pytest.importorskip('torch')`` first: the networks are exported by torch).
"""
