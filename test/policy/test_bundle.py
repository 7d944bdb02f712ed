from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import BundleError
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.compatibility import check_compatibility
from dp_ros.policy.bundle.files import sha256
from dp_ros.policy.bundle.manifest import load_bundle, write_bundle
from dp_ros.policy.normalizer import Normalizer
from dp_ros.task.spec import ImageStream
from dp_ros.task.yaml_reader import to_plain


def alter(folder: Path, *keys: str, **values: object) -> None:
    """Set entries of bundle.json, below ``keys``."""
    path = folder / 'bundle.json'
    raw = json.loads(path.read_text())
    target = raw
    for key in keys:
        target = target[key]
    target.update(values)
    path.write_text(json.dumps(raw))


def record(folder: Path, **arrays: object) -> None:
    """Replace arrays of the recorded pair, and its hash."""
    dataclasses.replace(load_bundle(folder).parity(), **arrays).write(folder / 'parity.npz')
    alter(folder, 'files', **{'parity.npz': sha256(folder / 'parity.npz')})


def again(bundle: Bundle, folder: Path, **changes: object) -> Bundle:
    """Write a loaded bundle to another folder."""
    fields = {name: getattr(bundle, name) for name in ('task', 'normalizer', 'schedule', 'defaults', 'provenance')}
    networks = {file: bundle.path(file) for file in bundle.files if file != 'parity.npz'}
    return write_bundle(folder, **{**fields, 'networks': networks, 'parity': bundle.parity(), **changes})


def test_what_was_written_is_what_is_loaded(tiny, tmp_path):
    given = {
        'schedule': ScheduleSpec(prediction_type='velocity', diffusion_steps=50),
        'defaults': SamplerSettings(sampler='ddpm', sampling_steps=5, spacing='leading'),
        'provenance': {'data': 'abc', 'scores': [0.5, 1.0], 'clean': True, 'nested': {'none': None}},
        'name': 'another',
    }
    bundle = load_bundle(tiny.write_tiny_bundle(tmp_path / 'tiny', **given))
    assert {name: getattr(bundle, name) for name in given} == given
    assert bundle.task == tiny.TASK
    assert bundle.normalizer == tiny.NORMALIZER
    assert bundle.folder == tmp_path / 'tiny'
    assert set(bundle.files) == {'encoder.onnx', 'denoiser.onnx', 'parity.npz'}
    assert [p.name for p in tmp_path.iterdir()] == ['tiny']


def test_its_name_is_the_folders_unless_given(original):
    assert load_bundle(original).name == 'tiny'


@pytest.mark.parametrize(
    ('keys', 'values', 'message'),
    [
        ((), {'schema_version': 2}, 'schema_version: got 2, allowed 1'),
        ((), {'colour': 'red'}, "got unknown key 'colour', allowed schema_version, name, task, normalizer"),
        (('task',), {'horizon': 4}, "task: got unknown key 'horizon', allowed streams, action, control_dt"),
        (('task',), {'control_dt': '0.1'}, r"task.control_dt: got '0.1' \(str\), allowed float"),
        (('task',), {'exec_horizon': 17}, r'exec_horizon: got 17, allowed 1 to pred_horizon \(16\)'),
        (('task', 'action'), {'units': ['m', 'px']}, r"units\[1\]: got 'px', allowed m, rad"),
        (('task', 'action'), {'joints': ['a', 'b', 'c']}, 'action units: got 2 for 3 joints'),
        (('task',), {'pred_horizon': 8}, r'parity.npz: recorded x_k: got shape \(2, 16, 2\), allowed \(2, 8, 2\)'),
        (('task',), {'obs_horizon': 3}, r"recorded input 'joint_states': got shape \(2, 2, 2\), allowed \(2, 3, 2\)"),
        (('schedule',), {'name': 'cosine'}, "schedule.name: got 'cosine', allowed squaredcos_cap_v2"),
        (('defaults',), {'sampling_steps': 101}, r'sampling_steps: got 101, allowed 1 to diffusion_steps \(100\)'),
        (('normalizer', 'low'), {'action': [0.0]}, r'normalizer action high: got shape \(2,\), allowed \(1\)'),
        (('normalizer', 'low'), {'action': [9.0, 0.0]}, 'normalizer action: got low .* above high'),
        (('normalizer', 'low'), {'gripper': [0.0]}, 'normalizer: got low for .*gripper'),
        (('files',), {'../escape': 'f' * 64}, 'files: got ../escape, .*, allowed encoder.onnx, denoiser.onnx'),
        ((), {'provenance': [1]}, r'provenance: got \[1\] \(list\), allowed dict'),
    ],
)
def test_a_field_that_cannot_be_right_is_refused(folder, keys, values, message):
    alter(folder, *keys, **values)
    with pytest.raises(BundleError, match=message) as refusal:
        load_bundle(folder)
    assert str(refusal.value).startswith(str(folder))


