"""The command line ``dp_ros``. Each command imports what it needs when it is given, so that help needs nothing."""

from dp_ros.cli.main import main as main
