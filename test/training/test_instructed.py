"""A policy that is asked in words: what each episode of an evaluation asks for, and what its recording says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('wordllama', reason='wordllama is not installed (extra: language)')

from dp_ros.cli.main import main
from dp_ros.evaluation.episodes import make_runner
from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.messages.encoding import STRING
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.simulation.robot import SimulatedRobot
from dp_ros.simulation.worlds.pick_place.spec import JOINTS, MEANINGS, PARAPHRASES, UNITS
from dp_ros.task.spec import ActionSpec, Instruction, JointStream, TaskSpec
from test.tiny_bundle import write_tiny_bundle

# The world's own are of these words, so that they are understood.
PHRASINGS = {meaning: (texts[0], ' '.join(texts)) for meaning, texts in PARAPHRASES.items()}
TASK = TaskSpec(
    streams=(JointStream(name='joint_states', topic='/joint_states', joints=JOINTS, units=UNITS),),
    action=ActionSpec(topic='/commands', joints=JOINTS, units=UNITS),
    goals=(Instruction(phrasings=PHRASINGS),),
)
REACH = (0.5,) * 7 + (0.04,)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of random weights for the task."""
    low = {name: tuple(-reach for reach in REACH) for name in ('joint_states', ACTION)}
    normalizer = Normalizer(low=low, high=dict.fromkeys(low, REACH))
    return write_tiny_bundle(tmp_path_factory.mktemp('tiny') / 'asked', task=TASK, normalizer=normalizer)


def test_each_episode_asks_in_the_words_of_training_or_of_the_world(bundle: Path, tmp_path: Path) -> None:
    for words, texts in (('phrasings', PHRASINGS), ('paraphrases', PARAPHRASES)):
        out = tmp_path / f'{words}.json'
        options = ['--world', 'pick_place', '--episodes', '4', '--seconds', '1', '--instructions', words]
        assert main(['evaluate', str(bundle), *options, '--threads', '1', '--json', str(out)]) == 0
        asked = json.loads(out.read_text())['instructed']
        assert {one['meaning'] for one in asked['episodes']} == set(MEANINGS) == set(asked['by_meaning'])
        assert all(one['text'] in texts[one['meaning']] for one in asked['episodes'])


def test_a_recording_of_an_episode_says_what_was_asked_for(bundle: Path, tmp_path: Path) -> None:
    settings = EvaluationSettings(bundle=bundle, world='pick_place', record=tmp_path, seconds=1.0, threads=1)
    runner = make_runner(settings)

    def succeed(robot: SimulatedRobot) -> None:
        robot.success = True

    runner.run(3, succeed)
    asked = runner.asked(3)
    assert asked is not None and runner.goal(3).instruction == asked.text
    with BagReader(tmp_path / 'seed_3') as bag:
        assert [m.data for _, _, m in bag.messages({'/instruction': {STRING}})] == [asked.text]
        assert bag.labels['success'] == 'true' and bag.labels['meaning'] == asked.meaning == 'blue_firmly'
