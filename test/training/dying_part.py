"""A part that takes its process along, once. Apart from the tests: the processes that do it import this."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die_once(part: Path, folder: Path) -> str:
    """Kill this process the first time that part 2 is begun; give a part's name otherwise."""
    begun = folder / part.name
    if part.name == '2' and not begun.exists():
        begun.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return part.name


def die_after(work: Callable[..., Any], unlucky: Any, told: Path, part: Any, *beside: Any) -> Any:
    """Do a part; the first time that it is the unlucky one, kill this process before anybody hears of it."""
    outcome = work(part, *beside)
    if part == unlucky and not told.exists():
        told.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome
