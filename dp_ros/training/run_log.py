"""What a run says of itself while it goes on: a progress bar, tables and TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dp_ros.training.settings import TrainSettings

CURVES = 'curves.csv'


class RunLog:
    """Shows and keeps what a run says. One that is ``silent``, as of all processes but the first, does nothing."""

    def __init__(self, folder: Path, settings: TrainSettings, *, silent: bool = False) -> None:
        self._folder, self._settings, self._silent = folder, settings, silent
        self._writer: SummaryWriter | None = None
        self._bar: Any = None

    @contextmanager
    def opened(self, step: int) -> Iterator[RunLog]:
        """Open everything at ``step``, and close it at the end."""
        steps = self._settings.steps
        self._bar = tqdm(
            total=steps, initial=step, unit='step', desc=self._settings.name, dynamic_ncols=True, disable=self._silent
        )
        with self._bar:
            if not self._silent:
                self._writer = SummaryWriter(str(self._folder))
            try:
                yield self
            finally:
                if self._writer is not None:
                    self._writer.close()

    def advance(self) -> None:
        """Move the bar on by a step."""
        self._bar.update()

    def say(self, text: str) -> None:
        """Show a line."""
        if not self._silent:
            self._bar.write(text)

    def losses(self, row: Mapping[str, float]) -> None:
        """Keep a row of ``curves.csv``, and show its losses beside the bar."""
        if not self._silent:
            self._bar.set_postfix(loss=f'{row["loss"]:.4f}', validation=f'{row["validation_loss"]:.4f}')
        self.keep(row)

    def keep(self, row: Mapping[str, float], table: str = CURVES) -> None:
        """Keep a row; its first column is the step."""
        if self._writer is None:
            return
        step, *values = row.items()
        for name, value in values:
            self._writer.add_scalar(name, value, step[1])
        add_row(self._folder, row, table)


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
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4), layout='constrained')
    for axes, scale in zip(panels, ('linear', 'log'), strict=True):
        for name, label in (('loss', 'training'), ('validation_loss', 'validation (EMA)')):
            axes.plot(steps, [float(r[name]) for r in rows], label=label)
        axes.set(xlabel='step', ylabel='loss (mean squared error)', yscale=scale, title=folder.name)
        axes.grid(True, which='both', alpha=0.3)
        axes.legend()
    figure.savefig(folder / 'curves.png', dpi=120)
    pyplot.close(figure)
