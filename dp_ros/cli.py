"""The command line: ``dp_ros <command>``. Each command imports what it needs, so that a robot needs no torch."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_ros import __version__
from dp_ros.errors import ConfigError, DpRosError

if TYPE_CHECKING:
    from dp_ros.config import TaskSpec


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code. An error that has a name is printed without a traceback."""
    parser = build_parser()
    options = parser.parse_args(args)
    try:
        return options.run(options)
    except DpRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except BrokenPipeError:  # `dp_ros inspect ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        extra = MISSING.get((error.name or '').split('.')[0])
        if extra is None:
            raise
        print(f"error: {error.name} is not installed; `pip install '.[{extra}]'` has it", file=sys.stderr)
        return 1


# Written out, for this module imports nothing that needs NumPy.
SAMPLERS = ['ddim', 'ddpm', 'dpmsolver++', 'unipc', 'euler', 'regression']
WORLDS = ('push_block', 'pusht')
MISSING = {
    'torch': 'train',
    'diffusers': 'train',
    'onnx': 'train',
    'tensorboard': 'train',
    'rosbags': 'train',
    'zarr': 'train',
    'tqdm': 'train',
    'matplotlib': 'train',
    'pyarrow': 'datasets',
    'av': 'datasets',
    'h5py': 'datasets',
    'gym_pusht': 'sim',
    'mujoco': 'sim',
    'pymunk': 'sim',
    'imageio': 'sim',
    'onnxruntime': 'runtime',
    'cv2': 'runtime',
    'cv_bridge': 'runtime',
    'rclpy': 'ros',
    'sensor_msgs': 'ros',
    'trajectory_msgs': 'ros',
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog='dp_ros', description='Diffusion policies for ROS 2 arms.')
    parser.add_argument('--version', action='version', version=__version__)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for add in (
        _add_demo, _add_convert, _add_record, _add_check_bag, _add_train, _add_export, _add_evaluate, _add_soak,
        _add_streaming, _add_inspect, _add_bench,
    ):  # fmt: skip
        add(commands)
    return parser


def _command(commands: argparse._SubParsersAction, name: str, run: object, text: str) -> argparse.ArgumentParser:
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = commands.add_parser(name, help=text, description=text, formatter_class=formatter)
    parser.set_defaults(run=run)
    return parser


def _bundle(path: str) -> Path:
    from dp_ros.paths import locate

    return locate(path)


def _bundle_and_world(options: argparse.Namespace) -> dict[str, Any]:
    from dp_ros.policy.bundle import load_bundle
    from dp_ros.simulation.worlds import world_with

    folder = _bundle(options.bundle)
    return {'bundle': folder, 'world': options.world or world_with(load_bundle(folder).task.action.joints)}


def _add_demo(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, 'demo', _demo, 'Run a shipped policy on a simulated robot, through the real nodes.')
    parser.add_argument('--bundle', default=None, help='policy to run; without it, models/<world>_state')
    parser.add_argument('--world', default='push_block', choices=WORLDS, help='simulated robot')
    parser.add_argument('--episodes', type=int, default=3, help='episodes to run')
    parser.add_argument('--seed', type=int, default=100_000, help='seed of the first episode')
    parser.add_argument('--out', type=Path, default=Path('demo'), help='folder for the GIF, the table and the logs')


def _demo(options: argparse.Namespace) -> int:
    from dp_ros.nodes.demo import run_demo
    from dp_ros.simulation.scores import EvaluationSettings

    settings = EvaluationSettings(
        bundle=_bundle(options.bundle or f'models/{options.world}_state'),
        world=options.world,
        episodes=options.episodes,
        seed=options.seed,
        through='ros',
    )
    return run_demo(settings, options.out, print)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, 'convert', _convert, 'Turn the PushT demonstrations (zarr) into rosbag2 recordings.')
    parser.add_argument('source', type=Path, help='pusht_cchi_v7_replay.zarr')
    parser.add_argument('out', type=Path, help='new folder for the bags, one per episode')
    parser.add_argument('--storage', default='mcap', choices=['mcap', 'sqlite3'], help='rosbag2 storage')
    parser.add_argument('--camera', default='raw', choices=['raw', 'png', 'jpeg', 'none'], help='how images are kept')
    parser.add_argument('--episodes', type=int, default=None, help='only the first so many')


