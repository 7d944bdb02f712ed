"""What `dp_ros inspect` says about a bundle or a recording."""

from __future__ import annotations

from pathlib import Path

from dp_ros.task.spec import ImageStream, JointStream, Stream


def describe(path: Path) -> str:
    """Return a description of the bundle or rosbag2 recording at ``path``."""
    return _bundle(path) if (path / 'bundle.json').is_file() else _recording(path)


def _bundle(path: Path) -> str:
    from dp_ros.policy.bundle.manifest import load_bundle
    from dp_ros.policy.normalizer import trembling

    bundle = load_bundle(path)
    task = bundle.task
    lines = [f'bundle {bundle.name} (schema {bundle.schema_version}), complete and unaltered', 'observes']
    lines += [f'  {s.name}: {s.topic}, {_stream(s)}, no older than {s.max_age} s' for s in task.streams]
    shapes = bundle.camera_shapes.items()
    lines += [f'  {name}: pictures of {width} x {height} pixels, as recorded' for name, (height, width) in shapes]
    if task.goals:
        lines.append('is asked by')
        lines += [f'  {g.name}: {g.topic}, {g.kind}' for g in task.goals]
    if task.guidance:
        lines.append(f'may be guided towards the {task.guidance} (guidance_scale)')
    joints = ', '.join(f'{j} [{u}]' for j, u in zip(task.action.joints, task.action.units, strict=True))
    lines += [
        f'commands {task.action.topic}: {joints}',
        f'control_dt {task.control_dt} s, horizons: obs {task.obs_horizon}, pred {task.pred_horizon}, '
        f'exec {task.exec_horizon}',
        f'schedule {bundle.schedule.name}, {bundle.schedule.diffusion_steps} steps, {bundle.schedule.prediction_type}',
        f'sampler {bundle.defaults.sampler}, {bundle.defaults.sampling_steps} steps, {bundle.defaults.spacing}',
    ]
    still = trembling(task, bundle.normalizer)
    if still:
        lines.append(f'hardly moved in the recordings: {", ".join(still)}')
    if task.continuous:
        lines.append(f'joints that turn without end: {", ".join(task.continuous)}')
    if bundle.has_critic:
        lines.append(f'a critic chooses among samples whose mean value is {bundle.critic_from:g} or more')
    lines.append('files')
    lines += [f'  {f}: {bundle.path(f).stat().st_size / 1e6:.2f} MB, {h[:12]}' for f, h in bundle.files.items()]
    for key, value in bundle.provenance.items():
        if not isinstance(value, dict | list):
            lines.append(f'{key}: {value}')
    return '\n'.join(lines)


def _stream(stream: Stream) -> str:
    if isinstance(stream, ImageStream):
        return f'image, {stream.width} x {stream.height} rgb8'
    if isinstance(stream, JointStream):
        joints = ', '.join(f'{j} [{u}]' for j, u in zip(stream.joints, stream.units, strict=True))
        return f'{", ".join(stream.fields)} of {joints}'
    return ', '.join(stream.features)


def _recording(path: Path) -> str:
    from dp_ros.recordings.rosbag.reader import BagReader, find_bags

    lines = []
    for bag in find_bags(path):
        with BagReader(bag) as reader:
            lines.append(f'{bag}')
            lines += [f'  {name}: {topic.type}, {topic.count} messages' for name, topic in reader.topics.items()]
    return '\n'.join(lines)
