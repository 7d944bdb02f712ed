"""Recordings for others: export-lerobot."""

from __future__ import annotations

import argparse
from pathlib import Path

from dp_ros.cli.arguments import command


def add_export_lerobot(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Write recordings as a LeRobot dataset (format 3.0): an observation and an action for each control tick.'
    parser = command(commands, 'export-lerobot', _export_lerobot, text)
    parser.add_argument('data', type=Path, help='a recording, a folder of them, a LeRobot dataset, HDF5 or a zarr')
    parser.add_argument('out', type=Path, help='new folder for the dataset')
    parser.add_argument('--config', type=str, required=True, help='training configuration that names the topics')
    parser.add_argument('--task', required=True, help='the task in words, as LeRobot wants one')
    parser.add_argument('--robot', default='unknown', help="LeRobot's robot_type")


def _export_lerobot(options: argparse.Namespace) -> int:
    from dp_ros.paths import locate
    from dp_ros.recordings.datasets.lerobot_export import export_lerobot
    from dp_ros.recordings.episodes.readers import read_recordings
    from dp_ros.recordings.episodes.unreadable import Broken
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    settings = read_yaml(locate(options.config), TrainSettings)
    episodes = read_recordings(
        options.data, settings.task, cut=settings.cut, columns=settings.columns,
        broken=Broken(settings.broken_recordings),
    )  # fmt: skip
    made = export_lerobot(
        episodes, settings.task, options.out, instruction=options.task, robot=options.robot, progress=True
    )
    print(f'{made.episodes} episodes, {made.frames} frames in {made.folder}')
    return 0
