"""The nodes as processes: parameters from YAML, exit codes, signals, and all four together."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('gym_pusht', reason='gym-pusht is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dp_ros.messages import encoding
from dp_ros.tools.node_processes import CONTAINER, POLICY_NODES, ROBOT

PUSHT = Path(__file__).parents[2] / 'config' / 'pusht.yaml'
NODES = (ROBOT, *POLICY_NODES)
OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE
LIMIT = 60.0  # [s]
BEGUN = 4  # trajectories after which the arm moves: the first holds it where it stands
MS = 1_000_000
# The tiny bundle's random network asks for more than a robot may do, or can.
NO_LIMITS = [
    'follow_tolerance:=0.5',
    *(f'limits.pusher_{axis}.{side}:={value}' for axis in 'xy' for side, value in (('lower', -9.0), ('upper', 9.0))),
]

pytestmark = [pytest.mark.ros, pytest.mark.slow]

Start = Callable[..., 'Process']


class Process:
    """A node, or a script, in a process of its own."""

    def __init__(
        self, node: str | Path, log: Path, *arguments: str, params: Path = PUSHT, set: list[str] | None = None
    ) -> None:
        self.log = log
        what = [str(node)] if isinstance(node, Path) else ['-m', f'dp_ros.nodes.{node}']
        command = [sys.executable, *what, '--ros-args', '--params-file', str(params), *arguments]
        command += [word for setting in set or [] for word in ('-p', setting)]
        with log.open('wb') as file:
            self.popen = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    def end(self, number: int) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(LIMIT)

    def ended(self) -> tuple[int, str]:
        """Return the exit code and the log of a node that ends by itself."""
        return self.popen.wait(LIMIT), self.log.read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[Process] = []

    def begin(node: str | Path, *arguments: str, **options: Any) -> Process:
        log = tmp_path / f'{len(processes)}_{Path(node).stem}.log'
        processes.append(Process(node, log, *arguments, **options))
        return processes[-1]

    yield begin
    for process in processes:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()
        sys.stdout.write(f'{process.log.name}:\n{process.log.read_text()}\n')  # pytest shows it where a test failed


def params(path: Path, node: str, **values: Any) -> Path:
    path.write_text(yaml.safe_dump({f'/**/{node}': {'ros__parameters': values}}))
    return path


@pytest.mark.parametrize(
    ('node', 'values', 'reason'),
    [
        (
            'policy_executor',
            {'sampling_step': 3},
            "got unknown parameter 'sampling_step'; nearest: sampling_steps, allowed alternatives, anytime, ",
        ),
        ('observation_buffer', {'topics': {'a': {'b': 'c'}}}, "unknown parameter 'topics.a.b'"),
        ('trajectory_publisher', {'limits': {'pusher_x': {'snap': 1.0}}}, 'limits.<joint>.lower|upper|velocity'),
        ('policy_executor', {'threads': 65}, 'threads: got 65, allowed a whole number from 0 to 64'),
        ('simulated_robot', {'world': 'kitchen'}, "world: got 'kitchen', allowed 'push_block', 'pick_place', 'pusht'"),
        ('policy_executor', {'bundle': '/nowhere'}, '/nowhere'),
    ],
)
def test_a_wrong_yaml_file_ends_the_node_with_the_reason(start, tmp_path, node, values, reason):
    code, log = start(node, params=params(tmp_path / 'wrong.yaml', node, **values)).ended()
    assert code == 1
    assert reason in log


@pytest.mark.parametrize('node', [*POLICY_NODES, CONTAINER])
def test_a_bundle_with_a_wrong_hash_ends_the_node_and_nothing_is_published(start, ros, tiny, tmp_path, node):
    broken = tmp_path / 'broken'
    shutil.copytree(tiny, broken)
    (broken / 'encoder.onnx').write_bytes(b'something else')
    heard = ros.listen(JointTrajectory, '/policy_executor/action_chunk')
    heard += ros.listen(JointTrajectory, '/arm_controller/joint_trajectory')
    code, log = start(node, set=[f'bundle:={broken}']).ended()
    assert code == 1
    assert 'encoder.onnx' in log
    assert heard == []


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('node', [*NODES, CONTAINER])
def test_a_node_ends_cleanly_when_it_is_told_to(start, ros, tiny, node, number):
    process = start(node, set=[] if node == 'simulated_robot' else [f'bundle:={tiny}'])
    for name in POLICY_NODES if node == CONTAINER else (node,):
        said = (f'{name}: lifecycle', 'active')
        ros.wait(lambda said=said: said in [(s.name, s.message) for s in ros.statuses], f'{name} to be active')
    assert process.end(number) == 0, process.log.read_text()
    assert 'Traceback' not in process.log.read_text()


def test_without_autostart_a_lifecycle_manager_takes_the_node_through_its_states(start, ros, tiny):
    start('policy_executor', set=[f'bundle:={tiny}', 'autostart:=false'])

    def state() -> int:
        return int(ros.call(GetState, '/policy_executor/get_state', GetState.Request()).current_state.id)

    def change(transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(ros.call(ChangeState, '/policy_executor/change_state', request).success)

    assert state() == State.PRIMARY_STATE_UNCONFIGURED
    for transition, then in (
        (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
        (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
        (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED),
        (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_INACTIVE_SHUTDOWN, State.PRIMARY_STATE_FINALIZED),
    ):
        assert change(transition)
        assert state() == then


def start_all(start: Start, tiny: str, *arguments: str, but: tuple[str, ...] = (), set: tuple[str, ...] = ()) -> Any:
    settings = {
        'simulated_robot': ['camera:=false'],
        'observation_buffer': [f'bundle:={tiny}'],
        'policy_executor': [f'bundle:={tiny}'],
        'trajectory_publisher': [f'bundle:={tiny}', *NO_LIMITS],
    }
    return {n: start(n, *arguments, set=[*v, *set]) for n, v in settings.items() if n not in but}


def command_ends(ros: Any) -> list[int]:
    """Return the list of when each trajectory that comes will be at its end [ns]; each is sent several times."""
    ends: list[int] = []
    last: list[JointTrajectory] = []

    def add(message: JointTrajectory) -> None:
        if last and message == last[-1]:
            return
        last.append(message)
        trajectory = encoding.trajectory_value(message)
        begins = trajectory.stamp or int(ros.tester.get_clock().now().nanoseconds)
        ends.append(begins + int(trajectory.times[-1]))

    ros.tester.create_subscription(JointTrajectory, '/arm_controller/joint_trajectory', add, 50)
    return ends


def wait_until_moving(ros: Any, ends: list[int]) -> None:
    """Wait for a beginning and three chunks, the last of which has half a second left: a stop is sooner at its end."""
    clock = ros.tester.get_clock()
    ros.wait(lambda: len(ends) >= BEGUN and ends[-1] > clock.now().nanoseconds + 500 * MS, 'three chunks')


def assert_stopped(ros: Any, ends: list[int]) -> None:
    ros.spin(0.3)
    assert ends[-1] < max(ends), 'the last command ends sooner than one before: it stops'


def ledger(ros: Any) -> list[dict[str, str]]:
    entries = {}
    for status in ros.statuses:
        values = {v.key: v.value for v in status.values}
        if status.name.endswith('trajectory_publisher: chunk') and 'latency_ms' in values:
            entries[values['observation']] = values
    return list(entries.values())


def test_the_four_nodes_move_the_robot_and_it_comes_to_rest_when_the_executor_dies(start, ros, tiny):
    nodes = start_all(start, tiny)
    joints = ros.listen(JointState, '/joint_states')
    ros.wait(lambda: len(ledger(ros)) >= 4, 'four chunks')
    for entry in ledger(ros):
        assert int(entry['observation']) % 100_000_000 == 0
        assert int(entry['observation']) < int(entry['received']) <= int(entry['published'])
    # The tester's own subscription may be matched later than those of the nodes.
    ros.wait(lambda: joints and joints[-1].position != joints[0].position, 'the robot to move')
    assert nodes['policy_executor'].end(signal.SIGKILL) == -signal.SIGKILL
    ros.status('trajectory_publisher: ladder', STALE, 'the robot holds')
    ros.wait(lambda: max(abs(v) for v in joints[-1].velocity) < 1e-4, 'the robot to rest')
    assert all(nodes[n].popen.poll() is None for n in NODES if n != 'policy_executor')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_whoever_ends_the_publisher_stops_the_arm(start, ros, tiny, number):
    ends = command_ends(ros)
    publisher = start_all(start, tiny)['trajectory_publisher']
    wait_until_moving(ros, ends)
    assert publisher.end(number) == 0
    assert_stopped(ros, ends)


def test_a_publisher_after_one_that_was_killed_starts_latched_until_reset_or_an_orderly_end(start, ros, tiny):
    ros.listen(JointTrajectory, '/arm_controller/joint_trajectory')

    def begin() -> Process:
        ros.statuses.clear()
        settings = [f'bundle:={tiny}', *NO_LIMITS, 'require_controller:=false']
        process: Process = start('trajectory_publisher', set=settings)
        return process

    first = begin()
    ros.status('trajectory_publisher: ladder', WARN, 'no chunk yet')
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    second = begin()
    ended = f'the publisher that ran then (process {first.popen.pid}) ended abnormally'
    ros.status('trajectory_publisher: ladder', ERROR, f'stopped until ~/reset is called: before this start: {ended}')
    assert second.end(signal.SIGINT) == 0
    begin()
    ros.status('trajectory_publisher: ladder', WARN, 'no chunk yet')


def test_without_the_robot_s_topics_nothing_is_commanded_and_the_reason_is_said(start, ros, tiny):
    commands = ros.listen(JointTrajectory, '/arm_controller/joint_trajectory')
    start_all(start, tiny, but=('simulated_robot',))
    silent = (f'{name}: no message yet: nobody publishes /{name}' for name in ('joint_states', 'block_pose'))
    ros.status('observation_buffer: observations', WARN, '; '.join(silent))
    ros.status('policy_executor: inference', WARN, 'no complete observation yet')
    ros.status('trajectory_publisher: ladder', ERROR, 'got only /tester who listens, allowed an active')
    assert commands == []


def test_joint_states_with_nan_move_nothing(start, ros, tiny):
    commands = ros.listen(JointTrajectory, '/arm_controller/joint_trajectory')
    # The robot's own joint states go elsewhere, and what stands in for them is broken.
    start_all(start, tiny, set=(), but=('simulated_robot',))
    start('simulated_robot', set=['camera:=false', 'topics.joint_states:=elsewhere'])
    broken = ros.talk(JointState, '/joint_states')
    elsewhere: list[Any] = []

    def relay(message: JointState) -> None:
        message.position[1] = float('nan')
        elsewhere.append(message)
        broken.publish(message)

    ros.tester.create_subscription(JointState, '/elsewhere', relay, 10)
    ros.status('observation_buffer: observations', ERROR, 'position of pusher_y: got nan')
    ros.wait(lambda: len(elsewhere) > 50, 'half a second of joint states')
    assert commands == []
    assert ledger(ros) == []


def test_in_a_namespace_the_same_files_serve(start, ros, tiny):
    start_all(start, tiny, '-r', '__ns:=/left')
    ros.status('left/trajectory_publisher: chunk', OK)
    assert ros.tester.count_publishers('/left/arm_controller/joint_trajectory') == 1
    assert ros.tester.count_publishers('/arm_controller/joint_trajectory') == 0


def test_on_a_simulated_clock_the_nodes_run_faster_than_time(start, ros, tiny):
    start_all(start, tiny, but=('simulated_robot',), set=('use_sim_time:=true',))
    for node in ('observation_buffer', 'policy_executor', 'trajectory_publisher'):
        said = (f'{node}: lifecycle', 'active')
        ros.wait(lambda said=said: said in [(s.name, s.message) for s in ros.statuses], f'{node} to be active')
    start('simulated_robot', set=['camera:=false', 'publish_clock:=true', 'rate:=3.0'])
    chunks = ros.listen(JointTrajectory, '/policy_executor/action_chunk')
    ros.wait(lambda: len(chunks) >= 5, 'chunks')
    stamps = [encoding.stamp_of(c) for c in chunks]
    assert stamps[0] < 20_000_000_000, 'time began at 0'
    assert all(stamp % 100_000_000 == 0 for stamp in stamps)
    ros.status('trajectory_publisher: chunk', OK)


# All three in one process.


def start_composed(
    start: Start, tiny: str, *arguments: str, set: tuple[str, ...] = (), container: str | Path = CONTAINER
) -> Process:
    limits = [f'trajectory_publisher:{setting}' for setting in NO_LIMITS]
    return start(container, *arguments, set=[f'bundle:={tiny}', *limits, *set])


def test_in_one_process_they_move_the_robot_and_say_the_same(start, ros, tiny):
    start(ROBOT, set=['camera:=false'])
    container = start_composed(start, tiny)
    joints = ros.listen(JointState, '/joint_states')
    ros.wait(lambda: len(ledger(ros)) >= 4, 'four chunks')
    for entry in ledger(ros):
        times = [int(entry[name]) for name in ('observation', 'inference_start', 'inference_end', 'published')]
        assert times == sorted(times)
        assert times[0] % 100_000_000 == 0
    ros.wait(lambda: joints and joints[-1].position != joints[0].position, 'the robot to move')
    assert container.end(signal.SIGKILL) == -signal.SIGKILL
    ros.wait(lambda: max(abs(v) for v in joints[-1].velocity) < 1e-4, 'the robot to rest')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_in_one_process_whoever_ends_it_stops_the_arm(start, ros, tiny, number):
    ends = command_ends(ros)
    start(ROBOT, set=['camera:=false'])
    container = start_composed(start, tiny)
    wait_until_moving(ros, ends)
    container.popen.send_signal(number)
    time.sleep(0.05)
    if container.popen.poll() is None:
        container.popen.send_signal(signal.SIGTERM)  # a launcher's, after the terminal's own
    assert container.ended()[0] == 0
    assert_stopped(ros, ends)


FAILING = """
import sys
from pathlib import Path
from dp_ros.nodes.policy_container import main
from dp_ros.nodes.policy_executor.node import PolicyExecutor
take, now = PolicyExecutor._observe, Path(__file__).with_name('now')
def fail(self, observation):
    error = RuntimeError('nobody foresaw this')
    if not now.exists():
        take(self, observation)
    elif {dies}:
        self.died.set_exception(error)
    else:
        raise error
