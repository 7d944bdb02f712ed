"""Measure what a plan of a sequence model costs on one core, in processor time: other processes do not count.

python doc/time_plans.py models/point_obstacle_sequence
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from dp_ros import Policy

WAYS = (('return', 1), ('beam', 4), ('beam', 8), ('likelihood', 8))


def main(args: list[str] | None = None) -> int:
    """Print the median of each way to plan."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('bundle', type=Path, help='folder of the policy')
    parser.add_argument('--rounds', type=int, default=10, help='plans of each way')
    options = parser.parse_args(args)
    policy = Policy.load(options.bundle, threads=1)
    window = policy.blank_window()
    for planning, beams in WAYS:
        asked = policy.with_settings(planning=planning, beams=beams)
        asked.chunk(window)
        took = []
        for seed in range(options.rounds):
            began = time.process_time()
            asked.chunk(window, np.random.default_rng(seed))
            took.append(time.process_time() - began)
        print(f'{planning:10} beams {beams}: {np.median(took) * 1e3:.1f} ms')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
