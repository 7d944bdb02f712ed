"""Draw what a policy does in a world with a point: six episodes from above, with start, target and way.

python doc/draw_points.py models/point_navigation point_navigation points.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from dp_ros.evaluation.episodes import DirectRunner, make_runner
from dp_ros.evaluation.film import AHEAD, BEHIND, draw_way
from dp_ros.evaluation.settings import EvaluationSettings

PANELS, COLUMNS, HEIGHT, GAP = 6, 3, 240, 4  # the last two in pixels
SHADE = 210  # of the lines between panels
SECONDS = 15.0  # of an episode at most


def panel(runner: DirectRunner, seed: int) -> np.ndarray:
    """Return a picture of one episode (HEIGHT, HEIGHT, 3): the point is where it ended, a ring is where it began."""
    way: list[np.ndarray] = []
    runner.run(seed, lambda robot: way.append(robot.world.joint_positions))
    world = runner.world
    picture = world.render_large(HEIGHT)
    way.append(world.joint_positions)
    draw_way(picture, world, np.stack(way), AHEAD)
    column, row = np.round(world.tool_pixels(way[0][np.newaxis], HEIGHT)[0]).astype(int).tolist()
    cv2.circle(picture, (column, row), 4, BEHIND, 2, cv2.LINE_AA)
    return picture


def main(args: list[str] | None = None) -> int:
    """Draw the picture that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('bundle', type=Path, help='folder of the policy')
    parser.add_argument('world', help='point_navigation, point_obstacle or point_targets')
    parser.add_argument('out', type=Path, help='PNG file to write')
    parser.add_argument('--seed', type=int, default=100_000, help='of the first of six episodes')
    parser.add_argument('--sampler', help="the policy's; without it, the usual one")
    parser.add_argument('--sampling-steps', type=int, help='network calls for a chunk')
    options = parser.parse_args(args)
    settings = EvaluationSettings(
        bundle=options.bundle,
        world=options.world,
        threads=1,
        seconds=SECONDS,
        sampler=options.sampler,
        sampling_steps=options.sampling_steps,
    )
    runner = make_runner(settings)
    panels = [panel(runner, options.seed + number) for number in range(PANELS)]
    framed = [np.pad(p, ((GAP, 0), (GAP, 0), (0, 0)), constant_values=SHADE) for p in panels]
    rows = [np.hstack(framed[first : first + COLUMNS]) for first in range(0, PANELS, COLUMNS)]
    cv2.imwrite(str(options.out), np.vstack(rows)[..., ::-1])
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
