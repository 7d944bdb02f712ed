"""Write a proposal as a training file, as `dp_ros train --config` reads it, with the reason of each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dp_ros.audit.proposal.actions import controller_of
from dp_ros.audit.proposal.propose import Proposal
from dp_ros.audit.proposal.survey import Motion, TopicSurvey
from dp_ros.audit.proposal.yaml_text import CHECK, flow, number, remarked, remarks, scalar
from dp_ros.task.spec import ImageStream, JointStream, PoseStream, Stream

_SOURCES = {
    'joint_trajectory': 'the set point that the controller was at',
    'joint_state': 'a leader arm',
    'float64_multi_array': 'numbers to a forwarding controller, in the order of `joints`',
    'next_state': 'no commands were recorded: where the robot itself was a control step later',
}


def training_text(proposal: Proposal, name: str, *, file: str, data: str) -> str:
    """Return the training file; ``file`` and ``data`` are its own path and the recordings', for its comments."""
    return '\n'.join([*_head(proposal, file, data), f'name: {scalar(name)}', *_task(proposal), *_rest(proposal)]) + '\n'


def _head(proposal: Proposal, file: str, data: str) -> Iterator[str]:
    survey = proposal.survey
    count = len(survey.names)
    yield from remarks(
        f'Written by dp_ros init from {count} {survey.part}{"" if count == 1 else "s"} of {survey.seconds:.0f} s: '
        f'{", ".join(survey.names[:3])}{" and more" if count > 3 else ""}.'
    )
    yield f'# Look at each line that ends with `{CHECK}`, and take it away: recordings do not show what is right there.'
    if survey.columns:
        yield '# A dataset has no topics and no delays: topics here are usual ones; `columns` has what stands for them.'
    yield f'#   dp_ros check-bag {data} --config {file} --out report'
    yield f'#   dp_ros train --config {file} --data {data} --run runs/{Path(file).name.partition(".")[0]}'
    yield '# doc/reference/training_file.md lists every key.'


def _task(proposal: Proposal) -> Iterator[str]:
    task = proposal.task
    dt = task.control_dt
    yield 'task:'
    yield f'  control_dt: {number(dt, 6)}        # [s] between observations, and between actions: {1 / dt:g} Hz'
    yield f'  arrival_wait: {number(task.arrival_wait)}     # [s] a message stamped before a tick may arrive this late'
    yield f'  obs_horizon: {task.obs_horizon}         # observations that the policy sees'
    yield f'  pred_horizon: {task.pred_horizon}       # actions in a chunk: {task.pred_horizon * dt:g} s'
    yield f'  exec_horizon: {task.exec_horizon}        # executed before the next chunk: {task.exec_horizon * dt:g} s'
    if task.continuous:
        yield f'  continuous: {flow(task.continuous)}  # positions wrap in the recordings'
    yield '  streams:'
    for stream in task.streams:
        yield from _stream(proposal, stream)
    for text in proposal.left_out:
        yield from remarks(f'left out: {text}', 4)
    yield from _action(proposal)


def _stream(proposal: Proposal, stream: Stream) -> Iterator[str]:
    yield f'    - kind: {stream.kind}'
    yield f'      name: {scalar(stream.name)}'
    column = proposal.survey.columns.get(stream.topic, '')
    yield from remarked(f'      topic: {scalar(stream.topic)}', column, check=bool(column))
    if isinstance(stream, JointStream):
        yield from _joint_stream(proposal, stream)
    elif isinstance(stream, PoseStream):
        features = ', '.join(stream.features)
        yield from remarked(f'      features: [{features}]', 'what moved of the pose', check=True)
        if stream.frame:
            yield f'      frame: {scalar(stream.frame)}'
    else:
        yield from _image_stream(proposal, stream)
    why = f'{proposal.topic(stream).rate:.3g} rows/s, delays are not known' if column else proposal.ages[stream.name]
    yield from remarked(f'      max_age: {number(stream.max_age)}', f'[s]; {why}', check=bool(column))


def _joint_stream(proposal: Proposal, stream: JointStream) -> Iterator[str]:
    topic = proposal.topic(stream)
    yield from remarks(f'Recorded in this order: {", ".join(topic.joints)}. They are found by name.', 6)
    others = [joint for joint in topic.joints if joint not in stream.joints]
    if others:
        moving = [f'{j} ({_span(topic.motions[j])})' for j in others]
        yield from remarks(f'Not commanded by the action below, and so not observed: {", ".join(moving)}.', 6)
    if not topic.whole:
        yield from remarked('      # Not every message names all of them, which training refuses.', '', check=True)
    yield from remarked(f'      joints: {flow(stream.joints)}', _unnamed(topic), check=not topic.named)
    yield from _units(proposal, stream.joints, 6)
    yield from remarked(f'      fields: {flow(stream.fields)}', f'recorded: {", ".join(topic.fields)}')


