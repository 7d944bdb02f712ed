"""A world from somebody's own MuJoCo model: what it does, and what it says where file and model do not fit."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest

from dp_ros.errors import ConfigError, DataError
from dp_ros.robot.urdf import parse_urdf
from dp_ros.simulation.registry import chosen_world, make_world, world_parameters, world_spec
from dp_ros.simulation.robot import JointReading, SimulatedRobot, controllers_of
from dp_ros.simulation.world import Scene, whole_task
from dp_ros.simulation.worlds.mjcf.world import ModelWorld
from test.simulation.own_arm import ARM, FINGER, JOINTS, MIMIC, MODEL, WORLD, write_own_arm


@pytest.fixture(scope='module')
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_own_arm(tmp_path_factory.mktemp('own') / 'my_arm'))


@pytest.fixture(scope='module')
def world(file: str) -> ModelWorld:
    made = make_world(file)
    assert isinstance(made, ModelWorld)
    return made


def test_joints_controllers_and_topics_are_as_the_file_names_them(file: str) -> None:
    spec = world_spec(file)
    assert (spec.name, spec.joints) == ('my_arm', JOINTS)
    assert dict(zip(spec.joints, spec.units, strict=True))[FINGER] == 'm'
    assert [(c.topic, c.joints) for c in spec.outputs] == [
        ('arm_controller/joint_trajectory', ARM),
        ('gripper_controller/joint_trajectory', (FINGER,)),
    ]
    assert spec.camera_topics == {c: f'{c}/color/image_raw' for c in ('camera', 'wrist_camera')}
    assert {s.topic for s in whole_task(spec).streams} >= {'/joint_states', '/cube_pose', '/camera/color/image_raw'}
    assert world_parameters(file) == {'world': 'mjcf', 'world_file': file}
    assert chosen_world(**{k.removeprefix('world_') if k == 'world_file' else 'name': v for k, v in
                           world_parameters(file).items()}) == file  # fmt: skip


def test_joint_states_have_the_mimic_finger_in_its_place_and_it_follows(file: str, world: ModelWorld) -> None:
    robot = SimulatedRobot(world, start=0, camera=False, controllers=controllers_of(world_spec(file), world))
    reading = next(r for r in robot.step() if isinstance(r, JointReading))
    assert reading.name == (ARM[0], FINGER, MIMIC, *ARM[1:])
    target = world.joint_positions
    target[JOINTS.index(FINGER)], target[JOINTS.index('wrist_3_joint')] = 0.01, 9.0  # further than a turn
    for _ in range(300):
        world.step(target)
    np.testing.assert_allclose(world.joint_positions, target, atol=0.01)
    positions = dict(zip(world.state_joints, world.joint_states[0], strict=True))
    assert positions[MIMIC] == pytest.approx(0.01, abs=1e-3)
    assert world.upper[JOINTS.index('wrist_3_joint')] == np.inf


def test_starts_differ_by_the_spread_and_success_is_the_body_in_the_box(world: ModelWorld) -> None:
    starts = []
    for seed in range(8):
        world.reset(seed)
        first = (*world.joint_positions, *world.poses['cube'].position)
        world.reset(seed)
        assert (*world.joint_positions, *world.poses['cube'].position) == first
        starts.append(first)
    spread = np.ptp(np.array(starts), axis=0)
    assert 0.05 < spread[JOINTS.index('shoulder_pan_joint')] <= 0.2 and 0.01 < spread[-2] <= 0.04
    assert spread[JOINTS.index('elbow_joint')] == 0.0 and not world.progress.success
    home = tuple(world.joint_positions)
    pose = world.poses['cube']
    moved = Scene(joints=home, poses={'cube': type(pose)(position=(0.45, 0.3, 0.03), orientation=(0.0, 0.0, 0.0, 1.0))})
    world.set_scene(moved)
    assert world.poses['cube'].position == (0.45, 0.3, 0.03)
    assert (world.progress.score, world.progress.success) == (1.0, True)


def test_cameras_see_the_cube_in_the_size_of_the_file(world: ModelWorld) -> None:
    world.reset(0)
    for camera, size in (('camera', (96, 96, 3)), ('wrist_camera', (64, 64, 3))):
        picture = world.render(camera).astype(int)
        assert picture.shape == size
    picture = world.render('camera').astype(int)
    red = picture[..., 0] > picture[..., 1] + 60
    assert 20 < red.sum() < 1000
    column, row = world.tool_pixels(world.joint_positions[None], 96)[0]
    assert 0 < column < 128 and 0 < row < 96


def test_pictures_of_what_stands_still_differ_by_their_noise_and_come_again_with_the_seed(
    tmp_path: Path, world: ModelWorld
) -> None:
    world.reset(3)
    first, second = (world.render('camera').astype(int) for _ in range(2))
    assert 0.8 < (first - second).std() / np.sqrt(2.0) < 1.2 and np.abs(first - second).max() < 12
    world.reset(3)
    np.testing.assert_array_equal(world.render('camera'), first)
    clean = make_world(str(write_own_arm(tmp_path, world=WORLD.replace('{name: camera}', '{name: camera, noise: 0}'))))
    clean.reset(3)
    np.testing.assert_array_equal(clean.render('camera'), clean.render('camera'))


def test_the_description_puts_every_link_where_the_model_has_it(world: ModelWorld, file: str) -> None:
    """The oracle is MuJoCo's own kinematics, at joints drawn at random."""
    robot = parse_urdf(world.robot_description)
    assert robot.joints['wrist_3_joint'].kind == 'continuous' and robot.joints[FINGER].kind == 'prismatic'
    assert robot.joints[MIMIC].mimic == (FINGER, 1.0, 0.0)
    assert robot.joints['elbow_joint'].limit == {'lower': -3.1, 'upper': 3.1, 'velocity': 3.0}
    model = mujoco.MjModel.from_xml_path(str(Path(file).with_name('my_arm.xml')))
    data = mujoco.MjData(model)
    rng = np.random.default_rng(1)
    for _ in range(5):
        joints = rng.uniform(-2.0, 2.0, len(JOINTS))
        joints[JOINTS.index(FINGER)] = rng.uniform(0.0, 0.04)
        for name, value in zip(JOINTS, joints, strict=True):
            data.qpos[model.joint(name).qposadr[0]] = value
        data.qpos[model.joint(MIMIC).qposadr[0]] = joints[JOINTS.index(FINGER)]
        mujoco.mj_kinematics(model, data)
        tool = robot.chain(JOINTS, 'tool').points(joints[None])[0]
        np.testing.assert_allclose(tool, data.site('tool').xpos, atol=1e-5)
        finger = robot.chain(JOINTS, 'right_finger', point=(0.1, 0.0, 0.0)).points(joints[None])[0]
        body = data.body('right_finger')
        np.testing.assert_allclose(finger, body.xpos + 0.1 * body.xmat.reshape(3, 3)[:, 0], atol=1e-5)