PolicyExecutor._observe = fail
raise SystemExit(main(sys.argv))
"""


def start_failing(start: Start, ros: Any, tiny: str, folder: Path, *, dies: bool) -> tuple[Process, list[int]]:
    """Let the executor of one process fail, once the arm moves; return the process and the ends of commands."""
    ends = command_ends(ros)
    start(ROBOT, set=['camera:=false'])
    script = folder / 'failing.py'
    script.write_text(FAILING.format(dies=dies))
    container = start_composed(start, tiny, container=script)
    wait_until_moving(ros, ends)
    (folder / 'now').touch()
    return container, ends


def test_in_one_process_a_thread_that_dies_in_one_stops_the_arm_and_ends_all(start, ros, tiny, tmp_path):
    container, ends = start_failing(start, ros, tiny, tmp_path, dies=True)
    code, log = container.ended()
    assert code == 1
    assert 'nobody foresaw this' in log
    assert_stopped(ros, ends)


def test_in_one_process_an_error_nobody_foresaw_in_one_is_named_and_ends_none(start, ros, tiny, tmp_path):
    container, _ = start_failing(start, ros, tiny, tmp_path, dies=False)
    ros.status(': callbacks', ERROR, 'nobody foresaw this')
    ros.status('trajectory_publisher: ladder', STALE, 'the robot holds')
    assert container.end(signal.SIGINT) == 0


def test_in_one_process_their_topics_are_there_for_whoever_listens(start, ros, tiny):
    start(ROBOT, set=['camera:=false'])
    start_composed(start, tiny)
    observed = ros.listen(JointState, '/observation_buffer/joint_states')
    chunks = ros.listen(JointTrajectory, '/policy_executor/action_chunk')
    said = ros.listen(DiagnosticStatus, '/policy_executor/ledger')
    ros.wait(lambda: len(observed) > 8 and len(chunks) > 2 and len(said) > 2, 'observations, chunks and the ledger')
    stamps = {encoding.stamp_of(message) for message in observed}
    ros.wait(lambda: encoding.stamp_of(chunks[-1]) > min(stamps), 'a chunk for an observation that was heard')
    assert {encoding.stamp_of(chunk) for chunk in chunks} & {encoding.stamp_of(message) for message in observed}
    for chunk in chunks:
        assert chunk.joint_names == ['pusher_x', 'pusher_y']


@pytest.mark.parametrize(
    ('arguments', 'set', 'reason'),
    [
        ((), ('policy_executor:threads:=65',), 'threads: got 65, allowed a whole number from 0 to 64'),
        (('-r', '__node:=policy'), (), 'policy_container: got the name policy for all nodes, allowed none'),
        (
            (),
            ('policy_executor:realtime_priority:=7',),
            'realtime_priority in one process: got 0 of /traj',
        ),
        ((), ('observation_buffer:cpu_dma_latency:=0',), '0 of /observation_buffer, allowed the same'),
    ],
)
def test_in_one_process_what_is_wrong_with_one_ends_all(start, ros, tiny, arguments, set, reason):
    commands = ros.listen(JointTrajectory, '/arm_controller/joint_trajectory')
    code, log = start_composed(start, tiny, *arguments, set=set).ended()
    assert code == 1
    assert reason in log
    assert 'Traceback' not in log
    assert commands == []


def test_in_one_process_a_namespace_and_a_simulated_clock_serve_as_well(start, ros, tiny):
    start_composed(start, tiny, '-r', '__ns:=/left', set=('use_sim_time:=true',))
    for name in POLICY_NODES:
        said = (f'left/{name}: lifecycle', 'active')
        ros.wait(lambda said=said: said in [(s.name, s.message) for s in ros.statuses], f'{name} to be active')
    start(ROBOT, '-r', '__ns:=/left', set=['camera:=false', 'publish_clock:=true', 'rate:=2.0'])
    ros.status('left/trajectory_publisher: chunk', OK)
