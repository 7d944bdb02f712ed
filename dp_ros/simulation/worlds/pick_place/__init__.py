"""The world pick_place: a seven-joint arm with a gripper puts an object into a tray."""