ODD = """
<mujoco>
  <worldbody>
    <body name="a" pos="0.1 0.2 0.3" quat="0.9 0.1 0.3 0.2">
      <joint name="q1" axis="0 1 0" pos="0.05 0 0.1" ref="20" armature="0.1"/>
      <joint name="q2" axis="1 0 1" pos="0 0.03 0" range="-40 90" armature="0.1"/>
      <geom size="0.03"/>
      <body name="b" pos="0.2 0 0" euler="10 20 30">
        <joint name="q3" type="slide" axis="1 2 0" ref="0.1" armature="0.1"/>
        <geom size="0.03"/><site name="tip" pos="0.01 0.02 0.3"/>
      </body>
    </body>
  </worldbody>
  <equality><joint joint1="q3" joint2="q1" polycoef="0.02 0.5 0 0 0"/></equality>
  <actuator><general joint="q1" gear="2" gainprm="50" biastype="affine" biasprm="4 -100 -10"/>
  <position joint="q2" kp="100" kv="5"/></actuator>
</mujoco>
"""


def test_joints_off_their_body_s_origin_with_a_reference_and_gears_are_taken_as_mujoco_does(tmp_path: Path) -> None:
    path = write_own_arm(tmp_path, model=ODD, world='model: my_arm.xml\njoints: [{name: q1}, {name: q2}]\ntool: tip\n')
    world = make_world(str(path))
    robot = parse_urdf(world.robot_description)
    model = mujoco.MjModel.from_xml_path(str(tmp_path / 'my_arm.xml'))
    data = mujoco.MjData(model)
    q1, q2 = 0.3, -0.4
    away = q1 - model.qpos0[0]
    data.qpos[:] = q1, q2, model.qpos0[2] + 0.02 + 0.5 * away
    mujoco.mj_kinematics(model, data)
    tip = robot.chain(('q1', 'q2'), 'tip').points(np.array([[q1, q2]]))[0]
    np.testing.assert_allclose(tip, data.site('tip').xpos, atol=1e-5)
    assert isinstance(world, ModelWorld)
    world.reset(0)
    for _ in range(400):
        world.step(np.array([0.5, 0.2]))
    np.testing.assert_allclose(world.joint_positions, [0.5, 0.2], atol=0.08)  # gravity bends them a little


