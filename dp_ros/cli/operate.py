"""With a bundle or a robot: demo, evaluate, soak, plot, streaming, inspect, reset."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dp_ros.cli.arguments import (
    SAMPLERS,
    bundle_and_world,
    bundle_arguments,
    bundle_folder,
    command,
    continuity_argument,
    node_arguments,
    speed_argument,
    world_argument,
)
from dp_ros.errors import ConfigError, listed


def add_demo(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'demo', _demo, 'Run a shipped policy on a simulated robot, through the real nodes.')
    parser.add_argument('--bundle', default=None, help='policy to run; without it, the one of the world')
    world_argument(parser, "without it, that of the demo, or the one with the bundle's joints")
    parser.add_argument('--episodes', type=int, default=3, help='episodes to run')
    parser.add_argument('--seed', type=int, default=100_000, help='seed of the first episode')
    parser.add_argument('--policy-speed', type=float, default=None,
                        help='how many times as fast as it was shown the policy is played; without it, 1, or what '
                        'suits the policy that is shipped')  # fmt: skip
    parser.add_argument('--out', type=Path, default=Path('demo'), help='folder for the GIF, the table and the logs')


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
        bundle, speed = {'bundle': bundle_folder(spec.bundle), 'world': spec.name}, spec.policy_speed
    settings = EvaluationSettings(
        **bundle,
        episodes=options.episodes,
        seed=options.seed,
        through='ros',
        policy_speed=speed if options.policy_speed is None else options.policy_speed,
    )
    return run_demo(settings, options.out, print)


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'evaluate', _evaluate, 'Score a policy on a simulated robot, or on recordings.')
    bundle_arguments(parser, 'models/pusht_mirror')
    parser.add_argument('--episodes', type=int, default=100, help='episodes, on consecutive seeds')
    parser.add_argument('--seed', type=int, default=100_000, help='seed of the first episode')
    parser.add_argument('--through', default='direct', choices=['direct', 'ros'],
                        help='direct: in this process; ros: the node processes over DDS')  # fmt: skip
    speed_argument(parser)
    parser.add_argument('--sampler', default=None, choices=SAMPLERS, help="instead of the bundle's")
    parser.add_argument('--sampling-steps', type=int, default=None, help="instead of the bundle's")
    parser.add_argument('--warm-steps', type=int, default=0,
                        help='network calls of a chunk that starts from the last one, 0 for none')  # fmt: skip
    parser.add_argument('--samples', type=int, default=1, help='chunks drawn at once, of which one is taken')
    parser.add_argument('--exec-horizon', type=int, default=None, help="instead of the bundle's")
    parser.add_argument('--guidance-scale', type=float, default=None, help='of a bundle trained with guidance')
    _sequence_arguments(parser)
    continuity_argument(parser)
    parser.add_argument('--blend-steps', type=int, default=None,
                        help="of the publisher's cross-fade, 0 for none; without it, the world's")  # fmt: skip
    time = parser.add_mutually_exclusive_group()
    time.add_argument('--latency', type=float, default=0.05,
                      help='direct: time from observation to command [s]')  # fmt: skip
    time.add_argument('--delay', type=int, default=None, help='direct: the same in control steps')
    parser.add_argument('--rate', type=float, default=1.0,
                        help='ros: speed of simulated time; 1 is real time')  # fmt: skip
    parser.add_argument('--seconds', type=float, default=30.0, help='longest episode [s]')
    parser.add_argument('--instructions', default='phrasings', choices=['phrasings', 'paraphrases'],
                        help="of a policy that is asked in words: those that it was trained with, or the world's own, "
                        'which no training has')  # fmt: skip
    parser.add_argument('--threads', type=int, default=2, help='threads of one network call')
    node_arguments(parser, 'ros: ')
    parser.add_argument('--workers', type=int, default=1, help='direct: processes that share the episodes')
    parser.add_argument('--record', type=Path, default=None,
                        help='direct: write recordings of the episodes that succeed into this new folder')  # fmt: skip
    parser.add_argument('--record-camera', action='store_true',
                        help="with --record: the world's cameras too, for a policy that will see")  # fmt: skip
    parser.add_argument('--backend', default='onnxruntime', choices=['onnxruntime', 'torchscript'], help='runtime')
    parser.add_argument('--json', type=Path, default=None, help='write the summary here')
    group = parser.add_argument_group('on recordings', 'Open loop: chunks are compared with what was commanded.')
    group.add_argument('--recordings', type=Path, nargs='+', default=None, metavar='PATH',
                       help='recordings, folders of them, or a dataset, in place of a simulated robot')  # fmt: skip
    group.add_argument('--every', type=int, default=0,
                       help="control ticks from one chunk to the next; 0: the bundle's exec_horizon")  # fmt: skip
    group.add_argument('--draws', type=int, default=4, help='chunks at each tick, from different noise')
    group.add_argument('--config', default=None, help='training configuration whose cut and columns count; without it, '
                       'those that the bundle was trained with')  # fmt: skip
    group.add_argument('--output', type=Path, default=None, help='folder for the summary and the plots')
    parser.set_defaults(run=partial(_evaluate, parser.get_default))


def _sequence_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('a sequence model', 'How it plans; see doc/howto/sequence_models.md.')
    group.add_argument('--planning', default=None, choices=['return', 'beam', 'likelihood'],
                       help='after the return asked for, by predicted return, or by likelihood')  # fmt: skip
    group.add_argument('--asked-return', type=float, default=None, help='of an episode; 0: the best it finds plausible')
    group.add_argument('--beams', type=int, default=None, help='sequences that go on, with beam or likelihood')
    group.add_argument('--temperature', type=float, default=None, help='of actions; 0: always the likeliest')
    group.add_argument('--keep-clear', nargs='+', default=None, metavar='STREAM:RADIUS',
                       help='discs that no set point comes into')  # fmt: skip
    group.add_argument('--keep-within', nargs='+', default=None, metavar='JOINT:LOWEST:HIGHEST',
                       help='ranges that no set point leaves')  # fmt: skip


_RECORDED = ('recordings', 'every', 'draws', 'config', 'output')
_EITHER = ('bundle', 'sampler', 'sampling_steps', 'guidance_scale', 'threads', 'backend', 'seed', 'json')


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
    from dp_ros.paths import locate
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    chosen = {name: getattr(options, name) for name in (*_RECORDED, *_EITHER) if name not in ('bundle', 'config')}
    if options.config:
        config = read_yaml(locate(options.config), TrainSettings)
        chosen |= {'cut': config.cut, 'columns': config.columns}
    return run_open_loop(OpenLoopSettings(bundle=bundle_folder(options.bundle), **chosen), print)


def _evaluate_simulated(options: argparse.Namespace) -> int:
    import json

    from dp_ros.evaluation.scores import EvaluationSettings, table

    if options.through == 'ros':
        from dp_ros.tools.graph_evaluation import evaluate_ros as evaluate
    else:
        from dp_ros.evaluation.episodes import evaluate_direct as evaluate
    chosen = {f.name: getattr(options, f.name) for f in dataclasses.fields(EvaluationSettings)}
    summary = evaluate(EvaluationSettings(**{**chosen, **bundle_and_world(options)}))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(summary, indent=2) + '\n')
    print(table(summary))
    return 0


def add_plot(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'plot', _plot, 'Draw what a recording commanded beside what was measured.')
    parser.add_argument('recording', type=Path, help='rosbag2, as the node black_box writes it')
    parser.add_argument('--out', type=Path, default=None, help='the picture (PNG); without it, beside the recording')


def _plot(options: argparse.Namespace) -> int:
    from dp_ros.tools.recorded_motion import plot_motion, read_motion, summary

    recorded = read_motion(options.recording)
    out = options.out or options.recording.with_name(f'{options.recording.stem}.png')
    out.parent.mkdir(parents=True, exist_ok=True)
    plot_motion(recorded, out, options.recording.name)
    print(f'{summary(recorded)}\n{out}')
    return 0


def add_soak(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'soak', _soak, 'Run the nodes for long, and write down memory, latency and limits.')
    bundle_arguments(parser, 'models/push_block_state')
    parser.add_argument('--minutes', type=float, default=60.0, help='how long, in wall time')
    parser.add_argument('--seed', type=int, default=500_000, help='seed of the first episode')
    parser.add_argument('--threads', type=int, default=1, help='threads of one network call')
    parser.add_argument('--json', type=Path, default=None, help='write the summary here')
    parser.add_argument('--plot', type=Path, default=None, help='draw memory and latency here (PNG)')


def _soak(options: argparse.Namespace) -> int:
    import json

    from dp_ros.evaluation.scores import EvaluationSettings
    from dp_ros.tools.soak import plot_soak, run_soak

    chosen = {name: getattr(options, name) for name in ('seed', 'threads')}
    settings = EvaluationSettings(through='ros', **chosen, **bundle_and_world(options))
    summary = run_soak(settings, options.minutes, print)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(summary, indent=1) + '\n')
    if options.plot:
        plot_soak(summary, options.plot)
    bad = ('limit_violations', 'rejected_by_the_controller', 'ended_early')
    return 1 if any(summary[name] for name in bad) or not summary['chunks'] else 0


def add_streaming(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    command(commands, 'streaming', _streaming, 'Show what ways of streaming a plan to a controller do to a motion.')


def _streaming(_: argparse.Namespace) -> int:
    from dp_ros.evaluation.streaming_baselines import streaming_table

    print(streaming_table())
    return 0


def add_inspect(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'inspect', _inspect, 'Say what a bundle, a recording or a dataset holds.')
    parser.add_argument('path', help='bundle, rosbag2 recording, LeRobot dataset or HDF5')


def _inspect(options: argparse.Namespace) -> int:
    from dp_ros.cli.inspect import describe

    print(describe(bundle_folder(options.path)))
    return 0


def add_reset(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'reset', _reset, 'Release the latch of a trajectory_publisher on this machine that has '
                     'allow_reset: local, once its reason has been read.')  # fmt: skip
    parser.add_argument('--node', default=None, help='its name with its namespace; without it, the one that runs')
    parser.add_argument('--domain', type=int, default=None, help='its ROS domain; without it, any')
    parser.add_argument('--yes', action='store_true', help='do not ask')


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
