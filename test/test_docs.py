"""README.md and doc/: links lead somewhere, names exist, generated pages are fresh, quick blocks run."""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from dp_ros.errors import DataError

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    """Import a script of doc/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / 'doc' / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


run_blocks = load('run_blocks')
generate_reference = load('generate_reference')
PAGES = run_blocks.find_pages()
WRITTEN = [page for page in PAGES if 'generate_reference.py' not in page.read_text(encoding='utf-8')[:200]]
QUICK = [page for page in PAGES if any(block.quick for block in run_blocks.read_blocks(page))]
TOP = ('config', 'doc', 'launch', 'models', 'test')
SUFFIXES = 'gif|ipynb|json|md|npz|onnx|png|py|rst|toml|xml|yaml|yml'


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    return page.read_text(encoding='utf-8')


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / 'README.md').splitlines()) <= 200


@pytest.mark.parametrize('page', PAGES, ids=relative)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for link in re.findall(r'\]\(([^)\s]+)\)', text_of(page)):
        if link.startswith(('http://', 'https://')):
            continue
        path, _, heading = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r'^#+ (.+)$', text_of(target), re.MULTILINE)
            assert heading in {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles}, link


def test_the_index_reaches_every_page() -> None:
    listed = set(re.findall(r'^[a-z_]+(?:/[a-z_0-9]+)?$', text_of(ROOT / 'doc/index.md'), re.MULTILINE))
    pages = {page.relative_to(ROOT / 'doc').with_suffix('').as_posix() for page in PAGES[1:]}
    assert listed == pages - {'index'}


@pytest.mark.parametrize('page', WRITTEN, ids=relative)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(rf'(?<![\w/.-])((?:{"|".join(TOP)})/[\w./-]*\.(?:{SUFFIXES}))\b', text_of(page)))
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


# Bundles that a page makes, or that a reader makes.
OWN = {'models/first', 'models/my_policy', 'models/my_critic', 'models/my_pusht', 'models/NAME'}


@pytest.mark.parametrize('page', WRITTEN, ids=relative)
def test_every_bundle_that_a_page_names_is_shipped_or_made(page: Path) -> None:
    named = set(re.findall(r'(?<![\w/.-])models/\w+', text_of(page))) - OWN
    named -= set(re.findall(r'dp_ros (?:export|critic) \S+ (models/\w+)', text_of(page)))
    missing = [path for path in named if not (ROOT / path / 'bundle.json').is_file()]
    assert not missing


@lru_cache
def options() -> dict[str, set[str]]:
    """Return the options of each command."""
    return {
        name: {option for action in parser._actions for option in action.option_strings}
        for name, parser in generate_reference.commands().items()
    }


def commands_in(text: str) -> list[tuple[str, list[str]]]:
    """Return each ``dp_ros COMMAND`` of a text with the options that follow it in code."""
    text = text.replace('\\\n', ' ')
    lines = [line for block in re.findall(r'^```.*?\n(.*?)^```', text, re.M | re.S) for line in block.splitlines()]
    lines += re.findall(r'^ {4,}(.*)$', text, re.MULTILINE)
    lines += [
        ' '.join(code.split())
        for code in re.findall(r'(?<!`)`([^`]+)`(?!`)', re.sub(r'^```.*?^```', '', text, flags=re.M | re.S))
    ]
    found = []
    for line in lines:
        for part in re.split(r'; |&&', line.split('  #')[0].replace('ros2 run dp_ros ', '')):
            match = re.search(r'(?:^|[ /])(?<!from )dp_ros (?!import )([a-z][a-z-]*)(?![\w.])(.*)', part)
            if match:
                found.append((match[1], re.findall(r'(?<=\s)--[a-z][\w-]*', match[2])))
    return found


@pytest.mark.parametrize('page', [*PAGES, ROOT / 'CONTRIBUTING.md', ROOT / 'QUALITY_DECLARATION.md'], ids=relative)
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    for name, given in commands_in(text_of(page)):
        assert name in options(), f'dp_ros {name}'
        unknown = [option for option in given if option not in options()[name]]
        assert not unknown, f'dp_ros {name}: {unknown}'


def test_every_option_in_running_text_belongs_to_some_command() -> None:
    known = set().union(*options().values(), {'--show-args', '--params-file', '--num_machines', '--nnodes', '--help'})
    known |= {'--quick', '--full', '--check'}  # of the scripts in doc/
    for page in WRITTEN:
        for code in re.findall(r'(?<!`)`(--[a-z][^`]*)`(?!`)', text_of(page)):
            assert set(re.findall(r'(?<!\S)--[a-z][\w-]*', code)) <= known, f'{relative(page)}: {code}'


def parameter_names() -> tuple[set[str], list[str]]:
    """Return the parameters of all nodes by the reference page, and patterns of those that depend on the bundle."""
    page = text_of(ROOT / 'doc/reference/parameters.md')
    names = set(re.findall(r'^\| `([\w.]+)` \|', page, re.MULTILINE))
    patterns = re.findall(r'`([\w.|<> ]*<[^`]*)`', page)
    return names, [_as_expression(pattern) for pattern in patterns]


def _as_expression(pattern: str) -> str:
    expression = re.sub(r'<[^>]*>', '<>', pattern)
    head, _, last = expression.rpartition('.')
    return re.escape(f'{head}.').replace('<>', r'[\w<>]+') + (
        f'(?:{last})' if '|' in last else re.escape(last).replace('<>', r'[\w<>]+')
    )


PARAMETER_PAGES = [page for page in WRITTEN if page.parent.name in ('howto', 'reference', 'explanation')]
# `name: value` in code, with a value; keys of the training file have its own names.
OTHERS = {'use_sim_time', 'allow_trajectory_replacement'}  # of ROS, and of the controller
SETTING = re.compile(r'(?<!`)`([a-z][\w.<>]*): ([^`]+)`(?!`)')


@pytest.mark.parametrize('page', PARAMETER_PAGES, ids=relative)
def test_every_parameter_that_a_page_sets_exists(page: Path) -> None:
    names, patterns = parameter_names()
    settings = set(re.findall(r'^\| `([\w]+)` \|', text_of(ROOT / 'doc/reference/training_file.md'), re.MULTILINE))
    nodes = {*generate_reference.NODES, 'node'}
    text = text_of(page)
    for name, _ in SETTING.findall(text):
        known = name in names | settings | nodes | OTHERS or any(re.fullmatch(p, name) for p in patterns)
        assert known, f'{name}: no parameter, and no key of the training file'
    for node, name in re.findall(r'ros2 param set /(\w+) ([\w.]+)', text):
        assert node in nodes and name in names, name
    for name in re.findall(r'`((?:topics|limits|outputs|home|max_age|workspace|controller)\.[\w.<>]+)`', text):
        family = name.partition('.')[0]
        known = name in names or any(re.fullmatch(p, name) for p in patterns)
        assert known or (family == 'limits' and name.count('.') == 2), name


def test_the_parameters_of_the_safety_states_exist() -> None:
    names, _ = parameter_names()
    page = text_of(ROOT / 'doc/explanation/safety_states.md')
    used = set(re.findall(r'`(\w+_(?:after|age|timeout|tolerance))`', page))
    assert len(used) >= 6
    assert used <= names


@pytest.mark.ros
def test_the_generated_pages_are_fresh() -> None:
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    pytest.importorskip('torch', reason='torch is not installed')
    command = [sys.executable, str(ROOT / 'doc/generate_reference.py'), '--check']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_examples_of_the_training_file_are_those_that_training_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('torch', reason='torch is not installed')
    from dp_ros.errors import ConfigError
    from dp_ros.training.settings import TrainSettings

    text = (ROOT / 'doc/reference/examples/arm.yaml').read_text()
    file = tmp_path / 'arm.yaml'
    file.write_text(text.replace('name: pick_cups', 'name: stack_cups'))
    monkeypatch.setattr(generate_reference, 'EXAMPLES', {'One': file})
    page = ''.join(generate_reference._settings_sections())
    assert '| `name` | text | *required* |  | `stack_cups` | What the policy is called. |' in page
    assert '| `near` | list of number | `[0.0, 0.0, 0.0, 1.0]` |  | `[1.0, 0.0, 0.0, 0.0]` |' in page
    assert f'## One\n\n```yaml\n{file.read_text()}```' in page
    file.write_text(text.replace('shortest:', 'shortes:'))
    with pytest.raises(ConfigError, match="unknown key 'shortes'"):
        generate_reference._examples(TrainSettings)


def test_a_stale_page_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(generate_reference, 'REFERENCE', tmp_path)
    monkeypatch.setattr(generate_reference, 'pages', lambda: {'some.md': 'new'})
    (tmp_path / 'some.md').write_text('old')
    assert generate_reference.main(['--check']) == 1
    assert 'some.md is stale' in capsys.readouterr().err
    assert generate_reference.main([]) == 0
    assert generate_reference.main(['--check']) == 0


@pytest.mark.slow
@pytest.mark.parametrize('page', QUICK, ids=relative)
def test_quick_blocks_run(page: Path, tmp_path: Path) -> None:
    for package in ('mujoco', 'gym_pusht', 'rosbags', 'torch'):
        pytest.importorskip(package, reason=f'{package} is not installed')
    quick = [block for block in run_blocks.read_blocks(page) if block.quick]
    for block, _, failure in run_blocks.run_page(quick, tmp_path / 'page'):
        assert not failure, f'{block.page}:{block.line}: {failure}'


def test_the_points_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip('cv2', reason='opencv is not installed (extra: runtime)')
    draw_points = load('draw_points')
    monkeypatch.setattr(draw_points, 'SECONDS', 1.0)
    out = tmp_path / 'points.png'
    assert draw_points.main([str(ROOT / 'models/point_navigation'), 'point_navigation', str(out)]) == 0
    picture = cv2.imread(str(out))
    assert picture.shape == (2 * 244, 3 * 244, 3)
    orange = (picture[..., 2] > 240) & (picture[..., 0] < 60)
    assert all(part.any() for row in np.split(orange, 2) for part in np.split(row, 3, axis=1))


def test_learning_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip('cv2', reason='opencv is not installed (extra: runtime)')
    pytest.importorskip('matplotlib', reason='matplotlib is not installed (extra: train)')
    draw_learning = load('draw_learning')
    rows = [{'step': n, 'episodes': n, 'trial_success': n / 4, 'trial_reward': 1.0} for n in (1, 2, 3)]
    learnt = {'reinforcement': {'method': 'sac', 'curve': rows}}
    monkeypatch.setattr(draw_learning, 'load_bundle', lambda folder: SimpleNamespace(provenance=learnt))
    out = tmp_path / 'learning.png'
    assert draw_learning.main([str(out), 'runs/sac']) == 0
    # A line in matplotlib's first colour, blue, in each of three panels.
    picture = cv2.imread(str(out)).astype(int)
    blue = (picture[..., 0] > 160) & (picture[..., 2] < 60)
    assert all(part.any() for part in np.array_split(blue, 3, axis=1))
    learnt.clear()
    with pytest.raises(DataError, match='got a bundle without reinforcement'):
        draw_learning.main([str(out), 'runs/sac'])


def test_marks_scale_a_block_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_blocks, 'ROOT', tmp_path)
    page = tmp_path / 'page.md'
    page.write_text(
        '<!-- runnable; quick: --episodes 500 -> --episodes 2; b -> c -->\n```bash\na --episodes 500\nb\n```\n'
    )
    (block,) = run_blocks.read_blocks(page)
    assert (block.script, block.scaled, block.quick) == ('a --episodes 500\nb\n', 'a --episodes 2\nc\n', False)
    page.write_text('<!-- runnable; quick: x -> y -->\n```bash\na\n```\n')
    with pytest.raises(ValueError, match='allowed TEXT -> OTHER'):
        run_blocks.read_blocks(page)
    page.write_text('<!-- runnable -->\ntext\n')
    with pytest.raises(ValueError, match='got 1 marks, 0 of them before a bash block'):
        run_blocks.read_blocks(page)


def test_what_makes_a_pages_material_runs_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_blocks, 'ROOT', tmp_path)
    page = tmp_path / 'page.md'
    page.write_text('<!-- runnable -->\n```bash\ncat bags\n```\n\n<!-- before: test.maker bags 2 -->\n')
    before, after = run_blocks.read_blocks(page)
    assert (before.line, before.quick, before.script) == (6, True, f'{sys.executable} -m test.maker bags 2\n')
    assert after.script == 'cat bags\n'


def test_a_block_that_fails_ends_its_page(tmp_path: Path) -> None:
    blocks = [
        run_blocks.Block(page='p', line=line, quick=True, script=script, scaled=script)
        for line, script in enumerate(('dp_ros --version', 'false | cat; true', 'echo never'))
    ]
    ran = list(run_blocks.run_page(blocks, tmp_path / 'page'))
    assert [bool(failure) for *_, failure in ran] == [False, True]


def test_commands_are_found_in_code_and_not_in_prose() -> None:
    text = 'Run `dp_ros train --data\nX` or dp_ros nothing.\n\n    ros2 run dp_ros dp_ros reset --yes  # --no\n'
    assert commands_in(text) == [('reset', ['--yes']), ('train', ['--data'])]
    assert isinstance(generate_reference.commands()['train'], argparse.ArgumentParser)
