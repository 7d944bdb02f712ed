"""A robot of somebody's own, as a user would have it: a MuJoCo model of a six-joint arm with a gripper, and its files.

    python -m test.simulation.own_arm FOLDER

Its joints are named as a UR's and come in alphabetical order, the last one turns without end, and the second finger
mimics the first.
"""

from __future__ import annotations

import sys
from pathlib import Path

ARM = ('elbow_joint', 'shoulder_lift_joint', 'shoulder_pan_joint', 'wrist_1_joint', 'wrist_2_joint', 'wrist_3_joint')
FINGER, MIMIC = 'finger_joint', 'mimic_joint'
JOINTS = (ARM[0], FINGER, *ARM[1:])
HOME = {'elbow_joint': 1.7, 'shoulder_lift_joint': -1.06, 'wrist_1_joint': 0.93, FINGER: 0.03}

MODEL = """
<mujoco model="my_arm">
  <compiler angle="radian"/>
  <option timestep="0.002" integrator="implicitfast"/>
  <default>
    <joint armature="0.1" damping="2" range="-3.1 3.1"/>
    <position kp="1500" kv="120" forcerange="-150 150" ctrlrange="-6.3 6.3"/>
    <geom rgba="0.75 0.77 0.8 1"/>
  </default>
  <worldbody>
    <light pos="0.8 -0.6 2"/>
    <geom name="floor" type="plane" size="1 1 0.1" rgba="0.55 0.5 0.42 1"/>
    <camera name="camera" pos="0.45 0.8 0.6" xyaxes="-1 0 0 0 -0.6 0.8" fovy="50"/>
    <body name="base" gravcomp="1">
      <geom type="cylinder" size="0.07 0.05" pos="0 0 0.05"/>
      <body name="shoulder" gravcomp="1" pos="0 0 0.2">
        <joint name="shoulder_pan_joint" axis="0 0 1"/>
        <geom type="cylinder" size="0.06 0.05" pos="0 0 -0.05"/>
        <body name="upper_arm" gravcomp="1">
          <joint name="shoulder_lift_joint" axis="0 1 0"/>
          <geom type="capsule" size="0.045" fromto="0 0 0 0.4 0 0" rgba="0.3 0.45 0.7 1"/>
          <body name="forearm" gravcomp="1" pos="0.4 0 0">
            <joint name="elbow_joint" axis="0 1 0"/>
            <geom type="capsule" size="0.035" fromto="0 0 0 0.36 0 0"/>
            <body name="wrist_1" gravcomp="1" pos="0.36 0 0">
              <joint name="wrist_1_joint" axis="0 1 0"/>
              <geom type="capsule" size="0.03" fromto="0 0 0 0.09 0 0" rgba="0.3 0.45 0.7 1"/>
              <body name="wrist_2" gravcomp="1" pos="0.09 0 0">
                <joint name="wrist_2_joint" axis="0 0 1"/>
                <geom type="capsule" size="0.03" fromto="0 0 0 0.06 0 0"/>
                <body name="wrist_3" gravcomp="1" pos="0.09 0 0">
                  <joint name="wrist_3_joint" axis="1 0 0" limited="false"/>
                  <geom type="box" size="0.02 0.06 0.02" pos="0.02 0 0" rgba="0.2 0.2 0.22 1"/>
                  <site name="tool" pos="0.13 0 0"/>
                  <camera name="wrist_camera" pos="-0.02 0 0.09" xyaxes="0 1 0 -0.3 0 -0.95" fovy="75"/>
                  <body name="left_finger" gravcomp="1" pos="0.04 0.01 0">
                    <joint name="finger_joint" type="slide" axis="0 1 0" range="0 0.04" armature="0.2"/>
                    <geom type="box" size="0.045 0.006 0.012" pos="0.045 0 0" rgba="0.2 0.2 0.22 1"/>
                  </body>
                  <body name="right_finger" gravcomp="1" pos="0.04 -0.01 0">
                    <joint name="mimic_joint" type="slide" axis="0 -1 0" range="0 0.04" armature="0.2"/>
                    <geom type="box" size="0.045 0.006 0.012" pos="0.045 0 0" rgba="0.2 0.2 0.22 1"/>
                  </body>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
    <body name="cube" pos="0.47 0.12 0.03">
      <freejoint/>
      <geom type="box" size="0.03 0.03 0.03" mass="0.1" rgba="0.8 0.25 0.2 1"/>
    </body>
  </worldbody>
  <equality>
    <joint joint1="mimic_joint" joint2="finger_joint"/>
  </equality>
  <actuator>
    <position name="pan" joint="shoulder_pan_joint"/>
    <position name="lift" joint="shoulder_lift_joint"/>
    <position name="elbow" joint="elbow_joint"/>
    <position name="wrist_1" joint="wrist_1_joint" kp="600" kv="40"/>
    <position name="wrist_2" joint="wrist_2_joint" kp="600" kv="40"/>
    <position name="wrist_3" joint="wrist_3_joint" kp="600" kv="40" ctrllimited="false"/>
    <position name="grip" joint="finger_joint" kp="2000" kv="80" forcerange="-40 40" ctrlrange="0 0.04"/>
  </actuator>
</mujoco>
"""

