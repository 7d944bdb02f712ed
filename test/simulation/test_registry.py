"""The worlds by name: those that come with dp_ros, and those of other packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dp_ros.errors import ConfigError
from dp_ros.paths import share_folder
from dp_ros.simulation import registry
from dp_ros.simulation.registry import check_world, make_expert, make_world, world_for, world_names, world_spec
from dp_ros.simulation.world import whole_task
from dp_ros.simulation.worlds import BUILT_IN
from dp_ros.simulation.worlds.pusht.spec import PUSHT
from dp_ros.task.spec import TaskSpec

SPECS = pytest.mark.parametrize('spec', BUILT_IN, ids=lambda spec: spec.name)
ADDED = """
from dataclasses import replace
from pathlib import Path
from dp_ros.simulation.worlds.push_block.spec import PUSH_BLOCK

MOON = replace(PUSH_BLOCK, name='moon', joints=('leg',), units=('rad',), parameter_file=Path('{folder}/moon.yaml'))
SECOND = replace(PUSH_BLOCK, name='second', parameter_file=Path('{folder}/second.yaml'), environment='added/Second-v0')
TWICE = replace(PUSH_BLOCK, name='pusht')
NUMBER = 7
"""

Add = Callable[[str], None]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Install a distribution with these lines in the group of worlds, for one test."""
    (tmp_path / 'added_worlds.py').write_text(ADDED.format(folder=tmp_path))
    number = 0

    def install(lines: str) -> None:
        nonlocal number
        number += 1
        about = tmp_path / f'added_{number}-1.0.dist-info'
        about.mkdir()
        (about / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: added_{number}\nVersion: 1.0\n')
        (about / 'entry_points.txt').write_text(f'[dp_ros.worlds]\n{lines}\n')
        registry.worlds.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    sys.modules.pop('added_worlds', None)
    registry.worlds.cache_clear()


@SPECS
def test_a_spec_describes_its_world(spec: Any) -> None:
    pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
    world: Any = make_world(spec.name)  # refuses one that differs
    assert (world.joints, world.units, set(world.poses)) == (spec.joints, spec.units, set(spec.pose_topics))
    assert spec.parameters.is_file() and spec.training.is_file()
    assert spec.goal_pose.position[2] == 0.0


def test_a_world_that_is_not_what_its_spec_describes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
    monkeypatch.setitem(registry.worlds(), 'pusht', replace(PUSHT, units=('rad', 'rad')))
    with pytest.raises(ConfigError, match='world pusht: units: got m, m, allowed rad, rad as its spec has them'):
        make_world('pusht')


def test_a_spec_needs_no_physics() -> None:
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['mujoco', 'gym_pusht', 'gymnasium', 'pymunk', 'pygame']))\n"
        'from dp_ros.simulation.registry import world_names, world_spec\n'
        'print(*(world_spec(name).joints[0] for name in world_names()))\n'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=60)
    assert {'joint_1', 'pusher_x', 'point_x'} <= set(done.stdout.split()), done.stderr


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'name': 'my world'}, "world name: got 'my world', allowed letters, digits and underscores"),
        ({'units': ('m',)}, 'world pusht: got joints pusher_x, pusher_y with units m, allowed'),
        ({'units': ('m', 'deg')}, 'with units m, deg, allowed at least one joint, and for each m or rad'),
        ({'joints': (), 'units': ()}, 'allowed at least one joint'),
    ],
)
def test_a_spec_that_is_none_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PUSHT, **changes)


def test_an_unknown_world_is_named() -> None:
    with pytest.raises(ConfigError, match="world: got 'moon', allowed push_block, pick_place, pusht, point_nav"):
        make_world('moon')


def test_a_bundles_joints_lead_to_its_world() -> None:
    # Two worlds have the point: what is observed decides, and one that shows no more than that.
    for spec in BUILT_IN:
        assert world_for(whole_task(spec)) == spec.name
    task = whole_task(world_spec('point_navigation'))
    action = replace(task.action, joints=task.action.joints[::-1], sources=())
    assert world_for(TaskSpec(streams=task.streams[:1], action=action)) == 'point_navigation'
    other = replace(action, joints=('elbow', 'knee'))
    with pytest.raises(
        ConfigError, match=r'world for joints elbow, knee: got none, allowed one of push_block: joint_1'
    ):
        world_for(TaskSpec(streams=task.streams[:1], action=other))


