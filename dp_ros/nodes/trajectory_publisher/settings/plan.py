"""Parameters of the trajectory_publisher's plan, and what it makes of them: planner and outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from std_msgs.msg import String

from dp_ros.errors import ConfigError
from dp_ros.motion.outputs import OUTPUT_OPTIONS, OUTPUTS, Output, check_outputs
from dp_ros.motion.settings.plan import LIMITS, QUANTITIES, PlanSettings, limit_options
from dp_ros.motion.settings.publisher import UrdfOptions
from dp_ros.options import build, options_of
from dp_ros.paths import locate
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.robot.model import RobotModel
from dp_ros.robot.urdf import parse_urdf, read_urdf
from dp_ros.ros.bundles import below_namespace
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.ros.parameters import overrides
from dp_ros.ros.queries import latched
from dp_ros.task.spec import ActionSpec

PATTERNS = {
    rf'limits\..+\.({"|".join(QUANTITIES)})': 'limits.<joint>.' + '|'.join(QUANTITIES),
    rf'outputs\..+\.({OUTPUT_OPTIONS})': f'outputs.<name>.{OUTPUT_OPTIONS}',
}


def read_robot(node: ManagedNode) -> RobotModel | None:
    """Return the robot that a node's parameters name, or None if they name none. May wait; for `configure` alone."""
    urdf = build(UrdfOptions, node.values())
    if urdf.urdf_file:
        return read_urdf(locate(urdf.urdf_file))
    if not urdf.robot_description:
        return None
    seconds = urdf.robot_description_timeout
    message = latched(node, urdf.robot_description, String, seconds)
    name = node.resolve_topic_name(urdf.robot_description)
    if message is None:
        raise ConfigError(f'{name}: got no robot description in {seconds:.1f} s, allowed one latched there')
    return parse_urdf(message.data, name)


def read_settings(node: ManagedNode, joints: tuple[str, ...], driven_apart: tuple[str, ...] = ()) -> PlanSettings:
    """Return what a node's parameters say of limits and plan; the limits of ``joints`` are declared here.

    ``driven_apart`` are those of the joints that `motion.outputs.driven_apart` names.
    """
    if not node.value('limits_file'):
        node.declare_more(limit_options(joints))
    values = {name: value for name, value in node.values().items() if not name.startswith(LIMITS)}
    given = {name: parameter.value for name, parameter in overrides(node).items() if name.startswith(LIMITS)}
    settings = PlanSettings.of(values | given)
    return replace(settings, options=replace(settings.options, driven_apart=driven_apart))


def make_outputs(node: ManagedNode, bundle: Bundle) -> tuple[Output, ...]:
    """Return the controllers that a plan goes to: those of `outputs`, or those that its recordings commanded."""
    action = bundle.task.action
    names = sorted({name[len(OUTPUTS) :].rsplit('.', 1)[0] for name in overrides(node) if name.startswith(OUTPUTS)})
    if not names:
        return recorded_outputs(action, node.value('topics.command'))
    node.declare_more([each for name in names for each in options_of(Output, f'{OUTPUTS}{name}.')])
    outputs = tuple(replace(build(Output, node.values(), f'{OUTPUTS}{name}.'), name=name) for name in names)
    check_outputs(outputs, action.joints)
    return outputs


def recorded_outputs(action: ActionSpec, command: str = '') -> tuple[Output, ...]:
    """Return the trajectory controllers that the recordings commanded, or one for all joints.

    ``command`` is the topic of that one; given, it takes all joints. Several are taken where each is known to be a
    trajectory controller by the name of its topic: a leader's joint states move no robot.
    """
    sources = () if command else action.sources
    if len(sources) > 1 and all(PurePosixPath(source.topic).name == 'joint_trajectory' for source in sources):
        topics = [below_namespace(source.topic) for source in sources]
        return tuple(
            Output(name=topic.rpartition('/')[0], topic=topic, joints=source.joints)
            for topic, source in zip(topics, sources, strict=True)
        )
    return (Output(name='command', topic=command or below_namespace(action.topic), joints=action.joints),)