WORLD = """
model: my_arm.xml
joints:
  - {name: elbow_joint, start: 1.7, velocity: 3.0}
  - {name: finger_joint, unit: m, start: 0.03, velocity: 0.2, actuator: grip}
  - {name: shoulder_lift_joint, start: -1.06, velocity: 2.0}
  - {name: shoulder_pan_joint, spread: 0.1, velocity: 2.0}
  - {name: wrist_1_joint, start: 0.93, velocity: 3.0}
  - {name: wrist_2_joint, velocity: 3.0}
  - {name: wrist_3_joint, velocity: 3.0}
controllers:
  - name: arm_controller
    joints: [elbow_joint, shoulder_lift_joint, shoulder_pan_joint, wrist_1_joint, wrist_2_joint, wrist_3_joint]
  - {name: gripper_controller, joints: [finger_joint]}
joint_states:
  [elbow_joint, finger_joint, mimic_joint, shoulder_lift_joint, shoulder_pan_joint, wrist_1_joint, wrist_2_joint,
  wrist_3_joint]
cameras:
  - {name: camera}
  - {name: wrist_camera, height: 64, width: 64}
tracked:
  - {body: cube, spread: [0.02, 0.02, 0.3]}
success: {body: cube, lower: [0.2, 0.2, 0.0], upper: [0.7, 0.6, 0.1]}
tool: tool
"""

TELEOPERATE = '''
"""Push the cube to the left, episode after episode: this is where your own device would command the arm."""

import rclpy
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

PAN = 'shoulder_pan_joint'


class Teleoperator:
    """Turns the shoulder while the gripper closes, ten times a second."""

    def __init__(self, node):
        self.start, self.elapsed, self.measured = {}, 0.0, {}
        self.arm = node.create_publisher(JointTrajectory, 'arm_controller/joint_trajectory', 1)
        self.gripper = node.create_publisher(JointTrajectory, 'gripper_controller/joint_trajectory', 1)
        node.create_subscription(JointState, 'joint_states', self.on_joints, 1)
        node.create_subscription(DiagnosticStatus, 'simulated_robot/episode', self.on_episode, 1)
        node.create_timer(0.1, self.command)

    def on_joints(self, message):
        self.measured = dict(zip(message.name, message.position))

    def on_episode(self, message):
        elapsed = float({value.key: value.value for value in message.values}['elapsed'])
        if elapsed < self.elapsed or not self.start:
            self.start = dict(self.measured)
        self.elapsed = elapsed

    def command(self):
        if not self.start:
            return
        goal = dict(self.start)
        moving = self.elapsed > 2.0
        # From where it is: a robot that was reset must not jump to where it was before.
        goal[PAN] = min(0.75, self.measured[PAN] + 0.03 * moving)
        goal['finger_joint'] = max(0.005, self.measured['finger_joint'] - 0.002 * moving)
        joints = [name for name in goal if name not in ('finger_joint', 'mimic_joint')]
        self.send(self.arm, joints, goal)
        self.send(self.gripper, ['finger_joint'], goal)

    def send(self, publisher, joints, goal):
        point = JointTrajectoryPoint(positions=[goal[joint] for joint in joints])
        point.time_from_start = Duration(nanosec=200_000_000)
        publisher.publish(JointTrajectory(joint_names=joints, points=[point]))


rclpy.init()
node = rclpy.create_node('teleoperator')
teleoperator = Teleoperator(node)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    pass
'''


def write_own_arm(folder: Path, *, world: str = WORLD, model: str = MODEL) -> Path:
    """Write the model and the other files; return the path of the world's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'my_arm.xml').write_text(model.lstrip())
    (folder / 'my_arm.yaml').write_text(world.lstrip())
    (folder / 'teleoperate.py').write_text(TELEOPERATE.lstrip())
    return folder / 'my_arm.yaml'


if __name__ == '__main__':
    write_own_arm(Path(sys.argv[1]))
