"""Hostile peers of the real nodes: whatever they publish, call or set, no process ends and every node still answers.

    python test/fuzz/peers.py [--composed] [--seed N] [--count N]

What they send is drawn from the seed; what comes of it also depends on when it arrives.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSProfile

from dp_ros.tools.node_processes import EXECUTOR, POLICY_NODES, PUBLISHER, ROBOT, NodeProcesses, NodeSpec, contained

TEST = Path(__file__).parents[1]
CONFIG = TEST.parent / 'config' / 'pusht.yaml'
DEMONSTRATOR = 'demonstrator'
CONTROLLER = 'arm_controller'
LIMIT = 60.0  # [s] of waiting for what takes a small part of it
TYPES = (*range(12), 99, 254, 255)  # of a parameter's value; 0 to 9 exist
LABELS = ('configure', 'activate', 'deactivate', 'cleanup', 'shutdown', 'transition_error', 'destroy', '', 'x' * 300)
UP = ('configure', 'activate')


def load(name: str, path: Path) -> ModuleType:
    """Return a module of the folder test, which is no package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


hostile = load('hostile', Path(__file__).with_name('hostile.py'))
load('test.tiny_bundle', TEST / 'tiny_bundle.py')  # by the name that the next one knows it by
circling = load('circling_bundle', TEST / 'circling_bundle.py')


@contextmanager
def running(folder: Path, *, composed: bool) -> Iterator[NodeProcesses]:
    """Start all nodes; the demonstrator commands no robot, for the policy's would stop at that."""
    bundle = circling.write_circling_bundle(folder / 'bundle')
    limits = {
        f'limits.{joint}.{what}': value
        for joint in circling.JOINTS
        for what, value in {'lower': 0.0, 'upper': 0.512, 'velocity': 0.6, 'acceleration': 5.0}.items()
    }
    more: dict[str, dict[str, Any]] = {PUBLISHER: {**limits, 'heartbeat_timeout': 3.0}, EXECUTOR: {'exec_horizon': 4}}
    policy = [NodeSpec(name=name, parameters={'bundle': bundle, **more.get(name, {})}) for name in POLICY_NODES]
    specs = [
        NodeSpec(name=ROBOT, parameters={'camera_rate': 2.0}),
        *([contained(policy)] if composed else policy),
        NodeSpec(name=DEMONSTRATOR, parameters={'topics.command': '/elsewhere'}),
    ]
    with NodeProcesses(specs, CONFIG, folder / 'logs') as processes:
        yield processes


