"""The seven-joint arm that several worlds have: its bodies, kinematics, URDF, and the cameras that look at it."""

JOINTS = tuple(f'joint_{i}' for i in range(1, 8))
