"""Run the node by `python -m dp_ros.nodes.trajectory_publisher`."""

from dp_ros.nodes.trajectory_publisher import main

if __name__ == '__main__':
    raise SystemExit(main())
