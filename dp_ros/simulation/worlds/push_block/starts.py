"""How episodes of the world push_block begin, undisturbed and for demonstrations of how to recover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.simulation.arm.kinematics import ToolPose
from dp_ros.simulation.worlds.push_block.spec import GOAL, HOME, POST, START
from dp_ros.simulation.worlds.push_block.way import make_arc


@dataclass(frozen=True, kw_only=True)
class Start:
    """How an episode begins: the block's middle [m] and yaw [rad], and the tool."""

    block: tuple[float, float]
    yaw: float
    tool: ToolPose


def draw_start(draw: np.random.Generator) -> Start:
    """Return a start near the middle, where left and right are as good."""
    x, y = np.array(START) + draw.uniform((-0.015, -0.025), (0.015, 0.025))
    tool = ToolPose(
        x=HOME[0] + draw.uniform(-0.015, 0.010), y=HOME[1] + draw.uniform(-0.030, 0.030), yaw=draw.uniform(-0.2, 0.2)
    )
    return Start(block=(float(x), float(y)), yaw=float(draw.uniform(-0.35, 0.35)), tool=tool)


def draw_wide_start(draw: np.random.Generator) -> Start:
    """Return a start from somewhere near the way, for demonstrations of how to get back onto it."""
    arc = make_arc(1.0 if draw.random() < 0.5 else -1.0, 0.114)
    while True:
        angle = arc.angle(draw.uniform(0.06, 0.36))
        block = arc.centre + (arc.radius + draw.uniform(-0.03, 0.04)) * np.array([np.cos(angle), np.sin(angle)])
        bearing = arc.heading(block) + draw.uniform(-0.9, 0.9)
        tool = block - draw.uniform(0.080, 0.115) * np.array([np.cos(bearing), np.sin(bearing)])
        clear = np.hypot(*(block - POST)) > 0.09 and np.hypot(*(tool - POST)) > 0.105
        if clear and np.hypot(*(block - GOAL)) > 0.05 and 0.29 < tool[0] < 0.74 and abs(tool[1]) < 0.2:
            break
    yaw = float(np.clip(bearing + draw.uniform(-0.4, 0.4), -2.0, 2.0))
    pose = ToolPose(x=float(tool[0]), y=float(tool[1]), yaw=yaw)
    # The block's faces, in any quarter turn.
    turned = bearing + draw.uniform(-0.6, 0.6) + draw.integers(4) * np.pi / 2
    return Start(block=(float(block[0]), float(block[1])), yaw=float(turned), tool=pose)
