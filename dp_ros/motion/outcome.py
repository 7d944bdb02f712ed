"""What becomes of a chunk that is taken, and how that is taken back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.motion.obstacles import Contact, Judged
from dp_ros.motion.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a chunk or a stop changes in a planner."""

    plan: Trajectory | None
    newest: int | None
    now: int | None
    joins: int
    led_in: bool
    path: tuple[tuple[int, Trajectory], ...]
    usual: tuple[np.ndarray, ...]
    judged: Judged


@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """A chunk was taken: ``trajectory`` is to be sent now.

    Attributes
    ----------
    first_executed
        When the chunk says that its first executed step is due [ns].
    dropped_steps
        Steps before that one, which were due too early.
    restarted
        Whether the plan starts anew from the measured state.
    clamped_steps
        Executed steps that were beyond a position limit by `position_tolerance` or less, and put onto it.
    left_out_steps
        Steps at the chunk's end that would have left the limits; the plan rests before them.
    delay
        How much later than due the first executed step is reached, for the sake of limits [ns].
    stretch
        How much slower than in the chunk the steps follow each other, for the sake of limits.
    blocked
        What is in the way of the chunk: it is followed up to a rest before that. None: it is followed to its end.
    alternative
        Which of the chunk's alternatives is followed, from 1; 0: the chunk itself.

    """

    trajectory: Trajectory
    first_executed: int
    dropped_steps: int
    restarted: bool
    clamped_steps: int = 0
    left_out_steps: int = 0
    delay: int = 0
    stretch: float = 1.0
    blocked: Contact | None = None
    alternative: int = 0
