"""A trajectory_publisher whose latch is released at its machine only, and what the network can do to it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from dp_ros.motion.settings.publisher import RESET_COMMAND
from dp_ros.nodes.trajectory_publisher import local_reset
from dp_ros.nodes.trajectory_publisher.controllers import command_topics
from dp_ros.nodes.trajectory_publisher.local_reset import Answer, ask, choose, listening
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from test.nodes.test_trajectory_publisher import LIMITS, MS, T0, Live, started

pytestmark = pytest.mark.ros

RESET, HOLD = '/trajectory_publisher/reset', '/trajectory_publisher/hold'
REASON = '~/hold was called'


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of its own for $ROS_HOME. Listeners hear from the first moment."""
    monkeypatch.setattr(command_topics, 'SETTLE', 0)
    with tempfile.TemporaryDirectory(prefix='dp') as folder:
        monkeypatch.setenv('ROS_HOME', folder)
        yield Path(folder)


@pytest.fixture
def person() -> Iterator[ThreadPoolExecutor]:
    """Return a thread for someone at the machine, who waits while the node runs in this one."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool


def answered(live: Live, future: Future[Answer], step: int = 10 * MS) -> Answer:
    """Let time pass, or just the node's timer run if ``step`` is 0, until the person has an answer."""

    def done() -> bool:
        if step:
            live.time(live.now + step)
            live.measure(live.now)
        else:
            live.node.tick()
        return future.done()

    live.ros.wait(done, 'an answer at the socket')
    return future.result()


def stopped(ros: Any, bundle: str) -> Live:
    """Return one that was latched by ~/hold, and rests."""
    live = started(ros, bundle, allow_reset='local')
    assert ros.call(Trigger, HOLD, Trigger.Request()).success
    live.advance(T0 + 2000 * MS)
    live.send(live.chunk(T0 + 1950 * MS))
    live.reach('LATCHED')
    return live


def test_the_service_says_who_resets_and_the_person_at_the_machine_does(ros, tiny, person):
    live = stopped(ros, tiny)
    response = ros.call(Trigger, RESET, Trigger.Request())
    assert not response.success
    assert "allow_reset is 'local'" in response.message and RESET_COMMAND in response.message
    live.reach('LATCHED')

    path = choose(node='/trajectory_publisher')
    assert answered(live, person.submit(ask, path)) == Answer(success=True, message=REASON)
    live.reach('LATCHED')
    answer = answered(live, person.submit(ask, path, seen=REASON))
    assert answer == Answer(success=True, message=f'reset after: {REASON}')
    live.reach('WAIT')


def test_a_person_is_refused_while_the_cause_lasts_as_the_service_would(ros, tiny, person):
    live = started(ros, tiny, allow_reset='local')
    live.advance(T0 + 400 * MS)
    assert ros.call(Trigger, HOLD, Trigger.Request()).success
    answer = answered(live, person.submit(ask, choose(), seen=REASON), step=0)
    assert not answer.success
    assert answer.message.startswith('not reset: the arm comes to rest in')
    live.reach('LATCHED')


def test_the_network_cannot_change_who_may_reset(ros, tiny):
    live = stopped(ros, tiny)
    parameter = Parameter('allow_reset', value='service').to_parameter_msg()
    request = SetParameters.Request(parameters=[parameter])
    (result,) = ros.call(SetParameters, '/trajectory_publisher/set_parameters', request).results
    assert not result.successful
    assert live.node.value('allow_reset') == 'local'
    assert not ros.call(Trigger, RESET, Trigger.Request()).success
    live.reach('LATCHED')


def test_nobody_listens_unless_the_node_is_active_with_local(ros, tiny):
    node = ros.create(TrajectoryPublisher, bundle=tiny, allow_reset='local', **LIMITS)
    assert node.start()
    assert len(listening()) == 1
    node.trigger_deactivate()
    assert listening() == []
    node.trigger_activate()
    assert len(listening()) == 1
    node.close()
    assert listening() == []


def test_without_local_there_is_no_socket_and_the_service_resets(ros, tiny):
    live = started(ros, tiny)
    assert listening() == []
    assert ros.call(Trigger, HOLD, Trigger.Request()).success
    live.advance(T0 + 2000 * MS)
    live.send(live.chunk(T0 + 1950 * MS))
    assert ros.call(Trigger, RESET, Trigger.Request()).success


def test_a_folder_that_others_can_open_keeps_the_node_from_becoming_active(ros, tiny, home):
    folder = home / local_reset.FOLDER
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    node = ros.create(TrajectoryPublisher, bundle=tiny, allow_reset='local', **LIMITS)
    assert not node.start()
    ros.status('trajectory_publisher: lifecycle', DiagnosticStatus.ERROR, 'activate refused: allow_reset: got ')
    assert not node.active
