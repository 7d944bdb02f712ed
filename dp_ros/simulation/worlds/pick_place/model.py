"""The compiled world pick_place."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import mujoco


@lru_cache(maxsize=1)
def model() -> mujoco.MjModel:
    """Return the compiled world; it is shared, so nobody may change it."""
    return mujoco.MjModel.from_xml_path(str(Path(__file__).with_name('pick_place.xml')))
