"""A tiny run, for processes that share it: RUN_FOLDER, and the step at which the second process is asked to stop."""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path

from dp_ros.training.trainer import Trainer


def main() -> None:
    stop = int(sys.argv[2])
    tiny = import_module('test_trainer')  # beside this script; outside pytest, `test` is Python's own
    step = Trainer.train_step

    def train_step(self, indices):
        if self.step == stop and self.accelerator.process_index == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, indices)

    Trainer.train_step = train_step  # type: ignore[method-assign]
    Trainer(tiny.SETTINGS, tiny.episodes(), Path(sys.argv[1])).run()


if __name__ == '__main__':
    main()
