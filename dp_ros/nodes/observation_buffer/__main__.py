"""Run the node by `python -m dp_ros.nodes.observation_buffer`."""

from dp_ros.nodes.observation_buffer import main

if __name__ == '__main__':
    raise SystemExit(main())
