"""`python -m dp_ros.nodes.simulated_robot`."""

from dp_ros.nodes.simulated_robot.node import main

if __name__ == '__main__':
    raise SystemExit(main())
