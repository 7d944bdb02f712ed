"""Make recordings of the world point_obstacle for pages: ``python -m test.training.point_bags FOLDER``."""

import sys
from pathlib import Path

from dp_ros.evaluation.demonstrations import RecordSettings, write_demonstrations
from dp_ros.simulation.registry import world_spec
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.settings import TrainSettings


def main() -> None:
    task = read_yaml(world_spec('point_obstacle').training, TrainSettings).task
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_demonstrations(RecordSettings(out=out, task=task, world='point_obstacle', episodes=6), print)


if __name__ == '__main__':
    main()