@pytest.mark.parametrize('key', ['task', 'normalizer', 'schedule', 'defaults', 'files', 'provenance'])
def test_a_missing_field_is_refused(folder, key):
    path = folder / 'bundle.json'
    raw = json.loads(path.read_text())
    del raw[key]
    path.write_text(json.dumps(raw))
    with pytest.raises(BundleError, match=f"bundle: missing key '{key}'"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"schema_version": 1,', 'not valid JSON'),
        ('[1]', 'schema_version: got None, allowed 1'),
        ('{"schema_version": NaN}', 'got the number NaN, allowed finite numbers only'),
        ('{"schema_version": 1, "schema_version": 1}', 'got key schema_version twice, allowed once'),
    ],
)
def test_a_description_that_is_not_strict_json_is_refused(folder, text, message):
    (folder / 'bundle.json').write_text(text)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_a_description_that_is_not_text_is_refused(folder):
    (folder / 'bundle.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(BundleError, match='not valid JSON'):
        load_bundle(folder)


def test_an_altered_file_is_refused(folder):
    path = folder / 'denoiser.onnx'
    path.write_bytes(path.read_bytes() + b'\0')
    with pytest.raises(
        BundleError, match=r'denoiser.onnx: SHA-256: got [0-9a-f]{64}, allowed [0-9a-f]{64}; the file was'
    ):
        load_bundle(folder)


@pytest.mark.parametrize('file', ['bundle.json', 'encoder.onnx', 'denoiser.ts', 'parity.npz'])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(BundleError, match=f'{file}: got no such file, allowed a complete bundle'):
        load_bundle(folder)


@pytest.mark.parametrize('file', ['denoiser.onnx', 'encoder.ts', 'parity.npz'])
def test_a_file_that_is_not_listed_is_not_part_of_it(folder, file):
    raw = json.loads((folder / 'bundle.json').read_text())
    del raw['files'][file]
    (folder / 'bundle.json').write_text(json.dumps(raw))
    with pytest.raises(BundleError, match=r'files: got .*, allowed'):
        load_bundle(folder)


@pytest.mark.parametrize(
    ('low', 'message'),
    [
        ({'joint_states': (0.0,) * 2, 'action': (0.0,) * 2}, "got channels .*, allowed .*'block_pose': 4"),
        ({'joint_states': (0.0,) * 2, 'block_pose': (0.0,) * 3, 'action': (0.0,) * 2}, "'block_pose': 3.*, allowed"),
        (
            {'joint_states': (0.0,) * 2, 'block_pose': (0.0,) * 4, 'action': (0.0,)},
            "'action': 1.*, allowed .*'action': 2",
        ),
        (
            {'joint_states': (0.0,) * 2, 'block_pose': (0.0,) * 4, 'action': (0.0,) * 2, 'extra': (0.0,)},
            "'extra': 1.*, allowed",
        ),
    ],
)
def test_the_normalizer_has_exactly_the_vector_streams_and_action(original, tmp_path, low, message):
    with pytest.raises(BundleError, match=message):
        again(load_bundle(original), tmp_path / 'new', normalizer=Normalizer(low=low, high=low))
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('name', ['action', 'cond'])
def test_a_stream_cannot_have_a_name_that_is_taken(tiny, original, tmp_path, name):
    streams = (dataclasses.replace(tiny.TASK.streams[0], name=name), tiny.TASK.streams[1])
    with pytest.raises(BundleError, match=f'stream name: got {name}, allowed anything but action, cond'):
        again(load_bundle(original), tmp_path / 'new', task=dataclasses.replace(tiny.TASK, streams=streams))


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'cond': np.zeros((3, 8), np.float32)}, r'recorded cond: got shape \(3, 8\), allowed \(2, any\)'),
        ({'k': np.zeros(2, np.int32)}, 'recorded k: got int32, allowed int64'),
        ({'k': np.zeros(0, np.int64)}, r'recorded k: got shape \(0,\), allowed \(B,\) with B 1 or more'),
        ({'k': np.array(1)}, r'recorded k: got shape \(\), allowed'),
        ({'x_k': np.full((2, 16, 2), np.nan, np.float32)}, 'recorded x_k: got nan at index'),
        ({'prediction': np.zeros((2, 16, 3), np.float32)}, r'recorded prediction: got shape \(2, 16, 3\), allowed'),
        ({'inputs': {}}, r'recorded inputs: got \(none\), allowed joint_states, block_pose'),
    ],
)
def test_a_recorded_pair_of_another_task_is_refused(folder, arrays, message):
    record(folder, **arrays)
    with pytest.raises(BundleError, match='parity.npz: ' + message):
        load_bundle(folder)


@pytest.mark.parametrize('content', [b'', b'not an npz file', b'PK\x03\x04 cut short'])
def test_a_recorded_pair_that_is_no_npz_is_refused(folder, content):
    (folder / 'parity.npz').write_bytes(content)
    alter(folder, 'files', **{'parity.npz': sha256(folder / 'parity.npz')})
    with pytest.raises(BundleError, match=r'parity.npz: cannot be read .*; allowed an npz file without pickles'):
        load_bundle(folder)


