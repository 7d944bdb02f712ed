"""Packaging for ament_python (colcon) and for pip. Name, version and people live in package.xml."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

# A ROS distribution brings its own NumPy and PyYAML, so these two are ranges; the extras below pin what pip installs.
BASE = ['numpy>=1.26,<3', 'pyyaml>=6.0,<7']

# rosbag2 without ROS.
ROSBAGS = [
    'rosbags==0.11.9',  # reads and writes it
    'lz4==4.4.5',  # recordings compressed with it, unpacked within bounds
]

EXTRAS = {
    # A robot: runs a bundle. No torch.
    'runtime': [
        'numpy==2.4.6',  # arrays
        'pyyaml==6.0.3',  # task and parameter files
        'onnxruntime==1.31.1',  # the encoder and the denoiser
        'opencv-python==4.14.0.94',  # colours, PNG, resizing; gym-pusht asks for it; -headless shares its files
        'simplejpeg==1.9.0',  # JPEG: OpenCV's pixels, and an error where a part of the picture is missing
    ],
    # ROS 2 Jazzy as wheels, for machines without ROS.
    'ros': [
        'ros-jazzy-rclpy==7.1.6',  # nodes
        'ros-jazzy-rmw-fastrtps-cpp==8.4.3',  # DDS under them
        'ros-jazzy-builtin-interfaces==2.0.3',  # stamps
        'ros-jazzy-diagnostic-msgs==5.3.6',  # why a node does what it does
        'ros-jazzy-geometry-msgs==5.3.6',  # poses
        'ros-jazzy-lifecycle-msgs==2.0.3',  # configure, activate
        'ros-jazzy-rcl-interfaces==2.0.3',  # parameters: ranges, descriptions
        'ros-jazzy-rosgraph-msgs==2.0.3',  # /clock
        'ros-jazzy-sensor-msgs==5.3.6',  # joint states, images
        'ros-jazzy-std-msgs==5.3.6',  # headers
        'ros-jazzy-std-srvs==5.3.6',  # reset
        'ros-jazzy-trajectory-msgs==5.3.6',  # chunks and commands
    ],
    # Recordings on a robot: `dp_ros record`, and the node black_box.
    'record': ROSBAGS,
    # The simulated robot.
    'sim': [
        'gym-pusht==0.1.8',  # PushT's physics and pictures
        'gymnasium==1.4.0',  # gym-pusht's base class
        'pymunk==6.11.1',  # gym-pusht's physics engine; 7 changed its interface
        'mujoco==3.17.0',  # the arm's physics, and the rays of its cameras; 4 changes the interface
        'imageio==2.38.1',  # writes the GIF
        'tqdm==4.70.1',  # progress bars
    ],
    # Recorded demonstrations in, a bundle out. PyPI's torch for x86-64 Linux is the CUDA build: where a CPU is all
    # there is, install torch's CPU build first, and pip keeps it.
    'train': [
        'torch==2.13.0',  # networks
        'diffusers==0.42.1',  # the training noise schedule
        'accelerate==1.15.0',  # one process or several, on CPUs or GPUs
        'onnx==1.23.2',  # export
        'safetensors==0.8.0',  # weights in a bundle, to be trained further
        'onnxscript==0.7.2',  # torch's exporter to ONNX needs it
        *ROSBAGS,
        'zarr==3.1.6',  # PushT's human demonstrations
        'tensorboard==2.21.0',  # curves
        'tqdm==4.70.1',  # progress bars
        'matplotlib==3.11.2',  # the final plot
    ],
    # Demonstrations of other projects, LeRobot's and robomimic's; beside 'train'.
    'datasets': [
        'pyarrow==26.0.1',  # LeRobot's tables
        'av==18.1.0',  # LeRobot's videos, AV1 too
        'h5py==3.16.0',  # robomimic's files
    ],
    # Obstacles: whether a motion is clear of them, and a way around. On a robot with ROS's packages of the same names,
    # those do; PyPI's Pinocchio brings Boost and Assimp of its own, 380 MB.
    'planning': [
        'pin==4.1.0',  # Pinocchio: a URDF's collision geometry
        'coal==3.0.3',  # distances of shapes; the Coal that this Pinocchio was built with
        'ompl==2.0.1',  # paths: RRT-Connect and short-cutting
    ],
    # Instructions in words as goals: training, and the robot that is instructed. No torch.
    'language': [
        'wordllama==0.4.0.post1',  # word vectors, which its wheel brings along; it needs NumPy 2
    ],
    # Reinforcement learning in simulated worlds, beside 'train' and 'sim': `dp_ros reinforce`.
    'rl': [
        'stable-baselines3==2.9.2',  # SAC and PPO
    ],
    # Episodes and sweeps over several machines: `--ray` of `dp_ros evaluate`, `record`, `critic` and `sweep`.
    'cluster': [
        'ray==2.60.0',  # carries the work to them, and does again what one was doing when it went away
    ],
    # Working on dp_ros.
    'test': [
        'pytest==9.2.0',
        'pytest-xdist==3.8.0',  # on two processors in half the time; each process has a ROS domain of its own
        'pytest-timeout==2.4.0',  # a test that waits for a message must not wait for ever
        'hypothesis==6.170.15',  # property tests
        'ruff==0.17.5',  # lint
        'mypy==2.4.1',  # types
        'types-PyYAML==6.0.12.20261113',  # PyYAML's types
        'ros-jazzy-visualization-msgs==5.3.6',  # obstacles as markers
    ],
}

SHARED = ('package.xml', 'launch/*.py', 'config/**/*.yaml', 'config/**/*.xml', 'models/**/*')


def data_files() -> list[tuple[str, list[str]]]:
    """Return what goes below ``share``: the ament marker; launch files, configuration and bundles as they lie here."""
    folders: dict[str, list[str]] = {'share/ament_index/resource_index/packages': ['dp_ros/resource/dp_ros']}
    for pattern in SHARED:
        for path in sorted(Path().glob(pattern)):
            if path.is_file():
                folders.setdefault((Path('share/dp_ros') / path.parent).as_posix(), []).append(path.as_posix())
    return list(folders.items())


package = ElementTree.parse('package.xml').getroot()
maintainer = package.find('maintainer')
assert maintainer is not None, 'package.xml has no maintainer'

setup(
    name=package.findtext('name'),
    version=package.findtext('version'),
    description=package.findtext('description'),
    license=package.findtext('license'),
    maintainer=maintainer.text,
    maintainer_email=maintainer.get('email'),
    python_requires='>=3.11',
    packages=find_packages(include=['dp_ros', 'dp_ros.*']),
    package_data={
        f'dp_ros.simulation.{folder}': ['*.xml'] for folder in ('arm', 'worlds.push_block', 'worlds.pick_place')
    },
    data_files=data_files(),
    zip_safe=False,
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={
        'console_scripts': [
            'dp_ros = dp_ros.cli.main:main',
            'observation_buffer = dp_ros.nodes.observation_buffer:main',
            'policy_executor = dp_ros.nodes.policy_executor:main',
            'trajectory_publisher = dp_ros.nodes.trajectory_publisher:main',
            'policy_container = dp_ros.nodes.policy_container:main',
            'simulated_robot = dp_ros.nodes.simulated_robot:main',
            'black_box = dp_ros.tools.black_box:main',
            'outcomes = dp_ros.tools.outcomes.recorder:main',
        ],
    },
)
