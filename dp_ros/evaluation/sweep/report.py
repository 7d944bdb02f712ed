"""What a sweep found: a table as CSV and markdown, a plot of it, and the loss curves of its trainings.

A row is one combination. Where several trainings differ by their seed alone, their episodes count together, and
`lowest` and `highest` are the success rates of the single trainings: how much chance in training matters.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import write_json
from dp_ros.evaluation.comparison import bootstrap95, paired
from dp_ros.evaluation.scores import wilson95
from dp_ros.evaluation.sweep.combinations import Combination
from dp_ros.evaluation.sweep.parts import training_seconds
from dp_ros.policy.bundle.bundle import Bundle

CSV, MARKDOWN, JSON, PLOT, CURVES = 'table.csv', 'table.md', 'table.json', 'plot.png', 'curves.png'
MEASURES = {
    'success': 'success rate',
    'collisions': 'episodes with a collision',
    'score': 'mean score',
    'time_s': 'time to success [s]',
    'jerk': 'jerk [/s$^3$]',
    'inference_ms': 'processor time of a chunk [ms]',
}
"""What is drawn, and how its axis is called."""
FACTS = {
    'validation_loss': ('validation loss', '.3g'),
    'recordings': ('recordings', 'd'),
    'trials': ('own episodes', 'd'),
    'training_s': ('training, processor time [s]', '.0f'),
}
"""List what a table for people has of `Row.facts`, where it is known: the column's name, and a number's format."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A value with its 95 % interval, both None where nothing was measured."""

    value: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One combination's outcome.

    Attributes
    ----------
    measured
        By the names of `MEASURES`; those that the world does not have are missing.
    successes
        By the episode's seed, the share of the trainings that succeeded: what rows are compared by.
    curves
        Of each training, its steps and validation losses.

    """

    labels: Mapping[str, str]
    title: str
    measured: Mapping[str, Measured]
    successes: Mapping[int, float]
    facts: Mapping[str, float | int | None]
    curves: Sequence[tuple[list[int], list[float]]] = ()


def trained_row(
    combination: Combination, runs: Sequence[Path], bundles: Sequence[Bundle], summaries: Sequence[Mapping[str, Any]]
) -> Row:
    """Return the row of a combination: of its run folders, bundles, and the summaries of their episodes."""
    curves = [_curve(run) for run in runs]
    learnt = bundles[0].provenance
    own = learnt.get('reinforcement', {})
    seconds = [s for s in map(training_seconds, runs) if s is not None]
    if not runs and 'processor_seconds' in own:
        seconds = [float(own['processor_seconds'])]
    last = [losses[-1] for _, losses in curves if losses]
    facts = {
        'trainings': len(runs),
        'validation_loss': float(np.mean(last)) if last else None,
        'training_s': float(np.mean(seconds)) if seconds else None,
        'recordings': learnt.get('episodes'),
        'trials': own.get('episodes'),
    }
    return row_of(combination.labels, combination.title, summaries, facts, curves)


def row_of(
    labels: Mapping[str, str],
    title: str,
    summaries: Sequence[Mapping[str, Any]],
    facts: Mapping[str, float | int | None],
    curves: Sequence[tuple[list[int], list[float]]] = (),
) -> Row:
    """Return a row, of the summaries of one policy or of several that differ by their training seed."""
    successes = np.array([s['successes'] for s in summaries], dtype=float)
    seconds = np.array([s['seconds'] for s in summaries], dtype=float)
    scores = np.array([s['scores'] for s in summaries], dtype=float)
    jerk = [v for s in summaries for v in s.get('seams', {}).get('episodes', {}).get('jerk', ()) if v is not None]
    measured = {
        'success': _share(int(successes.sum()), successes.size),
        'score': _mean(scores.ravel()),
        'time_s': _mean(seconds[successes > 0.0]),
        'jerk': _mean(np.array(jerk)),
        'inference_ms': Measured(value=_median([_milliseconds(s)['p50'] for s in summaries])),
    }
    if all('collisions' in s for s in summaries):
        measured['collisions'] = _share(sum(s['collisions'] for s in summaries), successes.size)
    rates = successes.mean(axis=1)
    return Row(
        labels=labels,
        title=title,
        measured=measured,
        successes=dict(zip(summaries[0]['seeds'], successes.mean(axis=0).tolist(), strict=True)),
        facts={
            **facts,
            'episodes': successes.size,
            'lowest': float(rates.min()),
            'highest': float(rates.max()),
            'inference_p95_ms': _median([_milliseconds(s)['p95'] for s in summaries]),
        },
        curves=curves,
    )


def _milliseconds(summary: Mapping[str, Any]) -> Mapping[str, float | None]:
    """Return the percentiles of a chunk's processor time; of all its time, in episodes that lack that."""
    found: Mapping[str, float | None] = summary.get('processor_ms', summary['latency_ms'])
    return found


