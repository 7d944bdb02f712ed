"""The shape of pictures goes from recordings to the bundle; several shapes are no recordings to learn from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros.cli.inspect import describe
from dp_ros.errors import BundleError, DataError
from dp_ros.messages import encoding
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.recordings.datasets.tables import Table, episode_from_table
from dp_ros.recordings.episodes.cache import cached_episodes
from dp_ros.recordings.episodes.episode import read_episode, read_episodes
from dp_ros.task.spec import ImageStream, TaskSpec
from dp_ros.training.export.export import export_run
from dp_ros.training.samples.windows import camera_shapes
from dp_ros.training.settings import ObjectiveSettings, TrainSettings
from dp_ros.training.trainer import Trainer
from test.training.bag_maker import MS, T0, TASK, TYPES, arm, changed, save
from test.training.test_check_bag import audited, wrong

CAMERA = ImageStream(name='camera', topic='/c', height=8, width=16)
SEEING = replace(TASK, streams=(TASK.streams[0], CAMERA))


def filmed(height: int, width: int) -> list[Any]:
    made = []
    for i in range(80):
        pixels = np.full((height, width, 3), i, np.uint8)
        t = T0 + i * 100 * MS
        made.append((CAMERA.topic, t, encoding.to_image(stamp=t, pixels=pixels, frame_id='c', types=TYPES)))
    return arm() + made


def test_the_shape_is_known_from_a_bag_its_cache_and_a_dataset(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', filmed(24, 48))
    (episode,) = read_episode(bag, SEEING)
    for _ in range(2):  # filled, then read
        (cached,) = cached_episodes(bag, SEEING, tmp_path / 'cache', workers=1)
        assert cached.camera_shapes == {'camera': (24, 48)}
    table = Table(
        name='t', rate=10.0, columns={'/joint_states': episode.actions, '/command': episode.actions}, labels={},
        cameras=('/c',), pictures=lambda _, rows: (np.zeros((30, 40, 3), np.uint8) for _ in rows),
    )  # fmt: skip
    assert episode.camera_shapes == {'camera': (24, 48)}
    assert episode_from_table(table, SEEING).camera_shapes == {'camera': (30, 40)}


def test_recordings_of_several_sizes_are_refused_or_letterboxed(tmp_path: Path) -> None:
    for name, size in (('a', (24, 48)), ('b', (24, 32))):
        save(tmp_path / 'bags' / name, filmed(*size))
    boxed = replace(SEEING, streams=(TASK.streams[0], replace(CAMERA, fit='letterbox')))
    with pytest.raises(DataError, match='size: got pictures of 32 x 24 pixels, 48 x 24 before; allowed one size'):
        camera_shapes(list(read_episodes(tmp_path / 'bags', SEEING)), SEEING)
    assert camera_shapes(list(read_episodes(tmp_path / 'bags', boxed)), boxed) == {}
    for task, level in ((SEEING, 'error'), (boxed, 'warning')):
        _, found = audited(tmp_path / 'bags', task)
        assert any(text.startswith(f'{level} /c: pictures of several kinds: 48 x 24') for text in wrong(found))


def test_a_run_s_bundle_has_the_shape_and_so_has_one_made_of_it(tmp_path: Path) -> None:
    task: TaskSpec = replace(SEEING, pred_horizon=8, exec_horizon=4)
    settings = TrainSettings(
        name='seeing', task=task, steps=1, batch=8, validation_share=0.0,
        network=NetworkSettings(denoiser='mlp', width=16, layers=1, level_width=8, camera='light', camera_width=8),
        objective=ObjectiveSettings(diffusion_steps=1, schedule='none', prediction_type='sample'),
    )  # fmt: skip
    episodes = read_episode(save(tmp_path / 'bag', filmed(24, 48)), task)
    Trainer(settings, episodes, tmp_path / 'run').run()
    export_run(tmp_path / 'run', tmp_path / 'bundle')
    again = export_run(tmp_path / 'bundle', tmp_path / 'again')
    assert load_bundle(tmp_path / 'bundle').camera_shapes == again.camera_shapes == {'camera': (24, 48)}
    assert 'camera: pictures of 48 x 24 pixels, as recorded' in describe(tmp_path / 'bundle')
    starts = load_bundle(tmp_path / 'bundle').starts
    assert starts is not None and again.starts == starts and starts.joints == task.action.joints
    begun = np.array([episode.streams[task.streams[0].name][0] for episode in episodes])
    np.testing.assert_allclose(
        (starts.lower, starts.upper, starts.mean), [f(begun, 0) for f in (np.min, np.max, np.mean)]
    )
    manifest = tmp_path / 'again' / 'bundle.json'
    plain = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**plain, 'camera_shapes': {'eye': [24, 48]}}))
    with pytest.raises(BundleError, match='camera_shapes: got eye, allowed the cameras camera'):
        load_bundle(tmp_path / 'again')
    manifest.write_text(json.dumps({**plain, 'camera_shapes': {'camera': [0, 48]}}))
    with pytest.raises(BundleError, match='camera_shapes camera: got 0, 48, allowed height and width'):
        load_bundle(tmp_path / 'again')
    for odd, message in (
        ({'mean': [9.0, 9.0]}, 'a mean outside of its range'),
        ({'joints': ['b', 'a']}, 'starts joints'),
    ):
        manifest.write_text(json.dumps({**plain, 'starts': {**plain['starts'], **odd}}))
        with pytest.raises(BundleError, match=message):
            load_bundle(tmp_path / 'again')
    del plain['camera_shapes'], plain['starts']
    manifest.write_text(json.dumps(plain))
    assert load_bundle(tmp_path / 'again').camera_shapes == {}


def test_a_camera_that_freezes_in_a_recording_is_named(tmp_path: Path) -> None:
    def frozen(i: int, message: Any) -> Any:
        if 20 <= i < 40:
            message[2].data = np.full(24 * 48 * 3, 20, np.uint8)
        return message

    _, found = audited(save(tmp_path / 'bag', changed(filmed(24, 48), '/c', frozen)), SEEING)
    assert wrong(found) == ['warning /c: frozen: one picture while its stamps go on: 1.9 s in bag']
