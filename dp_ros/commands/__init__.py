"""The commands of ``dp_ros``. Each imports what it needs when it is given."""
