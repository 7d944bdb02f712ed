"""Draw how reinforcement went: what the actor did without exploring, over the episodes and decisions learnt from.

python doc/draw_learning.py learning.png runs/sac runs/ppo runs/steered
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dp_ros.errors import DataError
from dp_ros.policy.bundle.manifest import load_bundle

OVER = {'episodes': 'own episodes', 'step': 'decisions'}
SHOWN = {'trial_success': 'success without exploring', 'trial_reward': 'reward without exploring'}
PANELS = (('episodes', 'trial_success'), ('step', 'trial_success'), ('step', 'trial_reward'))


def main(args: list[str] | None = None) -> int:
    """Draw the picture that the command line asks for."""
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('out', type=Path, help='PNG file to write')
    parser.add_argument('bundles', type=Path, nargs='+', help='what dp_ros reinforce wrote')
    options = parser.parse_args(args)
    figure = Figure(figsize=(11, 3.4), layout='constrained')
    panels = figure.subplots(1, len(PANELS))
    for folder in options.bundles:
        learnt = load_bundle(folder).provenance.get('reinforcement')
        if learnt is None:
            raise DataError(f'{folder}: got a bundle without reinforcement, allowed what dp_ros reinforce wrote')
        rows = learnt['curve']
        for panel, (over, name) in zip(panels, PANELS, strict=True):
            panel.plot([row[over] for row in rows], [row[name] for row in rows], marker='.', label=learnt['method'])
            panel.set(xlabel=OVER[over], title=SHOWN[name], xscale='log')
            panel.grid(True, alpha=0.3)
    panels[0].legend()
    figure.savefig(options.out, dpi=90)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
