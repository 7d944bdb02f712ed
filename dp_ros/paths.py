"""Find the shipped launch files, configuration and bundles, and the folder that ROS keeps a user's files in."""

from __future__ import annotations

import os
from pathlib import Path

from dp_ros.errors import ConfigError, listed

SHARE = Path('share/dp_ros')


def share_folder(package: Path | None = None) -> Path:
    """Return the folder that holds ``launch``, ``config`` and ``models``.

    Parameters
    ----------
    package
        Folder of the package ``dp_ros``; this one if not given.

    Raises
    ------
    ConfigError
        If neither a checkout nor an installation with its ``share`` is around the package.

    """
    package = package or Path(__file__).resolve().parent
    # pip installs to PREFIX/lib/pythonX.Y/site-packages, colcon too: `share` is beside one of the folders above.
    candidates = [package.parent, *(prefix / SHARE for prefix in package.parents)]
    for candidate in candidates:
        if (candidate / 'package.xml').is_file():
            return candidate
    raise ConfigError(
        f'share folder: got no package.xml around {package}, allowed a checkout or an installation with '
        f'{SHARE} (looked in {listed(candidates)})'
    )


def locate(path: Path | str) -> Path:
    """Return ``path`` if it exists, otherwise the shipped file or folder of that name, as ``models/pusht_mirror``."""
    given = Path(path).expanduser()
    if given.exists():
        return given
    shipped = share_folder() / given
    if shipped.exists():
        return shipped
    raise ConfigError(f'path: got {str(path)!r}, which does not exist; allowed {given.absolute()} or {shipped}')


def ros_home(given: str = '') -> Path:
    """Return the folder that ROS keeps files of its user in: as given, $ROS_HOME, or ~/.ros.

    Raises
    ------
    ConfigError
        If there is no such folder, for a user without a home.

    """
    try:
        return Path(given or os.environ.get('ROS_HOME') or '~/.ros').expanduser()
    except RuntimeError as error:
        raise ConfigError(f'ROS_HOME: got none, and {error}, allowed a folder') from error
