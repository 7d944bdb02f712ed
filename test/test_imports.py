"""Who may import what. Read from the syntax trees, so that lazy imports count, and nothing has to be installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'dp_ros'
MODULES = {
    '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts): path for path in sorted(PACKAGE.rglob('*.py'))
}

# A room is a folder of dp_ros; `base` are the modules beside the rooms.
# cli -> tools -> nodes -> ros, motion, policy -> robot, task, messages, diffusion -> base -> numpy.
ROOMS_ALLOWED: dict[str, set[str]] = {
    'base': set(),
    'diffusion': {'base'},
    'task': {'base'},
    'messages': {'base', 'task'},
    'robot': {'base', 'task'},
    'policy': {'base', 'task', 'diffusion'},
    'motion': {'base', 'task', 'robot'},
    'planning': {'base', 'task', 'robot', 'motion'},
    'networks': {'base', 'task'},
    'recordings': {'base', 'task', 'messages', 'policy', 'motion'},
    'audit': {'base', 'task', 'messages', 'robot', 'recordings'},
    'training': {'base', 'task', 'diffusion', 'policy', 'networks', 'recordings'},
    'simulation': {'base', 'task', 'robot', 'motion'},
    'evaluation': {
        *('base', 'task', 'messages', 'diffusion', 'policy', 'robot', 'motion', 'planning'),
        *('networks', 'recordings', 'training', 'simulation'),
    },
    'ros': {'base', 'task', 'messages', 'policy', 'motion'},
    'nodes': {'base', 'task', 'messages', 'diffusion', 'policy', 'robot', 'motion', 'planning', 'simulation', 'ros'},
    'tools': {
        *('base', 'task', 'messages', 'diffusion', 'policy', 'robot', 'motion', 'planning'),
        *('recordings', 'simulation', 'evaluation', 'ros', 'nodes'),
    },
    'cli': {'base', 'task'},
}
# The command line starts any room, but only when its command is given: `dp_ros --help` needs nothing installed.
ROOMS_ALLOWED_LAZILY = {'cli': set(ROOMS_ALLOWED)}
# `dp_ros.Policy` is imported when it is first used.
FRONT, BEHIND_FRONT = 'dp_ros.__init__', 'policy'
BASE = ('__init__', 'errors', 'data', 'paths', 'bounded_files', 'options')

TORCHSCRIPT = 'dp_ros.policy.backends.sessions'
ROS_ROOMS = ('ros', 'nodes', 'tools')
ROS = {'rclpy', 'launch', 'launch_ros', 'ament_index_python'}
# Other packages; None: any, except for the rules on ROS, message types and torch.
PACKAGES_ALLOWED: dict[str, set[str] | None] = {
    **dict.fromkeys(ROOMS_ALLOWED),
    'base': {'numpy', 'yaml'},
    'task': {'numpy'},
    'diffusion': {'numpy'},
    'policy': {'numpy', 'onnxruntime', 'wordllama'},
    'motion': {'numpy'},
    'robot': {'numpy'},
    'planning': {'numpy', 'pinocchio', 'coal', 'ompl'},
    'messages': {'numpy', 'cv2', 'simplejpeg'},
    'networks': {'numpy', 'torch'},
    'cli': {'tqdm'},
}


@dataclass(frozen=True)
class Import:
    """An import of the module ``name``; lazy if it happens inside a function, or for type checkers alone."""

    name: str
    lazy: bool
    line: int


def room_of(module: str) -> str:
    """Return the room that a module of dp_ros belongs to."""
    first = (module.split('.')[1:] or ['__init__'])[0]
    if first in BASE:
        return 'base'
    if first == '__main__':
        return 'cli'
    assert first in ROOMS_ALLOWED, f'{module}: got a new room; its line in ROOMS_ALLOWED is missing'
    return first


def imports(source: str) -> Iterator[Import]:
    """Yield every import in a source text, ``importlib.import_module('...')`` included."""
    yield from _imports(ast.parse(source), lazy=False)


def _imports(node: ast.AST, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.unparse(child.test):
            inside = True
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, lazy, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f'line {child.lineno}: got a relative import, allowed absolute ones'
            # `from dp_ros import policy` imports dp_ros.policy.
            if child.module == 'dp_ros':
                for alias in child.names:
                    name = f'dp_ros.{alias.name}' if alias.name in {*ROOMS_ALLOWED, *BASE} else 'dp_ros'
                    yield Import(name, lazy, child.lineno)
            else:
                yield Import(child.module or '', lazy, child.lineno)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith(('import_module', '__import__')):
            called = child.args[0]
            if isinstance(called, ast.Constant):
                yield Import(str(called.value), lazy, child.lineno)
        yield from _imports(child, inside)


def is_message_package(package: str) -> bool:
    """Whether a package holds message, service or action types."""
    return package.endswith(('_msgs', '_srvs', '_interfaces'))


def violations(module: str, source: str) -> list[str]:
    """Return what a module imports and may not."""
    found = list(imports(source))
    reads_bags = any(i.name.split('.')[0] == 'rosbags' for i in found)
    reasons = [(i, _forbidden(module, i, reads_bags)) for i in found]
    return [f'{module}:{i.line} imports {i.name}: {reason}' for i, reason in reasons if reason]


def _forbidden(module: str, imported: Import, reads_bags: bool) -> str | None:
    room, package = room_of(module), imported.name.split('.')[0]
    if package == 'dp_ros':
        if module == FRONT and imported.lazy and room_of(imported.name) == BEHIND_FRONT:
            return None
        return _forbidden_room(room, imported)
    if package in sys.stdlib_module_names:
        return None
    if package in ROS:
        return None if room in ROS_ROOMS else f'ROS lives in {", ".join(ROS_ROOMS)}'
    if is_message_package(package):
        allowed = room in ROS_ROOMS or module == 'dp_ros.messages.encoding' or reads_bags
        return None if allowed else 'message types live where ROS does, in messages.encoding and what reads bags'
    if package == 'torch':
        allowed = room in ('networks', 'training', 'evaluation') or (module == TORCHSCRIPT and imported.lazy)
        return None if allowed else f'torch lives in networks, training, evaluation and, in a function, {TORCHSCRIPT}'
    packages = PACKAGES_ALLOWED[room]
    if packages is not None and package not in packages:
        return f'{room} may import {", ".join(sorted(packages)) or "no other package"}'
    return None


def _forbidden_room(room: str, imported: Import) -> str | None:
    other = room_of(imported.name)
    allowed = {room} | ROOMS_ALLOWED[room] | (ROOMS_ALLOWED_LAZILY.get(room, set()) if imported.lazy else set())
    return None if other in allowed else f'{room} may import {", ".join(sorted(allowed - {room})) or "no other room"}'


@pytest.mark.parametrize('module', MODULES)
def test_module_imports_only_what_it_may(module: str) -> None:
    assert not violations(module, MODULES[module].read_text(encoding='utf-8'))


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        ('dp_ros.diffusion.samplers', 'from dp_ros.policy.bundle.bundle import Bundle'),
        ('dp_ros.diffusion.samplers', 'import scipy'),
        ('dp_ros.policy.policy', 'import torch'),
        ('dp_ros.policy.policy', 'def f():\n    import torch'),
        ('dp_ros.policy.backends.sessions', 'import torch'),
        ('dp_ros.policy.backends.sessions', 'if True:\n    import torch'),
        ('dp_ros.motion.planner', 'from dp_ros import simulation'),
        ('dp_ros.motion.planner', 'import rclpy'),
        ('dp_ros.motion.planner', 'from sensor_msgs.msg import JointState'),
        ('dp_ros.motion.planner', 'import importlib\nimportlib.import_module("trajectory_msgs.msg")'),
        ('dp_ros.messages.decoding', 'from sensor_msgs.msg import JointState'),
        ('dp_ros.simulation.robot', 'from rclpy.node import Node'),
        ('dp_ros.simulation.robot', 'from std_srvs.srv import Trigger'),
        ('dp_ros.networks.unet1d', 'from dp_ros.training.trainer import Trainer'),
        ('dp_ros.training.trainer', 'from sensor_msgs.msg import JointState'),
        ('dp_ros.training.trainer', 'def f():\n    from dp_ros.tools.client import PolicyClient'),
        ('dp_ros.nodes.policy_executor.node', 'from dp_ros.training.trainer import Trainer'),
        ('dp_ros.nodes.policy_executor.node', 'def f():\n    import torch'),
        ('dp_ros.__init__', 'from dp_ros.policy.policy import DiffusionPolicy'),
        ('dp_ros.data', 'def f():\n    from dp_ros.policy.policy import DiffusionPolicy'),
        ('dp_ros.cli.main', 'from dp_ros.tools.demo import run_demo'),
        ('dp_ros.cli.main', 'def f():\n    import rclpy'),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        ('dp_ros.policy.backends.sessions', 'def f():\n    import torch'),
        ('dp_ros.policy.backends.sessions', 'from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch'),
        ('dp_ros.messages.encoding', 'from sensor_msgs.msg import JointState'),
        ('dp_ros.recordings.rosbag.reader', 'import rosbags\nfrom sensor_msgs.msg import JointState'),
        ('dp_ros.cli.main', 'def f():\n    from dp_ros.tools.demo import run_demo'),
        ('dp_ros.__init__', 'def f():\n    from dp_ros.policy.policy import DiffusionPolicy'),
    ],
)
def test_a_right_import_is_let_through(module: str, source: str) -> None:
    assert not violations(module, source)


TRAINING = 'torch diffusers accelerate onnx onnxscript tensorboard rosbags zarr matplotlib'
NOT_ON_A_ROBOT = f'{TRAINING} tqdm gym_pusht gymnasium pymunk pygame imageio mujoco pinocchio coal ompl'


def import_without(missing: str, modules: list[str]) -> None:
    script = (
        'import importlib, sys\n'
        f'sys.modules.update(dict.fromkeys({missing.split()!r}))\n'
        f'for name in {modules!r}: importlib.import_module(name)\n'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_robot_side_imports_without_training_or_simulation_installed() -> None:
    rooms = ('base', 'task', 'messages', 'diffusion', 'policy', 'robot', 'motion', 'planning', 'ros', 'cli')
    nodes = [f'dp_ros.nodes.{name}' for name in ('observation_buffer', 'policy_executor', 'trajectory_publisher')]
    import_without(NOT_ON_A_ROBOT, [m for m in MODULES if room_of(m) in rooms] + [m for m in nodes if m in MODULES])


def test_the_demo_imports_without_training_installed() -> None:
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
    import_without(TRAINING, ['dp_ros.tools.demo', 'dp_ros.nodes.simulated_robot.node'])


def test_importing_the_package_imports_nothing_that_must_be_installed() -> None:
    script = 'import sys, dp_ros; print({"numpy", "onnxruntime", "yaml"} & set(sys.modules))'
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=120)
    assert done.stdout == 'set()\n', done.stderr
