"""An arm whose joints all turn about z: its URDF, and where its tool is, in closed form."""

from __future__ import annotations

import numpy as np

from .judge import Box, Limits

LINK = 0.1  # [m]


def urdf_text(joints: tuple[str, ...], limits: Limits) -> str:
    """Return the URDF of the arm."""
    parts = ['<robot name="planar"><link name="base"/>']
    for number, joint in enumerate(joints):
        parent = 'base' if number == 0 else f'link_{number}'
        x = 0.0 if number == 0 else LINK
        parts.append(
            f'<link name="link_{number + 1}"/><joint name="{joint}" type="revolute"><parent link="{parent}"/>'
            f'<child link="link_{number + 1}"/><origin xyz="{x} 0 0"/><axis xyz="0 0 1"/>'
            f'<limit lower="{limits.lower[number]}" upper="{limits.upper[number]}" effort="1" '
            f'velocity="{limits.velocity[number]}"/></joint>'
        )
    parts.append(
        f'<link name="tool"/><joint name="tip" type="fixed"><parent link="link_{len(joints)}"/><child link="tool"/>'
        f'<origin xyz="{LINK} 0 0"/></joint></robot>'
    )
    return ''.join(parts)


def tool(positions: np.ndarray) -> np.ndarray:
    """Return where the tool is (N, 2) at joint positions (N, A)."""
    angles = np.cumsum(positions, axis=1)
    return LINK * np.stack([np.cos(angles).sum(axis=1), np.sin(angles).sum(axis=1)], axis=1)


def box_of(joints: int, *, x_min: float) -> Box:
    """Return the half-plane beyond ``x_min`` [m]."""
    reach = 2.0 * LINK * joints
    return Box(tool=tool, lower=np.array([x_min, -reach]), upper=np.array([reach, reach]))
