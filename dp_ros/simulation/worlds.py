"""The worlds by name, and how the planner is set for each."""

from __future__ import annotations

from typing import Any

import yaml

from dp_ros.config import TaskSpec
from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.policy.planner import Planner

WORLDS = ('pusht',)