def _convert(options: argparse.Namespace) -> int:
    from dp_ros.training.convert import convert_pusht

    bags = convert_pusht(
        options.source, options.out, storage=options.storage, camera=options.camera, episodes=options.episodes
    )
    print(f'{len(bags)} bags in {options.out}')
    return 0


def _add_record(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, 'record', _record, 'Record demonstrations of the running robot as rosbag2.')
    parser.add_argument('out', type=Path, help='new folder for the bags, one per episode')
    parser.add_argument('--config', default=None, help='training configuration that names the topics; '
                        'without it, config/train/<world>_state.yaml')  # fmt: skip
    parser.add_argument('--source', default='scripted', choices=['scripted', 'external'],
                        help='who commands: a scripted demonstrator, or whoever does already')  # fmt: skip
    parser.add_argument('--through', default='ros', choices=['ros', 'direct'],
                        help='ros: the nodes, in real time; direct: in this process, much faster')  # fmt: skip
    parser.add_argument('--disturbance', type=float, default=0.0,
                        help='scripted: how much drives and starts are disturbed, to show how to recover')  # fmt: skip
    parser.add_argument('--world', default='push_block', choices=WORLDS, help='simulated robot')
    parser.add_argument('--episodes', type=int, default=1, help='episodes to record')
    parser.add_argument('--seed', type=int, default=0, help='seed of the first episode')
    parser.add_argument('--seconds', type=float, default=30.0, help='longest episode [s]')
    parser.add_argument('--storage', default='mcap', choices=['mcap', 'sqlite3'], help='rosbag2 storage')


def _record(options: argparse.Namespace) -> int:
    from dp_ros.config import read_yaml
    from dp_ros.nodes.record import RecordSettings, run_record
    from dp_ros.paths import locate
    from dp_ros.training.bags import BagWriter
    from dp_ros.training.settings import TrainSettings

    task = read_yaml(locate(options.config or f'config/train/{options.world}_state.yaml'), TrainSettings).task
    if options.through == 'direct':
        return _record_direct(options, task)
    names = ('out', 'world', 'source', 'episodes', 'seed', 'seconds', 'disturbance')
    settings = RecordSettings(task=task, **{name: getattr(options, name) for name in names})
    return run_record(settings, partial(BagWriter, storage=options.storage), print)


def _record_direct(options: argparse.Namespace, task: TaskSpec) -> int:
    from dp_ros.training.demonstrations import DemonstrationSettings, write_demonstrations

    if options.source != 'scripted':
        raise ConfigError(f'source: got {options.source!r}, allowed scripted with --through direct')
    names = ('out', 'world', 'episodes', 'seed', 'seconds', 'disturbance', 'storage')
    settings = DemonstrationSettings(task=task, **{name: getattr(options, name) for name in names})
    return write_demonstrations(settings, print)


def _add_check_bag(commands: argparse._SubParsersAction) -> None:
    text = 'Audit recordings before training. Exit code: 0 fine, 1 errors, 3 with --strict: warnings.'
    parser = _command(commands, 'check-bag', _check_bag, text)
    parser.add_argument('bags', type=Path, help='a recording, or a folder of them')
    parser.add_argument('--config', default=None, help='training configuration; without it, what the topics suggest')
    parser.add_argument('--out', type=Path, default=None, help='folder for the report and the plots')
    parser.add_argument('--json', type=Path, default=None, help='write the outcome here')
    parser.add_argument('--strict', action='store_true', help='warnings fail too')


