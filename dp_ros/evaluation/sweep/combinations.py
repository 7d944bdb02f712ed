"""Combine values of settings: `--vary KEY=VALUE,VALUE` crosses them, `--variant NAME:KEY=VALUE,...` changes several.

A key is one of the training file, as ``network.width``; with ``run.`` in front one of the evaluation, which needs no
training; ``data``, the recordings; or ``bundle``, a policy that is played as it is, in place of a training. Everything
is checked here, before anything is trained.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dp_ros.bounded_files import from_yaml
from dp_ros.diffusion.coefficients import coefficients_for, default_settings
from dp_ros.errors import ConfigError, DataError, DpRosError, listed
from dp_ros.evaluation.episodes import make_runner
from dp_ros.evaluation.settings import DIFFUSION_ONLY, SEQUENCE_ONLY, EvaluationSettings
from dp_ros.paths import locate
from dp_ros.policy.continuity import check_continuity
from dp_ros.policy.sequence.options import SequenceOptions, discs, ranges
from dp_ros.task.yaml_reader import parse, to_plain
from dp_ros.training.distributed import check_device
from dp_ros.training.run_folder import make_network
from dp_ros.training.settings import TrainSettings

RUN = 'run.'
DATA = 'data'
BUNDLE = 'bundle'
RUN_KEYS = (
    'sampler', 'sampling_steps', 'warm_steps', 'samples', 'exec_horizon', 'guidance_scale', 'continuity',
    'blend_steps', 'latency', 'delay', 'policy_speed', 'seconds', *SEQUENCE_ONLY,
)  # fmt: skip
"""Fields of `EvaluationSettings` that may be varied."""
VARIANT = 'variant'
"""The column that names the variants."""
WHOLE = ('mirror', 'columns')
"""Sections that may be replaced as a whole, as by ``mirror={}``."""
MOST = 1000
"""Combinations of a sweep."""

Changes = Mapping[str, Any]


Choice = tuple[str, Changes]
"""One value of an axis: how a table shows it, and what it changes, by key."""
Axis = tuple[str, tuple[Choice, ...]]
"""Name and values of a column of the table."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One row of the table.

    Attributes
    ----------
    labels
        By axis, which of its values it is.
    training
        The configuration, with the first of the training seeds.
    run
        Fields of `EvaluationSettings` that differ from what they are without being asked for.
    bundle
        A policy that is there already, which counts in place of training and data; None: none.

    """

    labels: Mapping[str, str]
    training: TrainSettings
    run: Mapping[str, Any] = field(default_factory=dict)
    data: Path
    bundle: Path | None = None

    @property
    def title(self) -> str:
        """What a plot calls it."""
        return ', '.join(label if name == VARIANT else f'{name}={label}' for name, label in self.labels.items())


def axes_of(vary: Sequence[str], variants: Sequence[str]) -> tuple[Axis, ...]:
    """Return the axes that a command line asks for.

    Raises
    ------
    ConfigError
        If a text is not of the form, a key or a name is there twice, or a value is none that YAML has.

    """
    axes = [_axis(text) for text in vary]
    if variants:
        axes.append((VARIANT, tuple(_variant(text) for text in variants)))
    names = [name for name, _ in axes]
    for name, choices in axes:
        labels = [label for label, _ in choices]
        if names.count(name) > 1 or len(set(labels)) < len(labels):
            raise ConfigError(f'{name}: got it, or one of {listed(labels)}, twice, allowed once')
    return tuple(axes)


def _axis(text: str) -> Axis:
    key, equals, values = text.partition('=')
    if not equals or not key.strip() or not values.strip():
        raise ConfigError(f'vary: got {text!r}, allowed KEY=VALUE,VALUE, as objective.diffusion_steps=10,100')
    key = key.strip()
    return key, tuple((part, {key: _value(key, part)}) for part in _parts(values))


def _variant(text: str) -> Choice:
    name, colon, rest = text.partition(':')
    pairs = [part.partition('=') for part in _parts(rest)] if rest.strip() else []
    if not colon or not name.strip() or any(not equals or not value.strip() for _, equals, value in pairs):
        raise ConfigError(
            f'variant: got {text!r}, allowed NAME:KEY=VALUE,KEY=VALUE, or NAME: for the configuration as it is'
        )
    keys = [key.strip() for key, _, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ConfigError(f'variant {name.strip()}: got keys {listed(keys)}, allowed each once')
    return name.strip(), {key.strip(): _value(key, value) for key, _, value in pairs}


def _parts(text: str) -> list[str]:
    """Return what commas divide; those inside of brackets do not."""
    parts, depth = [''], 0
    for character in text:
        depth += (character in '[{') - (character in ']}')
        if character == ',' and depth == 0:
            parts.append('')
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _value(key: str, text: str) -> Any:
    try:
        value = from_yaml(text)
    except DataError as error:
        raise ConfigError(f'{key}: got {text!r}, which is no value ({error}); allowed what YAML can hold') from error
    if isinstance(value, str):
        try:
            return float(value)  # 1e-3, which is no number to YAML 1.1
        except ValueError:
            return value
    return value


def combine(
    training: TrainSettings, axes: Sequence[Axis], *, evaluation: EvaluationSettings, data: Path
) -> list[Combination]:
    """Return every combination, checked as far as it can be without training.

    Raises
    ------
    ConfigError
        If a key is unknown, a value is not allowed, alone or beside the others, or there are more than `MOST`.

    """
    count = math.prod(len(choices) for _, choices in axes)
    if count > MOST:
        raise ConfigError(f'combinations: got {count}, allowed up to {MOST}')
    plain = to_plain(training)
    known = dict(_leaves(plain))
    found = []
    for choices in itertools.product(*(choices for _, choices in axes)):
        labels = {name: label for (name, _), (label, _) in zip(axes, choices, strict=True)}
        changes: dict[str, Any] = {}
        for _, chosen in choices:
            for key, value in chosen.items():
                _check_key(key, known)
                if key in changes:
                    raise ConfigError(f'{key}: got it in two places of one combination, allowed once')
                changes[key] = value
        try:
            found.append(_combination(plain, labels, changes, evaluation, data))
        except DpRosError as error:
            where = ', '.join(f'{name}={label}' for name, label in labels.items())
            raise ConfigError(f'{where or "configuration"}: {error}') from error
    return found


def _combination(
    plain: Mapping[str, Any], labels: Mapping[str, str], changes: Changes, evaluation: EvaluationSettings, data: Path
) -> Combination:
    run = {key.removeprefix(RUN): value for key, value in changes.items() if key.startswith(RUN)}
    trained = {key: value for key, value in changes.items() if key not in (DATA, BUNDLE) and not key.startswith(RUN)}
    training = parse(TrainSettings, _changed(plain, trained))
    if BUNDLE in changes:
        odd = [*trained, *([DATA] if DATA in changes else [])]
        if odd:
            raise ConfigError(f'{BUNDLE}: got it beside {listed(odd)}, allowed beside run. alone: it is not trained')
        bundle = locate(str(changes[BUNDLE]))
        make_runner(replace(with_run(evaluation, run), bundle=bundle))  # refuses what can't be
        return Combination(labels=labels, training=training, run=run, data=data, bundle=bundle)
    given = Path(str(changes.get(DATA, data)))
    if not given.exists():
        raise ConfigError(f'data: got {str(given)!r}, which is not there, allowed recordings')
    check_run(training, with_run(evaluation, run))
    return Combination(labels=labels, training=training, run=run, data=given)


def _changed(plain: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    raw = deepcopy(dict(plain))
    for key, value in changes.items():
        *sections, last = key.split('.')
        target = raw
        for section in sections:
            target = target[section]
        target[last] = value
    return raw


def with_run(evaluation: EvaluationSettings, run: Mapping[str, Any]) -> EvaluationSettings:
    """Return the evaluation with some of its fields changed."""
    checked = parse(EvaluationSettings, {'bundle': '.', **run}, 'run')
    return replace(evaluation, **{name: getattr(checked, name) for name in run})


def check_run(training: TrainSettings, evaluation: EvaluationSettings) -> None:
    """Raise ConfigError unless a policy of this training can be evaluated so, and its network can be made."""
    odd = [name for name in SEQUENCE_ONLY if getattr(evaluation, name) is not None]
    if odd and training.family != 'sequence':
        what = listed(RUN + name for name in odd)
        raise ConfigError(f'{what}: got for family {training.family}, allowed for a sequence model')
    if training.family == 'sequence':
        _check_planning(training, evaluation)
    if not evaluation.ray:  # a cluster may have what this machine lacks
        check_device(training)
    task, spec = training.task, training.objective.spec
    settings = default_settings(spec, evaluation.sampling_steps)
    changes: dict[str, Any] = {'sampler': evaluation.sampler or settings.sampler, 'warm_steps': evaluation.warm_steps}
    coefficients_for(spec, replace(settings, **changes))
    check_continuity(evaluation.continuity, spec, task.continuous)
    evaluation.check_horizons(task)
    if evaluation.samples > 1 and not spec.noisy:
        raise ConfigError(f'samples: got {evaluation.samples} for regression, allowed 1')
    if evaluation.guidance_scale not in (None, 1.0) and not task.guidance:
        raise ConfigError(f'guidance_scale: got {evaluation.guidance_scale} for a task without guidance, allowed 1')
    make_network(training, pretrained=False)


def _check_planning(training: TrainSettings, evaluation: EvaluationSettings) -> None:
    """Check what a sequence model is asked for as far as it is known without training: of the return, nothing is."""
    odd = [name for name in DIFFUSION_ONLY if getattr(evaluation, name) != getattr(EvaluationSettings, name)]
    if odd:
        raise ConfigError(f'{listed(RUN + name for name in odd)}: got for a sequence model, allowed for another family')
    asked = {name: getattr(evaluation, name) for name in SEQUENCE_ONLY if getattr(evaluation, name) is not None}
    options = SequenceOptions(**asked)
    discs(options, training.task)
    ranges(options, training.task.action.joints)


def _leaves(plain: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield each setting by its key; a list, and a section that has none, is one."""
    for name, value in plain.items():
        if name in WHOLE:
            yield prefix + name, value
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f'{prefix}{name}.')
        else:
            yield prefix + name, value


def _check_key(key: str, known: Mapping[str, Any]) -> None:
    if key in (DATA, BUNDLE) or key in known or (key.startswith(RUN) and key.removeprefix(RUN) in RUN_KEYS):
        return
    runs = [RUN + name for name in RUN_KEYS]
    section = key.rpartition('.')[0]
    near = runs if key.startswith(RUN) else [name for name in known if name.rpartition('.')[0] == section]
    allowed = near if section and near else [*known, *runs, DATA, BUNDLE]
    raise ConfigError(f'key: got unknown {key!r}, allowed {listed(allowed)}')
