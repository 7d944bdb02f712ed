"""What a world asks for in words: drawn by the seed, demonstrated, and judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')

from dp_ros.errors import ConfigError
from dp_ros.evaluation.world_planner import world_goal
from dp_ros.simulation.instructions import asked_for
from dp_ros.simulation.registry import make_expert, world_spec
from dp_ros.simulation.robot import SimulatedRobot, begin_episode, controllers_of
from dp_ros.simulation.world import Scene, flat_pose, whole_task
from dp_ros.simulation.worlds.pick_place.spec import BOX, CYLINDER, HALF_HEIGHT, MEANINGS, PARAPHRASES, PICK_PLACE, TRAY
from dp_ros.simulation.worlds.pick_place.world import PickPlaceWorld
from dp_ros.task.spec import GoalImage, Instruction

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


def test_a_goal_picture_shows_its_object_in_the_tray_and_the_other_where_it_is(world: PickPlaceWorld) -> None:
    tray = slice(40, 68), slice(62, 96)  # rows and columns of the picture from above
    other = PickPlaceWorld()
    for seed in range(3):
        shown = {}
        for meaning in PICK_PLACE.pictured:
            begin_episode(world, seed, meaning)
            before = world.render('camera')
            picture = world.goal_picture('camera')
            assert np.array_equal(world.render('camera'), before)  # the episode goes on as it was
            for _ in range(20):
                world.step(np.array(world.joint_positions) + 0.05)
            assert np.array_equal(world.goal_picture('camera'), picture)
            shown[meaning] = colours(picture[tray])
            others = colours(picture) - shown[meaning]
            assert (others[::-1] if meaning.startswith('red') else others)[0] > 5  # the other object, elsewhere
        assert shown['red_firmly'][0] > 5 >= shown['red_firmly'][1]
        assert shown['blue_firmly'][1] > 5 >= shown['blue_firmly'][0]
    begin_episode(other, 2, 'blue_firmly')
    assert np.array_equal(other.goal_picture('camera'), picture)


def colours(picture: np.ndarray) -> np.ndarray:
    """Return how many pixels are red, and how many blue."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return np.array([(red > 2 * np.maximum(green, blue)).sum(), (blue > 2 * np.maximum(red, green)).sum()])


def test_goal_pictures_are_asked_for_in_turn_and_shown_by_the_task_s_camera(world: PickPlaceWorld) -> None:
    (camera,) = (stream for stream in WHOLE.streams if stream.topic == '/camera/color/image_raw')
    task = replace(WHOLE, goals=(GoalImage(height=32, width=32, source='topic'),))
    asked = [asked_for(PICK_PLACE, task, seed) for seed in range(4)]
    assert [(one.meaning, one.text) for one in asked if one] == [('red_firmly', ''), ('blue_firmly', '')] * 2
    begin_episode(world, 0, 'red_firmly')
    goal = world_goal('pick_place', task, world, asked[0])
    assert not goal.instruction and colours(goal.streams['goal_image'])[0] > 0
    hindsight = GoalImage(height=96, width=96, stream=camera.name)
    goal = world_goal('pick_place', replace(task, goals=(hindsight,)), world, asked[0])
    assert np.array_equal(goal.streams['goal_image'], world.goal_picture('camera'))
    both = replace(task, goals=(*task.goals, Instruction()))
    assert [one.meaning for seed in range(4) if (one := asked_for(PICK_PLACE, both, seed))] == [*MEANINGS]
    elsewhere = replace(camera, topic='/elsewhere')
    other = replace(task, streams=(elsewhere,), goals=(replace(hindsight, stream=elsewhere.name),))
    with pytest.raises(ConfigError, match=f"goal 'goal_image' stream: got '{camera.name}', allowed a camera of"):
        world_goal('pick_place', other, world, asked[0])
    with pytest.raises(ConfigError, match='goals: got the picture goal_image, allowed none: the world push_block '):
        asked_for(world_spec('push_block'), task, 0)
    with pytest.raises(ConfigError, match='got pictured green, allowed of its instructions: red_gently, red_firmly'):
        replace(PICK_PLACE, pictured=('green',))


def played_joints(world: PickPlaceWorld) -> tuple[float, ...]:
    """Return joints whose hand is open and away from the tray: where an episode starts."""
    world.reset(0)
    return tuple(world.joint_positions)
