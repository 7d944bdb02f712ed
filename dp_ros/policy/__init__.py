"""What the robot runs: alignment, bundle, backends, sampling, the committed plan and limits. NumPy, no torch."""