class Peers:
    """The peers, which have the names of honest ones where another name would be refused at once.

    Attributes
    ----------
    done
        How often each kind of attack was made.
    surprises
        What the nodes said of errors in their own callbacks.

    """

    targets = (*POLICY_NODES, ROBOT, DEMONSTRATOR)

    def __init__(self, processes: NodeProcesses, seed: int) -> None:
        self.processes, self.rng = processes, random.Random(seed)
        self.draw = hostile.Hostile(self.rng)
        self.done: Counter[str] = Counter()
        self.surprises: dict[str, str] = {}
        # In a context of its own, since DDS lets nobody publish on a topic by two types.
        self.context, self._other = rclpy.Context(), rclpy.Context()
        for context in (self.context, self._other):
            rclpy.init(context=context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.stranger = Node('stranger', context=self._other, start_parameter_services=False, enable_rosout=False)
        self.peer = self._node('peer')
        self.nodes = {'peer': self.peer}
        self.peer.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 50)
        self._publishers: dict[str, Any] = {}
        self._strange: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self._samples: dict[str, bytes] = {}
        self.topics: dict[str, Any] = {}
        self.services: dict[str, Any] = {}
        self.parameters: dict[str, list[str]] = {}

    def _node(self, name: str) -> Node:
        node = Node(name, context=self.context, start_parameter_services=False, enable_rosout=False)
        self.executor.add_node(node)
        return node

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown()
        for node in (*self.nodes.values(), self.stranger):
            node.destroy_node()
        self.context.try_shutdown()
        self._other.try_shutdown()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(': callbacks') and status.level == b'\x02':
                self.surprises.setdefault(f'{status.name}: {status.message[:60]}', status.message)

    def spin(self, seconds: float) -> None:
        """Hear what comes for a while; raise if a process has ended."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)
        self.processes.check()

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until something is true; return it."""
        until = time.monotonic() + LIMIT
        while not (result := condition()):
            assert time.monotonic() < until, f'waited {LIMIT} s for {what}'
            self.spin(0.05)
        return result

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service until it answers; what changes nothing may be called again."""
        client = self._client(kind, service)
        until, answer = time.monotonic() + LIMIT, None
        while answer is None or not answer.done():
            assert time.monotonic() < until, f'{service} does not answer'
            answer = client.call_async(request)
            for _ in range(40):
                self.spin(0.05)
                if answer.done():
                    break
        return answer.result()

    def _client(self, kind: Any, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.peer.create_client(kind, service)
        return self._clients[service]

    # Getting to know the nodes.

    def explore(self) -> None:
        """Find out what each node listens to, serves and can be set, and hear what honest peers send."""
        for name in self.targets:
            client = self._client(GetParameters, f'/{name}/get_parameters')
            self.wait(client.service_is_ready, name)
            names = self.call(ListParameters, f'/{name}/list_parameters', ListParameters.Request()).result.names
            self.parameters[name] = sorted(names)
        wanted = {f'/{name}/{service}' for name in (PUBLISHER, ROBOT) for service in ('reset',)}
        self.wait(lambda: wanted <= self._find(), f'the services {wanted}')
        self.topics = dict(sorted(self.topics.items()))
        heard = [
            self.peer.create_subscription(kind, t, partial(self._samples.__setitem__, t), QoSProfile(depth=1), raw=True)
            for t, kind in self.topics.items()
        ]
        self.spin(2.0)
        for subscription in heard:
            self.peer.destroy_subscription(subscription)
        # Only now: what a real node listens to is asked for by its name.
        self.nodes |= {name: self._node(name) for name in POLICY_NODES}

    def _find(self) -> set[str]:
        for name in (*self.targets, CONTROLLER):
            for topic, (kind, *_) in self.peer.get_subscriber_names_and_types_by_node(name, '/'):
                self.topics[topic] = hostile.class_of(kind)
            for service, (kind, *_) in self.peer.get_service_names_and_types_by_node(name, '/'):
                self.services[service] = hostile.class_of(kind, 'srv')
        return set(self.services)

    # Attacks.

    def attack(self, count: int) -> None:
        """Make so many attacks of all kinds, and bring the nodes back up in between."""
        kinds = {
            self.broken: 5, self.drawn: 5, self.changed: 8, self.mistyped: 1, self.set: 8, self.requested: 4,
            self.broken_request: 2, self.transition: 1,
        }  # fmt: skip
        for number in range(count):
            (kind,) = self.rng.choices(list(kinds), weights=list(kinds.values()))
            self.done[kind.__name__] += 1
            kind()
            self.spin(0.01)
            if number % 50 == 49:
                self.bring_up()

    def _publish(self, topic: str, message: Any, kind: Any, owner: Node | None = None, *, bare: bool = False) -> None:
        if topic not in self._publishers:
            qos = QoSProfile(depth=5)
            qos.avoid_ros_namespace_conventions = bare
            owner = owner or self.nodes.get(topic.split('/')[1], self.peer)
            self._publishers[topic] = owner.create_publisher(kind, topic, qos)
            self.spin(0.1)
        with suppress(rclpy_implementation.RCLError):  # longer than any message of the type can be
            self._publishers[topic].publish(message)

    def _any_topic(self) -> tuple[str, Any]:
        return self.rng.choice(list(self.topics.items()))

    def broken(self) -> None:
        """Publish bytes that are no message."""
        topic, kind = self._any_topic()
        self._publish(topic, self.draw.broken(kind, self._samples.get(topic)), kind)

    def drawn(self) -> None:
        """Publish a message all of whose fields are drawn."""
        topic, kind = self._any_topic()
        self._publish(topic, self.draw.message(kind), kind)

    def changed(self) -> None:
        """Publish an honest message with one field drawn."""
        topic, kind = self._any_topic()
        self._publish(topic, self.draw.changed(self.draw.honest(kind, self._samples.get(topic))), kind)

    def mistyped(self) -> None:
        """Publish a message of another topic's type."""
        topic, wrong = self._any_topic()[0], self._any_topic()[1]
        if topic not in self._strange:
            self._strange[topic] = wrong, self.stranger.create_publisher(wrong, topic, QoSProfile(depth=5))
        kind, publisher = self._strange[topic]
        publisher.publish(self.draw.message(kind))

    def _send(self, kind: Any, service: str, request: Any) -> None:
        client = self._client(kind, service)
        client.remove_pending_request(client.call_async(request))  # nobody waits for the answer

    def set(self) -> None:
        """Set parameters, declared or not, to values of any type number."""
        node = self.rng.choice((*self.targets, CONTROLLER))
        names = [*self.parameters.get(node, ()), 'use_sim_time', '', 'none.such', 'x' * 1000, 'limits.x', '\x00']
        together = self.rng.random() < 0.3
        kind = SetParametersAtomically if together else SetParameters
        request = kind.Request()
        for name in self.rng.sample(names, self.rng.choice((1, 1, 3))):
            value = self.draw.message(ParameterValue)
            value.type = self.rng.choice(TYPES)
            request.parameters.append(Parameter(name=name, value=value))
        self._send(kind, f'/{node}/set_parameters{"_atomically" if together else ""}', request)

    def requested(self) -> None:
        """Call any service with a request all of whose fields are drawn, whether or not it is there now."""
        services = {s: kind for s, kind in self.services.items() if not s.endswith('change_state')}
        service, kind = self.rng.choice(sorted(services.items()))
        self._send(kind, service, self.draw.message(kind.Request))

    def broken_request(self) -> None:
        """Send bytes that are no request, past the client that would not."""
        service, kind = self.rng.choice(sorted(self.services.items()))
        data = self.draw.broken(kind.Request, None)
        self._publish(f'rq{service}Request', data, kind.Request, self.stranger, bare=True)

    def transition(self) -> None:
        """Ask for a transition, there or not."""
        request = ChangeState.Request()
        request.transition.id = self.rng.choice((1, 2, 3, 4, self.rng.randrange(256)))
        request.transition.label = self.rng.choice(('', '', *LABELS))
        if 'shutdown' in request.transition.label or request.transition.id in (5, 6, 7):
            return  # a node that was shut down answers, and does nothing more: see `shut_down`
        self._send(ChangeState, f'/{self.rng.choice(self.targets)}/change_state', request)

    # What must be true.

    def bring_up(self) -> None:
        """Take every node to its active state, from wherever it is."""
        for name in self.targets:
            for label in UP:
                request = ChangeState.Request()
                request.transition.label = label
                self._send(ChangeState, f'/{name}/change_state', request)

    def shut_down(self) -> None:
        """Shut every node down, and configure it after."""
        for name in self.targets:
            for label in ('shutdown', 'shutdown', 'configure'):
                request = ChangeState.Request()
                request.transition.label = label
                self._send(ChangeState, f'/{name}/change_state', request)
        self.spin(1.0)

    def check(self) -> None:
        """Every process runs, and every node answers a question for a parameter."""
        self.processes.check()
        for name in self.targets:
            request = GetParameters.Request(names=['autostart'])
            (value,) = self.call(GetParameters, f'/{name}/get_parameters', request).values
            assert value.bool_value, f'{name}: autostart has changed'
        # The controller's, while there is one.
        if self.peer.count_services(f'/{CONTROLLER}/get_parameters'):
            request = GetParameters.Request(names=['joints'])
            assert self.call(GetParameters, f'/{CONTROLLER}/get_parameters', request).values


def run(folder: Path, *, seed: int, count: int, composed: bool) -> Peers:
    """Attack running nodes; return the peers, which have left."""
    with running(folder, composed=composed) as processes:
        peers = Peers(processes, seed)
        try:
            peers.explore()
            peers.attack(count)
            peers.check()
            peers.shut_down()
            peers.check()
        finally:
            peers.close()
    return peers


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seed', type=int, default=random.randrange(10**6))
    parser.add_argument('--count', type=int, default=2000)
    parser.add_argument('--composed', action='store_true', help='the three policy nodes in one process')
    parser.add_argument('--folder', type=Path, help='where bundle and logs are left (default: nowhere)')
    options = parser.parse_args()
    print(f'seed {options.seed}, {options.count} attacks', flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        began = time.monotonic()
        peers = run(folder, seed=options.seed, count=options.count, composed=options.composed)
    print(f'{dict(peers.done)} in {time.monotonic() - began:.0f} s: no process ended, every node answers')
    for surprise in peers.surprises.values():
        print(f'not foreseen: {surprise}')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
