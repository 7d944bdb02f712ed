"""Lead from recordings to a bundle: convert, record, init, check-bag, export-lerobot, train, export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dp_ros.cli.arguments import CommandParser, bundle_and_world, command, made_of, training_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_ros.recordings.episodes.builder import Episode
    from dp_ros.task.spec import TaskSpec


def _convert_options(parser: CommandParser) -> None:
    from dp_ros.recordings.datasets.zarr import ConvertSettings

    parser.settings(ConvertSettings)


@command('Turn the PushT demonstrations (zarr) into rosbag2 recordings.', _convert_options)
def _convert(options: argparse.Namespace) -> int:
    from dp_ros.recordings.datasets.zarr import ConvertSettings, convert_pusht

    bags = convert_pusht(made_of(ConvertSettings, options))
    print(f'{len(bags)} bags in {options.out}')
    return 0


def _record_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.demonstrations import RecordSettings

    parser.add_argument('--config', default=None, help='training configuration that names the topics; '
                        'without it, the one of the world, or all topics of it')  # fmt: skip
    parser.add_argument('--through', default='ros', choices=['ros', 'direct'],
                        help='ros: the nodes, in real time; direct: in this process, much faster')  # fmt: skip
    parser.world()
    parser.settings(RecordSettings, ray={'metavar': 'ADDRESS'})


@command('Record demonstrations of the running robot as rosbag2.', _record_options)
def _record(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.demonstrations import RecordSettings, write_demonstrations
    from dp_ros.simulation.registry import world_spec
    from dp_ros.simulation.world import whole_task
    from dp_ros.simulation.worlds import DEMO_WORLD

    spec = world_spec(options.world or DEMO_WORLD)
    if options.config or spec.training_file is not None:
        task = training_config(options.config or spec.training).task
    else:
        task = whole_task(spec)
    settings = made_of(RecordSettings, options, task=task, world=options.world or DEMO_WORLD)
    if options.through == 'direct':
        return write_demonstrations(settings, print)
    from dp_ros.tools.record import run_record

    return run_record(settings, print)


def _init_options(parser: CommandParser) -> None:
    from dp_ros.audit.proposal.init import InitSettings

    parser.settings(InitSettings, bags={'metavar': 'BAG'})


@command('Write a training file and a parameter file for the nodes from what recordings hold.', _init_options)
def _init(options: argparse.Namespace) -> int:
    from dp_ros.audit.proposal.init import InitSettings, run_init

    return run_init(made_of(InitSettings, options), print)


def _check_bag_options(parser: CommandParser) -> None:
    from dp_ros.audit.check_bag import CheckSettings

    parser.settings(CheckSettings, 'path', path={'metavar': 'bags'})
    parser.add_argument('--config', default=None, help='training configuration; without it, what the topics suggest')
    parser.settings(CheckSettings, 'out', 'json', 'strict')


@command(
    'Audit recordings before training. Exit code: 0 fine, 1 errors, 3 with --strict: warnings.', _check_bag_options
)
def _check_bag(options: argparse.Namespace) -> int:
    from dp_ros.audit.check_bag import CheckSettings, check_bags
    from dp_ros.recordings.episodes.segmentation import BY_FILE

    train = training_config(options.config) if options.config else None
    settings = made_of(
        CheckSettings, options, task=train.task if train else None, cut=getattr(train, 'cut', BY_FILE),
        columns=train.columns if train else None,
    )  # fmt: skip
    return check_bags(settings, print)


def _train_options(parser: CommandParser) -> None:
    parser.add_argument('--config', type=str, required=True, help='training configuration (YAML)')
    parser.add_argument('--data', type=Path, required=True,
                        help='a recording, a folder of them, a LeRobot dataset, HDF5 or a zarr')  # fmt: skip
    parser.add_argument('--cache', type=Path, help='keep decoded pictures here, not in memory; safe to delete')
    parser.add_argument('--workers', type=int, default=0, help='processes that fill the cache; 0: one a processor')
    parser.add_argument('--run', '--folder', dest='folder', type=Path, required=True,
                        help='run folder; an unfinished run goes on')  # fmt: skip


@command('Train a policy from recordings; the same command resumes a run.', _train_options)
def _train(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dp_ros.evaluation.rollouts import rollouts_of
    from dp_ros.recordings.episodes.readers import read_recordings
    from dp_ros.recordings.episodes.unreadable import Broken
    from dp_ros.training.distributed import is_first_process
    from dp_ros.training.trainer import Trainer, collected

    settings = training_config(options.config)
    first = is_first_process()
    broken = Broken(settings.broken_recordings, tqdm.write if first else lambda _: None)
    episodes = read_recordings(
        options.data, settings.task, cut=settings.cut, columns=settings.columns,
        cache=options.cache, workers=options.workers, broken=broken,
    )  # fmt: skip
    read = collected(episodes)
    result = Trainer(settings, read, options.folder, broken.skipped, roll_out=rollouts_of(settings)).run()
    state = 'finished' if result.finished else 'stopped'
    if first:
        print(f'{state} at step {result.step}, validation loss {result.validation_loss:.4f}: {result.folder}')
    return 0 if result.finished else 130


def _export_options(parser: CommandParser) -> None:
    from dp_ros.training.export.export import ExportSettings

    parser.add_argument('run_folder', metavar='RUN',
                        help='run folder of dp_ros train, or a bundle of a U-Net with float weights')  # fmt: skip
    parser.add_argument('bundle', type=Path, help='folder to write')
    parser.settings(ExportSettings)


@command('Export a run, or a bundle anew, as a bundle that a robot can load.', _export_options)
def _export(options: argparse.Namespace) -> int:
    from dp_ros.training.export.export import ExportSettings, export_run
    from dp_ros.training.run_folder import trained_folder

    run = trained_folder('run', options.run_folder)
    bundle = export_run(run, options.bundle, made_of(ExportSettings, options))
    size = sum(f.stat().st_size for f in bundle.folder.iterdir())
    print(f'{bundle.folder}: {size / 1e6:.2f} MB, {", ".join(sorted(bundle.files))}')
    return 0


def _critic_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.critic.learn import CriticSettings

    parser.bundle('models/pusht_mirror')
    parser.settings(CriticSettings, ray={'metavar': 'ADDRESS'})


@command(
    'Let a policy play in a simulated world, and learn from it which of its samples lead to success.', _critic_options
)
def _critic(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.critic.learn import CriticSettings, run_critic

    return run_critic(made_of(CriticSettings, options, **bundle_and_world(options)), print)


def _export_lerobot_options(parser: CommandParser) -> None:
    from dp_ros.recordings.datasets.lerobot_export import LerobotSettings

    parser.add_argument('data', type=Path, help='a recording, a folder of them, a LeRobot dataset, HDF5 or a zarr')
    parser.add_argument('out', type=Path, help='new folder for the dataset')
    parser.add_argument('--config', type=str, required=True, help='training configuration that names the topics')
    parser.settings(LerobotSettings, instruction={'flag': '--task', 'required': True})
    parser.add_argument('--size', default='recorded', choices=['recorded', 'task'],
                        help='of pictures: as they were recorded, or as the configuration resizes them')  # fmt: skip


@command(
    'Write recordings as a LeRobot dataset (format 3.0): an observation and an action for each control tick.',
    _export_lerobot_options,
)
def _export_lerobot(options: argparse.Namespace) -> int:
    from dp_ros.recordings.datasets.lerobot_export import LerobotSettings, at_recorded_size, export_lerobot
    from dp_ros.recordings.episodes.readers import read_recordings
    from dp_ros.recordings.episodes.unreadable import Broken

    settings = training_config(options.config)

    def read(task: TaskSpec) -> Iterator[Episode]:
        return read_recordings(
            options.data, task, cut=settings.cut, columns=settings.columns, broken=Broken(settings.broken_recordings)
        )

    task = settings.task
    if options.size == 'recorded':
        task = at_recorded_size(task, next(read(task)).camera_shapes)
    episodes, frames = export_lerobot(read(task), task, options.out, made_of(LerobotSettings, options))
    print(f'{episodes} episodes, {frames} frames in {options.out}')
    return 0
