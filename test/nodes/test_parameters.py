from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter

from dp_ros.errors import ConfigError
from dp_ros.nodes.observation_buffer import stream_settings
from dp_ros.nodes.policy_executor import inference_settings
from dp_ros.nodes.simulated_robot import node as simulated_robot
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from dp_ros.nodes.trajectory_publisher.settings import publisher as publisher_settings
from dp_ros.options import Option
from dp_ros.ros import bundles
from dp_ros.ros.lifecycle import AUTOSTART, ManagedNode
from dp_ros.ros.realtime import PARAMETERS as REALTIME_PARAMETERS
from dp_ros.tools import black_box
from dp_ros.tools.outcomes import recorder as outcomes

pytestmark = pytest.mark.ros

CONFIG = Path(__file__).parents[2] / 'config'
COUNT = Option(name='count', default=3, low=1, high=10, description='How many.', live=True)
RATIO = Option(name='ratio', default=0.5, low=0.0, high=1.0, description='Part of the whole.', live=True)
MODE = Option(name='mode', default='slow', choices=('slow', 'fast'), description='How.', live=True)
FIXED = Option(name='fixed', default=1, low=0, high=5, description='Set at start.')
NAMES = Option(name='names', default=(), description='Some names.')


class Example(ManagedNode):
    def __init__(self, **options: Any) -> None:
        self.applied: list[dict[str, Any]] = []
        patterns = {r'item\..+\.size': 'item.<name>.size'}
        super().__init__('example', [COUNT, RATIO, MODE, FIXED, NAMES], patterns=patterns, **options)

    def check(self, values: Any) -> None:
        if values['count'] == 7 and values['mode'] == 'fast':
            raise ConfigError('count: got 7 with mode fast, allowed any other')

    def apply(self, values: Any) -> None:
        self.applied.append(dict(values))


def test_declared_parameters_have_defaults_ranges_and_descriptions(ros):
    node = ros.create(Example)
    assert node.values() == {'autostart': True, 'count': 3, 'ratio': 0.5, 'mode': 'slow', 'fixed': 1, 'names': ()}
    names = ['count', 'ratio', 'mode', 'fixed']
    response = ros.call(DescribeParameters, '/example/describe_parameters', DescribeParameters.Request(names=names))
    count, ratio, mode, _ = response.descriptors
    assert (count.integer_range[0].from_value, count.integer_range[0].to_value) == (1, 10)
    assert (ratio.floating_point_range[0].from_value, ratio.floating_point_range[0].to_value) == (0.0, 1.0)
    assert mode.additional_constraints == 'one of: slow, fast'
    assert all(d.description for d in response.descriptors)
    assert [d.read_only for d in response.descriptors] == [False, False, False, True]


def test_an_override_is_taken(ros):
    assert ros.create(Example, count=4, names=['a', 'b']).values()['names'] == ('a', 'b')


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'cuont': 3}, r"/example: got unknown parameter 'cuont'; nearest: count, allowed auto.*item\.<name>\.size"),
        ({'item__a__width': 3}, r"unknown parameter 'item\.a\.width'"),
        ({'count': 11}, r'count: got 11, allowed a whole number from 1 to 10'),
        ({'count': True}, r'count: got True, allowed a whole number from 1 to 10'),
        ({'count': 'three'}, r"count: got 'three', allowed a whole number from 1 to 10"),
        ({'ratio': float('nan')}, r'ratio: got nan, allowed a number with a decimal point from 0.0 to 1.0'),
        ({'ratio': 1}, r'ratio: got 1, allowed a number with a decimal point from 0.0 to 1.0'),
        ({'mode': 'medium'}, r"mode: got 'medium', allowed 'slow', 'fast'"),
        ({'names': 'one'}, r"names: got 'one', allowed a list of strings"),
        ({'autostart': 1}, r'autostart: got 1, allowed true or false'),
    ],
)
def test_a_wrong_override_is_refused(ros, parameters, message):
    with pytest.raises(ConfigError, match=message):
        ros.create(Example, **parameters)


def test_a_name_that_fits_a_pattern_and_what_ros_itself_reads_are_no_unknown_names(ros):
    ros.create(Example, item__a__size=3, use_sim_time=False)