def _check_bag(options: argparse.Namespace) -> int:
    from dp_ros.config import read_yaml
    from dp_ros.paths import locate
    from dp_ros.training.check_bag import CheckSettings, check_bags
    from dp_ros.training.cuts import BY_FILE
    from dp_ros.training.settings import TrainSettings

    train = read_yaml(locate(options.config), TrainSettings) if options.config else None
    chosen = {name: getattr(options, name) for name in ('out', 'json', 'strict')}
    settings = CheckSettings(
        path=options.bags, task=train.task if train else None, cut=getattr(train, 'cut', BY_FILE), **chosen
    )
    return check_bags(settings, print)


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, 'train', _train, 'Train a policy from recordings; the same command resumes a run.')
    parser.add_argument('--config', type=str, required=True, help='training configuration (YAML)')
    parser.add_argument('--data', type=Path, required=True,
                        help='a recording, a folder of them, a LeRobot dataset, HDF5 or a zarr')  # fmt: skip
    parser.add_argument('--cache', type=Path, help='keep decoded pictures here, not in memory; safe to delete')
    parser.add_argument('--workers', type=int, default=0, help='processes that fill the cache; 0: one a processor')
    parser.add_argument('--run', dest='folder', type=Path, required=True, help='run folder; an unfinished run goes on')


def _train(options: argparse.Namespace) -> int:
    from dp_ros.config import read_yaml
    from dp_ros.paths import locate
    from dp_ros.training.settings import TrainSettings
    from dp_ros.training.sources import read_recordings
    from dp_ros.training.trainer import Trainer, collected

    settings = read_yaml(locate(options.config), TrainSettings)
    episodes = read_recordings(
        options.data, settings.task, cut=settings.cut, columns=settings.columns,
        cache=options.cache, workers=options.workers, progress=False,
    )  # fmt: skip
    result = Trainer(settings, collected(episodes), options.folder).run()
    state = 'finished' if result.finished else 'stopped'
    print(f'{state} at step {result.step}, validation loss {result.validation_loss:.4f}: {result.folder}')
    return 0 if result.finished else 130


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, 'export', _export, 'Export a run as a bundle that a robot can load.')
    parser.add_argument('run_folder', metavar='RUN', type=Path, help='run folder of dp_ros train')
    parser.add_argument('bundle', type=Path, help='folder to write')
    parser.add_argument('--weights', default='float16', choices=['float16', 'float32'], help='how weights are stored')
    parser.add_argument('--torchscript', action='store_true', help='also write TorchScript')
    parser.add_argument('--sampling-steps', type=int, help='the default number (default: 10, or 1 for regression)')
    parser.add_argument('--checkpoint', choices=['best', 'last'], help='default: best, where there were rollouts')
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')


def _export(options: argparse.Namespace) -> int:
    from dp_ros.training.export import export_run

    bundle = export_run(
        options.run_folder,
        options.bundle,
        weights=options.weights,
        torchscript=options.torchscript,
        sampling_steps=options.sampling_steps,
        checkpoint=options.checkpoint,
        overwrite=options.overwrite,
    )
    size = sum(f.stat().st_size for f in bundle.folder.iterdir())
    print(f'{bundle.folder}: {size / 1e6:.2f} MB, {", ".join(sorted(bundle.files))}')
    return 0


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, 'evaluate', _evaluate, 'Score a policy on a simulated robot.')
    parser.add_argument('bundle', help='bundle, as models/pusht_state')
    parser.add_argument('--world', default=None, choices=WORLDS,
                        help='simulated robot; without it, the one with these joints')  # fmt: skip
    parser.add_argument('--episodes', type=int, default=100, help='episodes, on consecutive seeds')
    parser.add_argument('--seed', type=int, default=100_000, help='seed of the first episode')
    parser.add_argument('--through', default='direct', choices=['direct', 'ros'],
                        help='direct: in this process; ros: the node processes over DDS')  # fmt: skip
    parser.add_argument('--sampler', default=None, choices=SAMPLERS, help="instead of the bundle's")
    parser.add_argument('--sampling-steps', type=int, default=None, help="instead of the bundle's")
    parser.add_argument('--exec-horizon', type=int, default=None, help="instead of the bundle's")
    parser.add_argument('--continuity', default='none', choices=['none', 'rtc', 'ensemble'],
                        help='how a chunk goes on from the last one')  # fmt: skip
    parser.add_argument('--latency', type=float, default=0.05,
                        help='direct: time from observation to command [s]')  # fmt: skip
    parser.add_argument('--rate', type=float, default=1.0,
                        help='ros: speed of simulated time; 1 is real time')  # fmt: skip
    parser.add_argument('--seconds', type=float, default=30.0, help='longest episode [s]')
    parser.add_argument('--threads', type=int, default=2, help='threads of one network call')
    parser.add_argument('--backend', default='onnxruntime', choices=['onnxruntime', 'torchscript'], help='runtime')
    parser.add_argument('--json', type=Path, default=None, help='write the summary here')


