"""Ask a sequence model for several returns from the same starts, and compare them with what it reaches.

python doc/asked_returns.py models/point_obstacle_sequence point_obstacle returns.png --lowest -36 --highest -10
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

from dp_ros.evaluation.episodes import make_runner
from dp_ros.evaluation.settings import EvaluationSettings

matplotlib.use('Agg')
from matplotlib import pyplot as plt


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value (N,), the mean one of those that are equal."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[which]


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Return the rank correlation of two (N,)."""
    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def main(args: list[str] | None = None) -> int:
    """Play the episodes, print what came of them, and draw it."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('bundle', type=Path, help='folder of the policy')
    parser.add_argument('world', help='as point_obstacle')
    parser.add_argument('out', type=Path, help='PNG file to write; beside it the numbers (JSON)')
    parser.add_argument('--lowest', type=float, required=True, help='return asked for')
    parser.add_argument('--highest', type=float, required=True, help='return asked for')
    parser.add_argument('--returns', type=int, default=6, help='how many different ones')
    parser.add_argument('--starts', type=int, default=20, help='episodes with each, on the same seeds')
    parser.add_argument('--seed', type=int, default=100_000, help='of the first')
    parser.add_argument('--seconds', type=float, default=15.0, help='longest episode [s]')
    options = parser.parse_args(args)
    asked = np.linspace(options.lowest, options.highest, options.returns)
    reached = np.empty((options.returns, options.starts))
    for row, value in enumerate(asked.tolist()):
        settings = EvaluationSettings(
            bundle=options.bundle, world=options.world, threads=1, seconds=options.seconds, asked_return=value
        )
        runner = make_runner(settings)
        results = [runner.run(options.seed + number) for number in range(options.starts)]
        reached[row] = [r.gained for r in results]
        print(f'asked {value:7.2f}  reached {reached[row].mean():7.2f}  success {sum(r.success for r in results)}')
    found = spearman(np.repeat(asked, options.starts), reached.reshape(-1))
    single = [spearman(asked, column) for column in reached.T]
    print(f'rank correlation {found:.3f} over all, {np.mean(single):.3f} from one start on average')
    options.out.with_suffix('.json').write_text(
        json.dumps({'asked': asked.tolist(), 'reached': reached.tolist(), 'spearman': found, 'of_a_start': single})
    )
    figure, axes = plt.subplots(figsize=(5, 4), layout='constrained')
    axes.plot(asked, reached, '.', color='0.7', markersize=4)
    axes.plot(asked, reached.mean(axis=1), 'o-', color='tab:orange', label='mean')
    axes.plot(asked, asked, '--', color='0.4', linewidth=1, label='as asked')
    axes.set_xlabel('return asked for')
    axes.set_ylabel('return reached')
    axes.legend()
    figure.savefig(options.out, dpi=100)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
