"""What a world asks for in words: drawn by the seed, demonstrated, and judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')

from dp_ros.errors import ConfigError
from dp_ros.simulation.instructions import asked_for
from dp_ros.simulation.registry import make_expert, world_spec
from dp_ros.simulation.robot import SimulatedRobot, controllers_of
from dp_ros.simulation.world import Scene, flat_pose, whole_task
from dp_ros.simulation.worlds.pick_place.spec import BOX, CYLINDER, HALF_HEIGHT, MEANINGS, PARAPHRASES, PICK_PLACE, TRAY
from dp_ros.simulation.worlds.pick_place.world import PickPlaceWorld
from dp_ros.task.spec import Instruction

WHOLE = whole_task(PICK_PLACE)
WORDED = replace(WHOLE, goals=(Instruction(),))
OWN = {meaning: (f'{meaning} please', f'now {meaning}') for meaning in MEANINGS}


@pytest.fixture(scope='module')
def world() -> PickPlaceWorld:
    return PickPlaceWorld()


def played(world: PickPlaceWorld, seed: int, meaning: str) -> dict[str, Any]:
    """Let the demonstrator do what an instruction means; return the world's findings."""
    robot = SimulatedRobot(world, start=0, camera=False, controllers=controllers_of(PICK_PLACE, world))
    robot.reset(seed, meaning)
    expert = make_expert('pick_place', np.random.default_rng(seed), meaning=meaning)
    while not expert.finished and robot.episode.elapsed < 20.0:
        for _ in range(10):
            list(robot.step())
        robot.command(expert.trajectory(robot.now, world.joint_positions, world.poses))
    assert robot.episode.success
    return dict(robot.episode.details)


def test_seeds_ask_for_all_meanings_in_turn_in_the_task_s_words_or_the_world_s() -> None:
    assert asked_for(PICK_PLACE, WHOLE, 0) is None
    own = replace(WHOLE, goals=(Instruction(phrasings=OWN),))
    asked = [asked_for(PICK_PLACE, own, seed) for seed in range(40)]
    assert [one.meaning for one in asked if one] == [*MEANINGS] * 10
    assert {one.text for one in asked if one} == {text for texts in OWN.values() for text in texts}
    assert asked == [asked_for(PICK_PLACE, own, seed) for seed in range(40)]
    for task, words in ((own, 'paraphrases'), (WORDED, 'phrasings')):
        for seed in range(8):
            one = asked_for(PICK_PLACE, task, seed, words)
            assert one is not None and one.text in PARAPHRASES[one.meaning]


def test_what_a_world_can_t_be_asked_for_is_refused(world: PickPlaceWorld) -> None:
    other = replace(WHOLE, goals=(Instruction(phrasings={'red_gently': ('red',)}),))
    with pytest.raises(ConfigError, match='phrasings: got red_gently, allowed what the world pick_place can be asked'):
        asked_for(PICK_PLACE, other, 0)
    with pytest.raises(ConfigError, match=r'got \(none\), allowed what the world push_block .*: \(none\)'):
        asked_for(world_spec('push_block'), WORDED, 0)
    with pytest.raises(ConfigError, match="got one that means 'green', allowed red_gently, red_firmly, blue_gently"):
        world.set_instruction('green')
    with pytest.raises(ConfigError, match="got one that means 'green', allowed red_gently"):
        make_expert('pick_place', np.random.default_rng(0), meaning='green')


def test_the_demonstrator_takes_what_is_asked_for_as_firmly_as_that(world: PickPlaceWorld) -> None:
    found = {meaning: played(world, 1, meaning) for meaning in MEANINGS}
    for meaning, details in found.items():
        assert details['meaning'] == meaning
        assert (details['right_object'], details['wrong_object']) == ('True', 'False')
        force = 7.5 if meaning.endswith('gently') else 15.0  # [N]: 6000 N/m * 2.5 mm / 2, and the drive's limit
        assert details['grip_force'] == pytest.approx(force, rel=0.15)


def test_the_other_object_in_the_tray_is_no_success_and_is_reported(world: PickPlaceWorld) -> None:
    poses = {BOX: flat_pose(*TRAY, 0.0, HALF_HEIGHT), CYLINDER: flat_pose(0.45, -0.1, 0.0, HALF_HEIGHT)}
    arm = played_joints(world)
    for meaning, success in (('red_gently', True), ('blue_gently', False)):
        world.reset(0)
        world.set_instruction(meaning)
        world.set_scene(Scene(joints=arm, poses=poses))
        assert world.progress.success is success
        assert world.progress.details['wrong_object'] == str(not success)
    world.reset(0)
    assert world.wanted == BOX and 'meaning' not in world.progress.details


def played_joints(world: PickPlaceWorld) -> tuple[float, ...]:
    """Return joints whose hand is open and away from the tray: where an episode starts."""
    world.reset(0)
    return tuple(world.joint_positions)
