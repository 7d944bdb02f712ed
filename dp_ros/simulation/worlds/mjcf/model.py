"""Read a MuJoCo model from somebody else's file within bounds, and find in it what a world's file names."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal
from xml.etree import ElementTree

import mujoco
import numpy as np

from dp_ros.bounded_files import from_xml, inside, open_regular, read_text, shown
from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.simulation.mujoco_world import STEP_DURATION
from dp_ros.simulation.worlds.mjcf.world_file import DrivenJoint, WorldFile

MOST_TEXT = 2**23
"""Bytes of the model, and of each file that it includes."""
MOST_INCLUDES = 50
MOST_ASSETS = 2**28
"""Bytes of meshes and textures together."""
MOST_VELOCITIES = 500
MOST_GEOMS = 5000
# Numbers by which a line of a model asks for much memory or time, with the largest that is taken.
COUNTED = {'count': 1000, 'nrow': 1024, 'ncol': 1024, 'width': 4096, 'height': 4096, 'nuser_geom': 100}
HINGE, SLIDE, FREE = (
    int(kind) for kind in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_FREE)
)
MOVABLE = (HINGE, SLIDE)
ON_JOINTS = tuple(map(int, (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)))
PLAIN = tuple(map(int, (mujoco.mjtDyn.mjDYN_NONE, mujoco.mjtDyn.mjDYN_FILTEREXACT)))
SHORTEST = 1e-4  # of a physics step of the model [s]


@dataclass(frozen=True, kw_only=True)
class Drive:
    """The position actuator that moves a joint.

    Attributes
    ----------
    actuator
        Its number.
    gain, offset
        The actuator's input is gain times set point + offset: there its force is 0.

    """

    actuator: int
    gain: float
    offset: float


def load_model(path: Path, file: WorldFile) -> mujoco.MjModel:
    """Return the compiled model that a world's file at ``path`` names; ConfigError says what is wrong with it."""
    folder = path.parent
    try:
        model_path = inside(folder, file.model, path.name)
        _check_text(folder, PurePath(file.model))
        model = mujoco.MjModel.from_xml_path(str(model_path))
    except OSError as error:
        raise ConfigError(f'{path}: model: cannot be read ({error}); allowed a file in its folder') from error
    except DataError as error:
        raise ConfigError(f'{path}: model {file.model}: {error}') from error
    except ValueError as error:  # MuJoCo's own reader
        text = ' '.join(str(error).split())
        raise ConfigError(f'{path}: model {file.model}: got one that MuJoCo does not take: {text}') from error
    if model.nv > MOST_VELOCITIES or model.ngeom > MOST_GEOMS:
        raise ConfigError(
            f'{path}: model {file.model}: got {model.nv} degrees of freedom and {model.ngeom} geoms, allowed up to '
            f'{MOST_VELOCITIES} and {MOST_GEOMS}'
        )
    arrays = {name: value for name in dir(model) if isinstance(value := getattr(model, name), np.ndarray)}
    odd = [name for name, value in arrays.items() if value.dtype.kind == 'f' and not np.isfinite(value).all()]
    if odd:
        raise ConfigError(f'{path}: model {file.model}: got nan or inf in {listed(odd)}, allowed finite numbers only')
    step = STEP_DURATION / 1e9
    count = step / max(model.opt.timestep, SHORTEST)
    if not model.opt.timestep >= SHORTEST or abs(count - round(count)) > 1e-6 * count:
        raise ConfigError(
            f'{path}: model {file.model}: option timestep: got {model.opt.timestep:g} s, allowed whole parts of '
            f'{step:g} s from {SHORTEST:g} s up'
        )
    return model


def _check_text(folder: Path, name: PurePath) -> None:
    """Look at a model and all that it includes before MuJoCo does: files stay in the folder, and numbers small."""
    first, left, seen, assets = name, [name], set[PurePath](), 0
    while left:
        name = left.pop()
        if name in seen:
            raise DataError(f'got {name} included twice, allowed once')
        seen.add(name)
        if len(seen) > MOST_INCLUDES:
            raise DataError(f'got more than {MOST_INCLUDES} files included, allowed up to that')
        try:
            root = from_xml(read_text(inside(folder, str(name)), MOST_TEXT))
        except DataError as error:
            raise DataError(f'{name}: {error}') from error
        compilers = [element.attrib for element in root.iter('compiler')]
        for element in root.iter():
            _check_element(element)
            file = element.get('file') or (element.get('filename', '') if element.tag == 'mesh' else '')
            if not file:
                continue
            if element.tag == 'include':
                beside = {first.parent / file, name.parent / file}
                left += sorted(path for path in beside if inside(folder, str(path)).exists())
            else:
                assets += _asset_size(folder, name.parent, compilers, file)
        if assets > MOST_ASSETS:
            raise DataError(f'got meshes and textures of {assets} bytes, allowed up to {MOST_ASSETS}')


