"""The world PushT: gym-pusht behind a gantry of two prismatic joints."""
