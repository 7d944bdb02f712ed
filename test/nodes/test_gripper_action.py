"""Grippers that take goals of positions: when one is due, and the publisher with a real action server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.action import ActionServer, GoalResponse
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dp_ros.motion.safety.safety_states import Cause, Reason
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.trajectory_publisher.controllers import gripper_action
from dp_ros.nodes.trajectory_publisher.controllers.gripper_action import LEAD, SAME, SILENT, GoalRule
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from test.nodes.test_trajectory_publisher import EARLY, JOINTS, LIMITS, MS, T0, Live, known_at_once

pytestmark = pytest.mark.ros
__all__ = ['known_at_once']  # pytest finds the fixture by it

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SECOND = 1000 * MS


def opening(start: float, end: float) -> Trajectory:
    """Return a plan of an arm that stands and a gripper that opens evenly within a second, from T0 on."""
    times = np.array([0, SECOND])
    return Trajectory(stamp=T0, joints=('arm', 'finger'), times=times, positions=np.array([[0.0, start], [0.0, end]]))


def goals(rule: GoalRule, plan: Trajectory, times: range) -> list[tuple[int, float]]:
    """Return when goals are due, after T0 [ms], and which."""
    found = [(now, rule.due(plan, 'finger', T0 + now * MS)) for now in times]
    return [(now, goal) for now, goal in found if goal is not None]


def test_a_goal_is_due_at_each_step_of_the_plan_a_little_ahead_and_where_it_comes_to_rest():
    due = goals(GoalRule(0.02, 0.0, 1.0), opening(0.1, 0.165), range(0, 1500, 50))
    at, positions = zip(*due, strict=True)
    np.testing.assert_allclose(positions[:-1], [0.1 + 0.065 * (now + LEAD / MS) / 1000 for now in at[:-1]])
    assert (np.diff([0.1, *positions[:-1]]) >= 0.02).all() and len(due) == 3
    assert positions[-1] == 0.165 and at[-1] == 950, 'where it rests, though that is no whole step'


@pytest.mark.parametrize('where', [0.1, 0.10005])
def test_a_gripper_that_is_where_the_plan_rests_gets_no_goal(where):
    assert goals(GoalRule(0.02, 0.0, 1.0), opening(0.1, where), range(0, 1500, 50)) == []


def test_goals_stay_within_the_limits():
    due = goals(GoalRule(0.02, 0.0, 0.15), opening(0.1, 0.3), range(0, 1500, 50))
    assert [goal for _, goal in due if goal >= 0.15] == [0.15], 'nor is it sent there twice'


def test_a_new_plan_begins_where_the_gripper_is_and_a_driver_that_comes_back_is_told_at_once():
    rule = GoalRule(0.02, 0.0, 1.0)
    held = opening(0.1, 0.1)
    rule.lose()
    assert goals(rule, held, range(0, 200, 50)) == [], 'it may hold something: nothing was asked of it yet'
    assert goals(rule, opening(0.1, 0.2), range(2000, 2050, 50)) == [(2000, 0.2)]
    rule.lose()
    assert goals(rule, opening(0.1, 0.2), range(2050, 2200, 50)) == [(2050, 0.2)]
    assert rule.due(None, 'finger', T0) is None and rule.last is None
    assert goals(rule, held, range(0, 200, 50)) == []


def test_without_the_package_configure_is_refused_by_its_name(ros, tiny, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, 'control_msgs', None)
    monkeypatch.setitem(sys.modules, 'control_msgs.action', None)
    node = ros.create(TrajectoryPublisher, bundle=tiny, use_sim_time=True, **LIMITS, **OUTPUTS, dry_run=True)
    assert not node.start()
    assert "outputs type: got 'gripper_command' without control_msgs/GripperCommand" in capfd.readouterr().err


def test_without_the_action_in_an_older_package_configure_is_refused(ros, tiny, monkeypatch, capfd):
    for name in ('control_msgs', 'control_msgs.action'):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    given = {**OUTPUTS, 'outputs__hand__type': 'parallel_gripper_command'}
    assert not ros.create(TrajectoryPublisher, bundle=tiny, use_sim_time=True, **LIMITS, **given, dry_run=True).start()
    assert "got 'parallel_gripper_command' without control_msgs/ParallelGripperCommand" in capfd.readouterr().err


OUTPUTS = {
    'outputs__arm__topic': 'arm/joint_trajectory', 'outputs__arm__joints': ['pusher_y'],
    'outputs__hand__topic': 'hand/gripper_cmd', 'outputs__hand__joints': ['pusher_x'],
    'outputs__hand__type': 'gripper_command', 'outputs__hand__max_effort': 20.0, 'outputs__hand__step': 0.02,
}  # fmt: skip
MISSING = '/hand/gripper_cmd: got no server of the action'


class Driver:
    """The gripper's: it takes each goal and is there at once, unless it rejects it."""

    def __init__(self, ros: Any, type: str = 'gripper_command') -> None:
        self.ros, self.rejects, self.parallel = ros, False, type != 'gripper_command'
        self.goals: list[Any] = []
        kind = gripper_action.action_type(type)
        self._server: Any = ActionServer(
            ros.tester, kind, '/hand/gripper_cmd', lambda handle: self._execute(handle, kind), goal_callback=self._goal
        )

    def _goal(self, goal: Any) -> GoalResponse:
        command = goal.command
        names = (list(command.name), list(command.position), list(command.effort)) if self.parallel else ()
        self.goals.append(names or (command.position, command.max_effort))
        return GoalResponse.REJECT if self.rejects else GoalResponse.ACCEPT

    def _execute(self, handle: Any, kind: Any) -> Any:
        handle.succeed()
        asked = handle.request.command
        where = {'state': asked} if self.parallel else {'position': asked.position}
        return kind.Result(**where, reached_goal=True)

    def leave(self) -> None:
        if self._server is not None:  # its node does not end it
            self._server.destroy()
        self._server = None