def _evaluate(options: argparse.Namespace) -> int:
    import json

    from dp_ros.simulation.scores import EvaluationSettings, table

    if options.through == 'ros':
        from dp_ros.nodes.evaluation import evaluate_ros as evaluate
    else:
        from dp_ros.training.evaluation import evaluate_direct as evaluate
    chosen = {f.name: getattr(options, f.name) for f in dataclasses.fields(EvaluationSettings)}
    summary = evaluate(EvaluationSettings(**{**chosen, **_bundle_and_world(options)}))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(summary, indent=2) + '\n')
    print(table(summary))
    return 0


def _add_soak(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, 'soak', _soak, 'Run the nodes for long, and write down memory, latency and limits.')
    parser.add_argument('bundle', help='bundle, as models/push_block_state')
    parser.add_argument('--world', default=None, choices=WORLDS,
                        help='simulated robot; without it, the one with these joints')  # fmt: skip
    parser.add_argument('--minutes', type=float, default=60.0, help='how long, in wall time')
    parser.add_argument('--seed', type=int, default=200_000, help='seed of the first episode')
    parser.add_argument('--threads', type=int, default=1, help='threads of one network call')
    parser.add_argument('--json', type=Path, default=None, help='write the summary here')
    parser.add_argument('--plot', type=Path, default=None, help='draw memory and latency here (PNG)')


def _soak(options: argparse.Namespace) -> int:
    import json

    from dp_ros.nodes.soak import plot_soak, run_soak
    from dp_ros.simulation.scores import EvaluationSettings

    chosen = {name: getattr(options, name) for name in ('seed', 'threads')}
    settings = EvaluationSettings(through='ros', **chosen, **_bundle_and_world(options))
    summary = run_soak(settings, options.minutes, print)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(summary, indent=1) + '\n')
    if options.plot:
        plot_soak(summary, options.plot)
    return 1 if summary['limit_violations'] or summary['rejected_by_the_controller'] else 0


def _add_streaming(commands: argparse._SubParsersAction) -> None:
    _command(commands, 'streaming', _streaming, 'Show what ways of streaming a plan to a controller do to a motion.')


def _streaming(_: argparse.Namespace) -> int:
    from dp_ros.simulation.streaming import streaming_table

    print(streaming_table())
    return 0


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, 'inspect', _inspect, 'Say what a bundle or a recording holds.')
    parser.add_argument('path', help='bundle or rosbag2 recording')


def _inspect(options: argparse.Namespace) -> int:
    from dp_ros.inspection import describe

    print(describe(_bundle(options.path)))
    return 0


def _add_bench(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, 'bench', _bench, 'Measure the network beside eager torch, and reading recordings.')
    parser.add_argument('--bundle', default='models/pusht_state', help='bundle whose network is measured')
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2], help='threads to measure')
    parser.add_argument('--rounds', type=int, default=200, help='forwards of each, in turn')
    parser.add_argument('--messages', type=int, default=200_000, help='joint states in each bag')
    parser.add_argument('--json', type=Path, default=None, help='write the numbers here')


def _bench(options: argparse.Namespace) -> int:
    from dp_ros.training.bench import BenchSettings, run_bench

    names = ('threads', 'rounds', 'messages', 'json')
    chosen = {name: getattr(options, name) for name in names}
    return run_bench(BenchSettings(**{**chosen, 'bundle': _bundle(options.bundle)}), print)


if __name__ == '__main__':
    raise SystemExit(main())
