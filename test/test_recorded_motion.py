"""What a recording's controllers were commanded, beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rosbags', reason='rosbags is not installed (extra: record)')
pytest.importorskip('matplotlib', reason='matplotlib is not installed (extra: train)')

from dp_ros.cli.main import main
from dp_ros.errors import DataError
from dp_ros.messages.status import State, Status, encode
from dp_ros.recordings.rosbag.types import typestore
from dp_ros.tools.recorded_motion import read_motion
from test.training.bag_maker import T0, arm, command, path_at, save, state

S = 1_000_000_000
MS = 1_000_000


def status(received: int, name: State, reason: str = '') -> tuple[str, int, Any]:
    types = typestore().types
    value = Status(state=name, reason=reason, stamp=received)
    values = [types['diagnostic_msgs/msg/KeyValue'](key=k, value=v) for k, v in encode(value).items()]
    message = types['diagnostic_msgs/msg/DiagnosticStatus'](level=0, name='', message='', hardware_id='', values=values)
    return '/trajectory_publisher/status', received, message


def test_it_is_what_the_controller_model_commands_and_what_was_measured(tmp_path: Path) -> None:
    made = [m for m in arm() if m[0] != '/command']
    made += [command(T0 + 500 * MS, path_at(0.5)), command(T0 + 900 * MS, path_at(1.5))]
    (motion,) = read_motion(save(tmp_path / 'bag', made)).motions
    assert motion.joints == ('a', 'b') and motion.rejected == 0
    assert motion.times[0] == pytest.approx(0.5) and motion.times[-1] == pytest.approx(7.98, abs=0.02)
    expected = np.array([path_at(t) for t in motion.times[:-1]])
    np.testing.assert_allclose(motion.measured[:-1], expected, atol=1e-3)
    for after, point in ((0.6, path_at(0.5)), (1.0, path_at(1.5)), (7.0, path_at(1.5))):
        row = int(np.searchsorted(motion.times, after))
        np.testing.assert_allclose(motion.commanded[row], point, atol=1e-9)


def test_the_command_draws_it_and_says_when_the_safety_state_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [status(T0 + S, 'running'), status(T0 + 2 * S, 'running'), status(T0 + 3 * S, 'latched', 'too far')]
    bag = save(tmp_path / 'bag', [*arm(), *states])
    assert main(['plot', str(bag), '--out', str(tmp_path / 'new' / 'motion.png')]) == 0
    said = capsys.readouterr().out
    assert '1.00 s  running' in said and '3.00 s  latched    too far' in said and said.count('running') == 1
    assert (tmp_path / 'new' / 'motion.png').read_bytes().startswith(b'\x89PNG')


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='allowed a recording with joint states'):
        read_motion(save(tmp_path / 'still', [m for m in arm() if m[0] != '/command']))
    other = [state(at, [0.0], name=('c',)) for _, at, _ in arm()[:400:2]]
    with pytest.raises(DataError, match='/command: got commands for a, b, allowed joints with states: c'):
        read_motion(save(tmp_path / 'other', [*other, *(m for m in arm() if m[0] == '/command')]))
