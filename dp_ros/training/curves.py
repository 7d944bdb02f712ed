"""A run's curves: one table in a file, and its plot."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

CURVES = 'curves.csv'


def add_row(folder: Path, row: Mapping[str, float], table: str = CURVES) -> None:
    """Append a row to a table, which is made if it is missing; its first column is the step."""
    path = folder / table
    new = not path.exists()
    with path.open('a', newline='') as file:
        writer = csv.DictWriter(file, list(row), lineterminator='\n')
        if new:
            writer.writeheader()
        writer.writerow(row)


def drop_rows_after(folder: Path, step: int, table: str = CURVES) -> None:
    """Forget rows that a killed run wrote after its last checkpoint."""
    path = folder / table
    if path.exists():
        head, *rows = path.read_text().splitlines(keepends=True)
        path.write_text(head + ''.join(row for row in rows if int(row.split(',')[0]) <= step))


def plot_curves(folder: Path) -> None:
    """Draw ``curves.png`` from ``curves.csv``."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    path = folder / CURVES
    if not path.exists():
        return
    with path.open() as file:
        rows = list(csv.DictReader(file))
    steps = [int(r['step']) for r in rows]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout='constrained')
    for name, label in (('loss', 'training'), ('validation_loss', 'validation (EMA)')):
        axes.plot(steps, [float(r[name]) for r in rows], label=label)
    axes.set(xlabel='step', ylabel='loss (mean squared error)', yscale='log', title=folder.name)
    axes.grid(True, which='both', alpha=0.3)
    axes.legend()
    figure.savefig(folder / 'curves.png', dpi=120)
    pyplot.close(figure)
