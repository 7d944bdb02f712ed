"""What a sequence against the real process is about: its controller, the node's parameters, how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .controller import Setup
from .curves import SECOND
from .judge import Box, Limits
from .planar import box_of, urdf_text

JOINTS = tuple(f'joint_{i}' for i in range(1, 8))
LIMITS = Limits(
    lower=np.array([-2.9, -2.0, -2.9, -2.7, -2.9, -2.4, -3.0]),
    upper=np.array([2.9, 2.0, 2.9, 2.7, 2.9, 2.4, 3.0]),
    velocity=np.array([2.0] * 6 + [3.0]),
    acceleration=np.full(7, 20.0),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a sequence is about, all drawn from its seed."""

    seed: tuple[int, int]
    speed: float
    simulated: bool
    boxed: bool
    accelerations: bool
    enable: bool
    latency: float
    loss: float
    every: float
    setup: Setup
    ending: str

    @classmethod
    def drawn(cls, seed: int, number: int) -> tuple[Case, np.random.Generator]:
        """Draw one, and return what draws the rest."""
        rng = np.random.default_rng([seed, number])
        setup = Setup(
            joints=JOINTS,
            rate=int(rng.choice([100, 250, 250, 500, 1000])),
            lag=float(np.round(rng.uniform(0.0, 0.06), 4)),
            from_desired=bool(rng.random() < 0.4),
        )
        case = cls(
            seed=(seed, number),
            speed=float(rng.choice([1.0, 1.0, 2.0, 4.0])),
            simulated=bool(rng.random() < 0.2),
            boxed=bool(rng.random() < 0.2),
            accelerations=bool(rng.random() < 0.2),
            enable=bool(rng.random() < 0.2),
            latency=float(np.round(rng.uniform(0.0, 0.02), 4)),
            loss=float(rng.choice([0.0, 0.0, 0.0, 0.1, 0.5])),
            every=float(rng.choice([0.2, 0.4, 0.4, 0.8])),
            setup=setup,
            ending=str(rng.choice(['hold', 'end', 'deactivate'])),
        )
        return case, rng

    @property
    def control_dt(self) -> int:
        """Time of a control step [ns]."""
        return round(0.1 / self.speed * SECOND)

    @property
    def splice_margin(self) -> float:
        """How late a trajectory may be [s]; a simulated clock adds the time between two of its ticks."""
        margin = max(0.03, self.latency + 2 * self.setup.period / SECOND)
        return margin + (0.03 if self.simulated else 0.0)

    def parameters(self, folder: Path) -> str:
        """Return the node's parameters, and write what they name."""
        lines = [
            f'bundle: {Path("models/push_block_state").resolve()}',
            "topics: {joint_states: joint_states, command: arm_controller/joint_trajectory, robot_description: ''}",
            f'policy_speed: {self.speed}',
            f'use_sim_time: {str(self.simulated).lower()}',
            f'accelerations: {str(self.accelerations).lower()}',
            f'heartbeat_timeout: {0.5 if self.enable else 0.0}',
            f'splice_margin: {self.splice_margin}',
            'limits:',
        ]
        columns = (LIMITS.lower, LIMITS.upper, LIMITS.velocity, LIMITS.acceleration)
        for joint, low, high, speed, bend in zip(JOINTS, *columns, strict=True):
            lines.append(f'  {joint}: {{lower: {low}, upper: {high}, velocity: {speed}, acceleration: {bend}}}')
        if self.boxed:
            urdf = folder / 'planar.urdf'
            urdf.write_text(urdf_text(JOINTS, LIMITS))
            lines += [f'urdf_file: {urdf}', 'workspace: {link: tool, x_min: 0.2}']
        return f'/**/trajectory_publisher:\n  ros__parameters:\n    {(chr(10) + "    ").join(lines)}\n'

    @property
    def box(self) -> Box | None:
        """What the tool must stay in."""
        return box_of(len(JOINTS), x_min=0.2) if self.boxed else None
