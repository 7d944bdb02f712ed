"""Datasets that are played into the nodes: their rows become messages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('rosbags', reason='rosbags is not installed (extra: train)')
pytest.importorskip('pyarrow', reason='pyarrow is not installed (extra: datasets)')

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError
from dp_ros.evaluation.recorded.open_loop import trained_episodes
from dp_ros.messages.encoding import JOINT_STATE
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.recordings.episodes.readers import read_recordings
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.task.spec import ImageStream, Instruction
from dp_ros.tools.played import dataset as played
from dp_ros.tools.played.dataset import playable
from dp_ros.training.samples.windows import fit_normalizer
from test.tiny_bundle import write_tiny_bundle
from test.training.test_init_dataset import dataset, written


@pytest.fixture(scope='module')
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bundle]:
    """Return a dataset, and a policy for it."""
    folder = tmp_path_factory.mktemp('played')
    data = dataset(folder / 'set')
    settings, _, _ = written(data, folder / 'robot')
    normalizer = fit_normalizer(list(read_recordings(data, settings.task, columns=settings.columns)), settings.task)
    provenance = {'config': {'columns': dict(settings.columns)}}
    made = write_tiny_bundle(folder / 'own', task=settings.task, provenance=provenance, normalizer=normalizer)
    return data, load_bundle(made)


def test_rows_become_messages_with_the_way_between_them_after_a_rest(own: tuple[Path, Bundle], tmp_path: Path) -> None:
    data, bundle = own
    (stream,) = bundle.task.streams
    dt = round(1e9 * bundle.task.control_dt)
    bags = playable([data], bundle, tmp_path / 'bags')
    episodes = list(trained_episodes([data], bundle))
    assert len(bags) == len(episodes) == 2
    for bag, episode in zip(bags, episodes, strict=True):
        with BagReader(bag) as reader:
            said = [message for _, _, message in reader.messages({stream.topic: {JOINT_STATE}})]
        at = {m.header.stamp.sec * 10**9 + m.header.stamp.nanosec: np.array(m.position) for m in said}
        rows = episode.streams[stream.name]
        assert sorted(at) == list(range(played.START - played.REST, max(at) + 1, played.JOINT_PERIOD))
        assert max(at) == played.START + (len(rows) - 1) * dt
        for number, row in enumerate(rows):
            assert np.array_equal(at[played.START + number * dt], row)
        assert all(np.array_equal(where, rows[0]) for stamp, where in at.items() if stamp <= played.START)
        middle = at[played.START + dt // 2]
        assert middle == pytest.approx((rows[0] + rows[1]) / 2, abs=1e-9)
    assert playable([bags[0]], bundle, tmp_path / 'more') == [bags[0]], 'recordings stay what they are'


def test_what_rows_cannot_say_is_refused(own: tuple[Path, Bundle], tmp_path: Path) -> None:
    data, bundle = own
    grey = ImageStream(name='grey', topic='/grey', height=8, width=8, content='mono')
    wrong: dict[str, Any] = {'grey': {'streams': (*bundle.task.streams, grey)}}
    wrong['instruction'] = {'goals': (Instruction(),)}
    for name, change in wrong.items():
        asked = replace(bundle, task=replace(bundle.task, **change))
        with pytest.raises(ConfigError, match=f'got a dataset for a policy of {name}, allowed joints with positions'):
            playable([data], asked, tmp_path / 'bags')


@pytest.mark.slow
@pytest.mark.ros
def test_the_nodes_are_timed_on_a_dataset(own: tuple[Path, Bundle], tmp_path: Path) -> None:
    data, bundle = own
    out = tmp_path / 'times.json'
    main(['latency', str(bundle.folder), '--recordings', str(data), '--seconds', '9', '--json', str(out)])
    summary: dict[str, Any] = json.loads(out.read_text())
    assert summary['plays'] >= 1
    assert summary['chunks'] > 0, summary['refusals']
