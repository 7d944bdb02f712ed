"""Which shapes of a robot may touch each other: an SRDF's pairs, or what touches at rest; and held objects' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from dp_ros.bounded_files import read_text, reading
from dp_ros.errors import ConfigError, listed
from dp_ros.planning.scene import Attached, Scene
from dp_ros.robot.model import RobotModel
from dp_ros.robot.urdf import parse_xml


def allowed_pairs(
    robot: RobotModel, scene: Scene, srdf: Path | None, held: Mapping[str, Attached]
) -> set[frozenset[str]]:
    """Return the pairs of links that may touch by the scene, by what is held, and by an SRDF if there is one."""
    pairs = [tuple(pair) for pair in scene.allowed]
    pairs += [(part.name, link) for part in held.values() for link in (part.link, *part.touch_links)]
    if srdf is not None:
        pairs += _srdf_pairs(srdf)
    links = {*robot.links, *held}
    unknown = sorted({link for pair in pairs for link in pair} - links)
    if unknown:
        raise ConfigError(f'allowed collisions: got links {listed(unknown)}, allowed {listed(sorted(links))}')
    return {frozenset(pair) for pair in pairs}


def _srdf_pairs(path: Path) -> list[tuple[str, str]]:
    with reading(f'srdf_file {path}', 'an SRDF file'):
        root = parse_xml(read_text(path), f'srdf_file {path}')
    return [(_name(e, 'link1', path), _name(e, 'link2', path)) for e in root.iter('disable_collisions')]


def _name(element: ElementTree.Element, key: str, path: Path) -> str:
    name = element.get(key, '')
    if not name:
        raise ConfigError(f'srdf_file {path}: got a disable_collisions without {key}, allowed two links')
    return name


def pairs_apart(links: Sequence[str], movers: Sequence[Sequence[str]], allowed: set[frozenset[str]]) -> np.ndarray:
    """Return the pairs of shapes (P, 2) that move against each other and are not among those allowed to touch.

    Parameters
    ----------
    links
        The link of each shape.
    movers
        The moving joints between each shape and the root.
    allowed
        Pairs of links.

    """
    found = [
        (i, j)
        for i, j in combinations(range(len(links)), 2)
        if frozenset((links[i], links[j])) not in allowed and list(movers[i]) != list(movers[j])
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def adjacent(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether one moving joint lies between two shapes, whose ways to the root these are."""
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return list(longer[1:]) == list(shorter)
