"""A part that takes its process along, once. Apart from the tests: the processes that do it import this."""

import os
import signal
from pathlib import Path


def die_once(part: Path, folder: Path) -> str:
    """Kill this process the first time that part 2 is begun; give a part's name otherwise."""
    begun = folder / part.name
    if part.name == '2' and not begun.exists():
        begun.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return part.name
