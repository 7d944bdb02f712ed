"""What the robot runs: alignment, bundle, network backends, sampling, the committed plan and limits. NumPy, no torch."""
