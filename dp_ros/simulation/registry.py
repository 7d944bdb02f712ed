"""The worlds by name: those that come with dp_ros, and those that other packages add by an entry point.

A package adds a world with an entry point of the group `dp_ros.worlds`, which has the world's name and gives its
`WorldSpec`.

    [project.entry-points.'dp_ros.worlds']
    my_world = 'my_package.my_world:SPEC'

Names are listed without importing what the entry points name; that happens when such a world is used.

In place of a name, the path of a YAML file stands for the world that it describes: any MuJoCo model
(`dp_ros.simulation.worlds.mjcf`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.simulation.world import Expert, World, WorldSpec
from dp_ros.simulation.worlds import BUILT_IN
from dp_ros.simulation.worlds.mjcf.world_file import read_world_spec
from dp_ros.task.spec import JointStream, TaskSpec

GROUP = 'dp_ros.worlds'
FROM_FILE = 'mjcf'
"""What the parameter `world` of nodes is where `world_file` names a file."""


@cache
def worlds() -> dict[str, WorldSpec | EntryPoint]:
    """Return all worlds by name, the built-in ones first; what is installed later is not among them."""
    table: dict[str, WorldSpec | EntryPoint] = {spec.name: spec for spec in BUILT_IN}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name in table:
            other = table[entry.name]
            first = _described(other) if isinstance(other, EntryPoint) else 'the one of dp_ros'
            raise ConfigError(
                f'worlds: got the name {entry.name} twice, of {first} and of {_described(entry)}, allowed once'
            )
        table[entry.name] = entry
    return table


def _described(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else 'an unknown package'
    return f'{package} ({entry.name} = {entry.value} in {GROUP})'


def _loaded(entry: EntryPoint) -> WorldSpec:
    try:
        spec = entry.load()
    except Exception as error:  # another package's code: whatever it raises, the message names that package
        raise ConfigError(
            f'world of {_described(entry)}: got {type(error).__name__}: {error}, allowed what can be imported'
        ) from error
    if not isinstance(spec, WorldSpec):
        raise ConfigError(f'world of {_described(entry)}: got {type(spec).__name__}, allowed a WorldSpec')
    if spec.name != entry.name:
        raise ConfigError(f"world of {_described(entry)}: got a spec named {spec.name}, allowed the entry point's name")
    return spec


def world_names() -> tuple[str, ...]:
    """Return the names of all worlds; ConfigError if two have the same."""
    return tuple(worlds())


def world_spec(name: str) -> WorldSpec:
    """Return the spec of the world ``name``, or of the file of that path; ConfigError if there is none."""
    if is_world_file(name):
        return read_world_spec(name)
    found = worlds().get(name)
    if found is None:
        raise ConfigError(f'world: got {name!r}, allowed {listed(world_names())}, or the path of a YAML file')
    return _loaded(found) if isinstance(found, EntryPoint) else found


def is_world_file(name: str) -> bool:
    """Whether what stands in place of a world's name is the path of a file."""
    return name.endswith(('.yaml', '.yml'))


def chosen_world(name: str, file: str) -> str:
    """Return what the parameters `world` and `world_file` stand for: a name, or the path of a file."""
    if (name == FROM_FILE) != bool(file):
        raise ConfigError(
            f'world_file: got {file!r} with world {name!r}, allowed the path of a YAML file with world {FROM_FILE!r}, '
            'and none with another world'
        )
    if file and not is_world_file(file):
        raise ConfigError(f'world_file: got {file!r}, allowed a path that ends in .yaml or .yml')
    return file or name


def world_parameters(world: str) -> dict[str, str]:
    """Return the parameters of nodes for a world, which is a name or the path of a file: `chosen_world` reversed."""
    if is_world_file(world):
        return {'world': FROM_FILE, 'world_file': str(Path(world).expanduser().absolute())}
    return {'world': world}


