"""Which of the processes that `accelerate launch` or torchrun started this is; told before anything is set up."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this process is the one that writes and shows."""
    return os.environ.get('RANK', '0') == '0'
