from __future__ import annotations

import numpy as np
import pytest

from dp_ros.errors import ConfigError
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.urdf import parse_urdf, read_urdf

INF = float('inf')
# Axes, origins and rotations of every kind, on a chain that also has a fixed joint and one that mimics.
ARM = """<robot name="arm">
  <link name="base"/><link name="l1"/><link name="l2"/><link name="l3"/><link name="tool"/><link name="finger"/>
  <joint name="j1" type="revolute">
    <parent link="base"/><child link="l1"/><origin xyz="0.1 -0.2 0.3" rpy="0.1 0.2 -0.3"/><axis xyz="0 0 2"/>
    <limit lower="-1.5" upper="2" velocity="1.5" effort="10"/>
    <safety_controller k_velocity="1" soft_lower_limit="-1.4" soft_upper_limit="3"/>
  </joint>
  <joint name="j2" type="continuous">
    <parent link="l1"/><child link="l2"/><origin xyz="0 0 0.4" rpy="-1.57 0 0.5"/><axis xyz="1 1 0"/>
    <limit velocity="2" effort="10" acceleration="5" jerk="50"/>
  </joint>
  <joint name="j3" type="prismatic">
    <parent link="l2"/><child link="l3"/><origin xyz="0.05 0 0.1"/><axis xyz="0 1 0"/>
    <limit lower="0" upper="0.3" velocity="0.5" effort="10"/>
  </joint>
  <joint name="flange" type="fixed">
    <parent link="l3"/><child link="tool"/><origin xyz="0 0 0.12" rpy="0 0.7 0"/>
  </joint>
  <joint name="finger" type="revolute">
    <parent link="tool"/><child link="finger"/><axis xyz="0 0 1"/><mimic joint="j3" multiplier="-2" offset="0.125"/>
    <limit lower="-0.375" upper="1" velocity="0.8" effort="1"/>
  </joint>
  <transmission name="whatever"/>
</robot>"""
JOINTS = ('j2', 'j1', 'j3')


def test_limits_are_read_in_the_joints_order_and_the_mimics_count():
    # finger = -2 j3 + 0.125 within -0.375..1 leaves up to 0.25 for j3, and half of the finger's speed.
    assert parse_urdf(ARM).limits(JOINTS) == JointLimits(
        joints=JOINTS,
        lower=(-INF, -1.4, 0.0),
        upper=(INF, 2.0, 0.25),
        velocity=(2.0, 1.5, 0.4),
        acceleration=(5.0, INF, INF),
        deceleration=(5.0, INF, INF),
        jerk=(50.0, INF, INF),
    )
    assert parse_urdf(ARM).continuous(JOINTS) == ('j2',)


def test_the_stricter_limit_of_two_counts():
    urdf = parse_urdf(ARM).limits(('j1',))
    other = JointLimits(joints=('j1',), lower=(-2.0,), upper=(1.0,), velocity=(9.0,), acceleration=(4.0,), jerk=(7.0,))
    assert (
        urdf.stricter(other)
        == other.stricter(urdf)
        == JointLimits(
            joints=('j1',),
            lower=(-1.4,),
            upper=(1.0,),
            velocity=(1.5,),
            acceleration=(4.0,),
            deceleration=(4.0,),
            jerk=(7.0,),
        )
    )


TIPS = [('tool', (0.0, 0.0, 0.0)), ('tool', (0.1, 0.2, -0.3)), ('finger', (0.3, 0.0, 0.0))]


@pytest.mark.parametrize(('link', 'point'), TIPS)
def test_the_tool_is_where_mujoco_has_it(link, point):
    mujoco = pytest.importorskip('mujoco', reason='mujoco is the other opinion')
    inertia = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'
    text = ARM.replace('"/><link', f'">{inertia}</link><link')
    text = text.replace('name="finger"/>', f'name="finger">{inertia}</link>', 1)
    keep = '<mujoco><compiler fusestatic="false" discardvisual="false"/></mujoco></robot>'
    model = mujoco.MjModel.from_xml_string(text.replace('</robot>', keep))
    data = mujoco.MjData(model)
    robot = parse_urdf(ARM)
    chain = robot.chain(JOINTS, link, point=point)
    positions = np.random.default_rng(0).uniform(-1.5, 1.5, (20, 3))
    for q, place in zip(positions, chain.points(positions), strict=True):
        values = dict(zip(JOINTS, q, strict=True)) | {'finger': -2 * q[2] + 0.125}
        for name, value in values.items():
            data.qpos[model.joint(name).qposadr[0]] = value
        mujoco.mj_forward(model, data)
        body = model.body(link).id
        np.testing.assert_allclose(place, data.xpos[body] + data.xmat[body].reshape(3, 3) @ point, atol=1e-9)


def test_a_chain_may_begin_at_any_link_below_the_root():
    robot = parse_urdf(ARM)
    place = robot.chain(('j3',), 'tool', frame='l2').points(np.array([[0.2]]))
    np.testing.assert_allclose(place, [[0.05, 0.2, 0.22]])
    with pytest.raises(ConfigError, match="frame 'finger', allowed links between the root and 'tool'"):
        robot.chain(JOINTS, 'tool', frame='finger')