def _unnamed(topic: TopicSurvey) -> str:
    """Return what to say of joints that have no names in a dataset, or ''."""
    return '' if topic.named else 'the dataset has no names for them: taken in the order of its numbers'


def _span(motion: Motion) -> str:
    return f'{motion.low:.4g} to {motion.high:.4g}' if motion.moves else f'always {motion.low:.4g}'


def _units(proposal: Proposal, joints: tuple[str, ...], indent: int) -> Iterator[str]:
    lead = ' ' * indent
    yield f'{lead}units:'
    for joint in joints:
        guess = proposal.units[joint]
        yield from remarked(f'{lead}  - {guess.unit}', f'{joint}, {guess.why}', check=not guess.sure)


def _image_stream(proposal: Proposal, stream: ImageStream) -> Iterator[str]:
    topic = proposal.topic(stream)
    assert topic.size
    recorded = f'recorded: {topic.size[0]} x {topic.size[1]}, {", ".join(topic.encodings)}'
    yield from remarked(f'      height: {stream.height}', f'[px] {recorded}')
    yield f'      width: {stream.width}'
    if stream.compressed:
        yield '      compressed: true'
    if stream.content != 'rgb':
        yield f'      content: {stream.content}'
    if stream.depth_range:
        near, far = map(number, stream.depth_range)
        yield from remarked(f'      depth_range: [{near}, {far}]', '[m] in the first picture', check=True)


def _action(proposal: Proposal) -> Iterator[str]:
    action, first = proposal.task.action, proposal.action.commands[0]
    yield '  action:'
    controller = controller_of(action.topic)
    if proposal.survey.columns:
        remark = 'a dataset does not say where a controller listens'
    elif first.direct:
        remark = f'the controller {controller}' if controller else 'which controller listens there'
    else:
        remark = 'not recorded: where a controller listens'
    yield from remarked(
        f'    topic: {scalar(action.topic)}', remark, check=not (proposal.sent_as_recorded and controller)
    )
    for text in proposal.action.others:
        yield from remarks(f'not used: {text}', 4)
    if action.sources:
        yield from _sources(proposal)
    else:
        yield f'    source: {first.source}  # {_SOURCES[first.source]}'
        if action.source_topic:
            yield f'    source_topic: {scalar(action.source_topic)}'
        if action.source_joints:
            yield from remarked(f'    source_joints: {flow(action.source_joints)}', first.check, check=True)
    check = '' if action.sources else first.check or _unnamed(proposal.survey.topics[first.topic])
    yield from remarked(f'    joints: {flow(action.joints)}', check, check=bool(check))
    yield f'    units: {flow(proposal.units[joint].unit for joint in action.joints)}  # as above'


def _sources(proposal: Proposal) -> Iterator[str]:
    yield '    sources:  # several topics command; on the robot each goes to a controller of its own, see `outputs`'
    for commands in proposal.action.commands:
        yield f'      - topic: {scalar(commands.topic)}'
        yield from remarked(f'        joints: {flow(commands.joints)}', commands.check, check=bool(commands.check))
        if commands.source_joints:
            yield f'        source_joints: {flow(commands.source_joints)}'


def _rest(proposal: Proposal) -> Iterator[str]:
    cameras = any(isinstance(stream, ImageStream) for stream in proposal.task.streams)
    yield 'network:'
    yield '  preset: small          # tiny, small, base, paper, paper_image: 1 to 250 million parameters'
    if cameras:
        yield '  camera: light          # or resnet18'
        yield 'augment:'
        yield '  shift: 4               # [px] pictures are moved about by; 0 for none'
    if proposal.columns:
        yield 'columns:                 # of the dataset, for each stream and the action'
        yield from (f'  {scalar(name)}: {scalar(column)}' for name, column in proposal.columns.items())
    yield 'cut:'
    yield '  by: file               # one episode a recording; or marker, service, idle'
    yield f'steps: {20000 if cameras else 15000}             # more recordings want more'
    yield f'batch: {64 if cameras else 128}'
    if len(proposal.survey.names) == 1:
        part = proposal.survey.part
        yield f'validation_share: 0.0    # one {part}: none can be held out; 0.05 as soon as there are several'
    else:
        yield 'validation_share: 0.05   # of the episodes, one at least, are not learnt from'
    yield 'validate_every: 1000'
    yield 'checkpoint_every: 1000'
    yield 'seed: 0'
    yield 'threads: 0               # 0: torch decides'
    yield 'device: cpu              # or cuda'
