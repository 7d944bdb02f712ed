"""Write a training file and a parameter file for recordings, and say what was found: `dp_ros init`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from tqdm import tqdm

from dp_ros.audit.audit import BAR
from dp_ros.audit.proposal.alike import merged
from dp_ros.audit.proposal.parameter_file import parameter_text
from dp_ros.audit.proposal.propose import Proposal, propose
from dp_ros.audit.proposal.survey import Survey, TopicSurvey, survey_bag
from dp_ros.audit.proposal.survey_dataset import survey_dataset
from dp_ros.audit.proposal.training_file import training_text
from dp_ros.audit.proposal.yaml_text import CHECK
from dp_ros.errors import ConfigError, listed, one_line
from dp_ros.options import REQUIRED, option
from dp_ros.recordings.episodes.readers import kind_of
from dp_ros.recordings.rosbag.reader import BagReader, find_bags

TRAINING_FILE, PARAMETER_FILE = 'train.yaml', 'params.yaml'
NAME = 'my_policy'


@dataclass(frozen=True, kw_only=True)
class InitSettings:
    """Configure `dp_ros init`: the recordings, and the folder to write to."""

    bags: Sequence[Path] = option(REQUIRED, 'a recording, a folder of them, or a LeRobot dataset')
    output: Path = option(Path(), 'folder to write train.yaml and params.yaml to')
    force: bool = option(False, 'replace files that are there')


def run_init(settings: InitSettings, say: Callable[[str], None]) -> int:
    """Write the files; return 0."""
    files = [settings.output / name for name in (TRAINING_FILE, PARAMETER_FILE)]
    there = [file for file in files if file.exists()]
    if there and not settings.force:
        raise ConfigError(f'output: {listed(there)} exists already; allowed new files, or --force')
    proposal = propose(_survey(settings.bags))
    data = ' '.join(map(str, settings.bags)) if len(settings.bags) == 1 else 'BAGS'
    texts = [training_text(proposal, NAME, file=str(files[0]), data=data), parameter_text(proposal, NAME)]
    settings.output.mkdir(parents=True, exist_ok=True)
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding='utf-8')
    say('\n'.join(map(one_line, summary(proposal))))
    for file, text in zip(files, texts, strict=True):
        say(f'{file}: {sum(line.endswith(CHECK) for line in text.splitlines())} lines to check ({CHECK})')
    if len(settings.bags) > 1:
        say('put the recordings into one folder, BAGS say, for the next steps')
    say(f'next: dp_ros check-bag {data} --config {files[0]}')
    return 0


def _survey(paths: Sequence[Path]) -> Survey:
    datasets = [path for path in paths if kind_of(path) != 'bags']
    if not datasets:
        return merged(survey_bags(paths))
    if len(paths) > 1:
        raise ConfigError(f'got {listed(map(str, paths))}, allowed recordings, or one dataset alone')
    return survey_dataset(datasets[0])


def suggested_limits(bags: Sequence[Path], joints: Collection[str]) -> str:
    """Return a parameter file with no more than the limits of ``joints`` that `run_init` would write."""
    proposal = propose(merged(survey_bags(bags)))
    nodes = yaml.safe_load(parameter_text(proposal, NAME))
    known = nodes['/**/trajectory_publisher']['ros__parameters']['limits']
    limits = {joint: limit for joint, limit in known.items() if joint in joints}
    return yaml.safe_dump({'/**/trajectory_publisher': {'ros__parameters': {'limits': limits}}})


def survey_bags(paths: Sequence[Path]) -> list[Survey]:
    """Measure every recording at or under some paths."""
    bags = list(dict.fromkeys(bag for path in paths for bag in find_bags(path)))
    found = []
    with tqdm(total=len(bags), desc='init', bar_format=BAR) as bar:
        for bag in bags:
            with BagReader(bag) as reader:
                total, done = max(1, sum(t.count for t in reader.topics.values())), bar.n
                found.append(survey_bag(reader, seen=partial(bar.update, 1 / total)))
            bar.update(done + 1 - bar.n)
    return found


def summary(proposal: Proposal) -> Iterator[str]:
    """Yield what was found, in lines for people."""
    survey = proposal.survey
    count = len(survey.names)
    yield f'{count} {survey.part}{"" if count == 1 else "s"}, {survey.seconds:.0f} s'
    for topic in survey.topics.values():
        column = f'{survey.columns[topic.topic]} as ' if survey.columns else ''
        yield f'  {column}{topic.name}: {_what(topic)}, {topic.rate:.3g}/s'
    for commands in proposal.action.commands:
        what = 'gripper_command' if commands.gripper else commands.source
        yield f'actions: {what} of {commands.topic}, {listed(commands.joints)}'
    yield f'control rate: {1 / proposal.task.control_dt:g} Hz'
    foreign = {joint: guess for joint, guess in proposal.units.items() if guess.recorded}
    for joint, guess in foreign.items():
        yield f'attention: {joint} {guess.why}'
    yield from (f'not used: {text}' for text in (*proposal.action.others, *proposal.left_out))


def _what(topic: TopicSurvey) -> str:
    kind = topic.type.rsplit('/', 1)[-1]
    if topic.unusable:
        return f'{kind} ({topic.unusable})'
    if topic.size:
        return f'{kind} {topic.size[0]} x {topic.size[1]} {listed(topic.encodings)}'
    return f'{kind} {listed(topic.joints)}' if topic.joints else kind