@pytest.fixture
def drivers(ros: Any) -> Iterator[Callable[..., Driver]]:
    """Return what starts a gripper's driver."""
    pytest.importorskip('control_msgs.action', reason='control_msgs is not installed')
    started: list[Driver] = []

    def start(*type: str) -> Driver:
        started.append(Driver(ros, *type))
        return started[-1]

    yield start
    for driver in started:
        driver.leave()


class Gripping(Live):
    """A publisher of an arm and a gripper whose fingers stay where they are, as on something that they hold."""

    def __init__(self, ros: Any, bundle: str, *, require: bool = True, **parameters: Any) -> None:
        self.ros = ros
        every = {**LIMITS, **OUTPUTS, **parameters}
        self.node = ros.create(TrajectoryPublisher, bundle=bundle, use_sim_time=True, **every)
        assert self.node.start()
        self.node._grippers._require = require  # the tester listens in place of the arm's controller alone
        self.plans = ros.listen(JointTrajectory, '/trajectory_publisher/plan')
        ros.connected('/trajectory_publisher/plan')
        self.sent, self.copies = self.hear('/arm/joint_trajectory', 50)
        if not parameters.get('dry_run'):
            ros.connected('/arm/joint_trajectory')
        self.chunks = ros.talk(JointTrajectory, '/policy_executor/action_chunk', 1)
        self.joints = ros.talk(JointState, '/joint_states')
        self.time(EARLY)

    def measure(
        self, stamp: int, x: float | None = None, y: float | None = None, name: tuple[str, ...] = JOINTS
    ) -> None:
        super().measure(stamp, 0.2 if x is None else x, y, name)

    def ready(self, driver: Driver | None) -> None:
        """Wait until the driver is known, or known to be away."""
        self.ros.wait(lambda: bool(self.node._grippers._all[0].objection()) is (driver is None), 'the driver')

    def drive(self, to: int) -> None:
        """Let time pass as the timer does, and goals be answered."""
        for now in range(self.now + 50 * MS, to + 1, 50 * MS):
            self.advance(now)
            self.node.tick()
            self.ros.wait(lambda: self.node._grippers._all[0]._asked is None, 'the answer')