def set_live(ros: Any, **parameters: Any) -> Any:
    messages = [Parameter(k, value=v).to_parameter_msg() for k, v in parameters.items()]
    request = SetParameters.Request(parameters=messages)
    return ros.call(SetParameters, '/example/set_parameters', request).results[0]


def test_a_live_parameter_is_set_and_applied(ros):
    node = ros.create(Example)
    assert set_live(ros, count=5).successful
    assert node.value('count') == 5
    assert node.applied[-1]['count'] == 5


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('count', 11, 'Min: 1, Max: 10, value: 11'),
        ('ratio', 1.5, 'Min: 0.0, Max: 1.0, value: 1.5'),
        ('ratio', float('nan'), 'value: nan'),
        ('mode', 'medium', "mode: got 'medium', allowed 'slow', 'fast'"),
        ('fixed', 2, 'read-only'),
        ('count', 'three', 'INTEGER'),
    ],
)
def test_a_wrong_live_value_is_refused_with_the_reason(ros, name, value, reason):
    node = ros.create(Example)
    before = node.values()
    result = set_live(ros, **{name: value})
    assert not result.successful
    assert reason in result.reason
    assert node.values() == before
    assert node.applied == []


def test_values_that_do_not_fit_together_are_refused(ros):
    ros.create(Example, mode='fast')
    assert set_live(ros, count=7).reason == 'count: got 7 with mode fast, allowed any other'


def test_a_number_needs_a_range():
    with pytest.raises(ConfigError, match='allowed a range'):
        Option(name='count', default=3, description='How many.')


SHIPPED = {
    'observation_buffer': [
        bundles.BUNDLE,
        bundles.POLICY_SPEED,
        *REALTIME_PARAMETERS,
        *stream_settings.PARAMETERS,
    ],
    'policy_executor': inference_settings.PARAMETERS,
    'trajectory_publisher': publisher_settings.PARAMETERS,
    'simulated_robot': simulated_robot.PARAMETERS,
    'black_box': black_box.PARAMETERS,
    'outcomes': outcomes.PARAMETERS,
}


def flat(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for key, value in values.items():
        pairs |= flat(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value}
    return pairs


@pytest.mark.parametrize('node', SHIPPED)
def test_policy_yaml_has_every_parameter_with_its_default_and_a_comment(node):
    text = (CONFIG / 'policy.yaml').read_text()
    block = text.split(f'/**/{node}:')[1].split('/**/')[0]
    values = flat(yaml.safe_load(text)[f'/**/{node}']['ros__parameters'])
    own = {parameter.name: parameter for parameter in (AUTOSTART, *SHIPPED[node])}
    assert set(values) <= set(own)
    for name, parameter in own.items():
        if parameter.default == ():
            assert f'# {name.rpartition(".")[2]}: [' in block
        elif name != 'bundle':
            assert values[name] == parameter.default, name
    lines = block.splitlines()
    for name in (n for n in own if n not in ('autostart', 'bundle') and own[n].default != ()):
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f'{name.rpartition(".")[2]}:'))
        assert any(line.strip().startswith('#') for line in lines[max(0, at - 3) : at]), name


@pytest.mark.parametrize('file', sorted(CONFIG.glob('*.yaml')), ids=lambda file: file.name)
def test_every_topic_of_a_shipped_parameter_file_is_below_the_namespace(file):
    for node, block in yaml.safe_load(file.read_text()).items():
        values = flat(block['ros__parameters'])
        topics = {
            name: value for name, value in values.items() if 'topic' in name.replace('topics', 'topic').split('.')
        }
        assert [name for name, topic in topics.items() if topic.startswith('/')] == [], node


def test_two_robots_with_the_shipped_parameters_have_two_command_topics(ros):
    limits = {
        f'limits.{joint}.{what}': 1.0 for joint in ('pusher_x', 'pusher_y') for what in ('velocity', 'acceleration')
    }
    for namespace in ('left', 'right'):
        node = ros.add(
            TrajectoryPublisher(
                context=ros.context,
                namespace=namespace,
                cli_args=['--ros-args', '--params-file', str(CONFIG / 'policy.yaml')],
                parameter_overrides=[Parameter(name, value=value) for name, value in limits.items()],
            )
        )
        assert node.start()
        ros.connected(f'/{namespace}/arm_controller/joint_trajectory')
    assert ros.tester.count_publishers('/arm_controller/joint_trajectory') == 0
