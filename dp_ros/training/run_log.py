"""What a run says of itself while it goes on: a progress bar, tables and TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dp_ros.training.curves import CURVES, add_row
from dp_ros.training.settings import TrainSettings


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