def refused(tmp_path: Path, world: str = WORLD, model: str = MODEL) -> str:
    path = write_own_arm(tmp_path, world=world, model=model)
    with pytest.raises(ConfigError) as error:
        make_world(str(path))
    assert '\n' not in str(error.value) and 'my_arm.yaml' in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('name: elbow_joint,', 'name: elbow,', 'joint_states: got none for elbow, allowed a place'),
        ('wrist_3_joint', 'wrist_4_joint', 'joint wrist_4_joint: got none in the model, allowed its hinges'),
        ('{name: camera}', '{name: kamera}', "camera: got 'kamera', allowed those of the model: camera, wrist_camera"),
        ('{body: cube, spread', '{body: cub, spread', "tracked: got 'cub', allowed those of the model: base, "),
        ('success: {body: cube', 'success: {body: ball', "success: got 'ball', allowed"),
        ('unit: m, ', '', 'joint finger_joint: unit: got rad, allowed m, which it moves by in the model'),
        ('actuator: grip', 'actuator: pan', "joint finger_joint: actuator: got 'pan', allowed grip on it"),
        ('joints: [finger_joint]}', 'joints: [finger_joint, elbow_joint]}', 'allowed each of .* once'),
        ('gripper_controller, ', 'gripper_controller, topic: /arm_controller/joint_trajectory, ', 'more than once'),
        ('{body: cube, spread', '{body: cube, topic: joint_states, spread', 'topics: got joint_states more than once'),
        ('lower: [0.2, 0.2, 0.0]', 'lower: [0.2, 0.9, 0.0]', 'allowed lower below upper'),
        ('tool: tool', 'tool: hand', "tool: got 'hand', allowed those of the model: tool, base"),
        ('tool: tool', 'keyframe: home', "keyframe: got 'home', allowed those of the model: "),
        ('model: my_arm.xml', 'model: ../my_arm.xml', 'allowed one within the folder'),
        ('model: my_arm.xml', 'model: other.xml', 'cannot be read'),
        ('tool: tool', 'tools: tool', "unknown key 'tools', allowed model, joints, controllers"),
        ('height: 64', 'noise: 100', 'camera wrist_camera: noise: got 100.*, allowed 0'),
        ('height: 64', 'height: 100000', 'camera wrist_camera: height: got 100000, allowed 8 to 1024'),
        ('mimic_joint', 'mimik_joint', 'joint_states mimik_joint: got none in the model, allowed its hinges'),
        ('start: 1.7', 'start: 17', 'joint elbow_joint: start: got 17.0, allowed -3.1 to 3.1, its range'),
        ('{name: camera}', '{name: camera, topic: my camera}', "topic: got 'my camera', allowed letters, digits"),
        ('{name: camera}', '{name: front-camera}', "topic: got 'front-camera/color/image_raw', allowed"),
        ('{name: camera}', '{name: camera, topic: /a//b}', "topic: got 'a//b', allowed letters"),
        ('gripper_controller, ', 'gripper_controller, topic: 2nd, ', "topic: got '2nd', allowed letters"),
        ('gripper_controller, ', 'my gripper, topic: grip, ', "controller: got 'my gripper', allowed letters"),
    ],
)  # fmt: skip
def test_what_the_file_names_and_the_model_lacks_is_one_clear_error(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in WORLD
    assert re.search(message, refused(tmp_path, WORLD.replace(old, new)))


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('<position name="grip" joint', '<motor name="grip" joint', 'MuJoCo does not take'),
        ('<position name="pan" joint="shoulder_pan_joint"/>', '<motor name="pan" joint="shoulder_pan_joint"/>',
         "joint shoulder_pan_joint: actuator 'pan': got one that is no position servo, allowed <position>"),
        ('<position name="pan" joint="shoulder_pan_joint"/>', '', 'joint shoulder_pan_joint: got 0 actuators on it'),
        ('<position name="pan"', '<velocity name="more" joint="shoulder_pan_joint"/><position name="pan"',
         r'joint shoulder_pan_joint: got 2 actuators on it in the model \(more, pan\)'),
        ('timestep="0.002"', 'timestep="0.003"', 'option timestep: got 0.003 s, allowed whole parts of 0.01 s'),
        ('timestep="0.002"', 'timestep="0"', 'option timestep: got 0 s, allowed whole parts of 0.01 s'),
        ('timestep="0.002"', 'timestep="nan"', 'option timestep: got nan s, allowed whole parts of 0.01 s'),
        ('range="-3.1 3.1"', 'range="nan nan"', 'got nan or inf in jnt_range, allowed finite numbers only'),
        ('range="0 0.04"', 'range="0.04 0"', 'joint finger_joint: range: got 0.04 to 0 in the model, allowed'),
        ('<worldbody>', '<size memory="900G"/><worldbody>', 'size memory: got'),
        ('<worldbody>', '<extension/><worldbody>', 'got <extension>, allowed models without plugins'),
        ('<worldbody>', '<include file="/etc/passwd"/><worldbody>', "got the path '/etc/passwd', allowed one within"),
        ('<worldbody>', '<asset><mesh name="m" file="../m.stl"/></asset><worldbody>', 'allowed one within the folder'),
        ('<worldbody>', '<include file="my_arm.xml"/><worldbody>', 'got my_arm.xml included twice, allowed once'),
        ('<body name="base"', '<replicate count="100000000"><geom size="1"/></replicate><body name="base"',
         "replicate count: got '100000000', allowed numbers up to 1000"),
        ('<mujoco model', '<!DOCTYPE a [<!ENTITY b "c">]><mujoco model', 'got a DOCTYPE, allowed XML without it'),
        ('</mujoco>', '', 'not valid XML'),
        ('<geom type="cylinder" size="0.07', '<freejoint/><geom type="cylinder" size="0.07',
         "urdf: got none for a robot whose base 'base' moves"),
    ],
)  # fmt: skip
def test_a_model_that_is_not_fit_is_one_clear_error(
    tmp_path: Path, old: str, new: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs there
    assert old in MODEL
    assert re.search(message, refused(tmp_path, model=MODEL.replace(old, new, 1)))


WEDGE = (
    '<asset><mesh name="wedge" vertex="0 -1 -1  0 1 -1  0 0 1  5 -1 -1  5 1 -1  5 0 1" scale="0.05 0.03 0.02"/></asset>'
    '<worldbody>'
)
UPPER = '<geom type="capsule" size="0.045" fromto="0 0 0 0.4 0 0" rgba="0.3 0.45 0.7 1"/>'


def test_a_mesh_of_the_model_collides_as_the_box_around_it(tmp_path: Path) -> None:
    """In the description that a scene's obstacles are checked with: a link without a shape would pass through them."""
    turned = '<geom type="mesh" mesh="wedge" pos="0.1 0.02 0.03" euler="0.4 0.5 0.6"/>'
    model = MODEL.replace('<worldbody>', WEDGE, 1).replace(UPPER, turned, 1)
    path = write_own_arm(tmp_path, model=model)
    link = ElementTree.fromstring(make_world(str(path)).robot_description).find("link[@name='upper_arm']")
    assert link is not None
    box, origin = link.find('collision/geometry/box'), link.find('collision/origin')
    assert box is not None and origin is not None
    texts = (box.attrib['size'], origin.attrib['xyz'], origin.attrib['rpy'])
    size, place, angles = (np.array(text.split(), dtype=np.float64) for text in texts)
    assert size.max() < 0.26, 'not wider than the wedge is long'
    compiled = mujoco.MjModel.from_xml_path(str(path.with_name('my_arm.xml')))
    geom = next(g for g in range(compiled.ngeom) if compiled.geom_dataid[g] >= 0)
    turn, own, quaternion = np.zeros(9), np.zeros(9), np.zeros(4)
    mujoco.mju_euler2Quat(quaternion, angles, 'XYZ')
    mujoco.mju_quat2Mat(turn, quaternion)
    mujoco.mju_quat2Mat(own, compiled.geom_quat[geom])
    corners = compiled.geom_pos[geom] + compiled.mesh_vert @ own.reshape(3, 3).T
    inside = np.abs((corners - place) @ turn.reshape(3, 3)) - size / 2
    assert inside.max() == pytest.approx(0.0, abs=1e-5), 'it holds all corners, and each side touches one'
    np.testing.assert_allclose(inside.max(axis=0), 0.0, atol=1e-5)


FINGERS = '<equality>\n    <joint joint1="mimic_joint" joint2="finger_joint"'
GRIP = '<position name="grip" joint="finger_joint" kp="2000" kv="80" forcerange="-40 40" ctrlrange="0 0.04"/>'
SPLIT = (
    '<tendon><fixed name="split"><joint joint="finger_joint" coef="0.5"/><joint joint="mimic_joint" coef="0.5"/>'
    '</fixed></tendon><equality>\n    <joint joint1="mimic_joint" joint2="finger_joint" polycoef="0.01 2 0 0 0"'
)
ON_TENDON = (
    '<general name="grip" tendon="split" biastype="affine" gainprm="0.5" biasprm="3 -2000 -80" gear="2" '
    'ctrlrange="0 255" forcerange="-7 7"/>'
)


def test_a_gripper_is_driven_by_a_tendon_of_both_fingers(tmp_path: Path) -> None:
    """As many models of grippers have it: set points of 0 to 255, and fingers that an equality couples."""
    model = MODEL.replace(FINGERS, SPLIT, 1).replace(GRIP, '').replace('<actuator>', f'<actuator>{ON_TENDON}')
    model = model.replace('range="0 0.04"', 'range="-1 1"')
    world = make_world(str(write_own_arm(tmp_path, model=model)))
    assert isinstance(world, ModelWorld)
    world.reset(0)
    target = world.joint_positions
    target[JOINTS.index(FINGER)] = 0.015
    for _ in range(300):
        world.step(target)
    states = dict(zip(world.state_joints, world.joint_states[0], strict=True))
    assert states[FINGER] == pytest.approx(0.015, abs=5e-4) and states[MIMIC] == pytest.approx(0.04, abs=1e-3)
    assert 'effort="150"' in world.robot_description  # of the shoulder, joint 0, not of tendon 0
    assert 'effort="14"' not in world.robot_description


def test_a_tendon_that_other_joints_lengthen_drives_none_alone(tmp_path: Path) -> None:
    model = MODEL.replace(FINGERS, SPLIT.replace('"0.01 2 0 0 0"', '"0 1 0 0 0" active="false"'), 1)
    message = refused(tmp_path, model=model.replace(GRIP, ON_TENDON, 1))
    assert "joint finger_joint: actuator: got 'grip', allowed (none) on it" in message


def test_links_that_lead_out_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'outside.xml').write_text(MODEL)
    path = write_own_arm(tmp_path / 'own')
    (tmp_path / 'own' / 'my_arm.xml').unlink()
    (tmp_path / 'own' / 'my_arm.xml').symlink_to(tmp_path / 'outside.xml')
    with pytest.raises(ConfigError, match='allowed files within'):
        make_world(str(path))
    (tmp_path / 'own' / 'my_arm.xml').unlink()
    os.mkfifo(tmp_path / 'own' / 'my_arm.xml')
    with pytest.raises(ConfigError, match='got a device, pipe or socket, allowed a regular file'):
        make_world(str(path))


def test_physics_that_diverge_are_an_error_and_nothing_is_put_back_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs there
    wild = MODEL.replace('integrator="implicitfast"', '').replace(
        'kp="1500" kv="120" forcerange="-150 150"', 'kp="1e9"'
    )
    world = make_world(str(write_own_arm(tmp_path, model=wild)))
    with pytest.raises(DataError, match='got physics that diverge'):
        for _ in range(500):
            world.step(world.joint_positions + 1.0)


def test_parameters_name_a_world_or_a_file(file: str) -> None:
    for name, given in (('mjcf', ''), ('pusht', file), ('mjcf', 'my_arm.xml')):
        with pytest.raises(ConfigError, match='world_file: got'):
            chosen_world(name, given)
    with pytest.raises(ConfigError, match=r'disturbance: got 1\.0, allowed 0'):
        make_world(file, disturbance=1.0)
    with pytest.raises(ConfigError, match=r'nowhere\.yaml: cannot be read'):
        world_spec('nowhere.yaml')
