"""A sweep: what it refuses before it trains, that it goes on where it was killed, and counts nothing twice."""

import csv
import dataclasses
import errno
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError, DataError, DpRosError
from dp_ros.evaluation.demonstrations import RecordSettings, write_demonstrations
from dp_ros.evaluation.episodes import evaluate_direct
from dp_ros.evaluation.scores import EpisodeResult, EvaluationSettings
from dp_ros.evaluation.seams import Seams
from dp_ros.evaluation.sweep import parts as parts_module
from dp_ros.evaluation.sweep import sweep as sweep_module
from dp_ros.evaluation.sweep.combinations import axes_of, check_run, combine, with_run
from dp_ros.evaluation.sweep.parts import blocks_of, keep, kept, recordings_sha256, training_of
from dp_ros.evaluation.sweep.report import markdown, row_of
from dp_ros.evaluation.sweep.sweep import SweepSettings, run_sweep
from dp_ros.evaluation.sweep.work import played, trained
from dp_ros.evaluation.workers.ray_cluster import RayCluster
from dp_ros.evaluation.workers.workers import Processes
from dp_ros.paths import locate, share_folder
from dp_ros.simulation.registry import make_expert
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.run_folder import locked_folder
from dp_ros.training.settings import TrainSettings
from test.training.dying_part import die_once

WORLD = 'point_navigation'
CONFIG = read_yaml(share_folder() / 'config/train/point_navigation.yaml', TrainSettings)
SMALL = dataclasses.replace(
    CONFIG, steps=2, batch=8, network=dataclasses.replace(CONFIG.network, width=16, layers=1, level_width=8)
)
EVALUATION = EvaluationSettings(bundle=Path(), world=WORLD, episodes=3, seconds=1.0, threads=1, seed=100_024)


@pytest.fixture(scope='module')
def bags(tmp_path_factory):
    folder = tmp_path_factory.mktemp('recordings') / 'bags'
    write_demonstrations(RecordSettings(out=folder, task=SMALL.task, world=WORLD, episodes=2), lambda _: None)
    return folder


def settings(bags: Path, out: Path, **changes) -> SweepSettings:
    usual = {'training': SMALL, 'data': bags, 'evaluation': EVALUATION, 'out': out}
    return SweepSettings(**(usual | {'vary': ('objective.diffusion_steps=4,8', 'run.sampling_steps=1,2')} | changes))


class Killed(Exception):
    pass


def test_a_sweep_goes_on_where_it_was_killed_and_counts_nothing_twice(bags, tmp_path, monkeypatch):
    done: dict[str, list] = {'train': [], 'play': []}
    left = [5]

    def counted(name):
        real = getattr(parts_module, name)

        def work(part, *rest):
            if not left[0]:
                raise Killed
            left[0] -= 1
            done[name].append(part)
            return real(part, *rest)

        monkeypatch.setattr(f'dp_ros.evaluation.sweep.work.{name}', work)

    counted('train')
    counted('play')
    asked = settings(bags, tmp_path / 'sweep')
    with pytest.raises(Killed):
        run_sweep(asked, lambda _: None)
    left[0] = 100
    said: list[str] = []
    assert run_sweep(asked, said.append) == 0
    # Two trainings; two blocks of each of four evaluations: each once, for all that the first attempt was cut short.
    assert [len(done[name]) for name in ('train', 'play')] == [2, 8]
    assert len({block.file for block in done['play']}) == 8
    rows = list(csv.DictReader((asked.out / 'table.csv').open()))
    assert [(r['objective.diffusion_steps'], r['run.sampling_steps']) for r in rows] == [
        ('4', '1'), ('4', '2'), ('8', '1'), ('8', '2')
    ]  # fmt: skip
    assert {row['episodes'] for row in rows} == {'3'}
    assert (asked.out / 'plot.png').stat().st_size > 1000
    assert (asked.out / 'curves.png').stat().st_size > 1000
    left[0] = 0  # nothing is left to be done
    assert run_sweep(asked, said.append) == 0
    assert said[-1] == said[-2]


def test_a_process_that_dies_takes_no_part_along(tmp_path):
    parts = [Path(str(number)) for number in range(4)]
    found = dict(Processes(2).done(die_once, parts, tmp_path))
    assert found == {part: part.name for part in parts}