def test_the_bound_of_the_tools_acceleration_holds():
    chain = parse_urdf(ARM).chain(JOINTS, 'finger', point=(0.3, 0.1, 0.0))
    rng, step = np.random.default_rng(1), 1e-4
    tightest = INF
    for _ in range(300):
        q, v, a = rng.uniform(-1, 1, (3, 3)) * [[1.0], [2.0], [5.0]]
        path = np.stack([q + v * t + a * t**2 / 2 for t in (-step, 0.0, step)])
        places = chain.points(path)
        acceleration = np.linalg.norm(places[0] - 2 * places[1] + places[2]) / step**2
        bound = chain.acceleration_bound(np.abs(v)[None], np.abs(a)[None], np.abs(q) + 1e-3)[0]
        assert acceleration <= bound * (1 + 1e-6)
        tightest = min(tightest, bound / acceleration)
    assert tightest < 3.0  # and is not much larger than it must be


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('<robot', '<robot <', 'not valid XML'),
        ('robot', 'model', r'got <model>, allowed <robot> \(is it xacro'),
        ('type="prismatic"', 'type="sliding"', "joint 'j3': got type 'sliding'"),
        ('<parent link="l2"/>', '', "joint 'j3': got no parent link"),
        ('"0 0 2"', '"0 0 0"', "joint 'j1': got axis 0 0 0"),
        ('"0 0 2"', '"0 0"', "axis xyz: got '0 0', allowed three"),
        ('upper="0.3"', 'upper="nan"', "limit upper: got 'nan', allowed a finite number"),
        ('name="j2"', 'name="j1"', 'got joint j1 more than once'),
        ('<child link="l3"/>', '<child link="l2"/>', 'got child link l2 more than once'),
        ('<parent link="base"/>', '<parent link="tool"/>', 'below itself, allowed a tree'),
        ('mimic joint="j3"', 'mimic joint="j9"', "'finger' mimics 'j9', allowed a joint that mimics none"),
    ],
)
def test_a_description_that_cannot_be_trusted_is_refused(old, new, message):
    assert old in ARM
    with pytest.raises(ConfigError, match=message):
        parse_urdf(ARM.replace(old, new))


@pytest.mark.parametrize(
    ('joints', 'message'),
    [
        (('j4',), "got no joint 'j4', allowed j1, j2, j3"),
        (('flange',), "'flange': got type fixed, allowed revolute"),
        (('finger',), "'finger': got one that mimics 'j3'"),
    ],
)
def test_joints_that_cannot_be_commanded_are_refused(joints, message):
    with pytest.raises(ConfigError, match=message):
        parse_urdf(ARM).limits(joints)


def test_a_joint_without_bounds_is_refused_since_urdf_takes_them_for_0():
    with pytest.raises(ConfigError, match=r"URDF: joint limits of 'j3': got positions 0\.0 to 0\.0"):
        parse_urdf(ARM.replace('lower="0" upper="0.3" ', '').replace('<mimic joint="j3" multiplier="-2" offset="0.125"/>', '')).limits(('j3',))  # fmt: skip # noqa: E501


def test_a_tool_that_other_joints_move_too_is_refused():
    with pytest.raises(ConfigError, match="link 'tool': got one moved by 'j2'"):
        parse_urdf(ARM).chain(('j1', 'j3'), 'tool')
    with pytest.raises(ConfigError, match="got no link 'hand', allowed base, finger, l1"):
        parse_urdf(ARM).chain(JOINTS, 'hand')


def test_a_file_is_read(tmp_path):
    (tmp_path / 'arm.urdf').write_text(ARM)
    assert set(read_urdf(tmp_path / 'arm.urdf').joints) == {'j1', 'j2', 'j3', 'flange', 'finger'}
    with pytest.raises(ConfigError, match='cannot be read'):
        read_urdf(tmp_path / 'none.urdf')


def gripper(fingers: str) -> str:
    links = ''.join(f'<link name="{name}"/>' for name in ('base', 'arm', 'hand', 'palm', 'left', 'right', 'tip'))
    return f"""<robot name="gripper">{links}
      <joint name="wrist" type="revolute"><parent link="base"/><child link="arm"/><axis xyz="0 0 1"/>
        <limit lower="-1" upper="1" velocity="1" effort="1"/></joint>
      <joint name="flange" type="fixed"><parent link="arm"/><child link="hand"/></joint>
      <joint name="mount" type="fixed"><parent link="hand"/><child link="palm"/></joint>{fingers}</robot>"""


def finger(name: str, parent: str, child: str, mimic: str = '') -> str:
    of = f'<mimic joint="{mimic}"/>' if mimic else ''
    limit = '<limit lower="0" upper="0.04" velocity="1" effort="1"/>'
    return f"""<joint name="{name}" type="prismatic"><parent link="{parent}"/><child link="{child}"/>
      <axis xyz="0 1 0"/>{limit}{of}</joint>"""


@pytest.mark.parametrize(
    ('fingers', 'expected'),
    [
        (finger('a', 'palm', 'left') + finger('b', 'hand', 'right', 'a'), ('a',)),
        (finger('a', 'palm', 'left') + finger('b', 'palm', 'right'), ('a', 'b')),
        # A knuckle and a tip that both mimic the other finger.
        (finger('a', 'palm', 'left') + finger('b', 'hand', 'right', 'a') + finger('c', 'right', 'tip', 'a'), ('a',)),
        (finger('a', 'palm', 'left') + finger('b', 'left', 'right'), ()),  # the last joints of an arm
        (finger('a', 'palm', 'left') + finger('b', 'palm', 'right') + finger('c', 'right', 'tip'), ()),
        (finger('a', 'palm', 'left'), ()),
        ('', ()),
    ],
)
def test_a_gripper_s_joints_are_those_of_two_fingers_or_more_on_the_same_body(fingers, expected):
    robot = parse_urdf(gripper(fingers))
    assert robot.fingers(('wrist', *expected)) == expected
    assert robot.fingers(('wrist',)) == ()
