"""What it costs that predicting takes time: every way to go on from the last chunk, under delays, on the same seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dp_ros.errors import ConfigError, listed
from dp_ros.evaluation.comparison import compare
from dp_ros.evaluation.episodes import DirectRunner
from dp_ros.evaluation.scores import EpisodeResult, EvaluationSettings, summarize
from dp_ros.options import check_options, option
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.policy import DiffusionPolicy

WAYS: Mapping[str, Mapping[str, Any]] = {
    'none': {'continuity': 'none', 'blend_steps': 0},
    'blend': {'continuity': 'none'},
    'rtc': {'continuity': 'rtc', 'blend_steps': 0},
    'rtc+blend': {'continuity': 'rtc'},
    'prefix': {'continuity': 'prefix', 'blend_steps': 0},
    'prefix+blend': {'continuity': 'prefix'},
    'ensemble': {'continuity': 'ensemble', 'blend_steps': 0},
    'ensemble+blend': {'continuity': 'ensemble'},
}
"""By name, the settings that make them; those with blend have the cross-fade of the world's parameter file."""
USUAL_WAYS = ('blend', 'rtc+blend', 'ensemble+blend', 'none')
SAVE_EVERY = 10
"""Seeds after which what is known so far is written."""

Condition = tuple[str, int]
"""A way and a delay [control steps]."""


@dataclass(frozen=True, kw_only=True)
class DelaySettings:
    """Choose what to run: all of ``ways`` under all of ``delays``, each on the seeds of ``evaluation``."""

    # fmt: off
    evaluation: EvaluationSettings
    ways: Sequence[str] = option(
        USUAL_WAYS, "of the executor, each with the publisher's cross-fade (blend) or without; the others are compared "
        'with the first; without it, those of blend, rtc+blend, ensemble+blend and none that the bundle can',
        choices=tuple(WAYS),
    )
    delays: Sequence[int] = option(
        (0, 2, 4), 'time from observation to command', unit='control steps', low=0, high=1000
    )
    json: Path | None = option(None, 'write what was found here, also on the way')
    plot: Path | None = option(None, 'draw it here (PNG)')
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        for name, given in (('ways', self.ways), ('delays', self.delays)):
            if not given or len(set(given)) != len(given):
                raise ConfigError(f'{name}: got {listed(given)}, allowed one or more different ones')

    @property
    def conditions(self) -> dict[Condition, EvaluationSettings]:
        """The settings of each condition."""
        return {
            (way, delay): replace(self.evaluation, delay=delay, **WAYS[way])
            for delay in self.delays
            for way in self.ways
        }


def usual_ways(folder: Path) -> tuple[str, ...]:
    """Return those of `USUAL_WAYS` that a bundle can: one by regression has no sampler for rtc."""
    noisy = load_bundle(folder).schedule.noisy
    return tuple(way for way in USUAL_WAYS if noisy or WAYS[way]['continuity'] != 'rtc')


def run_delays(settings: DelaySettings, say: Callable[[str], None]) -> int:
    """Run the episodes, write what was found, and return the exit code.

    All conditions of a seed come before the next seed, so that what there is is paired whenever it ends.
    """
    evaluation = settings.evaluation
    bundle = evaluation.load()
    backend = open_backend(bundle, backend=evaluation.backend, threads=evaluation.threads)
    policy = DiffusionPolicy(bundle, backend).with_settings(**evaluation.sampler_settings(bundle))
    runners = {condition: DirectRunner(bundle, policy, s) for condition, s in settings.conditions.items()}
    results: dict[Condition, list[EpisodeResult]] = {condition: [] for condition in runners}

    def save() -> dict[str, Any]:
        findings = _findings({c: summarize(results[c], **r.settings.about(bundle)) for c, r in runners.items()})
        if settings.json:
            settings.json.parent.mkdir(parents=True, exist_ok=True)
            settings.json.write_text(_one_a_line(findings))
        if settings.plot:
            plot_delays(findings, settings.plot)
        return findings

    seeds = range(evaluation.seed, evaluation.seed + evaluation.episodes)
    for number, seed in enumerate(tqdm(seeds, unit='seed', desc=bundle.name, dynamic_ncols=True), start=1):
        made = {condition: runner.run(seed) for condition, runner in runners.items()}
        for condition, result in made.items():
            results[condition].append(result)
        if number % SAVE_EVERY == 0:
            save()
    say(delays_table(save()))
    return 0


