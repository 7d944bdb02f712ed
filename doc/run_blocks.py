"""Run the shell blocks of README.md and doc/ that are marked as runnable, page by page, in a temporary folder.

    python doc/run_blocks.py                     # all marked blocks, scaled down where the mark says how: minutes
    python doc/run_blocks.py --quick             # only those that take seconds
    python doc/run_blocks.py --full PAGE ...     # as they stand

A mark is an HTML comment in the line before the fence:

    <!-- runnable -->              takes a while
    <!-- runnable: quick -->       takes seconds
    <!-- runnable; quick: --episodes 500 -> --episodes 2; --workers 2 -> --workers 1 -->

    <!-- before: test.training.arm_bags my_bags -->      a Python module that makes what the page's blocks work with

What follows ``; quick:`` are replacements that scale the block down. Blocks of one page share a folder and run in
order; the first that fails ends its page.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r'^<!-- runnable(?P<quick>: quick)?(?:; quick: (?P<scale>.*?))? -->\n```bash\n(?P<script>.*?)^```$', re.M | re.S
)
BEFORE = re.compile(r'^<!-- before: (?P<module>[\w.]+)(?P<arguments>.*?) -->$', re.M)
MARK = re.compile(r'^<!-- runnable', re.M)
LIMIT = 3600.0  # [s]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A marked shell block: where it stands, whether it takes seconds, its commands as they stand and scaled down."""

    page: str
    line: int
    quick: bool
    script: str
    scaled: str


def find_pages() -> list[Path]:
    """Return README.md and all pages of doc/."""
    return [ROOT / 'README.md', *sorted((ROOT / 'doc').rglob('*.md'))]


def read_blocks(page: Path) -> list[Block]:
    """Return the marked blocks of a page in order, what makes their material first."""
    text = page.read_text(encoding='utf-8')
    found = list(BLOCK.finditer(text))
    name = page.relative_to(ROOT).as_posix()
    if len(found) != len(MARK.findall(text)):
        raise ValueError(f'{name}: got {len(MARK.findall(text))} marks, {len(found)} of them before a bash block')
    return [*_preparations(text, name)] + [
        Block(
            page=name,
            line=_line(text, match),
            quick=bool(match['quick']),
            script=match['script'],
            scaled=_scaled(match['script'], match['scale'] or '', name),
        )
        for match in found
    ]


def _line(text: str, match: re.Match[str]) -> int:
    return text.count('\n', 0, match.start()) + 1


def _preparations(text: str, page: str) -> Iterator[Block]:
    for match in BEFORE.finditer(text):
        script = f'{shlex.quote(sys.executable)} -m {match["module"]}{match["arguments"]}\n'
        yield Block(page=page, line=_line(text, match), quick=True, script=script, scaled=script)


def _scaled(script: str, scale: str, page: str) -> str:
    for replacement in filter(None, scale.split('; ')):
        before, arrow, after = replacement.partition(' -> ')
        if not arrow or before not in script:
            raise ValueError(
                f'{page}: got the replacement {replacement!r}, allowed TEXT -> OTHER with a TEXT of the block'
            )
        script = script.replace(before, after)
    return script


def run_page(blocks: Iterable[Block], folder: Path, *, full: bool = False) -> Iterator[tuple[Block, float, str]]:
    """Run blocks in a folder; return of each its seconds and, where it failed, what it wrote. Stops at a failure."""
    environment = prepare(folder)
    for block in blocks:
        script = block.script if full else block.scaled
        began = time.monotonic()
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', script], cwd=folder, env=environment, timeout=LIMIT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        failure = f'exit code {done.returncode}\n{done.stdout[-3000:]}' if done.returncode else ''
        yield block, time.monotonic() - began, failure
        if failure:
            return


def prepare(folder: Path) -> dict[str, str]:
    """Make a folder look like a checkout with dp_ros on the path; return the environment to run in."""
    tools = folder / '.bin'
    tools.mkdir(parents=True)
    command = tools / 'dp_ros'
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dp_ros "$@"\n', encoding='utf-8')
    command.chmod(0o755)
    (folder / 'config').symlink_to(ROOT / 'config')
    path = os.pathsep.join([str(tools), os.environ.get('PATH', '')])
    python = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH', '')]))
    return {**os.environ, 'PATH': path, 'PYTHONPATH': python}


def main(args: list[str] | None = None) -> int:
    """Run blocks and print how each went; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('pages', nargs='*', type=Path, help='pages; without any, all')
    parser.add_argument('--quick', action='store_true', help='only blocks that take seconds')
    parser.add_argument('--full', action='store_true', help='commands as they stand, not scaled down')
    options = parser.parse_args(args)
    failed = False
    for page in [path.resolve() for path in options.pages] or find_pages():
        blocks = [block for block in read_blocks(page) if block.quick or not options.quick]
        with tempfile.TemporaryDirectory(prefix='dp_ros_doc_') as folder:
            for block, seconds, failure in run_page(blocks, Path(folder) / 'page', full=options.full):
                print(f'{"FAILED" if failure else "ok":6} {seconds:7.1f} s  {block.page}:{block.line}', flush=True)
                if failure:
                    print(failure)
                    failed = True
    return 1 if failed else 0


if __name__ == '__main__':
    raise SystemExit(main())