def _check_element(element: ElementTree.Element) -> None:
    for key, most in COUNTED.items():
        if element.tag in ('camera', 'visual', 'global') or key not in element.attrib:
            continue
        if not _small(element.get(key, ''), most):
            raise DataError(f'{element.tag} {key}: got {shown(element.get(key))}, allowed numbers up to {most}')
    if element.tag == 'size' and 'memory' in element.attrib:
        raise DataError(f'size memory: got {shown(element.get("memory"))}, allowed none: MuJoCo chooses')
    if element.tag in ('plugin', 'extension'):
        raise DataError(f'got <{element.tag}>, allowed models without plugins')


def _small(text: str, most: int) -> bool:
    """Whether numbers, all multiplied, are not larger than that."""
    try:
        return abs(math.prod(map(float, text.split()))) <= most
    except ValueError:
        return False


def _asset_size(folder: Path, beside: PurePath, compilers: list[dict[str, str]], file: str) -> int:
    """Return the bytes of an asset, which must be a regular file in the folder wherever MuJoCo may look for it."""
    stripped = file.removeprefix('package://')
    kinds = ('meshdir', 'texturedir', 'assetdir')
    homes = {PurePath(''), *(PurePath(c[kind]) for c in compilers for kind in kinds if kind in c)}
    found = 0
    for home in sorted(homes):
        path = inside(folder, str(beside / home / stripped))
        if path.exists():
            with open_regular(path) as opened:
                found = max(found, opened.seek(0, 2))
    return found


def find_drives(model: mujoco.MjModel, file: WorldFile) -> list[Drive]:
    """Return the drives of a world's joints in order; ConfigError names what the model lacks."""
    coupled = couplings(model, file.names)
    drives = [_drive(model, joint, coupled) for joint in file.joints]
    numbers = [drive.actuator for drive in drives]
    for joint, number in zip(file.joints, numbers, strict=True):
        if numbers.count(number) > 1:
            raise ConfigError(f'joint {joint.name}: actuator: got {_name(model.actuator(number))!r} for two joints')
    return drives


def joint_number(model: mujoco.MjModel, name: str, what: str = 'joint') -> int:
    """Return the number of a hinge or a slide by its name."""
    number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name)
    if number < 0 or int(model.jnt_type[number]) not in MOVABLE:
        names = [model.joint(i).name for i in range(model.njnt) if int(model.jnt_type[i]) in MOVABLE]
        raise ConfigError(f'{what} {name}: got none in the model, allowed its hinges and slides: {listed(names)}')
    return number


def _drive(model: mujoco.MjModel, joint: DrivenJoint, coupled: Couplings) -> Drive:
    number = joint_number(model, joint.name)
    unit = 'm' if int(model.jnt_type[number]) == SLIDE else 'rad'
    if joint.unit != unit:
        raise ConfigError(f'joint {joint.name}: unit: got {joint.unit}, allowed {unit}, which it moves by in the model')
    lower, upper = model.jnt_range[number]
    if lower > upper:  # MuJoCo takes it for a joint without limits
        raise ConfigError(f'joint {joint.name}: range: got {lower:g} to {upper:g} in the model, allowed lower first')
    if joint.start is not None and model.jnt_limited[number] and not lower <= joint.start <= upper:
        raise ConfigError(f'joint {joint.name}: start: got {joint.start}, allowed {lower:g} to {upper:g}, its range')
    actuator, slope, begin = _actuator(model, joint, number, coupled)
    gain, bias = model.actuator_gainprm[actuator], model.actuator_biasprm[actuator]
    affine = (
        int(model.actuator_gaintype[actuator]) == int(mujoco.mjtGain.mjGAIN_FIXED)
        and int(model.actuator_biastype[actuator]) == int(mujoco.mjtBias.mjBIAS_AFFINE)
        and int(model.actuator_dyntype[actuator]) in PLAIN
    )
    if not affine or not gain[0] * slope != 0.0 or not bias[1] < 0.0:
        raise ConfigError(
            f'joint {joint.name}: actuator {_name(model.actuator(actuator))!r}: got one that is no position servo, '
            'allowed <position> on this joint, or <general> with a fixed gain and an affine bias with a spring: '
            'its set point is a position, as that of a joint_trajectory_controller'
        )
    return Drive(
        actuator=actuator,
        gain=float(-bias[1] * slope / gain[0]),
        offset=float(-(bias[0] + bias[1] * begin) / gain[0]),
    )


