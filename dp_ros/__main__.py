"""Lets ``python -m dp_ros`` stand for the command ``dp_ros``."""

import sys

from dp_ros.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
