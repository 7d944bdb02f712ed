"""The seven-joint arm that several worlds have: bodies, kinematics, URDF, cameras, and what all such worlds do."""

JOINTS = tuple(f'joint_{i}' for i in range(1, 8))
