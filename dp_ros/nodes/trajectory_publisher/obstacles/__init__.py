"""The publisher's scene: what messages bring, ways around, and what is reported of both. Imports `planning` and ROS."""
