"""Lead from recordings to a bundle: convert, record, init, check-bag, export-lerobot, train, export."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dp_ros.cli.arguments import bundle_and_world, bundle_arguments, command, speed_argument, world_argument
from dp_ros.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_ros.recordings.episodes.builder import Episode
    from dp_ros.task.spec import TaskSpec


def add_convert(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'convert', _convert, 'Turn the PushT demonstrations (zarr) into rosbag2 recordings.')
    parser.add_argument('source', type=Path, help='pusht_cchi_v7_replay.zarr')
    parser.add_argument('out', type=Path, help='new folder for the bags, one per episode')
    parser.add_argument('--storage', default='mcap', choices=['mcap', 'sqlite3'], help='rosbag2 storage')
    parser.add_argument('--camera', default='raw', choices=['raw', 'png', 'jpeg', 'none'], help='how images are kept')
    parser.add_argument('--episodes', type=int, default=None, help='only the first so many')


def _convert(options: argparse.Namespace) -> int:
    from dp_ros.recordings.datasets.convert import convert_pusht

    bags = convert_pusht(
        options.source, options.out, storage=options.storage, camera=options.camera, episodes=options.episodes
    )
    print(f'{len(bags)} bags in {options.out}')
    return 0


def add_record(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'record', _record, 'Record demonstrations of the running robot as rosbag2.')
    parser.add_argument('out', type=Path, help='new folder for the bags, one per episode')
    parser.add_argument('--config', default=None, help='training configuration that names the topics; '
                        'without it, the one of the world, or all topics of it')  # fmt: skip
    parser.add_argument('--source', default='scripted', choices=['scripted', 'teleoperated', 'external'],
                        help='who commands: a scripted demonstrator; whoever does on topics of the simulated robot; or '
                        'whoever does on those of a robot that runs already')  # fmt: skip
    parser.add_argument('--through', default='ros', choices=['ros', 'direct'],
                        help='ros: the nodes, in real time; direct: in this process, much faster')  # fmt: skip
    parser.add_argument('--disturbance', type=float, default=0.0,
                        help='scripted: how much drives and starts are disturbed, to show how to recover')  # fmt: skip
    parser.add_argument('--noise', type=float, default=None,
                        help="direct: by how much the demonstrator strays from its way [rad or m]; without it, the "
                        "world's")  # fmt: skip
    world_argument(parser)
    parser.add_argument('--episodes', type=int, default=1, help='episodes to record')
    parser.add_argument('--seed', type=int, default=0, help='seed of the first episode')
    parser.add_argument('--seconds', type=float, default=30.0, help='longest episode [s]')
    parser.add_argument('--storage', default='mcap', choices=['mcap', 'sqlite3'], help='rosbag2 storage')


def _record(options: argparse.Namespace) -> int:
    from dp_ros.paths import locate
    from dp_ros.recordings.rosbag.reader import BagWriter
    from dp_ros.simulation.registry import world_spec
    from dp_ros.simulation.world import whole_task
    from dp_ros.simulation.worlds import DEMO_WORLD
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.tools.record import RecordSettings, run_record
    from dp_ros.training.settings import TrainSettings

    options.world = options.world or DEMO_WORLD
    spec = world_spec(options.world)
    if options.config or spec.training_file is not None:
        task = read_yaml(locate(options.config) if options.config else spec.training, TrainSettings).task
    else:
        task = whole_task(spec)
    if options.through == 'direct':
        return _record_direct(options, task)
    if options.noise is not None:
        raise ConfigError(f'noise: got {options.noise} through ros, allowed with --through direct')
    names = ('out', 'world', 'source', 'episodes', 'seed', 'seconds', 'disturbance')
    settings = RecordSettings(task=task, **{name: getattr(options, name) for name in names})
    return run_record(settings, partial(BagWriter, storage=options.storage), print)


def _record_direct(options: argparse.Namespace, task: TaskSpec) -> int:
    from dp_ros.evaluation.demonstrations import DemonstrationSettings, write_demonstrations

    if options.source != 'scripted':
        raise ConfigError(f'source: got {options.source!r}, allowed scripted with --through direct')
    names = ('out', 'world', 'episodes', 'seed', 'seconds', 'disturbance', 'noise', 'storage')
    settings = DemonstrationSettings(task=task, **{name: getattr(options, name) for name in names})
    return write_demonstrations(settings, print)


def add_init(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Write a training file and a parameter file for the nodes from what recordings hold.'
    parser = command(commands, 'init', _init, text)
    parser.add_argument(
        'bags', type=Path, nargs='+', metavar='BAG', help='a recording, a folder of them, or a LeRobot dataset'
    )
    parser.add_argument('--output', type=Path, default=Path(), help='folder to write train.yaml and params.yaml to')
    parser.add_argument('--force', action='store_true', help='replace files that are there')


def _init(options: argparse.Namespace) -> int:
    from dp_ros.audit.proposal.init import InitSettings, run_init

    return run_init(InitSettings(bags=options.bags, output=options.output, force=options.force), print)


def add_check_bag(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Audit recordings before training. Exit code: 0 fine, 1 errors, 3 with --strict: warnings.'
    parser = command(commands, 'check-bag', _check_bag, text)
    parser.add_argument('bags', type=Path, help='a recording, a folder of them, a LeRobot dataset or HDF5')
    parser.add_argument('--config', default=None, help='training configuration; without it, what the topics suggest')
    parser.add_argument('--out', type=Path, default=None, help='folder for the report and the plots')
    parser.add_argument('--json', type=Path, default=None, help='write the outcome here')
    parser.add_argument('--strict', action='store_true', help='warnings fail too')


def _check_bag(options: argparse.Namespace) -> int:
    from dp_ros.audit.check_bag import CheckSettings, check_bags
    from dp_ros.paths import locate
    from dp_ros.recordings.episodes.segmentation import BY_FILE
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    train = read_yaml(locate(options.config), TrainSettings) if options.config else None
    chosen = {name: getattr(options, name) for name in ('out', 'json', 'strict')}
    settings = CheckSettings(
        path=options.bags, task=train.task if train else None, cut=getattr(train, 'cut', BY_FILE),
        columns=train.columns if train else None, **chosen,
    )  # fmt: skip
    return check_bags(settings, print)


def add_train(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'train', _train, 'Train a policy from recordings; the same command resumes a run.')
    parser.add_argument('--config', type=str, required=True, help='training configuration (YAML)')
    parser.add_argument('--data', type=Path, required=True,
                        help='a recording, a folder of them, a LeRobot dataset, HDF5 or a zarr')  # fmt: skip
    parser.add_argument('--cache', type=Path, help='keep decoded pictures here, not in memory; safe to delete')
    parser.add_argument('--workers', type=int, default=0, help='processes that fill the cache; 0: one a processor')
    parser.add_argument('--run', '--folder', dest='folder', type=Path, required=True,
                        help='run folder; an unfinished run goes on')  # fmt: skip


def _train(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dp_ros.evaluation.rollouts import rollouts_of
    from dp_ros.paths import locate
    from dp_ros.recordings.episodes.readers import read_recordings
    from dp_ros.recordings.episodes.unreadable import Broken
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.distributed import is_first_process
    from dp_ros.training.settings import TrainSettings
    from dp_ros.training.trainer import Trainer, collected

    settings = read_yaml(locate(options.config), TrainSettings)
    first = is_first_process()
    broken = Broken(settings.broken_recordings, tqdm.write if first else lambda _: None)
    episodes = read_recordings(
        options.data, settings.task, cut=settings.cut, columns=settings.columns,
        cache=options.cache, workers=options.workers, progress=False, broken=broken,
    )  # fmt: skip
    read = collected(episodes)
    result = Trainer(settings, read, options.folder, broken.skipped, roll_out=rollouts_of(settings)).run()
    state = 'finished' if result.finished else 'stopped'
    if first:
        print(f'{state} at step {result.step}, validation loss {result.validation_loss:.4f}: {result.folder}')
    return 0 if result.finished else 130


def add_export(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'export', _export, 'Export a run, or a bundle anew, as a bundle that a robot can load.')
    parser.add_argument('run_folder', metavar='RUN',
                        help='run folder of dp_ros train, or a bundle of a U-Net with float weights')  # fmt: skip
    parser.add_argument('bundle', type=Path, help='folder to write')
    parser.add_argument('--weights', default='float16', choices=['float16', 'float32', 'int8'],
                        help='how weights are stored; int8 is computed so too: faster, not quite the same')  # fmt: skip
    parser.add_argument('--torchscript', action='store_true', help='also write TorchScript')
    parser.add_argument('--sampling-steps', type=int,
                        help="the default number (default: 10, or 1 for regression; a bundle's own)")  # fmt: skip
    parser.add_argument('--checkpoint', choices=['best', 'last'], help='default: best, where there were rollouts')
    parser.add_argument('--name', default='',
                        help='what the bundle is called (default: as the run, or the bundle)')  # fmt: skip
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')


def _export(options: argparse.Namespace) -> int:
    from dp_ros.training.export.export import export_run
    from dp_ros.training.run_folder import trained_folder

    bundle = export_run(
        trained_folder('run', options.run_folder),
        options.bundle,
        weights=options.weights,
        torchscript=options.torchscript,
        sampling_steps=options.sampling_steps,
        checkpoint=options.checkpoint,
        overwrite=options.overwrite,
        name=options.name,
    )
    size = sum(f.stat().st_size for f in bundle.folder.iterdir())
    print(f'{bundle.folder}: {size / 1e6:.2f} MB, {", ".join(sorted(bundle.files))}')
    return 0


def add_critic(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Let a policy play in a simulated world, and learn from it which of its samples lead to success.'
    parser = command(commands, 'critic', _critic, text)
    bundle_arguments(parser, 'models/pusht_mirror')
    parser.add_argument('out', type=Path, help='folder to write: the bundle with a critic')
    parser.add_argument('--episodes', type=int, default=1500, help='episodes in a round, on consecutive seeds')
    parser.add_argument('--rounds', type=int, default=1, help='the critic of each goes along in the next')
    parser.add_argument('--seed', type=int, default=2_000_000, help='seed of the first episode')
    speed_argument(parser)
    parser.add_argument('--samples', type=int, default=8, help='chunks drawn at once, of which the critic takes one')
    parser.add_argument('--seconds', type=float, default=30.0, help='longest episode [s]')
    parser.add_argument('--explore', type=float, default=0.25, help='how often any sample is taken instead')
    parser.add_argument('--discount', type=float, default=0.85,
                        help='how much less a chunk is worth for each that still comes until success')  # fmt: skip
    parser.add_argument('--critic-from', type=float, default=0.1,
                        help='mean value of the samples from which on the critic chooses')  # fmt: skip
    parser.add_argument('--epochs', type=int, default=24, help='how often it sees each decision')
    parser.add_argument('--workers', type=int, default=1, help='processes that share the episodes')
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')


def _critic(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.critic.learn import CriticSettings, run_critic

    names = {f.name for f in dataclasses.fields(CriticSettings)} - {'bundle', 'world'}
    chosen = {name: getattr(options, name) for name in names}
    return run_critic(CriticSettings(**chosen, **bundle_and_world(options)), print)


def add_export_lerobot(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Write recordings as a LeRobot dataset (format 3.0): an observation and an action for each control tick.'
    parser = command(commands, 'export-lerobot', _export_lerobot, text)
    parser.add_argument('data', type=Path, help='a recording, a folder of them, a LeRobot dataset, HDF5 or a zarr')
    parser.add_argument('out', type=Path, help='new folder for the dataset')
    parser.add_argument('--config', type=str, required=True, help='training configuration that names the topics')
    parser.add_argument('--task', required=True, help='the task in words, as LeRobot wants one')
    parser.add_argument('--robot', default='unknown', help="LeRobot's robot_type")
    parser.add_argument('--pictures', default='video', choices=['video', 'png'],
                        help='how cameras are stored; png loses nothing, and takes much more room')  # fmt: skip
    parser.add_argument('--size', default='recorded', choices=['recorded', 'task'],
                        help='of pictures: as they were recorded, or as the configuration resizes them')  # fmt: skip


def _export_lerobot(options: argparse.Namespace) -> int:
    from dp_ros.paths import locate
    from dp_ros.recordings.datasets.lerobot_export import at_recorded_size, export_lerobot
    from dp_ros.recordings.episodes.readers import read_recordings
    from dp_ros.recordings.episodes.unreadable import Broken
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    settings = read_yaml(locate(options.config), TrainSettings)

    def read(task: TaskSpec) -> Iterator[Episode]:
        return read_recordings(
            options.data, task, cut=settings.cut, columns=settings.columns, broken=Broken(settings.broken_recordings)
        )

    task = settings.task
    if options.size == 'recorded':
        task = at_recorded_size(task, next(read(task)).camera_shapes)
    made = export_lerobot(
        read(task), task, options.out, instruction=options.task, robot=options.robot, pictures=options.pictures,
        progress=True,
    )  # fmt: skip
    print(f'{made.episodes} episodes, {made.frames} frames in {made.folder}')
    return 0
