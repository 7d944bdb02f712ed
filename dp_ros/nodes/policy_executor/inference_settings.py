"""Parameters of the policy_executor, and what they amount to with a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from dp_ros.data import to_nanoseconds
from dp_ros.errors import BundleError, ConfigError, listed
from dp_ros.messages.status import OnFailure
from dp_ros.options import Option, options_of
from dp_ros.policy.backends.providers import ProviderName
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.continuity import Continuity, check_start
from dp_ros.policy.policy import DiffusionPolicy, SamplingOptions
from dp_ros.policy.protocol import Policy
from dp_ros.policy.sequence.options import SequenceOptions
from dp_ros.policy.step_budget import Cost, check_deadline, step_choices
from dp_ros.ros.bundles import BUNDLE, POLICY_SPEED
from dp_ros.ros.realtime import PARAMETERS as REALTIME_PARAMETERS
from dp_ros.task.goals import GoalSpec

PARAMETERS = [
    BUNDLE,
    POLICY_SPEED,
    *REALTIME_PARAMETERS,
    *options_of(SamplingOptions),
    Option(
        name='execution_provider', default='cpu', choices=get_args(ProviderName),
        description='What of ONNX Runtime computes the networks; refused where its build here lacks it.',
    ),
    Option(
        name='spacing', default='', choices=('', 'trailing', 'leading'), live=True,
        description="Which noise levels are visited; empty: the bundle's own.",
    ),
    *options_of(SequenceOptions),
    Option(
        name='inference_delay', default=1, low=0, high=1000, live=True,
        description='Control steps that may pass while predicting; with exec_horizon no more than pred_horizon. '
        'rtc fixes as many, or as the longest of the last ten chunks took.',
    ),
    Option(
        name='deadline', default=0.0, low=0.0, high=60.0, live=True,
        description='A chunk is late if it is out later than this after its observation [s]; 0: control_dt.',
    ),
    Option(
        name='anytime', default=False,
        description='Take only as many of sampling_steps, or of warm_steps, as let the chunk be out by its '
        'deadline, as chunks are measured; refused where least_steps would already take longer.',
    ),
    Option(
        name='least_steps', default=1, low=1, high=1000, live=True,
        description='Network calls per chunk that anytime keeps, however late the chunk will be; of a warm one, '
        'warm_steps if those are fewer.',
    ),
    Option(
        name='fallback_bundle', default='',
        description='A simpler policy of the same task, that takes over until the next activation where the first '
        'gives no finite numbers, or is late; empty: none.',
    ),
    Option(
        name='fallback_after', default=3, low=1, high=1000,
        description='Chunks late in a row after which fallback_bundle takes over.',
    ),
    Option(
        name='on_failure', default='report', choices=get_args(OnFailure), live=True,
        description="What is done where the bundle's monitor foretells a failure. report: it is said on ~/monitor and "
        'in the diagnostics; hold: the trajectory_publisher is asked to hold, and latches; replan: a chunk is made at '
        'once, from other noise and of as many samples as the monitor draws; fallback: fallback_bundle takes over. '
        'Anything but report needs a bundle of dp_ros monitor.',
    ),
    Option(
        name='monitor_every', default=1, low=0, high=1000, live=True,
        description="Chunks from one that the bundle's monitor looks at to the next; 0: it looks at none. It does so "
        'after the chunk is out, and leaves out what would make the next one late.',
    ),
    Option(
        name='seed', default=0, low=0, high=2**31 - 1, live=True,
        description='Chunk number n since activation is drawn with the seed [seed, n].',
    ),
]  # fmt: skip

OTHERS = {
    'diffusion': tuple(option.name for option in options_of(SequenceOptions)),
    'sequence': (
        *('backend', 'sampler', 'sampling_steps', 'warm_steps', 'samples', 'alternatives', 'spacing', 'guidance_scale'),
        *('anytime', 'least_steps'),
    ),
}
"""By family, the parameters that only another family has."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What may change while running; callbacks swap the whole."""

    policy: Policy
    exec_horizon: int
    deadline: int  # [ns]
    seed: int
    continuity: Continuity = 'none'
    inference_delay: int = 1
    paced: tuple[Policy, ...] = ()
    warm: tuple[Policy, ...] = ()
    cost: Cost | None = None
    fallback: Policy | None = None
    fallback_after: int = 1
    on_failure: OnFailure = 'report'
    monitor_every: int = 1

    @property
    def chunk_cost(self) -> Cost | None:
        """What a chunk was measured to take, guided as it is now."""
        policy = self.policy
        return self.cost.at(policy.guidance_scale) if self.cost and isinstance(policy, DiffusionPolicy) else None


