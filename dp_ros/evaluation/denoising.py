"""`dp_ros denoise`: a GIF of chunks as they come out of noise, one panel for each sampler, all at one clock.

What is drawn is what the network is given at each call: x_k, as the way of the tool in a simulated world, or joint by
joint at a moment of a recording. The clock counts network calls, so that a sampler of 10 steps is done when one of 100
has hardly begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as imageio
import numpy as np
from tqdm import tqdm

from dp_ros.bounded_files import writable_file
from dp_ros.data import Goal, Window
from dp_ros.diffusion.coefficients import coefficients_for, samplers_for
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.errors import ConfigError, DataError, check_range
from dp_ros.evaluation.episodes import DirectRunner
from dp_ros.evaluation.film import INK, draw_way
from dp_ros.evaluation.recorded.open_loop import observation_at
from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.options import check_options, like, option
from dp_ros.policy.backends.sessions import Backend, open_backend, with_denoiser
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.normalizer import ACTION, action_base
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.simulation.world import Scene, World

HEIGHT, BANNER = 288, 24  # pixels
FRAME_MS, REST_FRAMES = 120, 12
NOISY, CLEAN = np.array([150.0, 150.0, 150.0]), np.array([255.0, 110.0, 0.0])  # RGB

Draw = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
"""Draws chunks (N, P, A) in a colour [RGB]; returns the picture (H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class DenoisingSettings:
    """Choose what to draw: a panel for each sampler, of a policy in a world or on a recording's first episode."""

    # fmt: off
    bundle: Path
    world: str = ''
    recordings: Path | None = option(
        None, 'ask at a moment of this recording or dataset, of its first episode, in place of a simulated robot'
    )
    out: Path = option(Path('denoising.gif'), 'write the GIF here')
    panels: tuple[SamplerSettings, ...]
    seed: int = like(EvaluationSettings, 'seed', 100_000, 'seed of the episode')
    at: float = option(
        1.0, 'how far into the episode the policy is asked', unit='s', low=0.0, high=3600.0
    )
    chunks: int = option(24, 'chunks in each panel, from different noise', low=1, high=1000)
    every: int = option(1, 'network calls from one frame to the next', low=1, high=1000)
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        if not self.panels:
            raise ConfigError('panels: got none, allowed one sampler or more')
        if bool(self.world) == (self.recordings is not None):
            raise ConfigError(f'world: got {self.world!r} with recordings {self.recordings}, allowed one of the two')
        if self.world:  # before, the robot has not been seen
            check_range('at', self.at, 1.0, 3600.0, unit='s')


def panels(folder: Path, asked: Sequence[str] | None) -> tuple[SamplerSettings, ...]:
    """Return the panels that words as ``ddpm:100`` ask for; None: DDPM and the bundle's own, or its own alone."""
    bundle = load_bundle(folder)
    if asked is None:
        schedule = bundle.schedule
        whole = SamplerSettings(sampler='ddpm', sampling_steps=schedule.diffusion_steps)
        can = 'ddpm' in samplers_for(schedule) and not schedule.only_steps
        return (whole, bundle.defaults) if can else (bundle.defaults,)
    found = []
    for word in asked:
        sampler, _, steps = word.partition(':')
        if not steps.isdecimal():
            raise ConfigError(f'panels: got {word!r}, allowed a sampler and its steps, as ddim:10')
        panel = SamplerSettings(sampler=sampler, sampling_steps=int(steps))  # type: ignore[arg-type]
        coefficients_for(bundle.schedule, panel)  # refuses what the bundle can't
        found.append(panel)
    return tuple(found)


class _Asked(DiffusionPolicy):
    """A policy that keeps the newest window that it predicted from."""

    newest: Window | None = None

    def chunk(self, window: Window, *arguments: Any, **named: Any) -> Any:
        self.newest = window
        return super().chunk(window, *arguments, **named)


def film_denoising(settings: DenoisingSettings, say: Callable[[str], None]) -> int:
    """Write the GIF; return the exit code."""
    writable_file(settings.out)
    bundle = load_bundle(settings.bundle)
    backend = open_backend(bundle)
    if settings.recordings is not None:
        window, goal, recorded = observation_at(settings.recordings, bundle, settings.at)
        ways = _ways(settings, bundle, backend, window, goal)
        draw = strips(bundle.task.action.joints, recorded, [way[-1] for way in ways])
    else:
        window, goal, world = _asked_in_world(settings, bundle, backend)
        ways = _ways(settings, bundle, backend, window, goal)
        draw = _drawn_in_world(world)
    pictures = _pictures(settings, ways, draw)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(settings.out, pictures, extension='.gif', duration=FRAME_MS, loop=0)
    say(f'{settings.out}: {len(pictures)} frames, {settings.out.stat().st_size / 1e6:.1f} MB')
    return 0


def _asked_in_world(settings: DenoisingSettings, bundle: Bundle, backend: Backend) -> tuple[Window, Goal, World]:
    """Return what the policy is given in its world, and the world as it is then."""
    policy = _Asked(bundle, backend)
    evaluation = EvaluationSettings(
        bundle=settings.bundle,
        world=settings.world,
        episodes=1,
        seed=settings.seed,
        seconds=settings.at,
        exec_horizon=1,
    )
    runner = DirectRunner(bundle, policy, evaluation)
    scenes: list[Scene] = []
    runner.run(
        settings.seed, lambda r: scenes.append(Scene(joints=tuple(r.world.joint_positions), poses=dict(r.world.poses)))
    )
    if policy.newest is None:
        raise DataError(f'at: got {settings.at} s, allowed so much that the policy has been asked')
    goal = runner.goal(settings.seed)
    runner.world.set_scene(scenes[-1])
    return policy.newest, goal, runner.world


def _ways(
    settings: DenoisingSettings, bundle: Bundle, backend: Backend, window: Window, goal: Goal
) -> list[np.ndarray]:
    """Return x_k of each panel (calls + 1, chunks, P, A), the chunk itself last."""
    ways = []
    for panel in settings.panels:
        seen: list[np.ndarray] = []

        def predict(x_k: np.ndarray, k: np.ndarray, cond: np.ndarray, seen: list[np.ndarray] = seen) -> np.ndarray:
            seen.append(x_k[0].copy())
            return backend.predict(x_k, k, cond)

        asked = DiffusionPolicy(bundle, with_denoiser(backend, predict), panel)
        chunks = []
        for number in tqdm(range(settings.chunks), desc=_name(panel), unit=' chunks', dynamic_ncols=True):
            seen.clear()
            last = asked.chunk(window, np.random.default_rng([settings.seed, number]), goal=goal).actions
            base = action_base(bundle.task, asked.unwrapped(window).streams)
            noisy = [bundle.normalizer.denormalize(ACTION, x[:, : last.shape[1]]) for x in seen]
            chunks.append([*(x if base is None else x + base[-1] for x in noisy), last])
        ways.append(np.array(chunks).swapaxes(0, 1))
    return ways


def _drawn_in_world(world: World) -> Draw:
    empty = world.render_large(HEIGHT)

    def draw(chunks: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
        drawn = empty.copy()
        for actions in chunks:
            draw_way(drawn, world, actions, colour, 1)
        return drawn

    return draw


def _pictures(settings: DenoisingSettings, ways: Sequence[np.ndarray], draw: Draw) -> np.ndarray:
    """Return the frames (N, H, W, 3); ``ways`` are x_k of each panel, (calls + 1, chunks, P, A)."""
    most = max(len(way) for way in ways) - 1
    ticks = [*range(0, most, settings.every), *([most] * REST_FRAMES)]
    frames = []
    for calls in ticks:
        row = []
        for panel, way in zip(settings.panels, ways, strict=True):
            done = min(calls, len(way) - 1)
            share = done / (len(way) - 1)
            drawn = draw(way[done], tuple((NOISY + share * (CLEAN - NOISY)).tolist()))
            picture = np.full((BANNER + drawn.shape[0], drawn.shape[1], 3), 255, dtype=np.uint8)
            picture[BANNER:] = drawn
            text = f'{_name(panel)}: call {done} of {len(way) - 1}'
            cv2.putText(picture, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
            row.append(picture)
        frames.append(np.concatenate(row, axis=1))
    return np.stack(frames)


def _name(panel: SamplerSettings) -> str:
    return f'{panel.sampler}, {panel.sampling_steps} steps'


STRIP, WIDTH, MOST = 96, 288, 8  # pixels, and joints that are drawn
RECORDED, LINE = (40, 90, 200), (200, 200, 200)  # RGB
_MARGIN = 0.25


def strips(
    joints: Sequence[str], recorded: np.ndarray, clean: Sequence[np.ndarray]
) -> Callable[[np.ndarray, tuple[int, ...]], np.ndarray]:
    """Return a function that draws chunks (N, P, A) in a colour, over what was commanded (P, A).

    ``clean`` are chunks (N, P, A) that say, with ``recorded``, which range each strip shows; noise goes beyond it.
    """
    count = min(len(joints), MOST)
    shown = np.concatenate([recorded[None], *clean])
    low, high = np.nanmin(shown, axis=(0, 1)), np.nanmax(shown, axis=(0, 1))
    margin = np.maximum(_MARGIN * (high - low), 1e-3)
    low, high = low - margin, high + margin

    def points(joint: int, values: np.ndarray) -> np.ndarray:
        kept = np.flatnonzero(np.isfinite(values))
        share = np.clip((high[joint] - values[kept]) / (high[joint] - low[joint]), 0.0, 1.0)
        across = kept * (WIDTH - 1) / max(1, len(values) - 1)
        return np.stack([across, joint * STRIP + share * (STRIP - 1)], axis=1).round().astype(np.int32)

    empty = np.full((count * STRIP, WIDTH, 3), 255, dtype=np.uint8)
    for joint in range(count):
        cv2.line(empty, (0, joint * STRIP), (WIDTH, joint * STRIP), LINE, 1)

    def draw(chunks: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
        picture = empty.copy()
        for joint in range(count):
            for chunk in chunks:
                cv2.polylines(picture, [points(joint, chunk[:, joint])], False, colour, 1, cv2.LINE_AA)
            cv2.polylines(picture, [points(joint, recorded[:, joint])], False, RECORDED, 2, cv2.LINE_AA)
            at = (6, joint * STRIP + 16)
            cv2.putText(picture, joints[joint], at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
        return picture

    return draw
