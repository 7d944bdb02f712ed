"""Run the node by `python -m dp_ros.nodes.policy_executor`."""

from dp_ros.nodes.policy_executor import main

if __name__ == '__main__':
    raise SystemExit(main())
