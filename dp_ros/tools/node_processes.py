"""The four nodes as processes of their own, as `ros2 launch` would start them, where launch is not installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dp_ros.errors import DpRosError

EXECUTOR = 'policy_executor'
PUBLISHER = 'trajectory_publisher'
POLICY_NODES = ('observation_buffer', EXECUTOR, PUBLISHER)
ROBOT = 'simulated_robot'
CONTAINER = 'policy_container'
MODULES = {'demonstrator': f'{ROBOT}.demonstrator'}  # where the name of the module is not the node's
STOP_SECONDS = 10.0


class NodeDiedError(DpRosError, RuntimeError):
    """A node's process ended by itself; the end of its log is shown."""

    one_line = False


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """A process to start: its module in `dp_ros.nodes`, and the parameters besides the file's.

    Attributes
    ----------
    name
        The node's name and its module's; or, with `nodes`, that of a process of several.
    parameters
        By name; of one node among several as ``node:name``.
    nodes
        The nodes in it, if they are several.

    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()


def contained(specs: Sequence[NodeSpec]) -> NodeSpec:
    """Return one process with the policy's nodes, each with its own parameters."""
    parameters = {f'{spec.name}:{name}': value for spec in specs for name, value in spec.parameters.items()}
    return NodeSpec(name=CONTAINER, parameters=parameters, nodes=tuple(spec.name for spec in specs))


class NodeProcesses:
    """Start nodes on entering, stop them on leaving; each logs to a file of its own in ``logs``.

    A latch outlives the trajectory_publisher's process, and not the run: its robot is a simulated one.
    """

    def __init__(self, specs: Sequence[NodeSpec], params_file: Path, logs: Path, *, namespace: str = '') -> None:
        self._specs = specs
        self._namespace = namespace
        self._params_file = params_file
        self._logs = logs
        self._state = logs / 'state'
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> NodeProcesses:
        self._logs.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._state, ignore_errors=True)
        try:
            for spec in self._specs:
                self._start(spec)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()

    def _start(self, spec: NodeSpec, *, again: bool = False) -> None:
        command = [sys.executable, '-m', f'dp_ros.nodes.{MODULES.get(spec.name, spec.name)}', '--ros-args']
        command += ['--params-file', str(self._params_file)]
        command += [] if spec.nodes else ['-r', f'__node:={spec.name}']
        command += ['-r', f'__ns:={self._namespace}'] if self._namespace else []
        for name, value in {**self._stateful(spec), **spec.parameters}.items():
            command += ['-p', f'{name}:={str(value).lower() if isinstance(value, bool) else value}']
        file = self.log(spec.name).open('ab' if again else 'wb')
        self._files.append(file)
        with _uninterrupted():  # what runs must be known to whoever stops it
            # A process group of its own: Ctrl-C reaches this process first, which then stops the nodes in order.
            self._processes[spec.name] = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Threads that spin while they wait would take the cores from the other nodes.
                env={**os.environ, 'OMP_WAIT_POLICY': 'PASSIVE', 'PYTHONUNBUFFERED': '1'},
            )

    def _stateful(self, spec: NodeSpec) -> Mapping[str, Any]:
        if spec.name == PUBLISHER:
            return {'state_folder': self._state}
        return {f'{PUBLISHER}:state_folder': self._state} if PUBLISHER in spec.nodes else {}

    def log(self, name: str) -> Path:
        """Return the file that a node logs to."""
        process = next((spec.name for spec in self._specs if name in spec.nodes), name)
        return self._logs / f'{process}.log'

    def last_error(self, name: str) -> str:
        """Return what a node's log says last at level ERROR, or where the log is."""
        lines = self.log(name).read_text(errors='replace').splitlines()
        errors = [line.split(']: ', 1)[-1] for line in lines if '[ERROR]' in line]
        return errors[-1] if errors else f'see {self.log(name)}'

    def pid(self, name: str) -> int:
        """Return a node's process id."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """End a node as a crash would, with no chance to say goodbye; from then on it may be missing."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def running(self, name: str) -> bool:
        """Whether a node was started and not killed."""
        return name in self._processes

    def start(self, name: str) -> None:
        """Start a node that was killed, with the parameters that it had; it goes on in its log."""
        if name in self._processes:
            raise DpRosError(f'node {name}: got a start while it runs, allowed after kill')
        self._start(next(spec for spec in self._specs if spec.name == name), again=True)

    def check(self) -> None:
        """Raise :class:`NodeDiedError`, with the end of its log, if a node has ended."""
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None:
                end = ''.join(self.log(name).read_text(errors='replace').splitlines(keepends=True)[-8:])
                raise NodeDiedError(f'node {name}: ended with exit code {code}; the end of its log:\n{end}')

    def memory(self) -> dict[str, float]:
        """Return each node's resident memory [MB]."""
        return {name: _resident(process.pid) for name, process in self._processes.items()}

    def processor(self) -> dict[str, float]:
        """Return the processor time that each node has taken so far, all its threads' together [s]."""
        return {name: _processor_time(process.pid) for name, process in self._processes.items()}

    def stop(self) -> dict[str, int]:
        """Interrupt the nodes, kill those that do not end in time, and return their exit codes."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        until = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for file in self._files:
            file.close()
        self._files = []
        return {name: process.returncode for name, process in self._processes.items()}


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off the signals that would interrupt this process until the end of the block."""
    if threading.current_thread() is not threading.main_thread():  # no signal interrupts another one
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signum in came:
            signal.raise_signal(signum)


def _processor_time(pid: int) -> float:
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()  # the name before may hold anything
    except OSError:
        return float('nan')  # it has just ended, or this is not Linux
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _resident(pid: int) -> float:
    try:
        for line in Path(f'/proc/{pid}/status').read_text().splitlines():
            if line.startswith('VmRSS'):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass  # it has just ended, or this is not Linux
    return float('nan')
