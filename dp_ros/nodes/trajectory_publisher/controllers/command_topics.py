"""The controllers' topics: what goes out, who listens, and who else sends there.

A joint_trajectory_controller takes what comes last, whoever sent it, and forgets everything when it is restarted. So
the graph is looked at for each chunk and twice a control step. A controller is known by its node's name: others that
listen, as a recorder does, are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.serialization import serialize_message
from trajectory_msgs.msg import JointTrajectory

from dp_ros.messages import encoding
from dp_ros.motion.outputs import Output, split
from dp_ros.motion.safety.safety_states import Cause, Reason
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.trajectory_publisher.controllers.check import ControllerCheck
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import NAMELESS, NOBODY, Ages, by_name, name_of
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import UNKNOWN as UNKNOWN
from dp_ros.nodes.trajectory_publisher.controllers.gripper_action import Grippers
from dp_ros.ros.lifecycle import ManagedNode, reliable

SETTLE = 500_000_000  # [ns]: we know a listener before it knows us, and until then it hears nothing


@dataclass(frozen=True, kw_only=True)
class GraphState:
    """What the graph shows.

    Attributes
    ----------
    faults
        What forbids motion, a controller that is not there or was not checked yet among it.
    grippers
        The same of grippers that take goals: where one is away, the controllers still hear of a stop.
    restarted
        Which controller was restarted since the last look, or ''.
    untouched
        The topics, by number, whose controllers were not.
    listening
        The topics, by number, on which somebody listens who may be the controller.
    newcomer
        Who has only begun to listen, in words, or ''. Someone whose name has not come through yet may be a controller
        that was restarted: nothing that goes on from an old plan may reach it. And a controller that does not hear the
        beginning of a plan would jump into the middle of it.

    """

    faults: tuple[Reason, ...] = ()
    grippers: tuple[Reason, ...] = ()
    restarted: str = ''
    untouched: tuple[int, ...] = ()
    listening: tuple[int, ...] = ()
    newcomer: str = ''


class CommandTopics:
    """Sends trajectories to the controllers, and watches their topics.

    Parameters
    ----------
    node
        The node that sends.
    outputs
        The controllers; each gets its joints of every trajectory.
    checks
        What is known about each output's controller.
    require
        Whether nothing may move before a controller listens and was checked; else whoever listens will do, unless he
        is the controller and was refused.
    dry_run
        Whether to send nothing: then no publisher is made, and who is on the topics does not matter.
    grippers
        Those that take goals instead.

    """

    def __init__(
        self,
        node: ManagedNode,
        outputs: Sequence[Output],
        checks: Sequence[ControllerCheck],
        *,
        require: bool,
        dry_run: bool,
        grippers: Grippers | None = None,
    ) -> None:
        self._grippers = grippers
        self._node, self._checks, self._require = node, tuple(checks), require
        self._outputs = tuple(outputs)
        self._topics = [str(node.resolve_topic_name(output.topic)) for output in self._outputs]
        self._publishers: list[Any] = []
        if not dry_run:
            self._publishers = [node.create_lifecycle_publisher(JointTrajectory, t, reliable(1)) for t in self._topics]
        self._ages = [Ages(node.steady) for _ in self._publishers]
        self.forget()

    def forget(self) -> None:
        """Forget who listened: whoever does so next is not restarted."""
        self._known: list[dict[str, frozenset[bytes]]] = [{} for _ in self._topics]

    def close(self) -> None:
        """Remove the publishers."""
        for check in self._checks:
            check.close()
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = []

    def prepare(
        self, trajectory: Trajectory, serialized: bytes, topics: Sequence[int] | None = None
    ) -> dict[int, bytes]:
        """Return the controllers' parts of a trajectory as messages, by the number of their topics.

        ``serialized`` is that of the whole. With ``topics``, those of other topics are left out.
        """
        if not self._publishers:
            return {}
        return {
            number: serialized if part is trajectory else serialized_message(part)
            for number, part in enumerate(split(trajectory, self._outputs))
            if topics is None or number in topics
        }

    def send(self, parts: Mapping[int, bytes]) -> None:
        """Send controllers their parts."""
        for number, part in parts.items():
            self._publishers[number].publish(part)

    def look(self) -> GraphState:
        """Return what the graph shows now."""
        faults: list[Reason] = []
        restarted, newcomers, untouched, listening = [], [], [], []
        for number, topic in enumerate(self._topics if self._publishers else []):
            others = self._others(topic)
            if others:
                text = f'{topic}: got a second publisher, {", ".join(others)}, allowed none but this node'
                faults.append(Reason(cause=Cause.PUBLISHER, text=text))
            found, unknown = by_name(self._node.get_subscriptions_info_by_topic(topic))
            listeners = self._controllers(number, found)
            everyone = unknown.union(*listeners.values())
            self._ages[number].look(everyone)
            newcomers += _newcomers(topic, self._ages[number], listeners, unknown)
            objection = self._objection(number, found, unknown)
            if objection:
                passing = self._checks[number].pending
                faults.append(Reason(cause=Cause.CONTROLLER, text=objection, passing=passing))
            known = self._known[number]
            here = [name for name, gids in listeners.items() if name in known and gids - known[name]]
            restarted += here
            untouched += [] if here else [number]
            listening += [number] if everyone else []
            self._known[number] = known | listeners
        return GraphState(
            faults=tuple(faults),
            grippers=tuple(self._grippers.faults()) if self._grippers is not None else (),
            restarted=', '.join(restarted),
            untouched=tuple(untouched),
            listening=tuple(listening),
            newcomer=', '.join(newcomers),
        )

    def _controllers(self, number: int, found: dict[str, frozenset[bytes]]) -> dict[str, frozenset[bytes]]:
        """Return those who listen that may be the controller: the node of its name, or anyone if he will do."""
        name = self._checks[number].name
        if name in found:
            return {name: found[name]}
        return {} if self._require else found

    def _objection(self, number: int, found: dict[str, frozenset[bytes]], unknown: frozenset[bytes]) -> str:
        """Return why nothing may move by a topic's controller, or ''; and go on with its check."""
        topic, check = self._topics[number], self._checks[number]
        check.look(found.get(check.name, NOBODY))
        if check.name in found:
            return check.objection if self._require else check.refusal
        if not self._require and (found or unknown):
            return ''
        who = [*sorted(found), *(['someone without a name'] if unknown else [])]
        got = f'only {", ".join(who)}' if who else 'nobody'
        text = f'{topic}: got {got} who listens, allowed an active joint_trajectory_controller'
        if self._require:
            text += f', the node {check.name}; or is the parameter controller to name another?'
        return text

    def _others(self, topic: str) -> list[str]:
        """Return the names of the nodes that publish on a topic besides this one."""
        if self._node.count_publishers(topic) < 2:
            return []  # names cost ten times as much, at every chunk
        names = [name_of(info) for info in self._node.get_publishers_info_by_topic(topic)]
        own = self._node.get_fully_qualified_name()
        if own in names:
            names.remove(own)  # once: another node of the same name is another one
        return sorted(names)


def serialized_message(trajectory: Trajectory) -> bytes:
    """Return a trajectory as the message that is sent, and sent again."""
    serialized: bytes = serialize_message(encoding.to_joint_trajectory(trajectory))
    return serialized


def _newcomers(topic: str, ages: Ages, listeners: dict[str, frozenset[bytes]], unknown: frozenset[bytes]) -> list[str]:
    """Return who among the listeners is new, in words."""
    nameless = [f'{topic}: someone listens whose name is not known yet'] if ages.younger(unknown, NAMELESS) else []
    return nameless + [
        f'{topic}: {name} listens since less than {SETTLE / 1e9} s'
        for name, gids in listeners.items()
        if ages.younger(gids, SETTLE)
    ]
