"""Describe a bundle, a recording or a dataset, for `dp_ros inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dp_ros.bounded_files import shown
from dp_ros.task.spec import ImageStream, JointStream, Stream

if TYPE_CHECKING:
    from dp_ros.policy.bundle.bundle import Bundle


def describe(path: Path) -> str:
    """Return a description of the bundle, rosbag2 recording, LeRobot dataset or robomimic file at ``path``."""
    from dp_ros.recordings.episodes.readers import kind_of

    if (path / 'bundle.json').is_file():
        return _bundle(path)
    return _dataset(path) if kind_of(path) in ('lerobot', 'hdf5') else _recording(path)


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
        *(_sequence(bundle) if bundle.family == 'sequence' else _schedule(bundle)),
    ]
    still = trembling(task, bundle.normalizer)
    if still:
        lines.append(f'hardly moved in the recordings: {", ".join(still)}')
    if task.continuous:
        lines.append(f'joints that turn without end: {", ".join(task.continuous)}')
    if bundle.has_critic:
        lines.append(f'a critic chooses among samples whose mean value is {bundle.critic_from:g} or more')
    if bundle.monitor is not None:
        spec = bundle.monitor
        lines.append(
            f'a monitor looks at {spec.samples} samples; usual are novelty up to {spec.novelty:.3g} and entropy up to '
            f'{spec.entropy:.3g} (rule {spec.rule}, level {spec.level:g}, {spec.episodes} episodes)'
        )
    lines.append('files')
    lines += [f'  {f}: {bundle.path(f).stat().st_size / 1e6:.2f} MB, {h[:12]}' for f, h in bundle.files.items()]
    for key, value in bundle.provenance.items():
        if not isinstance(value, dict | list):
            lines.append(f'{key}: {value}')
    return '\n'.join(lines)


def _schedule(bundle: Bundle) -> list[str]:
    schedule, sampled = bundle.schedule, bundle.defaults
    return [
        f'schedule {schedule.name}, {schedule.diffusion_steps} steps, {schedule.prediction_type}',
        f'sampler {sampled.sampler}, {sampled.sampling_steps} steps, {sampled.spacing}',
    ]


def _sequence(bundle: Bundle) -> list[str]:
    spec, (low, high) = bundle.sequence, bundle.sequence.return_range
    predicted = ', '.join(('return', 'actions', 'reward', *spec.states))
    return [
        f'a sequence model of {predicted}: {len(spec.edges)} tokens a step, in {spec.bins} bins each',
        f'asked_return from {low:.4g} to {high:.4g}: the sum of rewards, less {spec.step_cost:g} a step',
    ]


def _stream(stream: Stream) -> str:
    if isinstance(stream, ImageStream):
        depth = ' of {:g} to {:g} m'.format(*stream.depth_range) if stream.depth_range else ''
        return f'image, {stream.width} x {stream.height}, {stream.content}{depth}, {stream.fit}'
    if isinstance(stream, JointStream):
        joints = ', '.join(f'{j} [{u}]' for j, u in zip(stream.joints, stream.units, strict=True))
        return f'{", ".join(stream.fields)} of {joints}'
    return ', '.join(stream.features)


def _dataset(path: Path) -> str:
    from dp_ros.errors import DataError
    from dp_ros.recordings.episodes.readers import dataset_tables

    lengths, words = [], dict[str, int]()
    lines: list[str] = []
    for read in dataset_tables(path, None)[1]:
        table = read()
        lengths.append(min(map(len, table.columns.values()), default=0))
        for task in set(table.instructions):
            words[task] = words.get(task, 0) + 1
        if lines:
            continue
        lines.append('columns')
        for name, values in table.columns.items():
            width, labels = values[:1].size, table.labels.get(name, ())
            named = f': {", ".join(labels)}' if len(labels) == width else ', without names'
            lines.append(f'  {name}' + (f': {width} numbers{named}' if width > 1 else ''))
        lines += ['cameras'] * bool(table.cameras)
        for name in table.cameras:
            try:
                height, width = table.picture_size(name)
                lines.append(f'  {name}: {width} x {height} pixels')
            except DataError as error:
                lines.append(f'  {name}: {error}')
    if words:
        lines += ['tasks', *(f'  {task}: {count} episodes' for task, count in words.items())]
    middle = sorted(lengths)[len(lengths) // 2]
    head = f'{path}: {len(lengths)} episodes, {sum(lengths)} rows at {table.rate:g} rows/s'
    return '\n'.join([head, f'an episode: {min(lengths)} to {max(lengths)} rows, {middle} typical', *lines])


def _recording(path: Path) -> str:
    from dp_ros.recordings.rosbag.reader import BagReader, find_bags

    lines = []
    for bag in find_bags(path):
        with BagReader(bag) as reader:
            lines.append(f'{bag}')
            lines += [f'  {name}: {topic.type}, {topic.count} messages' for name, topic in reader.topics.items()]
            lines += [f'  {name}: {shown(label)}' for name, label in reader.labels.items()]
    return '\n'.join(lines)