def _share(count: int, of: int) -> Measured:
    return Measured(value=count / of, interval=wilson95(count, of))


def _mean(values: np.ndarray) -> Measured:
    return Measured(value=float(values.mean()), interval=bootstrap95(values)) if len(values) else Measured(value=None)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _curve(run: Path) -> tuple[list[int], list[float]]:
    path = run / 'curves.csv'
    if not path.is_file():
        return [], []
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    column = 'loss' if any(row['validation_loss'] == 'nan' for row in rows) else 'validation_loss'
    return [int(row['step']) for row in rows], [float(row[column]) for row in rows]


def write_report(rows: Sequence[Row], out: Path, world: str) -> str:
    """Write table, plot and curves to the folder ``out``; return the table for people."""
    table = [_columns(row, rows[0]) for row in rows]
    with (out / CSV).open('w', newline='') as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in table for name in row)), lineterminator='\n')
        writer.writeheader()
        writer.writerows(table)
    write_json(out / JSON, table)
    text = markdown(rows)
    (out / MARKDOWN).write_text(text + '\n')
    plot_rows(rows, out / PLOT, world)
    if any(steps for row in rows for steps, _ in row.curves):
        plot_curves(rows, out / CURVES)
    return f'{text}\n\n{out / CSV}, {MARKDOWN}, {PLOT}'


def _columns(row: Row, first: Row) -> dict[str, Any]:
    """Return a row as a table of numbers has it."""
    found: dict[str, Any] = dict(row.labels)
    for name, measured in row.measured.items():
        low, high = measured.interval or (None, None)
        found |= {name: measured.value, f'{name}_low': low, f'{name}_high': high}
    difference = _difference(first, row)
    low, high = difference.interval or (None, None)
    return found | {'difference': difference.value, 'difference_low': low, 'difference_high': high, **row.facts}


def _difference(first: Row, row: Row) -> Measured:
    """Return by how much more of the same episodes a row succeeds in than the first one."""
    seeds = sorted(first.successes.keys() & row.successes.keys())
    found = paired(*(np.array([r.successes[s] for s in seeds]) for r in (first, row)))
    return Measured(value=found['difference'], interval=found['ci95'])


def markdown(rows: Sequence[Row]) -> str:
    """Return the table for people."""
    labels = list(rows[0].labels)
    collides = all('collisions' in row.measured for row in rows)
    head = [*labels, 'success (95 %)', 'against the first', *(['collisions'] if collides else [])]
    head += ['mean score', 'time to success [s]', 'jerk [/s^3]', 'a chunk, processor time [ms]']
    facts = [name for name in FACTS if any(row.facts.get(name) is not None for row in rows)]
    head += [FACTS[name][0] for name in facts]
    lines = [_line(head), _line(['---'] * len(head))]
    for row in rows:
        m = row.measured
        cells = [*row.labels.values(), _percent(m['success'])]
        cells.append('' if row is rows[0] else _points(_difference(rows[0], row)))
        if collides:
            cells.append(_percent(m['collisions']))
        cells += [_number(m['score'], '.3f'), _number(m['time_s'], '.2f'), _number(m['jerk'], '.3g')]
        cells.append(_number(m['inference_ms'], '.2f'))
        cells += [_plain(row.facts.get(name), FACTS[name][1]) for name in facts]
        lines.append(_line(cells))
    return '\n'.join(lines)


