from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('gym_pusht', reason='gym-pusht is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dp_ros.messages import encoding as messages
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.simulated_robot import node as simulated_robot
from dp_ros.nodes.simulated_robot.node import SimulatedRobotNode
from dp_ros.nodes.simulated_robot.robot_outputs import renamed
from dp_ros.robot.urdf import parse_urdf
from dp_ros.simulation.registry import world_spec
from dp_ros.simulation.worlds.pusht.world import PushTWorld

pytestmark = pytest.mark.ros

MS = 1_000_000
JOINTS = ('pusher_x', 'pusher_y')
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let no load of this machine count as too slow."""
    monkeypatch.setattr(simulated_robot, 'LOST', 3_600_000 * MS)
    monkeypatch.setattr(simulated_robot, 'LATE', 3_600_000 * MS)


class Live:
    """A running simulated robot, and what it says."""

    def __init__(self, ros: Any, **parameters: Any) -> None:
        self.ros = ros
        self.node = ros.create(SimulatedRobotNode, **parameters)
        self.joints = ros.listen(JointState, '/joint_states')
        self.poses = ros.listen(PoseStamped, '/block_pose')
        self.images = ros.listen(Image, '/camera/color/image_raw')
        self.clock = ros.listen(Clock, '/clock', qos_profile_sensor_data)
        self.episodes = ros.listen(DiagnosticStatus, '/simulated_robot/episode')
        assert self.node.start()
        ros.wait(lambda: len(self.joints) > 3, 'joint states')

    def episode(self) -> dict[str, str]:
        return {v.key: v.value for v in self.episodes[-1].values} if self.episodes else {}

    def reset(self, seed: int, **others: Any) -> Any:
        values = [Parameter(name, value=value).to_parameter_msg() for name, value in {'seed': seed, **others}.items()]
        request = SetParameters.Request(parameters=values)
        assert self.ros.call(SetParameters, '/simulated_robot/set_parameters', request).results[0].successful
        return self.ros.call(Trigger, '/simulated_robot/reset', Trigger.Request())


def trajectory(x: float, y: float, joints: tuple[str, ...] = JOINTS) -> JointTrajectory:
    return messages.to_joint_trajectory(
        Trajectory(
            stamp=0,
            joints=joints,
            times=np.array([500 * MS]),
            positions=np.array([[x, y]]),
            velocities=np.zeros((1, 2)),
        )
    )


def test_readings_fall_on_control_ticks_at_their_rates(ros):
    live = Live(ros)
    ros.wait(lambda: len(live.images) > 3, 'images')
    stamps = [messages.stamp_of(m) for m in live.joints]
    assert set(np.diff(stamps)) == {10 * MS}
    assert all(stamp % (10 * MS) == 0 for stamp in stamps)
    assert set(np.diff([messages.stamp_of(m) for m in live.poses])) == {10 * MS}
    images = [messages.stamp_of(m) for m in live.images]
    assert all(stamp % (100 * MS) == 0 for stamp in images)
    assert set(np.diff(images)) == {100 * MS}
    assert set(images) & set(stamps)
    now = live.node.now()
    assert abs(now - messages.stamp_of(live.joints[-1])) < 10_000 * MS, 'stamps are system time'


def test_messages_say_joints_units_frame_and_pixels(ros):
    live = Live(ros)
    ros.wait(lambda: live.images and live.poses, 'messages')
    assert live.joints[0].name == list(JOINTS)
    assert len(live.joints[0].velocity) == len(live.joints[0].effort) == 2
    assert live.poses[0].header.frame_id == 'pusht'
    image = live.images[0]
    assert (image.height, image.width, image.encoding, image.step) == (96, 96, 'rgb8', 288)


def test_it_follows_a_trajectory(ros):
    live = Live(ros)
    commands = ros.talk(JointTrajectory, '/arm_controller/joint_trajectory')
    start = np.array(live.joints[-1].position)
    goal = np.clip(start + 0.03, 0.02, 0.49)
    commands.publish(trajectory(*goal))
    ros.wait(lambda: np.allclose(live.joints[-1].position, goal, atol=2e-3), 'the goal')
    assert live.node.counts['accepted'] == 1


def test_a_trajectory_that_the_controller_rejects_moves_nothing(ros):
    live = Live(ros)
    commands = ros.talk(JointTrajectory, '/arm_controller/joint_trajectory')
    start = live.joints[-1].position
    commands.publish(trajectory(0.4, 0.4, joints=('pusher_x', 'elbow')))
    ros.wait(lambda: live.node.counts['rejected'] == 1, 'the rejection of unknown joints')
    uneven = trajectory(0.4, 0.4)
    uneven.points[0].velocities = [0.0]
    commands.publish(uneven)
    ros.wait(lambda: live.node.counts['rejected'] == 2, 'the rejection of points with too few velocities')
    count = len(live.joints)
    ros.wait(lambda: len(live.joints) > count + 20, 'more joint states')
    assert live.joints[-1].position == start


def test_reset_begins_an_episode_with_the_seed_while_time_goes_on(ros):
    live = Live(ros, seed=1)
    response = live.reset(42)
    assert response.success
    assert 'seed 42' in response.message
    ros.wait(lambda: live.episode().get('seed') == '42', 'the new episode')
    world = PushTWorld()
    world.reset(42)
    assert np.allclose(live.joints[-1].position, world.joint_positions)
    assert float(live.episode()['elapsed']) < 5.0
    assert live.episode()['success'] == 'False'
    assert set(np.diff([messages.stamp_of(m) for m in live.joints])) == {10 * MS}


def test_as_fast_as_it_computes_it_makes_its_own_time_from_zero(ros):
    live = Live(ros, publish_clock=True, rate=0.0, camera=False)
    ros.wait(lambda: live.clock and live.clock[-1].clock.sec >= 2, 'two seconds of the clock')
    assert messages.stamp_of(live.joints[0]) < 2_000 * MS
    assert messages.stamp_of(live.joints[0]) % (10 * MS) == 0
    assert live.images == []


def test_deactivated_its_time_stands_still(ros):
    live = Live(ros)
    live.node.trigger_deactivate()
    steps, now = live.node.counts['steps'], live.node.robot.now
    ros.spin(0.05)
    assert live.node.robot.now == now
    live.node.trigger_activate()
    ros.wait(lambda: live.node.counts['steps'] > 3, 'steps')
    assert steps > 3


def test_a_rate_needs_a_clock_of_its_own(ros):
    node = ros.create(SimulatedRobotNode, rate=2.0)
    assert not node.start()
    ros.status('simulated_robot: lifecycle', ERROR, 'rate: got 2.0, allowed 1.0 unless publish_clock is true')


# The arm.


def test_larger_pictures_of_the_first_camera_have_those_that_are_drawn_in_their_middle(ros):
    pytest.importorskip('mujoco', reason='mujoco is not installed')
    live = Live(ros, world='push_block', picture_size='320x240')
    wrist = ros.listen(Image, '/wrist_camera/color/image_raw')
    ros.wait(lambda: live.images and wrist, 'images of both')
    assert [(m.height, m.width) for m in (live.images[0], wrist[0])] == [(240, 320), (96, 96)]
    large = np.frombuffer(bytes(live.images[0].data), np.uint8).reshape(240, 320, 3)
    middle = large[24:216, 64:256]
    assert (middle[::2, ::2] == middle[1::2, 1::2]).all() and middle.std() > 10.0
    assert (large[:, :64] == large[:, 64:65]).all()


@pytest.mark.parametrize(('size', 'reason'), [('640', 'allowed WIDTHxHEIGHT'), ('-1x4', 'allowed WIDTHxHEIGHT')])
def test_a_picture_size_that_is_none_is_refused(ros, size, reason):
    node = ros.create(SimulatedRobotNode, picture_size=size)
    assert not node.start()
    ros.status('simulated_robot: lifecycle', DiagnosticStatus.ERROR, reason)


def test_the_arm_has_two_cameras_and_says_what_it_looks_like_to_whoever_comes_later(ros):
    pytest.importorskip('mujoco', reason='mujoco is not installed')
    live = Live(ros, world='push_block', camera_rate=20.0)
    wrist = ros.listen(Image, '/wrist_camera/color/image_raw')
    late = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    described = ros.listen(String, '/robot_description', late)
    ros.wait(lambda: len(live.images) > 3 and len(wrist) > 3 and described, 'images and the description')
    assert live.joints[0].name == list(world_spec('push_block').joints)
    assert live.poses[0].header.frame_id == 'push_block'
    assert (live.images[0].header.frame_id, wrist[0].header.frame_id) == ('camera', 'wrist_camera')
    assert set(np.diff([messages.stamp_of(m) for m in wrist])) == {50 * MS}
    assert parse_urdf(described[0].data).limits(world_spec('push_block').joints)
    assert {'side', 'distance', 'collided'} <= set(live.episode())


def test_a_disturbance_that_the_world_does_not_know_is_refused(ros):
    node = ros.create(SimulatedRobotNode, disturbance=1.0)
    assert not node.start()
    ros.status('simulated_robot: lifecycle', ERROR, 'disturbance: got 1.0, allowed 0 in the world pusht')


def test_it_says_whether_time_keeps_up(ros):
    Live(ros)
    status = ros.status('simulated_robot: simulation', OK)
    assert {'accepted', 'rejected', 'steps', 'late_ms_max', 'last_rejection'} <= {v.key for v in status.values}


# A machine that is too slow.


def _stall(live: Live, seconds: float) -> None:
    """Keep the physics from stepping for a while."""
    with live.node.lock:
        time.sleep(seconds)


def test_far_behind_it_goes_on_from_now_and_says_so(ros, monkeypatch):
    live = Live(ros, camera=False)
    monkeypatch.setattr(simulated_robot, 'LATE', 100 * MS)
    monkeypatch.setattr(simulated_robot, 'LOST', 3_000 * MS)
    _stall(live, 3.5)
    ros.wait(lambda: live.node.counts['resyncs'] == 1, 'the new beginning')
    ros.wait(lambda: np.diff([messages.stamp_of(m) for m in live.joints]).max() > 3_000 * MS, 'stamps behind the gap')
    stamps = np.array([messages.stamp_of(m) for m in live.joints])
    gap = int(np.diff(stamps).argmax())
    assert (stamps[gap + 1] - 10 * MS) % (100 * MS) == 0, 'readings fall on control ticks again'
    assert set(np.diff(stamps)) == {10 * MS, int(np.diff(stamps)[gap])}
    ros.wait(live.episode, 'the episode')
    assert float(live.episode()['elapsed']) <= live.node.counts['steps'] * 0.01
    status = ros.status('simulated_robot: simulation', WARN, 's late: time went on from then, and the world had stood')
    assert {v.key: v.value for v in status.values}['resyncs'] == '1'
    ros.status('simulated_robot: simulation', OK, 'running')


def test_a_little_behind_it_catches_up(ros):
    live = Live(ros, camera=False)
    _stall(live, 0.3)
    count = len(live.joints)
    ros.wait(lambda: len(live.joints) > count + 40, 'joint states')
    assert set(np.diff([messages.stamp_of(m) for m in live.joints])) == {10 * MS}
    assert live.node.counts['resyncs'] == 0


def test_with_a_clock_of_its_own_it_goes_on_where_it_was(ros, monkeypatch):
    live = Live(ros, camera=False, publish_clock=True)
    monkeypatch.setattr(simulated_robot, 'LOST', 3_000 * MS)
    _stall(live, 3.5)
    ros.wait(lambda: live.node.counts['resyncs'] == 1, 'the new beginning')
    count = len(live.joints)
    ros.wait(lambda: len(live.joints) > count + 20, 'joint states')
    assert set(np.diff([messages.stamp_of(m) for m in live.joints])) == {10 * MS}


def test_pictures_are_drawn_for_whoever_looks(ros, monkeypatch):
    drawn: list[str] = []
    render = PushTWorld.render

    def counted(world: PushTWorld, camera: str) -> np.ndarray:
        drawn.append(camera)
        return render(world, camera)

    monkeypatch.setattr(PushTWorld, 'render', counted)
    node = ros.create(SimulatedRobotNode)
    assert node.start()
    ros.wait(lambda: node.counts['steps'] > 40, 'steps')
    assert drawn == []
    images = ros.listen(Image, '/camera/color/image_raw')
    ros.wait(lambda: len(images) > 2, 'images')
    assert len(drawn) > 2


@pytest.mark.parametrize(('late', 'clock', 'left_out'), [(150, False, 1), (50, False, 0), (150, True, 0)])
def test_pictures_are_left_out_while_steps_are_late_unless_it_makes_the_time(ros, monkeypatch, late, clock, left_out):
    live = Live(ros, publish_clock=clock)
    ros.wait(lambda: live.images, 'a picture')
    live.node.trigger_deactivate()
    monkeypatch.setattr(simulated_robot, 'LATE', 100 * MS)
    live.node.counts['pictures_left_out'] = 0
    live.node.behind = late * MS
    assert live.node.draws('camera') == (not left_out)
    assert live.node.counts['pictures_left_out'] == left_out


def test_the_first_topics_of_a_world_may_be_renamed():
    topics = {'left': 'left_pose', 'right': 'right_pose'}
    assert renamed(topics, ['']) == topics
    assert renamed(topics, ['other']) == {'left': 'other', 'right': 'right_pose'}
    assert renamed({'left': 'left_pose'}, ['', 'unused']) == {'left': 'left_pose'}


def test_an_episode_asks_for_what_an_instruction_means_or_refuses_one_that_means_nothing(ros):
    pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
    live = Live(ros, world='pick_place', camera=False, meaning='blue_firmly')
    ros.wait(lambda: live.episode().get('meaning') == 'blue_firmly', 'what the first episode asks for')
    assert live.reset(3, meaning='blue_gently').message == 'a new episode with seed 3, which asks for blue_gently'
    ros.wait(lambda: live.episode().get('meaning') == 'blue_gently', 'what the episode asks for')
    answer = live.reset(3, meaning='green')
    assert not answer.success
    assert answer.message.startswith("instruction: got one that means 'green', allowed red_gently, red_firmly, blue_")
    assert live.reset(4, meaning='').success
    ros.wait(lambda: live.episode().get('seed') == '4' and 'meaning' not in live.episode(), 'its own task')
