"""Sphinx's configuration. `make docs` and rosdoc2 both read it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

project = 'dp_ros'
author = copyright = 'dp_ros maintainers'
# rosdoc2 copies this folder elsewhere and gives the version itself.
_manifest = Path(__file__).resolve().parents[1] / 'package.xml'
version = release = (ElementTree.parse(_manifest).getroot().findtext('version') or '') if _manifest.is_file() else ''

extensions = ['myst_parser']
source_suffix = {'.md': 'markdown'}
exclude_patterns = ['_build']
html_theme = 'sphinx_rtd_theme'
html_theme_options = {'navigation_depth': 3}
html_show_sphinx = False

myst_enable_extensions = ['attrs_block', 'deflist']
myst_heading_anchors = 3
suppress_warnings = ['misc.highlighting_failure']
