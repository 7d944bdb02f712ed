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

# A part is a folder of dp_ros, or some of the modules beside them.
PART_OF_MODULE = {
    **dict.fromkeys(('__init__', 'errors', 'data', 'config', 'streams', 'goals', 'paths', 'outside'), 'base'),
    **dict.fromkeys(('messages', 'decoding', 'images'), 'messages'),
    **dict.fromkeys(('cli', 'commands', '__main__', 'inspection'), 'cli'),
    **{folder: folder for folder in ('diffusion', 'networks', 'policy', 'simulation', 'training', 'nodes')},
}
# nodes -> policy -> diffusion -> numpy; training -> networks, policy, diffusion, simulation; nothing imports nodes.
PARTS_ALLOWED = {
    'base': set(),
    'diffusion': {'base'},
    'policy': {'base', 'diffusion'},
    'messages': {'base', 'policy'},
    'networks': {'base'},
    'simulation': {'base', 'policy'},
    'training': {'base', 'messages', 'diffusion', 'policy', 'networks', 'simulation'},
    'nodes': {'base', 'messages', 'diffusion', 'policy', 'simulation'},
    'cli': {'base'},
}
# The command line starts any part, but only when its command is given: `dp_ros --help` needs nothing installed.
PARTS_ALLOWED_LAZILY = {'cli': set(PARTS_ALLOWED)}

ROS = {'rclpy', 'launch', 'launch_ros', 'ament_index_python'}
# Other packages; None: any, except for the rules on ROS, message types and torch.
PACKAGES_ALLOWED: dict[str, set[str] | None] = {
    'base': {'numpy', 'yaml'},
    'diffusion': {'numpy'},
    'policy': {'numpy', 'yaml', 'onnxruntime', 'wordllama'},
    'messages': {'numpy', 'cv2', 'simplejpeg'},
    'networks': {'numpy', 'torch'},
    'simulation': None,
    'training': None,
    'nodes': None,
    'cli': set(),
}


@dataclass(frozen=True)
class Import:
    """An import of the module ``name``; lazy if it happens inside a function, or for type checkers alone."""

    name: str
    lazy: bool
    line: int


def part_of(module: str) -> str:
    """Return the part that a module of dp_ros belongs to."""
    below = module.split('.')[1:] or ['__init__']
    assert below[0] in PART_OF_MODULE, f'{module}: new here; say in PART_OF_MODULE which part it belongs to'
    return PART_OF_MODULE[below[0]]


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
                    name = f'dp_ros.{alias.name}' if alias.name in PART_OF_MODULE else 'dp_ros'
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
    part, package = part_of(module), imported.name.split('.')[0]
    if package == 'dp_ros':
        return _forbidden_part(part, imported)
    if package in sys.stdlib_module_names:
        return None
    if package in ROS:
        return None if part == 'nodes' else 'ROS lives in nodes'
    if is_message_package(package):
        allowed = part == 'nodes' or module == 'dp_ros.messages.encoding' or reads_bags
        return None if allowed else 'message types live in nodes, messages.py and what reads bags'
    if package == 'torch':
        allowed = part in ('networks', 'training') or (module == 'dp_ros.policy.backends.sessions' and imported.lazy)
        return None if allowed else 'torch lives in networks, training and, inside a function, policy/backends.py'
    packages = PACKAGES_ALLOWED[part]
    if packages is not None and package not in packages:
        return f'{part} may import {", ".join(sorted(packages)) or "no other package"}'
    return None


def _forbidden_part(part: str, imported: Import) -> str | None:
    other = part_of(imported.name)
    allowed = {part} | PARTS_ALLOWED[part] | (PARTS_ALLOWED_LAZILY.get(part, set()) if imported.lazy else set())
    return None if other in allowed else f'{part} may import {", ".join(sorted(allowed - {part})) or "no other part"}'


@pytest.mark.parametrize('module', MODULES)
def test_module_imports_only_what_it_may(module: str) -> None:
    assert not violations(module, MODULES[module].read_text(encoding='utf-8'))


@pytest.mark.parametrize(
    ('module', 'source'),
    [
        ('dp_ros.diffusion.samplers', 'from dp_ros.policy.bundle.manifest import Bundle'),
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
        ('dp_ros.training.trainer', 'def f():\n    from dp_ros.tools.client import Session'),
        ('dp_ros.nodes.policy_executor.node', 'from dp_ros.training.trainer import Trainer'),
        ('dp_ros.nodes.policy_executor.node', 'def f():\n    import torch'),
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
    ],
)
def test_a_right_import_is_let_through(module: str, source: str) -> None:
    assert not violations(module, source)


NOT_ON_A_ROBOT = (
    'torch diffusers accelerate onnx onnxscript tensorboard rosbags zarr matplotlib tqdm gym_pusht gymnasium pymunk '
    'pygame imageio mujoco'
)


def test_the_robot_side_imports_without_training_or_simulation_installed() -> None:
    parts = ('base', 'messages', 'diffusion', 'policy', 'cli')
    nodes = [f'dp_ros.nodes.{name}' for name in ('observation_buffer', 'policy_executor', 'trajectory_publisher')]
    modules = [m for m in MODULES if part_of(m) in parts] + [m for m in nodes if m in MODULES]
    script = (
        'import importlib, sys\n'
        f'sys.modules.update(dict.fromkeys({NOT_ON_A_ROBOT.split()!r}))\n'
        f'for name in {modules!r}: importlib.import_module(name)\n'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
