"""Shapes as Coal has them: made of a scene's, put where they are, and with spheres and boxes around them.

Pinocchio and Coal are optional (the extra `planning`), so they are imported here, in a function, and a scene that needs
them is refused by name where they are missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError, listed
from dp_ros.planning.scene import LARGEST, SMALLEST, Box, Cylinder, Mesh, Shape, Sphere

MESHES = ('.stl', '.obj', '.dae')
MOST_MESH = 2**25
"""Bytes of a mesh file."""
MOST_BALLS = 4
"""Spheres along a shape."""
MISSING = (
    'scene_file: got a scene without Pinocchio and Coal ({error}), allowed where they are installed: pip install '
    "'dp_ros[planning]', or ros-$ROS_DISTRO-pinocchio and ros-$ROS_DISTRO-coal"
)


def libraries() -> tuple[ModuleType, ModuleType]:
    """Return Pinocchio and Coal; :class:`ConfigError` where they are missing."""
    try:
        import coal
        import pinocchio
    except ImportError as error:
        raise ConfigError(MISSING.format(error=error)) from error
    return pinocchio, coal


def coal_shape(shape: Shape) -> Any:
    """Return a shape as Coal has it."""
    _, coal = libraries()
    if isinstance(shape, Box):
        return coal.Box(*shape.size)
    if isinstance(shape, Sphere):
        return coal.Sphere(shape.radius)
    if isinstance(shape, Cylinder):
        return coal.Cylinder(shape.radius, shape.length)
    assert isinstance(shape, Mesh)
    check_mesh(shape.file, 'mesh')
    try:
        mesh = coal.MeshLoader().load(str(shape.file), np.array(shape.scale))
    except Exception as error:  # whatever the importer raises over foreign bytes
        raise ConfigError(f'mesh {shape.file}: got what cannot be read ({error}), allowed a mesh') from error
    _check_vertices(mesh, f'mesh {shape.file}')
    return hull(mesh, f'mesh {shape.file}') if shape.hull else mesh


def check_mesh(path: Path, where: str) -> None:
    """Raise :class:`ConfigError` unless a mesh file is there and can be read within bounds."""
    if path.suffix.lower() not in MESHES:
        raise ConfigError(f'{where}: got {path.name!r}, allowed {listed(MESHES)}')
    if not path.is_file():
        raise ConfigError(f'{where}: got no mesh {path}, allowed a file')
    if path.stat().st_size > MOST_MESH:
        raise ConfigError(f'{where}: got {path.stat().st_size} bytes in {path}, allowed up to {MOST_MESH}')


def make_convex(shapes: Any, where: str) -> None:
    """Put the convex hull in place of each mesh: it holds the mesh, and its distance costs a twentieth."""
    for shape in shapes.geometryObjects:
        if hasattr(shape.geometry, 'buildConvexHull'):
            _check_vertices(shape.geometry, f'{where}: mesh of {shape.name}')
            shape.geometry = hull(shape.geometry, f'{where}: mesh of {shape.name}')


def _check_vertices(mesh: Any, where: str) -> None:
    """Raise :class:`ConfigError` unless all of a mesh is somewhere, and near enough."""
    size = float(np.abs(mesh.vertices()).max(initial=0.0))
    if not size <= LARGEST:
        raise ConfigError(f'{where}: got a vertex at {size:g} m, allowed up to {LARGEST:g} m: `scale` turns mm into m')


def hull(mesh: Any, where: str) -> Any:
    """Return the convex hull of Coal's mesh; :class:`ConfigError` for one that is flat, which has none."""
    vertices = np.asarray(mesh.vertices())
    flat = np.linalg.eigh(np.cov(vertices.T))[1][:, 0]  # across it
    thick = float(np.ptp(vertices @ flat))
    if not thick >= SMALLEST:
        raise ConfigError(f'{where}: got one {thick:g} m thick, allowed {SMALLEST:g} m or more where its hull is taken')
    mesh.buildConvexHull(True, 'Qt')
    return mesh.convex


