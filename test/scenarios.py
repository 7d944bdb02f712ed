"""What is done to a running robot and what is then looked at: the same under launch and as plain processes.

Nothing here knows who started the nodes; it speaks with them over topics and services alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

POLICY_NODES = ('observation_buffer', 'policy_executor', 'trajectory_publisher')
COMMANDS = 'arm_controller/joint_trajectory'
ROOT = Path(__file__).parents[1]
LIMIT = 30.0  # [s] of waiting; everything takes a small part of it
LEAST = 10  # joint states, and different commands, of a robot that was run


class Watch:
    """An observer of the graph with a thread of its own: hears commands, joint states, episodes and diagnostics.

    Parameters
    ----------
    joints
        Topic of the robot's joint states.
    namespace
        Of the nodes and of relative topics.
    use_sim_time
        Whether times are those of /clock.
    alive
        Called while waiting; raises if what was started has died.

    """

    def __init__(
        self, joints: str = 'joint_states', *, namespace: str = '', use_sim_time: bool = False,
        alive: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.alive = alive
        self.use_sim_time = use_sim_time
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        overrides = [Parameter('use_sim_time', value=use_sim_time)]
        self.node = Node('watch', namespace=namespace, context=self.context, parameter_overrides=overrides)
        self.commands: list[tuple[int, Any]] = []
        self.plans = 0  # how many of them differ from the one before: each is sent several times
        self.joints: list[Any] = []
        self.said: list[tuple[str, int, str, Mapping[str, str]]] = []
        self.episode: dict[str, str] = {}
        self._clients: dict[str, Any] = {}
        self.node.create_subscription(JointTrajectory, COMMANDS, self._on_command, QoSProfile(depth=100))
        self.node.create_subscription(JointState, joints, self.joints.append, QoSProfile(depth=100))
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, QoSProfile(depth=100))
        self.node.create_subscription(
            DiagnosticStatus, 'simulated_robot/episode', self._on_episode, QoSProfile(depth=10)
        )
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self.context.ok():
            try:
                self._executor.spin_once(timeout_sec=0.1)
            except Exception:  # the context was shut down while it waited
                if self.context.ok():
                    raise

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.context.try_shutdown()
        self._thread.join(10.0)
        self.node.destroy_node()

    def _on_command(self, message: Any, info: Mapping[str, Any]) -> None:
        # When it was sent says more than when this thread came to hear of it; but a simulated time is not in there.
        self.plans += not self.commands or message != self.commands[-1][1]
        self.commands.append((self.now() if self.use_sim_time else info['source_timestamp'], message))

    def _on_episode(self, message: DiagnosticStatus) -> None:
        self.episode = {v.key: v.value for v in message.values}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {v.key: v.value for v in status.values}
            self.said.append((status.name, int.from_bytes(status.level, 'big'), status.message, values))

    # Waiting and asking.

    def now(self) -> int:
        """Return robot time [ns]."""
        return int(self.node.get_clock().now().nanoseconds)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = LIMIT) -> Any:
        """Wait until something is true; return it."""
        end = time.monotonic() + seconds
        while not (result := condition()):
            self.alive()
            assert time.monotonic() < end, f'waited {seconds} s for {what}; last said:\n{self.summary()}'
            time.sleep(0.005)
        return result

    def run(self, seconds: float) -> None:
        """Let the robot go on for a while [s of wall time]."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.alive()
            time.sleep(0.02)

    def summary(self) -> str:
        """Return the newest message of every status."""
        newest = {name: (level, message) for name, level, message, _ in self.said}
        return '\n'.join(f'{name} [{level}]: {message}' for name, (level, message) in sorted(newest.items()))

    def state(self, name: str) -> tuple[int, str, Mapping[str, str]]:
        """Return level, message and values of the newest status whose name ends so."""
        found = next((s for s in reversed(self.said) if s[0].endswith(name)), ('', -1, '', {}))
        return found[1:]

    def heard(self, text: str, since: int = 0) -> bool:
        """Whether a status since number ``since`` says this, at a level above OK."""
        return any(text in message for _, level, message, _ in self.said[since:] if level > 0)

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service and return its response."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        self.wait(client.service_is_ready, service)
        future = client.call_async(request)
        self.wait(future.done, f'{service} to answer')
        return future.result()

    def trigger(self, service: str) -> str:
        """Call a Trigger service; return why it was refused, or ''."""
        response = self.call(Trigger, service, Trigger.Request())
        return '' if response.success else response.message or 'refused'

    def transition(self, node: str, *names: str) -> None:
        """Take a node through lifecycle transitions such as ``deactivate``."""
        for name in names:
            request = ChangeState.Request()
            request.transition.id = getattr(Transition, f'TRANSITION_{name.upper()}')
            assert self.call(ChangeState, f'{node}/change_state', request).success, f'{node} refused to {name}'

    def set(self, node: str, **values: Any) -> list[str]:
        """Set parameters, `__` in a name stands for a dot; return why those that were refused were."""
        parameters = [Parameter(n.replace('__', '.'), value=v).to_parameter_msg() for n, v in values.items()]
        request = SetParameters.Request(parameters=parameters)
        results = self.call(SetParameters, f'{node}/set_parameters', request).results
        return [result.reason or 'refused' for result in results if not result.successful]

    def parameters(self, node: str) -> dict[str, Any]:
        """Return the values of a node's parameters, by name; those that were never set are left out."""
        names = list(self.call(ListParameters, f'{node}/list_parameters', ListParameters.Request()).result.names)
        # One by one: asked for several, rclpy leaves out all if one was never set.
        found = {n: self.call(GetParameters, f'{node}/get_parameters', GetParameters.Request(names=[n])) for n in names}
        return {name: parameter_value_to_python(r.values[0]) for name, r in found.items() if r.values}


