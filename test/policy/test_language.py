"""What an instruction means: words of its goal's phrasings, others that are near, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dp_ros.errors import ConfigError, DataError
from dp_ros.policy.language import WORD, embed, instruction_value, meaning_of, vocabulary
from dp_ros.simulation.worlds.pick_place.spec import PARAPHRASES
from dp_ros.task.goals import Instruction
from dp_ros.task.yaml_reader import read_yaml

pytest.importorskip('wordllama', reason='wordllama is not installed (extra: language)')
ROOT = Path(__file__).parents[2]
COLOURS = Instruction(
    phrasings={
        'red_gently': ('the red one, gently', 'softly take red'),
        'red_firmly': ('the red one, firmly', 'firmly take red'),
        'blue_gently': ('the blue one, gently', 'softly take blue'),
        'blue_firmly': ('the blue one, firmly', 'firmly take blue'),
    }
)


@pytest.fixture(scope='module')
def shipped() -> Instruction:
    """Return the instruction of the shipped configuration."""
    pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    from dp_ros.training.settings import TrainSettings

    (goal,) = read_yaml(ROOT / 'config/train/pick_place_instruction.yaml', TrainSettings).task.goals
    assert isinstance(goal, Instruction)
    return goal


@pytest.mark.parametrize(
    ('text', 'meaning'),
    [
        ('the red one, gently', 'red_gently'),
        ('Firmly, BLUE!', 'blue_firmly'),
        ('take the blue one softly', 'blue_gently'),
        ('the red one, softer', 'red_gently'),  # a word that no phrasing has
    ],
)
def test_words_come_to_one_meaning_and_its_first_phrasing_stands_for_it(text: str, meaning: str) -> None:
    assert meaning_of(COLOURS, text) == meaning
    assert np.array_equal(instruction_value(COLOURS, text), embed(COLOURS.phrasings[meaning][0]))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('the green one, gently', "got 'green', a word like none of training"),
        ('take the red one tenderly', "got 'tenderly', a word like none of training"),
        ('make me a coffee', "got 'make', a word like none of training"),
        ('the red one', 'got what may be red_firmly or red_gently'),
        ('gently', 'got what may be blue_gently or red_gently'),
        ('the red one, the blue one, gently', "got 'blue' with 'red', which mean different things"),
        ('red, firmly, softly', "got 'softly' with 'firmly', which mean different things"),
        ('?!', 'got none words'),
        ('red ' * 100, 'got more than 64 words'),
    ],
)
def test_what_means_none_or_several_is_refused_with_what_was_trained(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        meaning_of(COLOURS, text)
    assert "allowed what means one of red_gently ('the red one, gently', ...), red_firmly" in str(caught.value)


def test_without_phrasings_an_instruction_stands_for_itself() -> None:
    assert meaning_of(Instruction(), 'make me a coffee') == ''
    assert np.array_equal(instruction_value(Instruction(), 'push'), embed('push'))


def test_the_limit_is_how_near_words_come_that_never_stand_for_the_same() -> None:
    known = vocabulary(tuple((name, tuple(texts)) for name, texts in COLOURS.phrasings.items()))
    pairs = [('firmly', 'softly'), ('firmly', 'gently'), ('red', 'blue')]
    assert known.limit == pytest.approx(max(embed(one) @ embed(other) / 256 for one, other in pairs))
    assert known.meanings['red'] == {'red_gently', 'red_firmly'} and known.meanings['take'] == set(COLOURS.phrasings)
    assert known.nearest('firmly') == ('firmly', 1.0)


@pytest.mark.parametrize('phrasings', [{'red': ()}, {'red': ('red', ' ')}])
def test_a_meaning_without_words_is_refused(phrasings: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ConfigError, match="goal 'instruction' phrasings: got none, or empty ones, for red"):
        Instruction(phrasings=phrasings)


def test_the_paraphrases_of_pick_place_are_understood_though_no_phrasing_is_like_them(shipped: Instruction) -> None:
    trained = {word for texts in shipped.phrasings.values() for text in texts for word in WORD.findall(text)}
    unseen = set()
    for meaning, texts in PARAPHRASES.items():
        assert [meaning_of(shipped, text) for text in shipped.phrasings[meaning]] == [meaning] * 15
        assert [meaning_of(shipped, text) for text in texts] == [meaning] * 8
        assert not set(texts) & set(shipped.phrasings[meaning])
        unseen |= {word for text in texts for word in WORD.findall(text)} - trained
    assert unseen == {'transfer', 'delicate', 'careful', 'softer', 'powerful', 'forceful', 'harder'}


FREELY = {
    'gently': (
        'grab the {red} {box} gently', 'would you softly put the {red} {block} over there in the tray',
        'fetch the {red} {cube}, but handle it with care', 'carefully transfer the {red} object into the tray',
        'lay the {red} one down in the tray, lightly', 'gently now: the {red} {square} one goes into the container',
        'keep a light grip while you bring over the {red} {box}', 'take hold of the {red} {cube} with a soft touch',
    ),
    'firmly': (
        'grab the {red} {box} firmly', 'would you tightly grasp the {red} {block} and drop it in the tray',
        'fetch the {red} {cube}, but hold it with force', 'firmly transfer the {red} object into the tray',
        'lay the {red} one down in the tray with a strong hand', 'take hold of the {red} {cube}, hard',
        'firmly now: the {red} {square} one goes into the container',
        'keep a tight grip while you bring over the {red} {box}',
    ),
}  # fmt: skip
"""Written before the phrasings were settled."""
NOUNS = {
    'red': {'red': 'red', 'box': 'box', 'block': 'block', 'cube': 'cube', 'square': 'square'},
    'blue': {'red': 'blue', 'box': 'cylinder', 'block': 'can', 'cube': 'cylinder', 'square': 'round'},
}


def test_of_what_people_say_freely_some_is_understood_and_the_rest_refused_but_none_mistaken(
    shipped: Instruction,
) -> None:
    understood = 0
    for colour, nouns in NOUNS.items():
        for grip, texts in FREELY.items():
            for text in texts:
                with suppress(DataError):
                    assert meaning_of(shipped, text.format(**nouns)) == f'{colour}_{grip}'
                    understood += 1
    assert understood == 12


@pytest.mark.parametrize(
    'text',
    [
        'take the green one gently', 'put the yellow box into the tray firmly', 'the crimson one, tenderly',
        'make me a coffee', 'open the red door gently', 'throw the red one away softly', 'paint the blue wall softly',
        'put the red pen into the drawer, firmly', 'the red one, gently or firmly', 'both, gently', 'stop', 'go home',
        "don't take the red one gently", 'not the red one, gently', 'never grip the blue one firmly', 'the red one',
        'push the red box firmly', 'turn the red knob hard', 'lift it gently', 'the blue box, firmly', 'nimm den roten',
    ],
)  # fmt: skip
def test_what_pick_place_was_not_trained_for_is_refused(shipped: Instruction, text: str) -> None:
    with pytest.raises(DataError, match='allowed what means one of red_gently'):
        meaning_of(shipped, text)
