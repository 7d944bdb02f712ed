"""Demonstrations made in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
pytest.importorskip('rosbags', reason='rosbags is not installed (extra: train)')

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError
from dp_ros.evaluation.demonstrations import RecordSettings, write_demonstrations
from dp_ros.messages.encoding import STRING
from dp_ros.recordings.episodes.episode import read_episodes
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.simulation.instructions import asked_for
from dp_ros.simulation.registry import world_spec
from dp_ros.task.spec import (
    ActionSource,
    ActionSpec,
    ImageStream,
    Instruction,
    JointStream,
    PoseStream,
    TaskSpec,
)

ARM = world_spec('push_block').joints
UNITS = ('rad',) * len(ARM)
COMMAND = '/arm_controller/joint_trajectory'
ROBOT = JointStream(name='joint_states', topic='/joint_states', joints=ARM, units=UNITS)
BLOCK = PoseStream(name='block_pose', topic='/block_pose', features=('x', 'y', 'sin_yaw', 'cos_yaw'))
ACTION = ActionSpec(topic=COMMAND, joints=ARM, units=UNITS)
TASK = TaskSpec(streams=(ROBOT, BLOCK), action=ACTION)


def test_the_bags_hold_whole_smooth_episodes(tmp_path: Path) -> None:
    said: list[str] = []
    settings = RecordSettings(out=tmp_path / 'bags', task=TASK, world='push_block', episodes=2, seed=5)
    assert write_demonstrations(settings, said.append) == 0
    assert said == [f'2 episodes in {tmp_path / "bags"}; 0 that failed were left out']
    episodes = list(read_episodes(tmp_path / 'bags', TASK))
    assert [e.name for e in episodes] == ['episode_0000', 'episode_0001']
    for episode in episodes:
        assert 30 < len(episode.stamps) < 150
        assert episode.streams['block_pose'][-1, :2] == pytest.approx((0.73, 0.0), abs=0.03)
        # The drives are late: what is measured at a tick was commanded a little before.
        measured, commanded = episode.streams['joint_states'], episode.actions
        lag = [np.abs(measured[2:] - commanded[2 - k : len(commanded) - k]).mean() for k in range(3)]
        assert lag[1] < lag[0] and lag[1] < lag[2]
        assert np.abs(np.diff(commanded, n=2, axis=0)).max() < 0.1
        np.testing.assert_allclose(commanded[0], measured[0], atol=2e-3)


def test_cameras_are_recorded_where_the_task_has_them(tmp_path: Path) -> None:
    names = ('camera', 'wrist_camera')
    streams = [ImageStream(name=n, topic=f'/{n}/color/image_raw', height=96, width=96) for n in names]
    task = TaskSpec(streams=(ROBOT, *streams), action=ACTION)
    settings = RecordSettings(out=tmp_path / 'bags', task=task, world='push_block', seconds=15.0, seed=5)
    write_demonstrations(settings, lambda _: None)
    with BagReader(tmp_path / 'bags' / 'episode_0000') as bag:
        counts = {topic: found.count for topic, found in bag.topics.items()}
    assert set(counts) == {'/joint_states', COMMAND, *(s.topic for s in streams)}
    assert counts['/camera/color/image_raw'] == counts['/wrist_camera/color/image_raw'] == counts[COMMAND]


def test_an_instruction_and_what_became_of_it_are_in_the_bag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = world_spec('pick_place')
    sources = tuple(ActionSource(topic=f'/{o.topic}', joints=o.joints) for o in spec.outputs)
    task = TaskSpec(
        streams=(JointStream(name='joint_states', topic='/joint_states', joints=spec.joints, units=spec.units),),
        action=ActionSpec(topic='/commands', joints=spec.joints, units=spec.units, sources=sources),
        goals=(Instruction(),),
    )
    settings = RecordSettings(out=tmp_path / 'bags', task=task, world='pick_place', episodes=1, seed=3)
    write_demonstrations(settings, lambda _: None)
    asked = asked_for(spec, task, 3)
    assert asked is not None and asked.meaning == 'blue_firmly'
    with BagReader(tmp_path / 'bags' / 'episode_0000') as bag:
        said = [(topic, message.data) for topic, _, message in bag.messages({'/instruction': {STRING}})]
        assert said == [('/instruction', asked.text)]
        assert bag.labels == {
            'world': 'pick_place', 'seed': '3', 'success': 'true', 'instruction': asked.text, 'meaning': 'blue_firmly'
        }  # fmt: skip
    assert main(['inspect', str(tmp_path / 'bags' / 'episode_0000')]) == 0
    assert "success: 'true'" in capsys.readouterr().out


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='episodes: got 0, allowed 1 to 100000'):
        RecordSettings(out=tmp_path / 'bags', task=TASK, world='push_block', episodes=0)
    with pytest.raises(ConfigError, match=r'seconds: got 0\.1, allowed 1 to 3600 s'):
        RecordSettings(out=tmp_path / 'bags', task=TASK, world='push_block', seconds=0.1)
    with pytest.raises(ConfigError, match='exists already'):
        write_demonstrations(RecordSettings(out=tmp_path, task=TASK, world='push_block'), print)
    other = replace(TASK, action=replace(TASK.action, joints=('elbow', 'knee'), units=('rad', 'rad')))
    with pytest.raises(ConfigError, match='configuration does not fit the world push_block: joints: got elbow, knee'):
        write_demonstrations(RecordSettings(out=tmp_path / 'bags', task=other, world='push_block'), print)
    assert not (tmp_path / 'bags').exists()