def _findings(summaries: Mapping[Condition, dict[str, Any]]) -> dict[str, Any]:
    """Return each condition's summary, how it differs from the first way at its delay, and from its own least delay."""
    ways = list(dict.fromkeys(way for way, _ in summaries))
    delays = list(dict.fromkeys(delay for _, delay in summaries))
    pairs = [((ways[0], d), (w, d)) for d in delays for w in ways[1:]]
    pairs += [((w, min(delays)), (w, d)) for w in ways for d in delays if d != min(delays)]
    return {
        'conditions': [{'way': way, **summary} for (way, _), summary in summaries.items()],
        'comparisons': [
            {'first': _name(*one), 'second': _name(*other), **compare(summaries[one], summaries[other])}
            for one, other in pairs
        ],
    }


def _one_a_line(findings: Mapping[str, Sequence[Any]]) -> str:
    """Return JSON with one condition and one comparison a line: hundreds of episodes would be as many lines each."""
    parts = (f'"{name}": [\n' + ',\n'.join(map(json.dumps, rows)) + '\n]' for name, rows in findings.items())
    return '{\n' + ',\n'.join(parts) + '\n}\n'


def _name(way: str, delay: int) -> str:
    return f'{way}, delay {delay}'


def delays_table(findings: Mapping[str, Any]) -> str:
    """Return what was found as tables for people."""
    conditions = findings['conditions']
    lines = [
        f'{conditions[0]["bundle"]}, {conditions[0]["episodes"]} episodes each on the same seeds',
        f'{"delay":>5}  {"way":<14} {"score":>6}  {"success":>7}'
        + ''.join(f'  {name:>8}' for name in ('jump', 'turn', 'jerk', 'inside', 'in all')),
    ]
    for c in conditions:
        shown = ('jump', 'turn_at_seams', 'jerk_at_seams', 'jerk_inside', 'jerk')
        seams = (float('nan') if c['seams'][name] is None else c['seams'][name] for name in shown)
        lines.append(
            f'{c["delay"]:>5}  {c["way"]:<14} {c["mean_score"]:6.3f}  {c["success_rate"]:>7.1%}'
            + ''.join(f'  {value:8.3g}' for value in seams)
        )
    lines.append('')
    for pair in findings['comparisons']:
        score, success = pair['score'], pair['success']
        interval = '' if score['ci95'] is None else ' ({:+.3f} to {:+.3f})'.format(*score['ci95'])
        lines.append(
            f'{pair["first"]} -> {pair["second"]}: score {score["difference"]:+.3f}{interval}, '
            f'success {success["difference"]:+.1%} (p {success["mcnemar_p"]:.3f})'
        )
    return '\n'.join(lines)


def plot_delays(findings: Mapping[str, Any], path: Path) -> None:
    """Draw score, success, jump and jerk over the delay, with their 95 % intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 3.6), layout='constrained')
    axes = figure.subplots(1, 5)
    by_way: dict[str, list[dict[str, Any]]] = {}
    for condition in findings['conditions']:
        by_way.setdefault(condition['way'], []).append(condition)
    for number, (way, rows) in enumerate(by_way.items()):
        at = [row['delay'] + 0.06 * (number - len(by_way) / 2) for row in rows]
        for axis, values in zip(axes, _curves(rows), strict=True):
            middle, low, high = (list(column) for column in zip(*values, strict=True))
            axis.plot(at, middle, marker='o', markersize=4, label=way)
            axis.vlines(at, low, high, alpha=0.5, color=axis.lines[-1].get_color())
    titles = 'mean score', 'success rate', 'jump at seams [m or rad]', 'jerk at seams [/s$^3$]', 'jerk in all [/s$^3$]'
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel='delay [control steps]', xticks=[r['delay'] for r in next(iter(by_way.values()))])
        axis.grid(True, alpha=0.3)
    axes[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _curves(rows: Sequence[Mapping[str, Any]]) -> list[list[tuple[float, float, float]]]:
    """Return value and interval of each measure for each row."""
    nothing = float('nan')

    def seam(row: Mapping[str, Any], name: str) -> tuple[float, float, float]:
        middle, interval = row['seams'][name], row['seams']['ci95'][name]
        middle = nothing if middle is None else middle
        return (middle, *(interval or (middle, middle)))

    return [
        [(r['mean_score'], *(r['score_ci95'] or (r['mean_score'],) * 2)) for r in rows],
        [(r['success_rate'], *r['success_wilson95']) for r in rows],
        [seam(r, 'jump') for r in rows],
        [seam(r, 'jerk_at_seams') for r in rows],
        [seam(r, 'jerk') for r in rows],
    ]
