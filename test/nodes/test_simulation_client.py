"""Evaluations through ROS: real node processes, driven as `dp_ros demo` and `dp_ros evaluate --through ros` do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.tools.client import ClientError
from dp_ros.tools.demo import run_demo
from dp_ros.tools.graph_evaluation import evaluate_ros, running
from dp_ros.tools.node_processes import NodeDiedError
from test.tiny_bundle import write_tiny_bundle

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures('own_domain')]


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny')


def test_an_evaluation_through_ros_executes_chunks_and_says_everything(tiny: Path) -> None:
    summary = evaluate_ros(EvaluationSettings(bundle=tiny, through='ros', episodes=2, seed=7, seconds=4.0))
    assert summary['seeds'] == [7, 8]
    assert summary['chunks'] >= 2
    assert summary['through'] == 'ros' and len(summary['scores']) == 2
    assert summary['latency_ms']['p50'] > 0
    assert set(summary['memory_mb_last']) == {
        'simulated_robot', 'observation_buffer', 'policy_executor', 'trajectory_publisher'
    }  # fmt: skip


def test_simulated_time_runs_at_the_rate_asked_for(tiny: Path) -> None:
    settings = EvaluationSettings(bundle=tiny, through='ros', episodes=1, seconds=4.0, rate=2.0)
    summary = evaluate_ros(settings)
    assert summary['chunks'] >= 1
    assert summary['seconds'][0] >= 4.0


def test_a_killed_node_ends_the_session_and_is_named(tiny: Path, tmp_path: Path) -> None:
    settings = EvaluationSettings(bundle=tiny, through='ros')
    with (
        pytest.raises(NodeDiedError, match=r'policy_executor: ended with exit code -9'),
        running(settings, load_bundle(tiny), tmp_path) as client,
    ):
        client.begin(1)
        os.kill(client.processes.pid('policy_executor'), signal.SIGKILL)
        client.wait_until(lambda: False, 'the death')


def test_processes_are_gone_after_the_session(tiny: Path, tmp_path: Path) -> None:
    with running(EvaluationSettings(bundle=tiny, through='ros'), load_bundle(tiny), tmp_path) as client:
        pids = [client.processes.pid(n) for n in ('simulated_robot', 'policy_executor')]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_command_that_is_told_to_end_ends_its_nodes(tiny: Path) -> None:
    command = [sys.executable, '-m', 'dp_ros.cli.main', 'evaluate', str(tiny), '--through', 'ros', '--episodes', '99']
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        children = Path(f'/proc/{process.pid}/task/{process.pid}/children')
        end = time.monotonic() + 60.0
        while len(nodes := [int(pid) for pid in children.read_text().split()]) < 4:
            assert time.monotonic() < end, f'waited 60 s for four nodes; got {nodes}'
            time.sleep(0.1)
        process.terminate()
        assert process.wait(60.0) == 130
    for pid in nodes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_bundle_altered_after_loading_is_refused_at_configure(tiny: Path, tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / 'altered')
    bundle = load_bundle(folder)
    data = bytearray((folder / 'denoiser.onnx').read_bytes())
    data[-1] ^= 1
    (folder / 'denoiser.onnx').write_bytes(bytes(data))
    settings = EvaluationSettings(bundle=folder, through='ros')
    with (
        pytest.raises(ClientError, match='refused to configure'),
        running(settings, bundle, tmp_path / 'logs'),
    ):
        pass
    assert 'SHA-256' in (tmp_path / 'logs/observation_buffer.log').read_text()


def test_the_demo_ends_with_a_table_and_a_gif(tiny: Path, tmp_path: Path) -> None:
    said: list[str] = []
    settings = EvaluationSettings(bundle=tiny, through='ros', episodes=1, seconds=3.0)
    assert run_demo(settings, tmp_path / 'out', said.append) == 0
    assert (tmp_path / 'out/demo.gif').read_bytes()[:4] == b'GIF8'
    assert 'mean score' in ''.join(said) and 'demo.gif' in ''.join(said)


def test_a_simulation_does_not_start_where_someone_uses_the_command_topic(ros):
    from trajectory_msgs.msg import JointTrajectory

    from dp_ros.errors import DpRosError
    from dp_ros.tools.graph_evaluation import refuse_company

    refuse_company('/nobody/here', seconds=0.3)
    ros.tester.create_subscription(JointTrajectory, '/arm/joint_trajectory', lambda _: None, 1)
    with pytest.raises(DpRosError, match=r'in ROS domain .* there already, allowed nobody'):
        refuse_company('/arm/joint_trajectory', seconds=20.0)