@pytest.mark.parametrize(
    ('asked', 'message'),
    [
        ({'vary': ['objective.schedul=linear']}, r"key: got unknown 'objective.schedul', allowed .*objective.schedule"),
        ({'vary': ['run.sampling_step=1']}, r"key: got unknown 'run.sampling_step', allowed run.sampler, run.sampling"),
        ({'vary': ['objective.schedule=linear,cubic']}, r"schedule: got 'cubic', allowed squaredcos_cap_v2, linear"),
        ({'vary': ['run.sampling_steps=5,500']}, r'run.sampling_steps=500: sampling_steps: got 500, allowed 1 to diff'),
        ({'vary': ['run.exec_horizon=17']}, r'exec_horizon: got 17, allowed 1 to pred_horizon \(16\)'),
        ({'vary': ['network.width=7']}, r'network.width: got 7, allowed multiples of 2 \* heads'),
        ({'vary': ['run.guidance_scale=2.0']}, r'guidance_scale: got 2.0 for a task without guidance, allowed 1'),
        ({'vary': ['data=nowhere']}, r"data: got 'nowhere', which is not there, allowed recordings"),
        ({'vary': ['network.width']}, r"vary: got 'network.width', allowed KEY=VALUE,VALUE"),
        ({'variant': ['a:steps=3,steps=4']}, r'variant a: got keys steps, steps, allowed each once'),
        ({'vary': ['seed=1,1']}, r'seed: got it, or one of 1, 1, twice, allowed once'),
        ({'variant': ['deeper']}, r"variant: got 'deeper', allowed NAME:KEY=VALUE"),
        ({'vary': ['network.layers=1,2'], 'variant': ['a:network.layers=3']}, r'network.layers: got it in two places'),
        ({'ray': '127.0.0.1'}, r"ray: got '127.0.0.1', allowed HOST:PORT, as 10.0.0.1:6379"),
        ({'ray': '127.0.0.1:1'}, r"ray: got '127.0.0.1:1', where nothing answers \(Connection refused\); allowed the"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(bags, tmp_path, capsys, asked, message, monkeypatch):
    monkeypatch.setattr('dp_ros.evaluation.sweep.work.train', lambda *_: pytest.fail('trained'))
    options = [
        option for name, texts in asked.items() if name != 'ray' for text in texts for option in (f'--{name}', text)
    ]
    options += ['--ray', asked['ray']] if 'ray' in asked else []
    config = str(share_folder() / 'config/train/point_navigation.yaml')
    assert main(['sweep', config, '--data', str(bags), '--out', str(tmp_path / 'out'), *options]) == 1
    got = capsys.readouterr().err
    assert re.search(message, got), got


def test_recordings_that_lack_a_topic_are_refused_before_any_training(bags, tmp_path):
    less = replace(SMALL.task, streams=SMALL.task.streams[:1])
    others = tmp_path / 'others'
    write_demonstrations(RecordSettings(out=others, task=less, world=WORLD, episodes=1), lambda _: None)
    with pytest.raises(DpRosError, match=f'lacks topic {SMALL.task.streams[1].topic}'):
        run_sweep(settings(bags, tmp_path / 'out', vary=(f'data={bags},{others}',)), lambda _: None)
    assert not list((tmp_path / 'out').glob('runs/*'))


def test_a_folder_on_a_file_system_without_locks_is_taken(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(errno.EBADF, 'no locks')

    monkeypatch.setattr('dp_ros.training.run_folder.fcntl.flock', without)
    with locked_folder(tmp_path, 'sweep'):
        assert not list(tmp_path.iterdir())


def test_a_second_sweep_in_the_same_folder_is_refused(bags, tmp_path):
    with locked_folder(tmp_path, 'sweep'), pytest.raises(ConfigError, match='another sweep is at work'):
        run_sweep(settings(bags, tmp_path), lambda _: None)


def test_values_are_those_of_yaml_and_lists_stay_whole(bags):
    axes = axes_of(['optimizer.learning_rate=1e-4,0.001', 'optimizer.betas=[0.9, 0.99],[0.95, 0.999]'], [])
    found = combine(CONFIG, axes, evaluation=EVALUATION, data=bags)
    assert [c.training.optimizer.learning_rate for c in found] == [1e-4, 1e-4, 1e-3, 1e-3]
    assert [c.training.optimizer.betas for c in found[:2]] == [(0.9, 0.99), (0.95, 0.999)]


def test_a_part_is_known_by_all_that_it_depends_on(bags, tmp_path):
    one = training_of(SMALL, bags, recordings_sha256(bags))
    assert training_of(dataclasses.replace(SMALL, threads=3), bags, recordings_sha256(bags)).name == one.name
    assert training_of(dataclasses.replace(SMALL, seed=1), bags, recordings_sha256(bags)).name != one.name
    copy = tmp_path / 'copy'
    copy.mkdir()
    for file in bags.rglob('*'):
        if file.is_file():
            (copy / file.relative_to(bags)).parent.mkdir(exist_ok=True)
            (copy / file.relative_to(bags)).write_bytes(file.read_bytes())
    assert recordings_sha256(copy) == recordings_sha256(bags)
    (copy / 'episode_0000' / 'more').write_text('x')
    assert recordings_sha256(copy) != recordings_sha256(bags)
    few, many = (blocks_of('t', dataclasses.replace(EVALUATION, episodes=n)) for n in (40, 80))
    # 100024, then 100025 to 100049: with more episodes these stay what they are.
    assert [b.file for b in few[:2]] == [b.file for b in many[:2]]
    assert sum(b.settings.episodes for b in many) == 80
    other = blocks_of('t', dataclasses.replace(EVALUATION, sampling_steps=3))
    assert other[0].evaluation != few[0].evaluation


def test_what_is_kept_comes_back_as_it_was_and_nothing_else_does(tmp_path):
    block = blocks_of('t', dataclasses.replace(EVALUATION, episodes=1))[0]
    assert kept(block, tmp_path) is None
    seams = Seams(jump=float('nan'), turn_at_seams=1.0, turn_inside=2.0, jerk_at_seams=3.0, jerk_inside=4.0, jerk=5.0)
    result = EpisodeResult(
        seed=100_024, score=0.5, success=False, seconds=1.0, chunks=2, latency=[0.1], processor=[0.05], seams=seams
    )
    keep(block, tmp_path, [result])
    (back,) = kept(block, tmp_path)
    assert dataclasses.asdict(back) | {'seams': 0} == dataclasses.asdict(result) | {'seams': 0}
    assert np.isnan(back.seams.jump) and back.seams.jerk == 5.0
    (tmp_path / block.file).write_text(json.dumps([{'seed': 3}]))
    with pytest.raises(DataError, match='got what no sweep wrote'):
        kept(block, tmp_path)


def test_a_bundle_is_played_as_it_is_beside_trainings(bags, tmp_path):
    out = tmp_path / 'sweep'
    asked = settings(
        bags, out, vary=(), variants=('learnt here:', 'shipped:bundle=models/point_navigation,run.sampling_steps=2')
    )
    assert run_sweep(asked, lambda _: None) == 0
    learnt, shipped = json.loads((out / 'table.json').read_text())
    assert (learnt['trainings'], learnt['recordings'], shipped['trainings'], shipped['trials']) == (1, 2, 0, None)
    assert learnt['episodes'] == shipped['episodes'] == 3 and len(list((out / 'runs').iterdir())) == 1
    again = evaluate_direct(dataclasses.replace(EVALUATION, bundle=locate('models/point_navigation'), sampling_steps=2))
    assert again['mean_score'] == pytest.approx(shipped['score'])
    before = sorted((out / 'episodes').rglob('*.json'))
    assert run_sweep(asked, lambda _: None) == 0 and sorted((out / 'episodes').rglob('*.json')) == before


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ('bundle=models/point_navigation,network.width=8', r'bundle: got it beside network\.width, allowed beside run'),
        ('bundle=models/point_navigation,run.beams=2', 'beams: got for bundle point_navigation of family diffusion'),
        ('bundle=models/push_block_state', 'does not fit the world point_navigation'),
        ('run.planning=beam', r'run\.planning: got for family diffusion, allowed for a sequence model'),
    ],
)
def test_a_bundle_that_cannot_be_played_so_is_refused_before_anything_is_trained(bags, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        run_sweep(settings(bags, tmp_path / 'sweep', vary=(), variants=(f'x:{changes}',)), lambda _: None)
    assert not (tmp_path / 'sweep').exists()


@pytest.mark.parametrize(
    ('run', 'message'),
    [
        ({'sampling_steps': 3}, r'run\.sampling_steps: got for a sequence model, allowed for another family'),
        ({'keep_clear': ['obstacle_7:0.2']}, "keep_clear: got stream 'obstacle_7', allowed poses with x and y: target"),
        ({'keep_within': ['knee:0:1']}, "keep_within: got joint 'knee', allowed point_x, point_y"),
        ({'beams': 0}, 'beams: got 0, allowed 1 to 64'),
    ],
)
def test_what_a_sequence_model_cannot_be_asked_for_is_refused_before_it_is_trained(run, message):
    training = read_yaml(share_folder() / 'config/train/point_obstacle_sequence.yaml', TrainSettings)
    check_run(training, with_run(EVALUATION, {'asked_return': -5.0, 'beams': 2}))
    with pytest.raises(ConfigError, match=message):
        check_run(training, with_run(EVALUATION, run))


@pytest.mark.skipif(torch.cuda.is_available(), reason='a device is there')
def test_a_device_that_is_missing_is_refused_before_the_others_are_trained(bags, tmp_path):
    with pytest.raises(ConfigError, match="device=cuda: device: got 'cuda', which this machine lacks; allowed cpu"):
        run_sweep(settings(bags, tmp_path / 'sweep', vary=('device=cpu,cuda',)), lambda _: None)


def test_episodes_of_several_trainings_count_together_and_their_spread_is_told():
    def summary(successes):
        return {
            'seeds': [1, 2, 3, 4], 'successes': successes, 'seconds': [1.0, 2.0, 3.0, 4.0], 'scores': [1.0] * 4,
            'latency_ms': {'p50': 2.0, 'p95': 3.0}, 'collisions': 1,
        }  # fmt: skip

    row = row_of({}, '', [summary([True, True, True, True]), summary([True, False, False, False])], {})
    assert row.measured['success'].value == 5 / 8
    assert row.measured['time_s'].value == (1 + 2 + 3 + 4 + 1) / 5  # of successes alone
    assert row.measured['collisions'].value == 2 / 8
    assert (row.facts['lowest'], row.facts['highest'], row.facts['episodes']) == (0.25, 1.0, 8)
    assert row.successes == {1: 1.0, 2: 0.5, 3: 0.5, 4: 0.5}


def test_the_table_for_people_has_the_mean_score_of_a_world_where_few_succeed():
    near = {
        'seeds': [1, 2], 'successes': [False, False], 'seconds': [30.0, 30.0], 'scores': [0.6, 0.8],
        'latency_ms': {'p50': 2.0, 'p95': 3.0},
    }  # fmt: skip
    lines = markdown([row_of({}, '', [near], {})]).splitlines()
    head, _, line = ([cell.strip() for cell in text.split('|')] for text in lines)
    assert dict(zip(head, line, strict=True))['mean score'] == '0.700 (0.600 to 0.800)'


def test_actions_after_the_end_of_an_episode_count_or_do_not(bags):
    import torch

    from dp_ros.recordings.episodes.episode import read_episodes
    from dp_ros.training.objective import Objective
    from dp_ros.training.samples.windows import WindowDataset, fit_normalizer

    episodes = list(read_episodes(bags, SMALL.task))
    data = WindowDataset(episodes, SMALL.task, fit_normalizer(episodes, SMALL.task))
    length = len(episodes[0].stamps)
    recorded = data.recorded(torch.tensor([0, length - 3, length - 1, length]))[..., 0]
    assert recorded.sum(dim=1).tolist() == [16, 3, 1, 16]
    with pytest.raises(ConfigError, match='count_padding: got false with distill'):
        distill = dataclasses.replace(SMALL.objective.distill, teacher='runs/x', sampling_steps=2, teacher_steps=4)
        dataclasses.replace(SMALL.objective, distill=distill, count_padding=False)
    loss = Objective(dataclasses.replace(SMALL.objective, schedule='none', diffusion_steps=1))
    actions = torch.zeros(1, 16, 2)
    actions[:, 3:] = 5.0  # a network that says 0 is wrong about these only
    counted = (torch.arange(16) < 3)[None, :, None]
    assert loss(lambda x_k, *_: x_k, (), actions, torch.Generator(), counted) == 0.0
    assert loss(lambda x_k, *_: x_k, (), actions, torch.Generator()) > 20.0


def test_the_noise_of_a_demonstrator_is_chosen_where_the_world_has_it(tmp_path, capsys):
    with pytest.raises(ConfigError, match=r'noise: got 0.03 .* push_block, allowed none; it can be chosen for'):
        make_expert('push_block', np.random.default_rng(), noise=0.03)
    asked = ['record', str(tmp_path / 'bags'), '--world', WORLD, '--through', 'direct', '--noise', '0.5']
    assert main(asked) == 1
    assert 'expert noise: got 0.5, allowed 0 to 0.1 m' in capsys.readouterr().err


@pytest.mark.timeout(900)
def test_a_ray_cluster_that_loses_a_machine_loses_nothing(bags, tmp_path, monkeypatch):
    pytest.importorskip('ray', reason='ray is not installed (extra: cluster)')
    from ray.cluster_utils import Cluster

    # As long as it takes beside other tests.
    monkeypatch.setenv('RAY_raylet_start_wait_time_s', '300')
    monkeypatch.setenv('RAY_health_check_timeout_ms', '60000')
    cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})
    second = cluster.add_node(num_cpus=1)
    try:
        asked = settings(bags, tmp_path / 'sweep', vary=('objective.diffusion_steps=4,8',))
        plan = sweep_module.plan_of(asked, combine(SMALL, axes_of(asked.vary, []), evaluation=EVALUATION, data=bags))
        trainings, blocks = sweep_module.missing_of(plan, asked.out)
        workers = RayCluster(cluster.address)
        finished = []
        for part in trained(workers, trainings, asked.out):
            finished.append(part.name)
            if len(finished) == 1:
                cluster.remove_node(second)  # with what it was doing
        assert sorted(finished) == sorted(t.name for t in trainings)
        for block, results in played(workers, blocks, asked.out):
            keep(block, asked.out, results)
        assert sweep_module.missing_of(plan, asked.out) == ([], [])
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()