def test_a_gripper_gets_goals_along_the_plan_whatever_it_holds(ros, tiny, drivers):
    live = Gripping(ros, tiny)
    driver = drivers()
    live.ready(driver)
    live.begin()
    live.node.tick()
    ros.spin(0.1)
    assert driver.goals == [], 'the plan begins where the fingers are'
    live.send(live.chunk(T0))
    assert ros.wait(lambda: live.sent, 'the plan')[-1].joint_names == ['pusher_y']
    live.drive(T0 + 600 * MS)
    plan = live.node.planner.plan
    places, efforts = np.array(driver.goals).T
    assert (efforts == 20.0).all() and (np.diff(places) > 0.02 - 1e-9).all() and len(places) >= 2
    planned = plan.positions_at(np.array([live.now + LEAD - plan.stamp]))[0, 0]
    assert 0.0 <= planned - places[-1] < 0.02
    assert live.safety_state == 'RUN', 'fingers that stay behind are no fault'
    live.drive(T0 + 2200 * MS)
    assert driver.goals[-1][0] == pytest.approx(live.node.planner.plan.positions[-1, 0], abs=SAME)
    live.node.refresh()
    ros.status('trajectory_publisher: gripper hand', OK, 'follows the plan')


@pytest.mark.parametrize(('force', 'effort'), [(20.0, [20.0]), (0.0, [])])
def test_a_parallel_gripper_gets_goals_that_name_its_joint(ros, tiny, drivers, force, effort):
    kind = 'parallel_gripper_command'
    live = Gripping(ros, tiny, outputs__hand__type=kind, outputs__hand__max_effort=force)
    driver = drivers(kind)
    live.ready(driver)
    live.begin()
    live.send(live.chunk(T0))
    live.drive(T0 + 2200 * MS)
    names, places, efforts = zip(*driver.goals, strict=True)
    assert set(map(tuple, names)) == {('pusher_x',)} and list(efforts) == [effort] * len(driver.goals)
    assert places[-1] == [pytest.approx(live.node.planner.plan.positions[-1, 0], abs=SAME)] and len(places) >= 2
    assert (np.diff([place for (place,) in places[:-1]]) > 0.02 - 1e-9).all()
    counts = live.node._grippers._all[0].counts
    assert counts == {'goals': len(driver.goals), 'rejected': 0, 'unanswered': 0}


@pytest.mark.parametrize('why', ['latched', 'lost'])
def test_no_goal_is_sent_on_the_way_to_a_stop_for_good(ros, tiny, drivers, why):
    live = Gripping(ros, tiny, outputs__hand__step=0.001)
    driver = drivers()
    live.ready(driver)
    live.begin()
    live.send(live.chunk(T0))
    live.drive(T0 + 500 * MS)
    before = len(driver.goals)
    assert before > 3
    if why == 'latched':
        live.node.motion.latch(Reason(cause=Cause.OPERATOR, text='try'))
    else:
        live.node.planner.lose('try')
    live.drive(T0 + 700 * MS)
    assert len(driver.goals) == before


def test_fingers_may_be_faster_than_the_plan_and_elsewhere_and_nothing_latches(ros, tiny, drivers):
    live = Gripping(ros, tiny)
    live.ready(drivers())
    live.begin()
    live.send(live.chunk(T0))
    for number in range(1, 11):
        live.time(T0 + number * 50 * MS)
        live.measure(live.now, 0.5 * (number % 2))
        live.node.tick()
    assert live.safety_state == 'RUN' and not live.node.planner.lost
    assert live.node.motion.joint_states.implausible == 0
    live.send(live.chunk(T0 + 400 * MS))
    assert live.node.counts['published'] == 2


