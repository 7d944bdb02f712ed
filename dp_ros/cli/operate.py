"""With a bundle or a robot: demo, evaluate, soak, plot, streaming, inspect, reset."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dp_ros.bounded_files import write_json
from dp_ros.cli.arguments import CommandParser, add_settings, bundle_and_world, command, made_of, training_config
from dp_ros.errors import ConfigError, listed
from dp_ros.paths import locate


def _demo_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.settings import EvaluationSettings

    parser.add_argument('--bundle', default=None, help='policy to run; without it, the one of the world')
    parser.world("without it, that of the demo, or the one with the bundle's joints")
    speed = (
        'how many times as fast as it was shown the policy is played; without it, 1, or what suits the policy that is '
        'shipped'
    )
    parser.settings(
        EvaluationSettings,
        *('episodes', 'seed', 'policy_speed'),
        episodes=3,
        policy_speed={'default': None, 'help': speed},
    )
    parser.add_argument('--out', type=Path, default=Path('demo'), help='folder for the GIF, the table and the logs')


@command('Run a shipped policy on a simulated robot, through the real nodes.', _demo_options)
def _demo(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.scores import EvaluationSettings
    from dp_ros.simulation.registry import world_spec
    from dp_ros.simulation.worlds import DEMO_WORLD
    from dp_ros.tools.demo import run_demo

    if options.bundle:
        bundle, speed = bundle_and_world(options), 1.0
    else:
        spec = world_spec(options.world or DEMO_WORLD)
        if not spec.bundle:
            raise ConfigError(f'bundle: got none for the world {spec.name}, allowed one with --bundle')
        bundle, speed = {'bundle': locate(spec.bundle), 'world': spec.name}, spec.policy_speed
    speed = speed if options.policy_speed is None else options.policy_speed
    settings = made_of(EvaluationSettings, options, **bundle, through='ros', policy_speed=speed)
    return run_demo(settings, options.out, print)


def _evaluate_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.recorded.open_loop import OpenLoopSettings
    from dp_ros.evaluation.settings import SEQUENCE_ONLY, EvaluationSettings
    from dp_ros.options import options_of

    parser.bundle('models/pusht_mirror')
    apart = (*SEQUENCE_ONLY, 'latency', 'delay')
    usual = [o.name for o in options_of(EvaluationSettings) if o.name not in apart]
    parser.settings(EvaluationSettings, *usual, ray={'metavar': 'ADDRESS'})
    add_settings(parser.add_mutually_exclusive_group(), EvaluationSettings, 'latency', 'delay')
    parser.file('json', 'write the summary here')
    group = parser.add_argument_group('a sequence model', 'How it plans; see doc/howto/sequence_models.md.')
    kept = {'keep_clear': {'metavar': 'STREAM:RADIUS'}, 'keep_within': {'metavar': 'JOINT:LOWEST:HIGHEST'}}
    add_settings(group, EvaluationSettings, *SEQUENCE_ONLY, **kept)
    group = parser.add_argument_group('on recordings', 'Open loop: chunks are compared with what was commanded.')
    optional = {'flag': '--recordings', 'default': None, 'metavar': 'PATH'}
    add_settings(group, OpenLoopSettings, 'recordings', 'every', 'draws', 'output', recordings=optional)
    group.add_argument('--config', default=None, help='training configuration whose cut and columns count; without it, '
                       'those that the bundle was trained with')  # fmt: skip
    parser.set_defaults(run=partial(_evaluate, parser.get_default))


_RECORDED = ('recordings', 'every', 'draws', 'config', 'output')
_EITHER = ('bundle', 'sampler', 'sampling_steps', 'guidance_scale', 'threads', 'backend', 'seed', 'json')


@command('Score a policy on a simulated robot, or on recordings.', _evaluate_options)
def _evaluate(default: Callable[[str], Any], options: argparse.Namespace) -> int:
    asked = {name for name, value in vars(options).items() if name != 'run' and value != default(name)}
    if options.recordings and asked - {*_RECORDED, *_EITHER}:
        odd = asked - {*_RECORDED, *_EITHER}
        raise ConfigError(f'{listed(sorted(odd))}: got with recordings, allowed {listed((*_RECORDED, *_EITHER))}')
    if not options.recordings and asked & set(_RECORDED):
        raise ConfigError(f'{listed(sorted(asked & set(_RECORDED)))}: got without recordings, allowed with them only')
    return _evaluate_recorded(options) if options.recordings else _evaluate_simulated(options)


def _evaluate_recorded(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.recorded.open_loop import OpenLoopSettings, run_open_loop

    chosen: dict[str, Any] = {'bundle': locate(options.bundle)}
    if options.config:
        config = training_config(options.config)
        chosen |= {'cut': config.cut, 'columns': config.columns}
    return run_open_loop(made_of(OpenLoopSettings, options, **chosen), print)


def _evaluate_simulated(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.scores import EvaluationSettings, table

    if options.through == 'ros':
        from dp_ros.tools.graph_evaluation import evaluate_ros as evaluate
    else:
        from dp_ros.evaluation.episodes import evaluate_direct as evaluate
    summary = evaluate(made_of(EvaluationSettings, options, **bundle_and_world(options)))
    write_json(options.json, summary, indent=2)
    print(table(summary))
    return 0


def _plot_options(parser: CommandParser) -> None:
    parser.add_argument('recording', type=Path, help='rosbag2, as the node black_box writes it')
    parser.add_argument('--out', type=Path, default=None, help='the picture (PNG); without it, beside the recording')


@command('Draw what a recording commanded beside what was measured.', _plot_options)
def _plot(options: argparse.Namespace) -> int:
    from dp_ros.tools.recorded_motion import plot_motion, read_motion, summary

    recorded = read_motion(options.recording)
    out = options.out or options.recording.with_name(f'{options.recording.stem}.png')
    out.parent.mkdir(parents=True, exist_ok=True)
    plot_motion(recorded, out, options.recording.name)
    print(f'{summary(recorded)}\n{out}')
    return 0


def _soak_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.settings import EvaluationSettings

    parser.bundle('models/push_block_state')
    parser.add_argument('--minutes', type=float, default=60.0, help='how long, in wall time')
    own = {'seed': 500_000, 'threads': 1}
    parser.settings(EvaluationSettings, 'seed', 'threads', **own)
    parser.file('json', 'write the summary here')
    parser.file('plot', 'draw memory and latency here (PNG)')


@command('Run the nodes for long, and write down memory, latency and limits.', _soak_options)
def _soak(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.scores import EvaluationSettings
    from dp_ros.tools.soak import plot_soak, run_soak

    settings = made_of(EvaluationSettings, options, through='ros', **bundle_and_world(options))
    summary = run_soak(settings, options.minutes, print)
    write_json(options.json, summary)
    if options.plot:
        plot_soak(summary, options.plot)
    bad = ('limit_violations', 'rejected_by_the_controller', 'ended_early')
    return 1 if any(summary[name] for name in bad) or not summary['chunks'] else 0


@command('Show what ways of streaming a plan to a controller do to a motion.')
def _streaming(_: argparse.Namespace) -> int:
    from dp_ros.evaluation.streaming_baselines import streaming_table

    print(streaming_table())
    return 0


def _inspect_options(parser: CommandParser) -> None:
    parser.add_argument('path', help='bundle, rosbag2 recording, LeRobot dataset or HDF5')


@command('Say what a bundle, a recording or a dataset holds.', _inspect_options)
def _inspect(options: argparse.Namespace) -> int:
    from dp_ros.cli.inspect import describe

    print(describe(locate(options.path)))
    return 0


def _reset_options(parser: CommandParser) -> None:
    parser.add_argument('--node', default=None, help='its name with its namespace; without it, the one that runs')
    parser.add_argument('--domain', type=int, default=None, help='its ROS domain; without it, any')
    parser.add_argument('--yes', action='store_true', help='do not ask')


@command(
    'Release the latch of a trajectory_publisher on this machine that has allow_reset: local, once its reason has '
    'been read.',
    _reset_options,
)
def _reset(options: argparse.Namespace) -> int:
    import sys

    from dp_ros.nodes.trajectory_publisher.local_reset import ask, choose, describe

    publisher = choose(node=options.node, domain=options.domain)
    state = ask(publisher)
    if not state.success:
        print(f'{describe(publisher)}: {state.message}')
        return 0
    print(f'{describe(publisher)} is stopped: {state.message}')
    if not options.yes:
        if not sys.stdin.isatty():
            raise ConfigError('reset: got no terminal to ask at, allowed --yes')
        if input('May the arm move again? [y/N] ').strip().lower() not in ('y', 'yes'):
            print('not reset')
            return 1
    answer = ask(publisher, seen=state.message)
    print(answer.message)
    return 0 if answer.success else 1
