"""The cameras of worlds with an arm: rays, cast by MuJoCo on the processor. It needs neither screen nor OpenGL.

So pictures are the same on every machine: a policy that learned from them sees the same where it runs. One ray goes
through each pixel, three more where an edge does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from dp_ros.errors import ConfigError, listed

TABLE = 'table'
ASPECT = 4 / 3  # width by height of pictures for people
FAR = 6.0  # [m]
LIGHT = np.array([1.0, 0.7, 2.2])  # where it is [m]
AMBIENT, DIFFUSE, SHADED = 0.52, 0.56, 0.45  # SHADED: what is left of DIFFUSE in a shadow
SKY, HORIZON = np.array([0.60, 0.68, 0.77]), np.array([0.90, 0.93, 0.95])  # background by the ray's slope
BOARD = 0.075  # width of the table's boards [m]
BOARD_SHADES = np.array([1.0, 0.955, 1.02, 0.975, 0.94, 1.01, 0.965])
JOINT_WIDTH, JOINT_SHADE = 0.03, 0.86  # of the line between boards, as parts of a board and of its colour
CORNERS = ((0.25, -0.375), (-0.25, 0.375), (0.375, 0.25))  # of the rays at edges, from the pixel's middle [pixels]
ALL, FIRST, REST = slice(None), slice(-1), slice(1, None)
NEIGHBOURS = (((REST, ALL), (FIRST, ALL)), ((ALL, REST), (ALL, FIRST)))  # rows and columns of pixels side by side
CREASE = 0.9  # cosine between neighbours' normals that makes an edge


@dataclass(frozen=True, kw_only=True, eq=False)
class _Hits:
    """What rays (N, 3) hit: geom numbers (N,), -1 for none, distances (N,) [m] and normals (N, 3)."""

    rays: np.ndarray
    geoms: np.ndarray
    distances: np.ndarray
    normals: np.ndarray


class Cameras:
    """Draws what cameras see of a model's state.

    Parameters
    ----------
    model
        Whose colours are those of its materials and geoms; a geom `table` gets boards.
    sizes
        Heights and widths of the cameras [pixels], by name.
    light
        Where it is [m].
    groups
        The groups of geoms that are seen, as MuJoCo numbers them; None: all.

    """

    def __init__(
        self,
        model: mujoco.MjModel,
        sizes: Mapping[str, tuple[int, int]],
        *,
        light: np.ndarray = LIGHT,
        groups: Collection[int] | None = None,
    ) -> None:
        self._model = model
        self._sizes = dict(sizes)
        self._light = light
        self._groups = None if groups is None else np.array([n in groups for n in range(mujoco.mjNGROUP)], np.uint8)
        self._table = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, TABLE)
        materials = model.geom_matid
        self._colours = np.array(model.geom_rgba[:, :3], dtype=np.float64)
        self._gloss = np.zeros(model.ngeom)
        self._power = np.full(model.ngeom, 4.0 + 60.0 * 0.5)
        made = materials >= 0
        self._colours[made] = model.mat_rgba[materials[made], :3]
        self._gloss[made] = model.mat_specular[materials[made]]
        self._power[made] = 4.0 + 60.0 * model.mat_shininess[materials[made]]
        self._spreads: dict[tuple[str, int, int], np.ndarray] = {}

    def picture(self, data: mujoco.MjData, camera: str, height: int | None = None) -> np.ndarray:
        """Return what a camera sees, (H, W, 3) uint8 RGB; with a height, with shadows and in the shape of a screen."""
        if camera not in self._sizes:
            raise ConfigError(f'camera: got {camera!r}, allowed {listed(tuple(self._sizes))}')
        rows, columns = self._sizes[camera] if height is None else (height, round(height * ASPECT))
        origin = np.array(data.cam_xpos[self._model.camera(camera).id])
        hits = self._cast(data, origin, self._rays(data, camera, rows, columns))
        colours = self._shade(data, hits, origin, shadows=height is not None)
        edges = np.flatnonzero(_edges(hits, rows, columns))
        total = colours[edges]
        for corner in CORNERS:
            more = self._cast(data, origin, self._rays(data, camera, rows, columns, corner, edges))
            total = total + self._shade(data, more, origin, shadows=height is not None)
        colours[edges] = total / (1 + len(CORNERS))
        return (np.clip(colours, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8).reshape(rows, columns, 3)

    def project(self, data: mujoco.MjData, camera: str, points: np.ndarray, height: int) -> np.ndarray:
        """Return where points (N, 3) [m] are in a picture for people: column, row (N, 2) [pixels]."""
        number = self._model.camera(camera).id
        local = (points - data.cam_xpos[number]) @ data.cam_xmat[number].reshape(3, 3)
        scale = _focal(self._model.cam_fovy[number], height) / -local[:, 2:]
        return local[:, :2] * scale * (1.0, -1.0) + (height * ASPECT / 2, height / 2)

    def _rays(
        self,
        data: mujoco.MjData,
        camera: str,
        rows: int,
        columns: int,
        shift: tuple[float, float] = (0.0, 0.0),
        pixels: np.ndarray | slice = ALL,
    ) -> np.ndarray:
        number = self._model.camera(camera).id
        focal = _focal(self._model.cam_fovy[number], rows)
        key = (camera, rows, columns)
        if key not in self._spreads:
            across = np.arange(columns) + 0.5 - columns / 2
            down = np.arange(rows) + 0.5 - rows / 2
            grid = np.broadcast_arrays(across[None, :], -down[:, None], np.array(-focal))
            self._spreads[key] = np.stack(grid, axis=-1).reshape(-1, 3)
        local = self._spreads[key][pixels] + (*shift, 0.0)
        local = local / np.sqrt(np.einsum('ni,ni->n', local, local))[:, None]
        rays: np.ndarray = local @ data.cam_xmat[number].reshape(3, 3).T
        return rays

    def _cast(self, data: mujoco.MjData, origin: np.ndarray, rays: np.ndarray) -> _Hits:
        count = len(rays)
        geoms, distances, normals = np.full(count, -1, np.int32), np.zeros(count), np.zeros(3 * count)
        mujoco.mj_multiRay(
            self._model, data, origin, rays.reshape(-1), self._groups, True, -1, geoms, distances, normals, count, FAR
        )
        return _Hits(rays=rays, geoms=geoms, distances=distances, normals=normals.reshape(-1, 3))

    def _shade(self, data: mujoco.MjData, hits: _Hits, origin: np.ndarray, *, shadows: bool) -> np.ndarray:
        """Return colours (N, 3), 0 to 1: Lambert and Blinn-Phong, in the light of one lamp."""
        slope = np.clip(0.5 + 0.9 * hits.rays[:, 2:], 0.0, 1.0)
        colours = HORIZON + slope * (SKY - HORIZON)
        seen = hits.geoms >= 0
        geoms, normals, rays = hits.geoms[seen], hits.normals[seen], hits.rays[seen]
        points = origin + hits.distances[seen, None] * rays
        ways = self._light - points
        distances = np.sqrt(np.einsum('ni,ni->n', ways, ways))
        lights = ways / distances[:, None]
        facing = np.clip(np.einsum('ni,ni->n', normals, lights), 0.0, 1.0)
        if shadows:
            lit = self._cast(data, self._light, -lights).distances > distances - 2e-3
            facing = facing * np.where(lit, 1.0, SHADED)
        base = self._colours[geoms]
        table = np.flatnonzero((geoms == self._table) & (normals[:, 2] > 0.5))
        base[table] *= _boards(points[table])[:, None]
        half = lights - rays
        half /= np.sqrt(np.einsum('ni,ni->n', half, half))[:, None]
        shine = np.clip(np.einsum('ni,ni->n', normals, half), 0.0, 1.0) ** self._power[geoms]
        gloss = self._gloss[geoms] * shine * (facing > 0.05)
        colours[seen] = base * (AMBIENT + DIFFUSE * facing)[:, None] + 0.5 * gloss[:, None]
        return colours


def _focal(fovy: float, rows: int) -> float:
    return float(rows / 2 / np.tan(np.radians(fovy) / 2))


def _boards(points: np.ndarray) -> np.ndarray:
    """Return the shade of the table's wood: boards along x, each a little different, a dark line between two."""
    across = points[:, 1] / BOARD + 100.0
    number = across.astype(int)
    shade = BOARD_SHADES[number % len(BOARD_SHADES)]
    grain = 0.012 * np.sin(points[:, 0] * 23.0 + np.sin(points[:, 1] * 310.0) + 2.1 * number)
    return np.where(across - number < JOINT_WIDTH, JOINT_SHADE, shade + grain)


def _edges(hits: _Hits, rows: int, columns: int) -> np.ndarray:
    """Return which pixels border on others of another geom, or on a crease."""
    geoms, normals = hits.geoms.reshape(rows, columns), hits.normals.reshape(rows, columns, 3)
    found = np.zeros((rows, columns), dtype=bool)
    for a, b in NEIGHBOURS:
        differs = (geoms[a] != geoms[b]) | (np.einsum('rci,rci->rc', normals[a], normals[b]) < CREASE)
        differs &= (geoms[a] >= 0) | (geoms[b] >= 0)
        found[a] |= differs
        found[b] |= differs
    return found.reshape(-1)
