"""Goals in training: from recorded topics, in hindsight, and what a network makes of them up to the policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_ros.data import Goal, Window
from dp_ros.errors import ConfigError, DataError
from dp_ros.evaluation.episodes import evaluate_direct
from dp_ros.evaluation.rollouts import rollouts_of
from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.evaluation.world_planner import world_goal
from dp_ros.messages import encoding
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.language import embed
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.cache import cached_episodes
from dp_ros.recordings.episodes.episode import episodes_from_messages, read_episodes
from dp_ros.recordings.episodes.readers import read_recordings
from dp_ros.simulation.instructions import Asked
from dp_ros.simulation.registry import make_world
from dp_ros.task.spec import GoalImage, GoalPose, ImageStream, Instruction, TaskSpec
from dp_ros.training.export.export import ExportSettings, export_network, export_run
from dp_ros.training.run_folder import make_network
from dp_ros.training.samples.windows import WindowDataset, fit_normalizer
from dp_ros.training.settings import ObjectiveSettings, OptimizerSettings, RolloutSettings, TrainSettings
from dp_ros.training.trainer import Trainer
from test.tiny_bundle import NORMALIZER, write_tiny_bundle
from test.tiny_bundle import TASK as TINY
from test.training.bag_maker import MS, T0, TASK, TYPES, command, path_at, plain, pose, save, state
from test.training.small_networks import small

POSE = GoalPose(features=('x', 'y'), stream='block')
RECORDED = replace(POSE, source='topic', stream='')
WORDS = Instruction()
PICTURE = GoalImage(height=8, width=8, source='topic')


def asking(received: int, x: float, y: float) -> Any:
    message = encoding.to_pose(stamp=0, position=(x, y, 0), orientation=(0, 0, 0, 1), frame_id='w', types=TYPES)
    return '/goal_pose', received, message


def recording(*, steps: int = 100, goals: bool = True) -> list[Any]:
    found = []
    for i in range(steps):
        t = T0 + 20 * MS * i
        found += [state(t, path_at(i / 50)), pose(t, i / 100, 0.5), command(t, path_at(i / 50, 0.0))]
        if goals and i in (10, 60):
            found += [asking(t + 7 * MS, i / 10, 2.0), plain('String', '/instruction', t + 7 * MS, f'go to side {i}')]
    return found


# From recordings.


def test_what_was_asked_for_at_a_tick_is_the_newest_goal_received() -> None:
    task = replace(TASK, goals=(RECORDED, WORDS))
    (episode,) = episodes_from_messages('a', recording(), task)
    first, second = T0 + 207 * MS, T0 + 1207 * MS
    assert episode.stamps[0] == -(-first // (100 * MS)) * 100 * MS  # no tick before the first goal
    later = episode.stamps >= second
    assert later.any() and not later.all()
    assert np.array_equal(episode.streams['goal_pose'], np.where(later[:, None], [[6.0, 2.0]], [[1.0, 2.0]]))
    assert np.array_equal(episode.streams['instruction'][0], embed('go to side 10'))
    assert np.array_equal(episode.streams['instruction'][-1], embed('go to side 60'))


def test_a_recording_without_its_goal_is_refused(tmp_path: Path) -> None:
    task = replace(TASK, goals=(WORDS,))
    with pytest.raises(DataError, match=r'no control tick .* \(instruction: no goal yet\)'):
        episodes_from_messages('a', recording(goals=False), task)
    save(tmp_path / 'bag', recording(goals=False))
    with pytest.raises(DataError, match='lacks topic /instruction'):
        list(read_episodes(tmp_path, task))
    (tmp_path / 'store').mkdir()
    (tmp_path / 'store/.zgroup').touch()
    with pytest.raises(ConfigError, match=r'goals instruction: got source topic for .*store, allowed hindsight'):
        list(read_recordings(tmp_path / 'store', task))


def test_the_cache_keeps_goals(tmp_path: Path) -> None:
    task = replace(TASK, goals=(RECORDED, WORDS))
    save(tmp_path / 'bags/bag', recording())
    (plainly,) = read_episodes(tmp_path / 'bags', task)
    for _ in range(2):
        (cached,) = cached_episodes(tmp_path / 'bags', task, tmp_path / 'cache', workers=1)
        assert set(cached.streams) == {'arm', 'block', 'goal_pose', 'instruction'}
        for name, values in plainly.streams.items():
            assert np.array_equal(cached.streams[name], values)


def test_a_recorded_goal_picture_is_a_stream_of_pictures() -> None:
    task = replace(TASK, goals=(GoalImage(height=8, width=8, source='topic'),))
    picture = np.full((8, 8, 3), 7, np.uint8)
    shown = ('/goal_image', T0, encoding.to_image(stamp=T0, pixels=picture, frame_id='', types=TYPES))
    (episode,) = episodes_from_messages('a', [shown, *recording(goals=False)], task)
    assert episode.streams['goal_image'].shape == (len(episode.stamps), 8, 8, 3)
    assert (episode.streams['goal_image'] == 7).all()


# In hindsight.


def reaching(number: int, length: int = 20) -> Episode:
    """From anywhere straight to anywhere: the block is where the arm is, and ends where it was asked to be."""
    rng = np.random.default_rng(number)
    start, end = rng.uniform(-1, 1, (2, 2))
    way = start + np.linspace(0, 1, length)[:, None] * (end - start)
    actions = start + np.linspace(0, 1, length)[:, None].clip(max=1) * (end - start)
    return Episode(name=f'{number}', stamps=100 * MS * np.arange(1, length + 1), streams={'arm': way, 'block': way},
                   actions=np.concatenate([actions[1:], actions[-1:]]))  # fmt: skip


@pytest.mark.parametrize('hindsight', ['last', 'any'])
def test_hindsight_asks_for_what_the_episode_came_to(hindsight: Any) -> None:
    episodes = [reaching(i, 10 + i) for i in range(4)]
    task = replace(TASK, goals=(replace(POSE, hindsight=hindsight),))
    normalizer = fit_normalizer(episodes, task)
    windows = WindowDataset(episodes, task, normalizer)
    indices = torch.arange(len(windows))
    (_, block, goal), _ = windows.batch(indices)
    found = normalizer.denormalize('goal_pose', goal.numpy())
    newest = normalizer.denormalize('block', block[:, -1].numpy())
    row = 0
    for episode in episodes:
        last = len(episode.stamps) - 1
        for _ in episode.stamps:
            places = np.abs(episode.streams['block'] - found[row]).sum(axis=1)
            at = int(np.abs(episode.streams['block'] - newest[row]).sum(axis=1).argmin())
            assert places.min() < 1e-6
            assert int(places.argmin()) > at or at == last
            if hindsight == 'last':
                assert int(places.argmin()) == last
            row += 1
    assert row == len(windows)
    (_, _, again), _ = windows.batch(indices)
    assert torch.equal(goal, again)
    (_, _, other), _ = windows.batch(indices.flip(0))
    assert torch.equal(goal, other.flip(0)) == (hindsight == 'last')


# Through the network to the policy.


def settings(task: TaskSpec, **changes: Any) -> TrainSettings:
    chosen: dict[str, Any] = {
        'network': NetworkSettings(denoiser='mlp', width=96, layers=2, level_width=16, goal_width=8),
        'objective': ObjectiveSettings(diffusion_steps=1, schedule='none', prediction_type='sample'),
        'optimizer': OptimizerSettings(learning_rate=3e-3, warmup_steps=10),
        'steps': 2,
        'batch': 64,
    }
    return TrainSettings(name='goals', task=task, threads=1, **(chosen | changes))


def window(task: TaskSpec, at: Any) -> Window:
    rows = np.tile(np.array(at, dtype=np.float64), (task.obs_horizon, 1))
    return Window(stamps=100 * MS * np.arange(1, task.obs_horizon + 1), streams={'arm': rows, 'block': rows})


def exported(tmp_path: Path, asked: TrainSettings, episodes: list[Episode], **options: Any) -> Bundle:
    assert Trainer(asked, episodes, tmp_path / 'run').run().finished
    return export_run(tmp_path / 'run', tmp_path / 'bundle', ExportSettings(weights='float32', **options))


def test_a_policy_goes_to_the_goal_that_it_is_given(tmp_path: Path) -> None:
    episodes = [reaching(i) for i in range(60)]
    bundle = exported(tmp_path, settings(replace(TASK, goals=(POSE,)), steps=600), episodes)
    policy = DiffusionPolicy(bundle, open_backend(bundle))
    misses = []
    for goal in ([0.5, 0.5], [-0.5, 0.5], [0.0, -0.6]):
        chunk = policy.chunk(
            window(bundle.task, [0.0, 0.0]), np.random.default_rng(0), goal=Goal(streams={'goal_pose': np.array(goal)})
        )
        direction, wanted = chunk.actions[-1], np.array(goal)
        misses.append(float(np.arccos(direction @ wanted / np.linalg.norm(direction) / np.linalg.norm(wanted))))
    assert max(misses) < np.radians(20)


@pytest.mark.parametrize('denoiser', ['mlp', 'unet', 'transformer'])
def test_every_kind_of_goal_comes_through_export(tmp_path: Path, denoiser: Any) -> None:
    camera = ImageStream(name='top', topic='/camera', height=16, width=16)
    goals = (POSE, GoalImage(height=16, width=16, stream='top'), WORDS)
    task = replace(TASK, streams=(*TASK.streams, camera), goals=goals, guidance='goal')
    episodes = []
    for i in range(3):
        episode, length = reaching(i), 20
        pictures = np.random.default_rng(i).integers(0, 256, (length, 16, 16, 3)).astype(np.uint8)
        more = {'top': pictures, 'instruction': np.tile(embed(f'go {i}'), (length, 1))}
        episodes.append(replace(episode, streams=episode.streams | more))
    network = small(denoiser, goal_width=8)
    objective = ObjectiveSettings()
    bundle = exported(tmp_path, settings(task, network=network, objective=objective), episodes, torchscript=True)
    seen = window(task, [0.1, 0.2])
    seen = Window(stamps=seen.stamps, streams={**seen.streams, 'top': episodes[0].streams['top'][:2]})
    asked = Goal(streams={'goal_pose': np.zeros(2), 'goal_image': episodes[0].streams['top'][0]}, instruction='go 1')
    changed = [
        replace(asked, streams={**asked.streams, 'goal_pose': np.full(2, 0.5)}),
        replace(asked, streams={**asked.streams, 'goal_image': episodes[1].streams['top'][0]}),
        replace(asked, instruction='stop here'),
    ]
    for backend in ('onnxruntime', 'torchscript'):
        policy = DiffusionPolicy(bundle, open_backend(bundle, backend=backend)).with_settings(sampling_steps=2)

        def act(goal: Goal, policy: DiffusionPolicy = policy) -> np.ndarray:
            return policy.chunk(seen, np.random.default_rng(0), goal=goal).actions

        first = act(asked)
        assert np.array_equal(first, act(asked))
        assert all(not np.allclose(first, act(other), atol=1e-7) for other in changed)
        guided = policy.with_settings(guidance_scale=3.0)
        assert not np.allclose(first, guided.chunk(seen, np.random.default_rng(0), goal=asked).actions, atol=1e-7)


def test_a_world_that_shows_no_picture_and_asks_in_no_words_gives_no_rollouts() -> None:
    with pytest.raises(ConfigError, match=r'goals: got the picture goal_image, allowed none: the world pusht shows'):
        rollouts_of(settings(replace(TINY, goals=(PICTURE,)), rollouts=RolloutSettings(world='pusht')))
    with pytest.raises(ConfigError, match=r'allowed what the world pusht can be asked for: \(none\)'):
        rollouts_of(settings(replace(TINY, goals=(WORDS,)), rollouts=RolloutSettings(world='pusht')))
    settings(replace(TASK, goals=(POSE,)), rollouts=RolloutSettings(world='pusht'))


def test_a_world_asks_for_its_block_s_place() -> None:
    yaw = replace(POSE, features=('x', 'y', 'sin_yaw'), source='topic')
    world = make_world('pusht')
    asked = world_goal('pusht', replace(TASK, goals=(yaw,)), world)
    assert asked.streams['goal_pose'] == pytest.approx([0.256, 0.256, np.sqrt(0.5)])
    asked = world_goal('push_block', replace(TASK, goals=(yaw,)), world)
    assert asked.streams['goal_pose'] == pytest.approx([0.73, 0, 0])
    assert not world_goal('pusht', TASK, world).streams
    with pytest.raises(ConfigError, match=r'goals: got the picture goal_image, allowed none: the world pusht shows'):
        world_goal('pusht', replace(TASK, goals=(yaw, PICTURE)), world)
    asked = world_goal('pick_place', replace(TASK, goals=(WORDS,)), world, Asked(meaning='red', text='the red one'))
    assert asked.instruction == 'the red one'


def test_a_network_that_looks_for_its_goal_is_exported_as_it_is(tmp_path: Path) -> None:
    camera = ImageStream(name='camera', topic='/image', height=16, width=16)
    task = replace(TINY, streams=(TINY.streams[0], camera), goals=(WORDS,))
    network = NetworkSettings(channels=(16, 32), level_width=16, camera_goal=True, goal_mixing=16)
    seeing = settings(task, network=network)
    normalizer = replace(NORMALIZER, low=dict(NORMALIZER.low), high=dict(NORMALIZER.high))
    for known in (normalizer.low, normalizer.high):
        del known['block_pose']  # type: ignore[attr-defined]
    made = make_network(seeing).eval()
    bundle = export_network(
        seeing, made, normalizer, tmp_path / 'bundle', provenance={}
    )  # compares with what ONNX gives
    assert list(bundle.parity().inputs) == ['joint_states', 'camera', 'instruction']


# What training leaves out.


@pytest.mark.parametrize('guidance', ['goal', 'observation'])
def test_training_leaves_out_what_guidance_says(guidance: Any) -> None:
    task = replace(TASK, goals=(POSE,), guidance=guidance)
    torch.manual_seed(0)
    encoder = DiffusionNetwork(task, NetworkSettings(denoiser='mlp', guidance_dropout=0.25)).encoder
    streams = torch.randn(4000, 2, 2), torch.randn(4000, 2, 2), torch.randn(4000, 2)
    cond = encoder(*streams)
    given = cond[:, -1] == 1.0
    assert abs(float(given.float().mean()) - 0.75) < 0.03
    observed, goal = cond[:, :8], cond[:, 8:10]
    dropped, whole = (goal, observed) if guidance == 'goal' else (observed, goal)
    assert bool((dropped[~given] == 0).all()) and bool((dropped[given] != 0).all())
    assert bool((whole != 0).all())
    encoder.eval()
    assert bool((encoder(*streams)[:, -1] == 1.0).all())
    left_out = encoder(*streams, torch.zeros(4000, 1))
    assert bool((left_out[:, -1] == 0.0).all())


def test_direct_evaluation_gives_the_world_s_goal(tmp_path: Path) -> None:
    pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
    asked = replace(POSE, source='topic')
    tiny = replace(
        NORMALIZER,
        low={**NORMALIZER.low, 'goal_pose': (0.0, 0.0)},
        high={**NORMALIZER.high, 'goal_pose': (0.5, 0.5)},
    )
    task = replace(TINY, goals=(asked,), guidance='goal')
    folder = write_tiny_bundle(tmp_path / 'asked', task=task, normalizer=tiny)
    evaluation = EvaluationSettings(bundle=folder, episodes=1, seed=3, seconds=2.0, sampling_steps=2)
    plain = evaluate_direct(evaluation)
    guided = evaluate_direct(replace(evaluation, guidance_scale=2.0))
    assert plain['chunks'] > 0
    assert guided['guidance_scale'] == 2.0
    with pytest.raises(ConfigError, match=r'guidance_scale: got 2\.0, allowed 1 for bundle plain'):
        evaluate_direct(replace(evaluation, bundle=write_tiny_bundle(tmp_path / 'plain'), guidance_scale=2.0))