def _line(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'


def _percent(measured: Measured) -> str:
    assert measured.value is not None and measured.interval is not None
    low, high = measured.interval
    return f'{measured.value:.1%} ({low:.0%} to {high:.0%})'


def _points(measured: Measured) -> str:
    interval = '' if measured.interval is None else ' ({:+.0%} to {:+.0%})'.format(*measured.interval)
    return '' if measured.value is None else f'{measured.value:+.1%}{interval}'


def _number(measured: Measured, kind: str) -> str:
    if measured.value is None:
        return 'none'
    interval = '' if measured.interval is None else f' ({measured.interval[0]:{kind}} to {measured.interval[1]:{kind}})'
    return f'{measured.value:{kind}}{interval}'


def _plain(value: float | int | None, kind: str) -> str:
    return '' if value is None else f'{value:{kind}}'


def plot_rows(rows: Sequence[Row], path: Path, world: str) -> None:
    """Draw each measure: over the numbers of the only axis that has some, or a line for each row."""
    from matplotlib.figure import Figure

    shown = {n: t for n, t in MEASURES.items() if any(r.measured.get(n, _NONE).value is not None for r in rows)}
    axis, groups = _over_numbers(rows)
    height = 3.4 if axis else max(2.2, 0.32 * len(rows) + 1.2)
    figure = Figure(figsize=(3.4 * len(shown) + (0 if axis else 1.5), height), layout='constrained')
    panels = figure.subplots(1, len(shown), sharey=not axis, squeeze=False)[0]
    for panel, (name, title) in zip(panels, shown.items(), strict=True):
        if axis:
            for label, members in groups.items():
                points = [(float(r.labels[axis]), r.measured.get(name, _NONE)) for r in members]
                _draw(panel, sorted(points, key=lambda point: point[0]), label, upright=True)
            panel.set(xlabel=axis.rpartition('.')[2], title=title)
            if _is_wide([float(row.labels[axis]) for row in rows]):
                panel.set_xscale('log')
        else:
            _draw(panel, [(float(i), row.measured.get(name, _NONE)) for i, row in enumerate(rows)], '', upright=False)
            panel.set(title=title, yticks=range(len(rows)), yticklabels=[row.title for row in rows])
            if _is_wide([v for v in (row.measured.get(name, _NONE).value for row in rows) if v is not None]):
                panel.set_xscale('log')
        panel.grid(True, alpha=0.3)
    if axis and len(groups) > 1:
        panels[0].legend(fontsize='small')
    if not axis:
        panels[0].invert_yaxis()
    figure.suptitle(f'{world}, {rows[0].facts["episodes"]} episodes each', fontsize='medium')
    figure.savefig(path, dpi=90)


_NONE = Measured(value=None)


def _is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > 20


def _over_numbers(rows: Sequence[Row]) -> tuple[str, dict[str, list[Row]]]:
    """Return the axis of three numbers or more, '' without one, and the rows by what they are beside it."""
    for name in rows[0].labels:
        if len({row.labels[name] for row in rows}) > 2 and all(_is_number(row.labels[name]) for row in rows):
            groups: dict[str, list[Row]] = {}
            for row in rows:
                others = ', '.join(label for key, label in row.labels.items() if key != name)
                groups.setdefault(others, []).append(row)
            return name, groups
    return '', {}


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _draw(panel: Any, points: Sequence[tuple[float, Measured]], label: str, *, upright: bool) -> None:
    known = [(at, m.value, m.interval or (m.value, m.value)) for at, m in points if m.value is not None]
    if not known:
        return
    at, values, intervals = zip(*known, strict=True)
    around = [[max(0.0, v - low), max(0.0, high - v)] for v, (low, high) in zip(values, intervals, strict=True)]
    spread = np.array(around).T
    if upright:
        panel.errorbar(at, values, yerr=spread, marker='o', markersize=4, capsize=2, label=label or None)
    else:
        panel.errorbar(values, at, xerr=spread, fmt='o', markersize=4, capsize=2)


def plot_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw the validation losses of all trainings, on a linear scale and on a logarithmic one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout='constrained')
    seen: set[str] = set()
    for panel, scale in zip(figure.subplots(1, 2), ('linear', 'log'), strict=True):
        seen.clear()
        for number, row in enumerate(rows):
            for steps, losses in row.curves:
                label = row.title if row.title not in seen else None
                seen.add(row.title)
                panel.plot(steps, losses, color=f'C{number % 10}', linestyle='-:'[number // 10 % 2], label=label)
        panel.set(xlabel='step', ylabel='validation loss', yscale=scale)
        panel.grid(True, which='both', alpha=0.3)
    figure.axes[1].legend(fontsize='x-small', loc='upper left', bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=90)
