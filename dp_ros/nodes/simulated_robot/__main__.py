"""Run the node by `python -m dp_ros.nodes.simulated_robot`."""

from dp_ros.nodes.simulated_robot import main

if __name__ == '__main__':
    raise SystemExit(main())