def test_a_world_with_other_joints_is_refused() -> None:
    check_world('pusht', whole_task(PUSHT), 'bundle x')
    with pytest.raises(ConfigError, match=r'x does not fit the world pusht: joints: got joint_1, .*, allowed p'):
        check_world('pusht', whole_task(world_spec('push_block')), 'bundle x')


def test_a_world_whose_joints_have_other_units_or_that_shows_something_else_is_refused() -> None:
    task = whole_task(PUSHT)
    turned = replace(task, streams=task.streams[1:], action=replace(task.action, units=('rad', 'm')))
    with pytest.raises(ConfigError, match=r'x does not fit the world pusht: units of pusher_x: got rad, allowed m$'):
        check_world('pusht', turned, 'bundle x')
    streams = tuple(replace(s, topic='/other') if s.kind == 'image' else s for s in task.streams)
    message = r"x does not fit the world pusht: stream '.*' topic: got /other, allowed /camera/color/image_raw"
    with pytest.raises(ConfigError, match=message):
        check_world('pusht', replace(task, streams=streams), 'bundle x')
    check_world('pusht', replace(task, streams=streams), 'a recording', observes=False)


def test_another_package_adds_a_world_with_its_parameter_file(add: Add, tmp_path: Path) -> None:
    add('moon = added_worlds:MOON')
    assert world_names() == (*(spec.name for spec in BUILT_IN), 'moon')
    assert world_spec('moon').parameters == tmp_path / 'moon.yaml'
    assert world_for(whole_task(world_spec('moon'))) == 'moon'
    with pytest.raises(ConfigError, match=r'world moon: joints: got joint_1, .*, allowed leg as its spec has them'):
        make_world('moon')


def test_a_world_of_another_package_is_evaluated_by_its_own_parameter_file(add: Add, tmp_path: Path) -> None:
    pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
    from dp_ros.evaluation.world_planner import make_planner
    from dp_ros.policy.bundle.manifest import load_bundle

    add('second = added_worlds:SECOND')
    own = world_spec('push_block').parameters.read_text().replace('blend_steps: 8', 'blend_steps: 5')
    (tmp_path / 'second.yaml').write_text(own)
    task = load_bundle(share_folder() / world_spec('second').bundle).task
    steps = {name: make_planner(make_world(name), name, task).options.blend_steps for name in ('push_block', 'second')}
    assert steps == {'push_block': 8, 'second': 5}


def test_a_world_of_another_package_is_an_environment(add: Add) -> None:
    gymnasium = pytest.importorskip('gymnasium', reason='gymnasium is not installed (extra: sim)')
    from dp_ros.simulation.gymnasium_env import register_environments

    add('second = added_worlds:SECOND')
    register_environments()
    try:
        assert gymnasium.make('added/Second-v0').reset(seed=1)[0]['joint_positions'].shape == (7,)
    finally:
        del gymnasium.registry['added/Second-v0']


def test_a_world_may_have_neither_demonstrator_nor_training_file(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(PUSHT, make_expert=None, training_file=None)
    monkeypatch.setitem(registry.worlds(), 'pusht', bare)
    with pytest.raises(ConfigError, match='demonstrator of the world pusht: got none, allowed a world that has one'):
        make_expert('pusht', None)
    with pytest.raises(ConfigError, match='training configuration of the world pusht: got none, allowed one with --c'):
        _ = bare.training


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        (('pusht = added_worlds:TWICE',), r'name pusht twice, of the one of dp_ros and of added_1 \(pusht = .*once'),
        (('moon = a:A', 'moon = b:B'), r'name moon twice, of added_. \(moon = .* and of added_. \(moon = .*once'),
    ],
)
def test_a_name_given_twice_is_refused(add: Add, lines: tuple[str, ...], message: str) -> None:
    for line in lines:
        add(line)
    with pytest.raises(ConfigError, match=message):
        world_names()


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (
            'moon = nowhere:SPEC',
            r'world of added_1 \(moon = nowhere:SPEC in dp_ros.worlds\): got ModuleNotFoundError: No',
        ),
        ('moon = added_worlds:NUMBER', r'world of added_1 \(.*\): got int, allowed a WorldSpec'),
        ('sun = added_worlds:MOON', r"world of added_1 \(.*\): got a spec named moon, allowed the entry point's name"),
    ],
)
def test_a_broken_entry_point_is_named_when_it_is_used(add: Add, line: str, message: str) -> None:
    add(line)
    name = line.split()[0]
    assert world_names() == (*(spec.name for spec in BUILT_IN), name)
    assert world_spec('pusht') is PUSHT
    with pytest.raises(ConfigError, match=message):
        world_spec(name)