def make_settings(
    policy: Policy,
    values: Mapping[str, Any],
    fallback: Policy | None = None,
    cost: Cost | None = None,
) -> Settings:
    """Return what the parameters ``values`` make of a policy; those left at 0 or '' are the bundle's own.

    ``fallback`` samples as its own bundle says; ``cost`` is what a chunk was measured to take, for ``anytime``.

    Raises
    ------
    ConfigError
        If they don't fit the bundle, a chunk would not last until the next one can take over, or the deadline can't be
        met.

    """
    task = policy.bundle.task
    check_family(policy.bundle, values)
    exec_horizon, delay = values['exec_horizon'] or task.exec_horizon, values['inference_delay']
    shortest = min(p.bundle.task.pred_horizon for p in (policy, fallback) if p is not None)
    if delay + exec_horizon > shortest:
        raise ConfigError(
            f'exec_horizon + inference_delay: got {exec_horizon} + {delay}, allowed up to pred_horizon ({shortest})'
        )
    policy.check_continuity(values['continuity'])
    deadline, pacing = values['deadline'] or task.control_dt, dict[str, Any]()
    if isinstance(policy, DiffusionPolicy):
        if policy.alternatives and values['continuity'] == 'ensemble':
            raise ConfigError(
                f'alternatives with continuity ensemble: got {policy.alternatives}, allowed 0, for chunks are averaged'
            )
        policy = _sampling(policy, values, exec_horizon)
        pacing = {} if cost is None else _pacing(policy, cost, values['least_steps'], deadline)
    else:
        policy = policy.with_settings(**{name: values[name] for name in OTHERS['diffusion']})
    return Settings(
        policy=policy,
        exec_horizon=exec_horizon,
        deadline=to_nanoseconds(deadline),
        seed=values['seed'],
        continuity=values['continuity'],
        inference_delay=delay,
        cost=cost,
        **pacing,
        fallback=fallback,
        fallback_after=values['fallback_after'],
        on_failure=_on_failure(policy, values, fallback),
        monitor_every=values['monitor_every'],
    )


def _on_failure(policy: Policy, values: Mapping[str, Any], fallback: Policy | None) -> OnFailure:
    """Return what is done at a failure; raise ConfigError where nothing would foretell one, or nothing take over."""
    asked: OnFailure = values['on_failure']
    if asked == 'report':
        return asked
    if policy.bundle.monitor is None:
        raise ConfigError(
            f'on_failure: got {asked!r}, allowed report: bundle {policy.bundle.name} has no monitor; '
            'dp_ros monitor writes one with it'
        )
    if not values['monitor_every']:
        raise ConfigError(f'on_failure: got {asked!r}, allowed with monitor_every 1 or more')
    if asked == 'fallback' and fallback is None:
        raise ConfigError("on_failure: got 'fallback', allowed with a fallback_bundle")
    return asked


def check_family(bundle: Bundle, values: Mapping[str, Any]) -> None:
    """Raise ConfigError for a parameter that is set and only another family of policies has."""
    usual = {option.name: option.default for option in PARAMETERS}
    odd = [name for name in OTHERS[bundle.family] if name in values and values[name] not in (usual[name], [])]
    if odd:
        raise ConfigError(
            f'{listed(odd)}: got for bundle {bundle.name} of family {bundle.family}, allowed for another family'
        )


def _sampling(policy: DiffusionPolicy, values: Mapping[str, Any], exec_horizon: int) -> DiffusionPolicy:
    defaults = policy.bundle.defaults
    check_start(values['warm_steps'], exec_horizon, policy.task.pred_horizon)
    return policy.with_settings(
        sampler=values['sampler'] or defaults.sampler,
        sampling_steps=values['sampling_steps'] or defaults.sampling_steps,
        spacing=values['spacing'] or defaults.spacing,
        warm_steps=values['warm_steps'],
        guidance_scale=values['guidance_scale'],
    )


def _pacing(policy: DiffusionPolicy, cost: Cost, least: int, deadline: float) -> dict[str, Any]:
    priced = cost.at(policy.guidance_scale)
    return {'paced': _paced(policy, priced, least, deadline), 'warm': _warm(policy, least)}


def _paced(policy: DiffusionPolicy, cost: Cost, least: int, deadline: float) -> tuple[DiffusionPolicy, ...]:
    """Return the policy with each number of steps that ``anytime`` may choose for a chunk from noise, fewest first."""
    least = max(least, policy.bundle.schedule.steps_range[0])  # a distilled denoiser knows one number only
    choices = step_choices(least, policy.settings.sampling_steps)
    check_deadline(cost, least, deadline)
    return tuple(policy.with_settings(sampling_steps=steps, warm_steps=0) for steps in choices)


def _warm(policy: DiffusionPolicy, least: int) -> tuple[DiffusionPolicy, ...]:
    """Return the same for a chunk that starts from the last one."""
    most = policy.settings.warm_steps
    choices = step_choices(min(least, most), most) if most else ()
    return tuple(policy.with_settings(warm_steps=steps) for steps in choices)


def check_same_task(bundle: Bundle, fallback: Bundle) -> None:
    """Raise BundleError unless ``fallback`` takes the same observations, and moves the same joints as often.

    It may do without a goal, but not ask for another one.
    """
    for field in ('streams', 'obs_horizon', 'control_dt', 'action'):
        first, other = getattr(bundle.task, field), getattr(fallback.task, field)
        if first != other:
            raise BundleError(f'fallback_bundle {fallback.name} {field}: got {other}, allowed {first}')
    if not {_asked_live(g) for g in fallback.task.goals} <= {_asked_live(g) for g in bundle.task.goals}:
        raise BundleError(
            f'fallback_bundle {fallback.name} goals: got {fallback.task.goals}, allowed none but {bundle.task.goals}'
        )


def _asked_live(goal: GoalSpec) -> tuple[object, ...]:
    """Return what a goal is on the robot: where training had it from makes no difference there."""
    kind = tuple(getattr(goal, name, ()) for name in ('features', 'frame', 'compressed'))
    return goal.kind, goal.name, goal.topic, goal.shape, kind