# Scenarios.


def moving(watch: Watch) -> bool:
    """Whether the newest joint state is in motion."""
    return bool(watch.joints) and max(abs(v) for v in watch.joints[-1].velocity) > 0.05


def at_rest(watch: Watch, seconds: float = 0.3) -> bool:
    """Whether the joint states hardly moved for so long, by their stamps."""
    states = watch.joints[:]
    if not states:
        return False
    recent = [j for j in states[-1000:] if _seconds(states[-1]) - _seconds(j) < seconds]
    positions, speeds = np.array([j.position for j in recent]), np.array([j.velocity for j in recent])
    return bool(len(recent) > 3 and np.ptp(positions, axis=0).max() < 2e-3 and np.abs(speeds).max() < 2e-2)


def _seconds(message: Any) -> float:
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A shipped bundle in its world, and what it must be capable of: ``wanted`` of the seeds, each in ``seconds``."""

    world: str
    bundle: str
    seeds: tuple[int, ...]
    wanted: int
    seconds: float

    def write_params(self, folder: Path) -> Path:
        """Write its parameters for all nodes to a file in ``folder``: the shipped ones, without pictures to render."""
        params = yaml.safe_load((ROOT / 'config' / f'{self.world}.yaml').read_text())
        params['/**/simulated_robot']['ros__parameters']['camera'] = False
        path = folder / 'params.yaml'
        path.write_text(yaml.safe_dump(params))
        return path


# Seeds that no demonstration has. The evaluation's policy succeeds with all of them, after five to seven seconds.
ARM = Case(
    world='push_block', bundle='models/push_block_state', seeds=tuple(range(300_000, 300_005)), wanted=3, seconds=15.0
)


def check_was_running(watch: Watch) -> None:
    """Raise AssertionError unless the robot and all nodes of the policy were at work while ``watch`` was there."""
    assert len(watch.joints) >= LEAST, f'got {len(watch.joints)} joint states, wanted {LEAST} or more'
    assert watch.plans >= LEAST, f'got {watch.plans} different commands, wanted {LEAST} or more'
    reported = {name.split(':')[0].split('/')[-1] for name, *_ in watch.said}
    missing = sorted({*POLICY_NODES} - reported)
    assert not missing, f'got diagnostics of {sorted(reported)}, wanted those of {missing} too'


def begin(watch: Watch, seed: int) -> None:
    """Put the robot where an episode begins, with the policy off: a robot that is elsewhere all at once is no robot."""
    for node in POLICY_NODES:
        watch.transition(node, 'deactivate')
    assert not watch.set('simulated_robot', seed=seed)
    assert not watch.trigger('simulated_robot/reset')
    watch.wait(lambda: watch.episode.get('seed') == str(seed), f'an episode with seed {seed}')
    # The sink first, so that nothing that is sent is missed.
    for node in reversed(POLICY_NODES):
        watch.transition(node, 'activate')
        if node == 'trajectory_publisher':  # what latched before stays latched
            watch.wait(lambda: not watch.trigger('trajectory_publisher/reset'), 'the publisher to be reset')


def policy_succeeds(watch: Watch, case: Case) -> None:
    """Run episodes until enough of them have succeeded."""
    succeeded = []
    for seed in case.seeds:
        begin(watch, seed)

        def over() -> bool:
            return watch.episode.get('success') == 'True' or float(watch.episode.get('elapsed', 0.0)) > case.seconds

        watch.wait(over, f'the end of the episode with seed {seed}', 2 * case.seconds + LIMIT)
        succeeded += [seed] if watch.episode['success'] == 'True' else []
        if len(succeeded) == case.wanted:
            return
    raise AssertionError(f'success with seeds {succeeded}, wanted {case.wanted} of {case.seeds}')


def sampling_steps_change_live(watch: Watch, case: Case) -> None:
    """Set `sampling_steps` on the running executor: allowed values are used, others refused with what is allowed."""

    def commands(what: str) -> None:
        before = watch.plans
        watch.wait(lambda: watch.plans >= before + 2, f'commands {what}')

    # One that gives noise is not among them: limits would stop it, and rightly so.
    for steps, seed in zip((4, 16, 0), case.seeds, strict=False):
        begin(watch, seed)
        commands('before the change')
        assert watch.set('policy_executor', sampling_steps=steps) == []
        commands(f'with {steps} sampling steps')
    (refusal,) = watch.set('policy_executor', sampling_steps=100_000)
    assert '100000' in refusal, refusal


def node_is_killed_and_restarted(
    watch: Watch, case: Case, kill: Callable[[], None], restart: Callable[[], None]
) -> None:
    """Kill the executor while the robot moves: it comes to rest, says why, and goes on once the node is back."""
    begin(watch, case.seeds[0])
    watch.wait(lambda: moving(watch), 'the robot to move')
    kill()
    watch.wait(lambda: at_rest(watch), 'the robot to rest')
    watch.wait(lambda: watch.state('trajectory_publisher: ladder')[0] > 0, 'the publisher to say so')
    restart()
    bring_back(watch)


def bring_back(watch: Watch) -> None:
    """Bring the robot back into motion as an operator would: reset what latched, as soon as it lets itself be reset."""
    end = time.monotonic() + LIMIT
    refusals: list[str] = []
    while not moving(watch):
        assert time.monotonic() < end, f'the robot does not move again; {refusals[-1:]}\n{watch.summary()}'
        if watch.state('policy_executor: inference')[1].startswith('stopped'):
            watch.transition('policy_executor', 'deactivate', 'activate')
        if watch.state('trajectory_publisher: ladder')[2].get('rung') in ('latched', 'home'):
            refusals.append(watch.trigger('trajectory_publisher/reset'))
        watch.run(0.5)
