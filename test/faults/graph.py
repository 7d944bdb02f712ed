"""The four nodes as processes with a relay in front of the sensors, and a judge over everything that moved."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dp_ros.tools.node_processes import POLICY_NODES, ROBOT, NodeProcesses, NodeSpec, contained

from .loading import TEST, load

CONFIG = TEST.parent / 'config' / 'pusht.yaml'
scenarios, sent_motion, relay, circling = map(load, ('scenarios', 'sent_motion', 'relay', 'circling_bundle'))
oracle = load('controller_oracle')

# Far tighter than the robot needs, so that something that goes wrong has them in its way.
BOUNDS = sent_motion.Bounds(lower=0.0, upper=0.512, speed=0.6, acceleration=5.0)
NEAR = 50_000_000  # [ns] between a publisher's note of a command, and that command
SLACK = 0.3  # what the plant may add: it lags, and overshoots
LAG = 0.1  # how far the robot may be behind a plan that it follows [m]
MAX_FROZEN = 0.45  # [s]


class Graph:
    """The running nodes, their observer, and the relay between robot and policy."""

    def __init__(self, folder: Path, *, simulated: bool = False, composed: bool = False) -> None:
        self.bundle = circling.write_circling_bundle(folder / 'bundle')
        self.command_topic = scenarios.COMMANDS
        common: dict[str, Any] = {'bundle': self.bundle, **({'use_sim_time': True} if simulated else {})}
        limits = {
            f'limits.{joint}.{what}': value
            for joint in circling.JOINTS
            for what, value in (
                ('lower', BOUNDS.lower), ('upper', BOUNDS.upper),
                ('velocity', BOUNDS.speed), ('acceleration', BOUNDS.acceleration),
            )
        }  # fmt: skip
        topics = {f'topics.{name}': topic for name, topic in relay.ROBOT_TOPICS.items()}
        buffer, executor, sender = POLICY_NODES
        robot = NodeSpec(name=ROBOT, parameters={**topics, **({'publish_clock': True} if simulated else {})})
        policy = [
            NodeSpec(name=buffer, parameters={**common, 'max_frozen': MAX_FROZEN}),
            NodeSpec(name=executor, parameters={**common, 'exec_horizon': 4}),
            NodeSpec(name=sender, parameters={**common, **limits}),
        ]
        specs = [robot, *([contained(policy)] if composed else policy)]
        self.names = [spec.name for spec in specs]
        self.processes = NodeProcesses(specs, CONFIG, folder / 'logs')
        self.processes.__enter__()
        self.watch = scenarios.Watch(
            relay.ROBOT_TOPICS['joint_states'], use_sim_time=simulated, alive=self.processes.check
        )
        self.relay = relay.Relay(self.watch.node)
        self.mark()

    def close(self) -> None:
        self.watch.close()
        self.processes.stop()

    @contextmanager
    def fault(self, stream: str, **kind: Any) -> Iterator[None]:
        """Do this to a stream for a while."""
        self.relay.inject(stream, **kind)
        yield
        self.relay.inject(stream)

    def mark(self) -> None:
        """Judge what happens from now on."""
        self._marks = {name: len(getattr(self.watch, name)) for name in ('commands', 'joints', 'said')}
        self._rejected = self.rejected()

    def since(self, name: str) -> list[Any]:
        """Return the ``commands``, ``joints`` or ``said`` since the last mark."""
        return list(getattr(self.watch, name)[self._marks[name] :])

    def sent(self) -> list[Any]:
        """Return the commands since the last mark."""
        return self._read(self.since('commands'))

    def before(self) -> list[Any]:
        """Return the last commands before the mark: the robot was on its way."""
        return self._read(self.watch.commands[: self._marks['commands']][-3:])

    def _read(self, commands: list[Any]) -> list[Any]:
        ledger = [values for name, *_, values in self.watch.said if name.endswith('trajectory_publisher: chunk')]
        seeded = {int(values['published']) for values in ledger if values.get('reseeded') == 'True'}
        return [
            sent_motion.Sent(heard, message, any(abs(heard - published) < NEAR for published in seeded))
            for heard, message in commands
        ]

    def rejected(self) -> int:
        """How many trajectories the controller has refused."""
        return int(self.watch.state(f'{ROBOT}: simulation')[2].get('rejected', 0))

    def heard(self, text: str) -> bool:
        return bool(self.watch.heard(text, self._marks['said']))

    def wait_for(self, text: str) -> None:
        """Wait until a diagnostic above OK says this."""
        self.watch.wait(lambda: self.heard(text), repr(text))

    def rest(self) -> None:
        self.watch.wait(lambda: scenarios.at_rest(self.watch), 'the robot to rest', 15.0)

    def under_control(self) -> bool:
        """Whether the newest command is being followed."""
        distances = self.distances()
        return bool(distances) and distances[-1] < LAG

    def distances(self) -> list[float]:
        """How far the robot is from each of the last commands [m]."""
        joint = self.watch.joints[-1]
        return [sent_motion.distance(joint, one) for one in self.sent()[-5:]]

    def judge(self) -> None:
        """Nothing sent, commanded or done since the mark exceeds a limit; the robot rests or is under control."""
        self.watch.run(1.1)  # a round of diagnostics
        sent, joints = self.sent(), self.since('joints')
        for found in (sent_motion.excesses(sent, BOUNDS), sent_motion.motion(joints, BOUNDS, SLACK)):
            assert not found, found
        assert sent_motion.leaps(sent, joints, LAG) == []
        if not self.watch.use_sim_time:  # then it is not known well when it was sent
            assert sent_motion.seams(sent, BOUNDS, 0.02) == []
            commanded = sent_motion.set_points(oracle, self.before(), sent, joints)
            assert sent_motion.jerks(*commanded, BOUNDS, SLACK) == []
        assert self.rejected() == self._rejected
        # A robot that was given up on finishes the plan that it was sent.
        self.watch.wait(self.settled, f'the robot to rest or to be under control: {self.distances()}', 6.0)

    def settled(self) -> bool:
        """Whether the robot rests, or follows the newest command."""
        return scenarios.at_rest(self.watch) or self.under_control()

    def stall(self, name: str, seconds: float) -> None:
        """Stop a process for a while."""
        os.kill(self.processes.pid(name), signal.SIGSTOP)
        try:
            self.watch.run(seconds)
        finally:
            os.kill(self.processes.pid(name), signal.SIGCONT)

    def restart_controller(self) -> None:
        """Kill the robot with its controller, and start it again; judged is what happens from then on."""
        self.processes.kill(ROBOT)
        self.watch.run(1.0)
        self.mark()
        self.processes.start(ROBOT)
        seen = len(self.watch.joints)
        self.watch.wait(lambda: len(self.watch.joints) > seen + 200, 'two seconds of joint states')

    def recover(self) -> None:
        """Heal every sensor, start what was killed, and bring the robot back into motion."""
        self.relay.heal()
        for name in self.names:
            if not self.processes.running(name):
                self.processes.start(name)
        scenarios.bring_back(self.watch)
