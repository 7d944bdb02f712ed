"""The GIF of what happened."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')

from dp_ros.errors import DataError
from dp_ros.evaluation import film
from dp_ros.evaluation.film import Frame, write_gif
from dp_ros.simulation.arm.kinematics import Arm, ToolPose
from dp_ros.simulation.world import Scene
from dp_ros.simulation.worlds.push_block.world import PushBlockWorld, model


def test_it_shows_the_scenes_and_the_way_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, 'HEIGHT', 120)
    world = PushBlockWorld()
    scene = Scene(joints=tuple(world.joint_positions), poses=world.poses)
    ahead = np.stack([Arm(model()).solve(ToolPose(x=x, y=0.2, yaw=0.0)) for x in np.linspace(0.35, 0.7, 8)])
    frames = [
        Frame(seed=1, elapsed=0.0, score=0.0, scene=scene),
        Frame(seed=1, elapsed=0.1, score=0.0, scene=scene, ahead=ahead),
    ]
    assert imageio.imread(write_gif(tmp_path / 'demo.gif', frames, world)).shape[1:] == (120 + film.BANNER, 160, 3)
    # A GIF has few colours: look at what went into it.
    seen: list[np.ndarray] = []
    monkeypatch.setattr(imageio, 'imwrite', lambda path, pictures, **options: seen.append(pictures))
    write_gif(tmp_path / 'again.gif', frames, world)
    assert len(seen[0]) == 1 + film.REST_FRAMES
    before, after = (picture[film.BANNER :].astype(int) for picture in seen[0][:2])
    drawn = np.abs(after - film.AHEAD).max(axis=2) < 60
    rows, columns = np.nonzero(drawn & (np.abs(before - after).max(axis=2) > 30))
    pixels = world.tool_pixels(ahead, 120)
    assert len(rows) > 15
    assert columns.min() == pytest.approx(pixels[:, 0].min(), abs=4)
    assert columns.max() == pytest.approx(pixels[:, 0].max(), abs=4)


def test_no_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='film: got 0 frames, allowed 1 or more'):
        write_gif(tmp_path / 'demo.gif', [], PushBlockWorld())


def test_what_cameras_see_stands_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, 'HEIGHT', 96 * 2)
    world = PushBlockWorld()
    world.reset(3)
    frame = Frame(seed=3, elapsed=0.0, score=0.0, scene=Scene(joints=tuple(world.joint_positions), poses=world.poses))
    seen: list[np.ndarray] = []
    monkeypatch.setattr(imageio, 'imwrite', lambda path, pictures, **options: seen.append(pictures))
    write_gif(tmp_path / 'demo.gif', [frame], world, ('camera', 'wrist_camera'))
    beside = seen[0][0][film.BANNER :, 256:]
    np.testing.assert_array_equal(beside[:96], world.render('camera'))
    np.testing.assert_array_equal(beside[96:], world.render('wrist_camera'))