def test_pickles_are_not_loaded(folder):
    np.savez(folder / 'parity.npz', cond=np.array([{'a': 1}], dtype=object))
    alter(folder, 'files', **{'parity.npz': sha256(folder / 'parity.npz')})
    with pytest.raises(BundleError, match=r'cannot be read .*pickle'):
        load_bundle(folder)


def test_recorded_arrays_that_nobody_asked_for_are_refused(folder):
    np.savez(folder / 'parity.npz', cond=np.zeros(1))
    alter(folder, 'files', **{'parity.npz': sha256(folder / 'parity.npz')})
    with pytest.raises(BundleError, match=r'got arrays cond, allowed input.<stream>, cond, x_k, k, prediction'):
        load_bundle(folder)


def test_an_existing_bundle_is_only_replaced_when_asked(folder):
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match='got a path that exists, allowed a new one'):
        again(bundle, folder)
    assert again(bundle, folder, provenance={'run': 2}, overwrite=True).provenance == {'run': 2}
    assert load_bundle(folder).provenance == {'run': 2}
    assert [p.name for p in folder.parent.iterdir()] == ['tiny']


def test_a_folder_that_is_no_bundle_is_never_replaced(original, tmp_path):
    (tmp_path / 'thesis.txt').write_text('years of work')
    with pytest.raises(BundleError, match=r'got a path without bundle.json, allowed only a bundle to be overwritten'):
        again(load_bundle(original), tmp_path, overwrite=True)
    assert (tmp_path / 'thesis.txt').exists()


@pytest.mark.parametrize('provenance', [{'score': float('nan')}, {'data': object()}])
def test_a_failed_write_leaves_what_was_there(folder, provenance):
    before = to_plain(load_bundle(folder))
    with pytest.raises(BundleError, match='allowed what JSON can hold, finite numbers only'):
        again(load_bundle(folder), folder, provenance=provenance, overwrite=True)
    assert to_plain(load_bundle(folder)) == before
    assert [p.name for p in folder.parent.iterdir()] == ['tiny']


@pytest.mark.parametrize('file', ['evil.py', '../../evil.py'])
def test_networks_must_be_the_known_files(original, tmp_path, file):
    with pytest.raises(BundleError, match=f'files: got .*{file}.*, allowed encoder.onnx, denoiser.onnx'):
        again(load_bundle(original), tmp_path / 'new', networks={'encoder.onnx': b'', file: b''})
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_fits_the_robot_is_let_pass(original):
    check_compatibility(
        load_bundle(original),
        joints=['pusher_x', 'pusher_y'],
        units=['m', 'm'],
        control_dt=0.1,
        topic_types={'joint_states': 'sensor_msgs/msg/JointState', 'block_pose': 'geometry_msgs/msg/PoseStamped'},
    )


@pytest.mark.parametrize(
    ('robot', 'message'),
    [
        (
            {'joints': ['pusher_y', 'pusher_x']},
            r"joints: got pusher_x, pusher_y in the bundle, allowed pusher_y, pusher_x \(the robot's\); "
            'the names are the same, only their order differs',
        ),
        (
            {'joints': ['pusher_x']},
            r"joints: got pusher_x, pusher_y in the bundle, allowed pusher_x \(the robot's\)$",
        ),
        ({'units': ['m', 'rad']}, 'units: got m, m in the bundle, allowed m, rad'),
        ({'control_dt': 0.05}, r'control_dt \[ns\]: got 100000000 in the bundle, allowed 50000000'),
        (
            {'topic_types': {'block_pose': 'sensor_msgs/msg/Image'}},
            "stream 'block_pose' topic type: got geometry_msgs/msg/PoseStamped .*, allowed sensor_msgs/msg/Image",
        ),
        ({'topic_types': {'camera': 'x'}}, "stream: got 'camera', allowed joint_states, block_pose"),
    ],
)
def test_a_bundle_that_does_not_fit_the_robot_is_refused_by_field(original, robot, message):
    with pytest.raises(BundleError, match='bundle tiny does not fit the robot: ' + message):
        check_compatibility(load_bundle(original), **robot)


def test_a_camera_must_have_the_bundles_type(tiny, original):
    camera = ImageStream(name='camera', topic='/camera', height=8, width=12, compressed=True)
    bundle = load_bundle(original)
    task = dataclasses.replace(tiny.TASK, streams=(*tiny.TASK.streams, camera))
    bundle = dataclasses.replace(bundle, task=task)
    check_compatibility(bundle, topic_types={'camera': 'sensor_msgs/msg/CompressedImage'})
    with pytest.raises(BundleError, match="stream 'camera' topic type: got sensor_msgs/msg/CompressedImage"):
        check_compatibility(bundle, topic_types={'camera': 'sensor_msgs/msg/Image'})


def test_the_robot_side_imports_no_torch():
    code = (
        'import importlib, pkgutil, sys, dp_ros.diffusion, dp_ros.policy\n'
        'for package in (dp_ros.diffusion, dp_ros.policy):\n'
        '    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):\n'
        '        importlib.import_module(module.name)\n'
        'assert "dp_ros.policy.backends.sessions" in sys.modules\n'
        'assert "torch" not in sys.modules\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)