class Balls:
    """Spheres that hold the shapes of a robot: several along a long one. ``starts`` (G,) is each shape's first."""

    def __init__(self, owner: np.ndarray, middles: np.ndarray, radii: np.ndarray) -> None:
        self._owner, self._middles, self.radii = owner, middles, radii
        self.starts = np.unique(owner, return_index=True)[1]
        self._counts = np.bincount(owner)

    @classmethod
    def around(cls, shapes: list[Any]) -> Balls:
        """Return spheres around Coal's shapes."""
        owner, middles, radii = [], [], []
        for number, shape in enumerate(shapes):
            shape.computeLocalAABB()
            low, high = (np.asarray(end).ravel() for end in (shape.aabb_local.min_, shape.aabb_local.max_))
            middle, half = (low + high) / 2, (high - low) / 2
            long = int(half.argmax())
            side = np.delete(half, long)
            # Of a round one the corners of its box are empty.
            wide = float(side.max()) if hasattr(shape, 'radius') and long == 2 else float(np.linalg.norm(side))
            count = int(np.clip(np.ceil(half[long] / max(wide, 1e-6)), 1, MOST_BALLS))
            for part in range(count):
                offset = np.zeros(3)
                offset[long] = half[long] * ((2 * part + 1) / count - 1)
                owner.append(number)
                middles.append(middle + offset)
                radii.append(min(float(np.hypot(half[long] / count, wide)), float(np.linalg.norm(half))))
        return cls(np.array(owner, dtype=np.int64), np.array(middles).reshape(-1, 3), np.array(radii))

    def centres(self, rotations: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return where the spheres are (M, S, 3) [m], for shapes at ``rotations`` and ``places``."""
        turned = (rotations[:, self._owner] @ self._middles[:, :, None])[..., 0]
        return np.asarray(places[:, self._owner] + turned)

    def gaps(self, centres: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """Return the least gap between the spheres of shapes ``one`` and ``two`` (P,), (M, P) [m]."""
        difference = centres[:, :, None] - centres[:, None]
        gap = np.sqrt((difference**2).sum(axis=-1)) - self.radii[:, None] - self.radii
        least = np.minimum.reduceat(np.minimum.reduceat(gap, self.starts, axis=1), self.starts, axis=2)
        return np.asarray(least[:, one, two])


class Poses:
    """Coal's poses of a robot's shapes at one sample, each made when it is asked for."""

    def __init__(self, placed: tuple[np.ndarray, np.ndarray], coal: Any, sample: int) -> None:
        self._rotations, self._places = placed[0][sample], placed[1][sample]
        self._coal = coal
        self._made: dict[int, Any] = {}

    def __getitem__(self, shape: int) -> Any:
        made = self._made.get(shape)
        if made is None:
            made = self._made[shape] = self._coal.Transform3s(self._rotations[shape], self._places[shape])
        return made


class Placed:
    """An obstacle where it is: Coal's shape and pose, and the box around it in its own axes."""

    def __init__(self, name: str, shape: Any) -> None:
        self.name, self.shape = name, shape
        box = shape.aabb_local
        low, high = np.asarray(box.min_).ravel(), np.asarray(box.max_).ravel()
        self.middle, self.half = (low + high) / 2, (high - low) / 2
        self.rotation, self.place, self.velocity = np.eye(3), np.zeros(3), np.zeros(3)
        self.pose: Any = None
        self._since = 0

    @classmethod
    def of(cls, name: str, shape: Shape) -> Placed:
        """Return a shape that has not been put anywhere yet."""
        made = coal_shape(shape)
        made.computeLocalAABB()
        return cls(name, made)

    def put(self, position: Iterable[float], orientation: Iterable[float]) -> None:
        """Put it at a position [m] and an orientation x, y, z, w."""
        pinocchio, coal = libraries()
        x, y, z, w = orientation
        pose = pinocchio.SE3(pinocchio.Quaternion(w, x, y, z).normalized().matrix(), np.array([*position]))
        self.rotation, self.place = pose.rotation, pose.translation
        self.pose = coal.Transform3s(self.rotation, self.place)
        self.velocity = np.zeros(3)

    def move(self, velocity: np.ndarray, since: int) -> None:
        """Let it move from there with a ``velocity`` (3,) [m/s], from ``since`` [ns] on."""
        self.velocity, self._since = velocity, since

    def moved(self, times: np.ndarray) -> np.ndarray:
        """Return how far it has moved at ``times`` (M,) [ns], (M, 3) [m]."""
        return np.asarray(self.velocity * ((times[:, np.newaxis] - self._since) / NANOSECONDS))

    def pose_at(self, time: int) -> Any:
        """Return Coal's pose of it at a ``time`` [ns]."""
        if not self.velocity.any():
            return self.pose
        _, coal = libraries()
        return coal.Transform3s(self.rotation, self.place + self.moved(np.array([time]))[0])
