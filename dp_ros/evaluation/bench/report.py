"""What `dp_ros bench` measured, as a table and as a plot for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STYLES = ('-', '--', ':', '-.')


def table(report: Mapping[str, Any]) -> str:
    """Return the report, or a part of it, as lines for people."""
    lines = [line for row in report.get('chunks', ()) for line in _chunk_lines(row)]
    lines += [
        f'{row["what"]:<8}{row["value"]:>4} ({row["parameters"] / 1e6:.1f} M), {row["steps"]} steps'
        f'{"":<5}p50 {row["ms"]["p50"]:9.2f}  p99 {row["ms"]["p99"]:9.2f} ms  x {row["ratio"]:.2f}'
        for row in report.get('growth', ())
    ]
    for row in report.get('memory', ()):
        peak = row['peak_memory_mb']
        lines.append(
            f'memory  {row["size"]:<12} {row["backend"]:<24} {"unknown" if peak is None else f"{peak:.0f} MB"}'
        )
    lines += [
        f'bags    {row["storage"]:<12} {row["messages"]} JointStates in {row["size_mb"]} MB: '
        f'{row["messages_per_second"]} messages/s, peak memory {row["peak_memory_mb_before"]} -> '
        f'{row["peak_memory_mb"]} MB'
        for row in report.get('bags', ())
    ]
    return '\n'.join(lines)


def _chunk_lines(row: Mapping[str, Any]) -> list[str]:
    calls = 'step' if row['steps'] == 1 else 'steps'
    head = (
        f'{row["size"]} ({row["parameters"] / 1e6:.1f} M), {row["steps"]} {calls}, threads: {row["threads"]}, '
        f'{row["turns"]} turns'
    )
    lines = [head]
    for name, ms in row['ms'].items():
        times = f'p50 {ms["p50"]:9.2f}  p99 {ms["p99"]:9.2f} ms'
        lines.append(f'  {name:<24} {times}{_ratio(row["ratio"].get(name))}')
    return lines + [f'  {name:<24} left out: {reason}' for name, reason in row['left_out'].items()]


def _ratio(ratio: Mapping[str, float] | None) -> str:
    return '' if ratio is None else f'  x {ratio["p50"]:.2f} ({ratio["p5"]:.2f} to {ratio["p95"]:.2f})'


def plot_report(report: Mapping[str, Any], path: Path) -> None:
    """Draw a chunk's latency over the sampling steps: a panel for each size, a line for each contender and threads."""
    from matplotlib.figure import Figure

    rows = report['chunks']
    sizes = list(dict.fromkeys(row['size'] for row in rows))
    names = list(dict.fromkeys(name for row in rows for name in row['ms']))
    threads = sorted({row['threads'] for row in rows})
    figure = Figure(figsize=(1.5 + 3.8 * len(sizes), 4.2), layout='constrained')
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)
    for axes, size in zip(panels[0], sizes, strict=True):
        mine = [row for row in rows if row['size'] == size]
        for colour, name in enumerate(names):
            for style, count in zip(STYLES * len(threads), threads, strict=False):
                line = sorted((r['steps'], r['ms'][name]['p50']) for r in _with(mine, name, count))
                if line:
                    steps, values = zip(*line, strict=True)
                    label = f'{name}, {count} thread{"s" if count > 1 else ""}'
                    axes.plot(steps, values, style, marker='.', color=f'C{colour}', label=label)
        axes.set(
            xscale='log', yscale='log', xlabel='sampling steps', title=f'{size}, {mine[0]["parameters"] / 1e6:.1f} M'
        )
        ticks = sorted({row['steps'] for row in mine})
        axes.set_xticks(ticks, [str(step) for step in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3, which='both')
    panels[0][0].set_ylabel('a chunk, median [ms]')
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc='outside right upper', fontsize='small')
    figure.savefig(path, dpi=110)


def _with(rows: Sequence[Mapping[str, Any]], name: str, threads: int) -> list[Mapping[str, Any]]:
    return [row for row in rows if row['threads'] == threads and name in row['ms']]
