"""Real rclpy over real DDS, in the domain that this run has claimed. Waiting is for messages, never for time."""

from __future__ import annotations

import gc
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from dp_ros.data import NANOSECONDS
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.policy.bundle.manifest import write_bundle
from dp_ros.policy.bundle.parity import Parity, input_shapes
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.ros.main import make_executor
from dp_ros.task.spec import ImageStream, TaskSpec

AGAIN = 5.0  # [s]: an answer can be lost before the server knows the client
LIMIT = 30.0  # [s] of waiting; everything takes a small part of it
N = TypeVar('N', bound=Node)


class Ros:
    """A context and an executor, and a node `tester` that listens to /diagnostics."""

    def __init__(self, executor: Callable[[Context], Executor] = make_executor) -> None:
        gc.freeze()  # what tests before this one imported and made: `close` need not look through it
        self.context = Context()
        rclpy.init(context=self.context)
        self.executor = executor(self.context)
        self.nodes: list[Node] = []
        self.statuses: list[DiagnosticStatus] = []
        self.tester = self.add(Node('tester', context=self.context))
        self.tester.create_subscription(DiagnosticArray, '/diagnostics', self._diagnostics, 100)
        self._clock: Any = None

    def _diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses.extend(message.status)

    def add(self, node: N) -> N:
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def create(self, cls: Callable[..., N], **parameters: Any) -> N:
        """Make a dp_ros node with these parameters; `__` in a name stands for a dot."""
        overrides = [Parameter(name.replace('__', '.'), value=value) for name, value in parameters.items()]
        return self.add(cls(context=self.context, parameter_overrides=overrides))

    def wait(self, until: Callable[[], Any], what: str) -> Any:
        """Let callbacks run until something is true; return it."""
        end = time.monotonic() + LIMIT
        while not (result := until()):
            assert time.monotonic() < end, f'waited {LIMIT} s for {what}'
            self.executor.spin_once(timeout_sec=0.05)
        return result

    def spin(self, seconds: float) -> None:
        """Let callbacks run for a while, to see that nothing happens."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service; return the response. A question that changes nothing is put again if no answer comes."""
        client = self.tester.create_client(kind, service)
        self.wait(client.service_is_ready, service)
        asked = [client.call_async(request)]
        again = time.monotonic() + AGAIN if kind.__name__.startswith(('Get', 'List')) else float('inf')

        def answered() -> bool:
            nonlocal again
            if time.monotonic() > again:
                asked.append(client.call_async(request))
                again = time.monotonic() + AGAIN
            return any(future.done() for future in asked)

        self.wait(answered, f'{service} to answer')
        return next(future.result() for future in asked if future.done())

    def listen(self, kind: type, topic: str, qos: Any = 50) -> list[Any]:
        """Subscribe; return the list that messages will be added to."""
        heard: list[Any] = []
        self.tester.create_subscription(kind, topic, heard.append, qos)
        return heard

    def talk(self, kind: type, topic: str, qos: Any = 50) -> Any:
        """Make a publisher and wait until someone listens to it."""
        publisher = self.tester.create_publisher(kind, topic, qos)
        self.wait(publisher.get_subscription_count, f'a subscriber of {topic}')
        return publisher

    def connected(self, topic: str) -> None:
        """Wait until the tester's subscription of a topic has a publisher."""
        self.wait(lambda: self.tester.count_publishers(topic), f'a publisher of {topic}')

    def status(self, name: str, level: bytes, text: str = '') -> DiagnosticStatus:
        """Wait for a status with this end of its name, this level, and this text in its message."""

        def found() -> DiagnosticStatus | None:
            matching = (s for s in reversed(self.statuses) if s.name.endswith(name) and s.level == level)
            return next((s for s in matching if text in s.message), None)

        def what() -> str:
            said = sorted({(s.name, s.level, s.message) for s in self.statuses})
            return f'waited {LIMIT} s for {name} at level {level!r} with {text!r}; got {said}'

        end = time.monotonic() + LIMIT
        while (result := found()) is None:
            assert time.monotonic() < end, what()
            self.executor.spin_once(timeout_sec=0.05)
        return result

    def set_clock(self, now: int, *nodes: Node) -> None:
        """Publish /clock and wait until every node has this time [ns]."""
        if self._clock is None:
            self._clock = self.tester.create_publisher(Clock, '/clock', 10)
            self.wait(lambda: self._clock.get_subscription_count() >= len(nodes), '/clock subscribers')
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(now, NANOSECONDS)
        self._clock.publish(message)
        self.wait(lambda: all(n.get_clock().now().nanoseconds == now for n in nodes), f'time {now}')

    def close(self) -> None:
        for node in self.nodes:
            close = getattr(node, 'close', lambda: None)
            close()
        self.executor.shutdown()
        for node in self.nodes:
            node.destroy_node()
        self.context.try_shutdown()
        # rclpy frees a lifecycle node's services with its state machine, and that with the node: until then the dead
        # node would still take requests meant for a later one of the same name.
        self.nodes.clear()
        gc.collect()


@pytest.fixture
def ros() -> Iterator[Ros]:
    """ROS for one test."""
    session = Ros()
    yield session
    session.close()


def load_tiny() -> ModuleType:
    """Return test/tiny_bundle.py, which needs torch."""
    pytest.importorskip('torch', reason='the tiny bundle is exported from torch, which is not installed')
    path = Path(__file__).parents[1] / 'tiny_bundle.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a tiny bundle that runs; shared, so it must not be changed."""
    folder: Path = load_tiny().write_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny')
    return str(folder)


def write_described(folder: Path, task: TaskSpec, **more: Any) -> Path:
    """Write a bundle for nodes that read its description alone: what stands in the networks' place is no network."""
    vectors = {s.name: s.shape[0] for s in task.streams if not isinstance(s, ImageStream)}
    columns = vectors | {ACTION: len(task.action.joints)}
    actions = (1, task.pred_horizon, len(task.action.joints))
    write_bundle(
        folder,
        task=task,
        normalizer=Normalizer(
            low={name: (-1.0,) * n for name, n in columns.items()},
            high={name: (1.0,) * n for name, n in columns.items()},
        ),
        schedule=ScheduleSpec(),
        defaults=SamplerSettings(),
        networks={'encoder.onnx': b'none', 'denoiser.onnx': b'none'},
        parity=Parity(
            inputs={name: np.zeros((1, *shape), np.float32) for name, shape in input_shapes(task).items()},
            cond=np.zeros((1, 4), np.float32),
            x_k=np.zeros(actions, np.float32),
            k=np.zeros(1, np.int64),
            prediction=np.zeros(actions, np.float32),
        ),
        **more,
    )
    return folder


@pytest.fixture
def described(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a bundle's description for a task, and returns its folder."""
    return lambda task, **more: str(write_described(tmp_path / 'described', task, **more))