def test_nothing_moves_without_the_grippers_driver_and_an_arm_that_moves_comes_to_rest(ros, tiny, drivers):
    live = Gripping(ros, tiny)
    live.measure(EARLY)
    live.send(live.chunk(EARLY))
    live.refused(MISSING)
    live.node.refresh()
    ros.status('trajectory_publisher: gripper hand', ERROR, MISSING)
    driver = drivers()
    live.ready(driver)
    live.begin()
    live.send(live.chunk(T0))
    live.drive(T0 + 300 * MS)
    assert live.safety_state == 'RUN' and driver.goals
    driver.leave()
    live.ready(None)
    live.copies.clear()
    live.advance(T0 + 350 * MS)
    live.node.tick()
    assert live.safety_state == 'WAIT' and live.node.planner.plan.end < T0 + 1000 * MS
    live.advance(T0 + 400 * MS)
    live.node.tick()
    ros.wait(lambda: len(live.copies) > 1, 'the stop, again')
    live.advance(T0 + 1000 * MS)
    back = drivers()
    live.ready(back)
    live.time(T0 + 1050 * MS)
    live.measure(live.now)
    rests = float(live.node.planner.plan.positions[-1, 0])
    live.send(live.chunk(T0 + 1050 * MS, rests, 0.0))
    live.drive(T0 + 1200 * MS)
    assert live.safety_state == 'RUN' and back.goals == [(pytest.approx(rests), 20.0)], 'it knew of no goal'


def test_a_driver_that_was_restarted_is_told_where_the_plan_rests(ros, tiny, drivers):
    live = Gripping(ros, tiny, require=False)
    driver = drivers()
    live.ready(driver)
    live.begin()
    live.send(live.chunk(T0))
    live.drive(T0 + 2200 * MS)
    driver.leave()
    live.ready(None)
    live.drive(T0 + 2250 * MS)
    back = drivers()
    live.ready(back)
    live.drive(T0 + 2300 * MS)
    assert back.goals == [(live.node.planner.plan.positions[-1, 0], 20.0)]
    assert driver.goals[-1][0] == pytest.approx(back.goals[0][0], abs=SAME), 'where it was told to be before'


def test_without_require_controller_the_arm_moves_and_no_goal_is_sent(ros, tiny, drivers):
    live = Gripping(ros, tiny, require=False)
    live.begin()
    live.send(live.chunk(T0))
    live.drive(T0 + 300 * MS)
    assert live.safety_state == 'RUN' and live.node._grippers._all[0].counts['goals'] == 0


def test_a_goal_that_is_rejected_is_reported_and_sent_again_later(ros, tiny, drivers, monkeypatch):
    live = Gripping(ros, tiny)
    driver = drivers()
    live.ready(driver)
    live.begin()
    driver.rejects = True
    live.send(live.chunk(T0))
    live.drive(T0 + 2200 * MS)
    live.node.refresh()
    ros.status('trajectory_publisher: gripper hand', WARN, '/hand/gripper_cmd: got a goal rejected')
    before, driver.rejects = len(driver.goals), False
    steady = live.node.steady
    monkeypatch.setattr(live.node, 'steady', lambda: steady() + SILENT)
    live.drive(T0 + 2250 * MS)
    assert len(driver.goals) == before + 1 and driver.goals[-1] == driver.goals[-2]
    live.node.refresh()
    ros.status('trajectory_publisher: gripper hand', OK, 'follows the plan')


def test_a_dry_run_sends_no_goal(ros, tiny, drivers):
    live = Gripping(ros, tiny, dry_run=True)
    driver = drivers()
    live.begin()
    live.send(live.chunk(T0))
    for number in range(1, 11):
        live.advance(T0 + number * 50 * MS)
        live.node.tick()
    ros.spin(0.2)
    assert driver.goals == [] and live.node.counts['published'] == 1


def test_once_cleaned_up_it_asks_nobody_for_anything(ros, tiny, drivers):
    live = Gripping(ros, tiny)
    live.ready(drivers())
    asked = '/hand/gripper_cmd/_action/send_goal'
    ros.wait(lambda: ros.tester.count_clients(asked) == 1, 'the client')
    assert live.node.trigger_deactivate() == live.node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    ros.wait(lambda: not ros.tester.count_clients(asked), 'no client any more')


def test_commands_of_a_gripper_are_read_from_recordings_as_its_package_writes_them():
    messages = pytest.importorskip('control_msgs.msg', reason='control_msgs is not installed')
    types = pytest.importorskip('dp_ros.recordings.rosbag.types', reason='rosbags is not installed')
    sent = messages.GripperCommand(position=0.03, max_effort=20.0)
    read = types.deserialize(serialize_message(sent), types.GRIPPER_COMMAND)
    assert (read.position, read.max_effort) == (0.03, 20.0)
