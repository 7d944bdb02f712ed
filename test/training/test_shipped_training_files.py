"""Training files that are shipped: each is valid, its network can be made, and PushT's mirror is the same in all."""

import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros.paths import share_folder
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.run_folder import make_network
from dp_ros.training.settings import TrainSettings

FILES = sorted((share_folder() / 'config/train').glob('*.yaml'))


def name_of(file):
    return file.stem


@pytest.mark.parametrize('file', FILES, ids=name_of)
def test_a_training_file_is_valid_and_named_as_it_is(file):
    settings = read_yaml(file, TrainSettings)
    assert settings.name == file.stem
    assert sum(parameter.numel() for parameter in make_network(settings, pretrained=False).parameters()) > 0


def test_the_mirror_of_pusht_is_the_same_wherever_it_is():
    """`test_mirror` holds one of them against the physics."""
    mirrors = {file.stem: read_yaml(file, TrainSettings).mirror for file in FILES if file.stem.startswith('pusht_')}
    tested = mirrors['pusht_mirror']
    others = [mirror for mirror in mirrors.values() if mirror]
    assert len(others) > 1
    for mirror in others:
        assert all(mirror[name] == tested[name] for name in mirror.keys() & tested.keys())
