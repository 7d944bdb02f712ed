"""`python -m dp_ros.nodes.policy_executor`."""

from dp_ros.nodes.policy_executor.node import main

if __name__ == '__main__':
    raise SystemExit(main())