def check_world(name: str, task: TaskSpec, what: str, *, observes: bool = True) -> None:
    """Raise ConfigError unless a world fits the task of ``what``.

    Its robot has the joints that are commanded, in any order, with their units; and it publishes what the task
    ``observes``, unless others do.
    """
    spec, joints = world_spec(name), task.action.joints
    shown = {'pose': spec.pose_topics.values(), 'image': spec.camera_topics.values()}
    pairs: list[tuple[str, bool, Sequence[str], Sequence[str]]] = [
        ('joints', sorted(joints) == sorted(spec.joints), joints, spec.joints)
    ]
    units = dict(zip(spec.joints, spec.units, strict=True))
    given = dict(zip(joints, task.action.units, strict=True))
    odd = [joint for joint in joints if given[joint] != units.get(joint)]
    pairs.append((f'units of {listed(odd)}', not odd, [given[j] for j in odd], [units.get(j, '') for j in odd]))
    for stream in task.streams if observes else ():
        if not isinstance(stream, JointStream):
            topics = [f'/{topic}' for topic in shown[stream.kind]]
            fits = stream.topic.removesuffix('/compressed').strip('/') in shown[stream.kind]
            pairs.append((f'stream {stream.name!r} topic', fits, [stream.topic], topics))
    for field, fits, got, wanted in pairs:
        if not fits:
            raise ConfigError(
                f'{what} does not fit the world {name}: {field}: got {listed(got)}, allowed {listed(wanted)}'
            )


def world_for(task: TaskSpec) -> str:
    """Return the world whose robot has a task's joints, and which shows what the task observes, with the least beside.

    Other packages' worlds are looked at where no built-in one has the joints. ConfigError if none has.
    """
    joints = task.action.joints

    def fits(name: str) -> bool:
        return sorted(world_spec(name).joints) == sorted(joints)

    own = [spec.name for spec in BUILT_IN]
    found = [*filter(fits, own)] or [name for name in world_names() if name not in own and fits(name)]
    observed = {
        stream.topic.removesuffix('/compressed').removeprefix('/')
        for stream in task.streams
        if not isinstance(stream, JointStream)
    }

    def unlike(name: str) -> tuple[int, int]:
        spec = world_spec(name)
        shown = {*spec.pose_topics.values(), *spec.camera_topics.values()}
        return len(observed - shown), len(shown - observed)

    if found:
        return min(found, key=unlike)
    known = '; '.join(f'{name}: {listed(world_spec(name).joints)}' for name in world_names())
    raise ConfigError(f'world for joints {listed(joints)}: got none, allowed one of {known}')


def make_world(name: str, *, disturbance: float = 0.0) -> World:
    """Return a new world; ``disturbance`` 1 makes its episodes rougher, for demonstrations of how to recover.

    Raises
    ------
    ConfigError
        If there is no such world, it does not allow the disturbance, or it is not what its spec describes.

    """
    spec = world_spec(name)
    world = spec.make_world(disturbance=disturbance)
    for what, own, told in (
        ('joints', world.joints, spec.joints),
        ('units', world.units, spec.units),
        ('tracked', world.tracked, tuple(spec.pose_topics)),
        ('cameras', world.cameras, tuple(spec.camera_topics)),
    ):
        if tuple(own) != told:
            raise ConfigError(f'world {name}: {what}: got {listed(own)}, allowed {listed(told)} as its spec has them')
    return world


def make_expert(
    name: str, rng: np.random.Generator, *, control_dt: float = 0.1, noise: float | None = None, meaning: str = ''
) -> Expert:
    """Return a demonstrator of a world's task for one episode.

    ``noise`` is by how much it strays from its way [rad or m]; None: as much as it usually does. ``meaning`` is as for
    `dp_ros.simulation.robot.SimulatedRobot.reset`.

    Raises
    ------
    ConfigError
        If the world has no demonstrator, one whose noise can't be chosen, or no such instruction.

    """
    spec = world_spec(name)
    if spec.make_expert is None:
        raise ConfigError(f'demonstrator of the world {name}: got none, allowed a world that has one')
    if meaning and meaning not in spec.instructions:
        raise ConfigError(f'instruction: got one that means {meaning!r}, allowed {listed(spec.instructions)}')
    if noise is not None and spec.expert_noise is None:
        chosen = [other for other in world_names() if world_spec(other).expert_noise is not None]
        raise ConfigError(
            f'noise: got {noise} for the world {name}, allowed none; it can be chosen for {listed(chosen)}'
        )
    make: Any = spec.make_expert
    options = {name: value for name, value in (('noise', noise), ('meaning', meaning or None)) if value is not None}
    return make(rng, control_dt=control_dt, **options)