def _actuator(
    model: mujoco.MjModel, joint: DrivenJoint, number: int, coupled: Couplings
) -> tuple[int, float, float]:
    """Return the actuator that moves a joint, and its length over the joint's position: slope and offset."""
    lengths = {i: _length(model, i, number, coupled) for i in range(model.nu)}
    own = {_name(model.actuator(i)): (i, *length) for i, length in lengths.items() if length is not None}
    if joint.actuator:
        if joint.actuator not in own:
            raise ConfigError(f'joint {joint.name}: actuator: got {joint.actuator!r}, allowed {listed(own)} on it')
        return own[joint.actuator]
    count = sum(length is not None for length in lengths.values())
    if count != 1:
        raise ConfigError(
            f'joint {joint.name}: got {count} actuators on it in the model ({", ".join(own) or "none"}), allowed one, '
            'or actuator: that names one of them; a fixed tendon of it and of what follows it by <equality> counts'
        )
    return next(iter(own.values()))


def _length(model: mujoco.MjModel, actuator: int, joint: int, coupled: Couplings) -> tuple[float, float] | None:
    """Return slope and offset of an actuator's length over a joint's position; None where that does not decide it."""
    kind, on = int(model.actuator_trntype[actuator]), int(model.actuator_trnid[actuator][0])
    if kind in ON_JOINTS:
        parts = [(on, 1.0)]
    elif kind == int(mujoco.mjtTrn.mjTRN_TENDON):
        first = int(model.tendon_adr[on])
        wraps = range(first, first + int(model.tendon_num[on]))
        if any(int(model.wrap_type[i]) != int(mujoco.mjtWrap.mjWRAP_JOINT) for i in wraps):
            return None
        parts = [(int(model.wrap_objid[i]), float(model.wrap_prm[i])) for i in wraps]
    else:
        return None
    slope = offset = 0.0
    for part, coefficient in parts:
        other, polynomial = (joint, np.array([0.0, 1.0])) if part == joint else coupled.get(part, (-1, np.zeros(0)))
        if other != joint or polynomial[2:].any():
            return None
        begins = (float(model.qpos0[model.jnt_qposadr[i]]) for i in (part, other))
        slope += coefficient * float(polynomial[1])
        offset += coefficient * line_offset(polynomial, *begins)
    gear = float(model.actuator_gear[actuator][0])
    return gear * slope, gear * offset


def number_of(
    model: mujoco.MjModel, kind: Literal['body', 'camera', 'key'], name: str, what: str, others: Iterable[str] = ()
) -> int:
    """Return the number of a body, camera or keyframe by its name; ``what`` asks for it.

    The error lists ``others`` too, which would have done as well.
    """
    number = mujoco.mj_name2id(model, getattr(mujoco.mjtObj, f'mjOBJ_{kind.upper()}'), name)
    if number < 0:
        count = {'body': model.nbody, 'camera': model.ncam, 'key': model.nkey}[kind]
        names = (*others, *(getattr(model, kind)(i).name for i in range(kind == 'body', count)))
        raise ConfigError(f'{what}: got {name!r}, allowed those of the model: {listed(filter(None, names))}')
    return int(number)


Couplings = Mapping[int, tuple[int, np.ndarray]]
"""By the number of a joint the number of the joint that it follows, and the polynomial of how far both are away from
where the model begins."""


def couplings(model: mujoco.MjModel, driven: Collection[str]) -> Couplings:
    """Return the joints that follow another one by an equality; of two, one that is driven leads where it can."""
    numbers = {joint_number(model, name) for name in driven}
    found = {}
    for i in range(model.neq):
        first, second = int(model.eq_obj1id[i]), int(model.eq_obj2id[i])
        if int(model.eq_type[i]) != int(mujoco.mjtEq.mjEQ_JOINT) or not model.eq_active0[i] or second < 0:
            continue
        polynomial = np.array(model.eq_data[i][:5])
        if first in numbers and second not in numbers and polynomial[1] and not polynomial[2:].any():
            first, second = second, first
            polynomial = np.array([-polynomial[0], 1.0, 0.0, 0.0, 0.0]) / polynomial[1]
        found[first] = (second, polynomial)
    return found


def line_offset(polynomial: np.ndarray, own: float, of: float) -> float:
    """Return where a joint that follows another one in a line is with that at 0; they begin at ``own`` and ``of``."""
    return own + float(polynomial[0]) - float(polynomial[1]) * of


def follow(model: mujoco.MjModel, coupled: Couplings, qpos: np.ndarray) -> None:
    """Put joints that follow another one where they belong, in ``qpos``."""
    for joint, (other, polynomial) in coupled.items():
        row, of = model.jnt_qposadr[joint], model.jnt_qposadr[other]
        away = qpos[of] - model.qpos0[of]
        qpos[row] = model.qpos0[row] + sum(c * away**k for k, c in enumerate(polynomial))


def _name(accessor: object) -> str:
    return str(getattr(accessor, 'name', '')) or 'one without a name'
