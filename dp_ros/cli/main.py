"""The command line: ``dp_ros <command>``. The commands are in the other modules of `dp_ros.cli`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from dp_ros import __version__
from dp_ros.cli import compare, experiment, learn, measure, operate, watch  # noqa: F401, they make the commands
from dp_ros.cli.arguments import CommandParser, add_command
from dp_ros.errors import DpRosError, one_line


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code. An error that has a name is printed without a traceback."""
    if args is None:  # as a program: whoever ends it ends the nodes that it started, as Ctrl-C does
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one
                signal.signal(number, signal.default_int_handler)
    try:
        options = build_parser().parse_args(args)
        return options.run(options)
    except DpRosError as error:
        print(f'error: {one_line(str(error)) if error.one_line else error}', file=sys.stderr)
        return 1
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        print(f'error: {error.filename}: {error.strerror}', file=sys.stderr)
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
    'wordllama': 'language',
    'h5py': 'datasets',
    'ray': 'cluster',
    'stable_baselines3': 'rl',
    'gym_pusht': 'sim',
    'mujoco': 'sim',
    'pymunk': 'sim',
    'imageio': 'sim',
    'pinocchio': 'planning',
    'coal': 'planning',
    'ompl': 'planning',
    'onnxruntime': 'runtime',
    'cv2': 'runtime',
    'rclpy': 'ros',
    'sensor_msgs': 'ros',
    'trajectory_msgs': 'ros',
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog='dp_ros', description='Diffusion policies for ROS 2 arms.')
    parser.add_argument('--version', action='version', version=__version__)
    commands = parser.add_subparsers(required=True, metavar='COMMAND', parser_class=CommandParser)
    for name in (
        'demo', 'convert', 'record', 'init', 'check-bag', 'train', 'export', 'critic', 'monitor', 'outcomes',
        'export-lerobot', 'evaluate', 'compare', 'delays', 'denoise', 'sweep', 'reinforce', 'soak', 'plot', 'streaming',
        'inspect', 'reset', 'bench', 'latency', 'tune', 'obstacles',
    ):  # fmt: skip
        add_command(commands, name)
    return parser


if __name__ == '__main__':
    raise SystemExit(main())
