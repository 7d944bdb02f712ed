"""The parameter file that `dp_ros init` writes is one that the nodes take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('rosbags', reason='rosbags is not installed (extra: train)')

from dp_ros.audit.proposal.init import survey_bags
from dp_ros.audit.proposal.parameter_file import parameter_text
from dp_ros.audit.proposal.propose import propose
from dp_ros.nodes.observation_buffer.node import ObservationBuffer
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from test.training.arm_bags import ARM, FINGER, ArmBag, parameters

pytestmark = pytest.mark.ros


def test_the_nodes_take_the_parameters_that_recordings_suggest(ros: Any, described: Any, tmp_path: Path) -> None:
    bag = ArmBag(seconds=2.0, rest=0.0).save(tmp_path / 'bag')
    proposal = propose(survey_bags([bag])[0])
    text, bundle = parameter_text(proposal, 'arm'), described(proposal.task)
    for kind in (ObservationBuffer, TrajectoryPublisher):
        name = {ObservationBuffer: 'observation_buffer', TrajectoryPublisher: 'trajectory_publisher'}[kind]
        values = {key.replace('.', '__'): value for key, value in parameters(text, name).items()}
        node = ros.create(kind, **{**values, 'bundle': bundle})
        assert node.start(), name
    assert node.value('joints') == (*ARM, FINGER)
    assert node.value('dry_run') and not node.count_publishers('arm_controller/joint_trajectory')
