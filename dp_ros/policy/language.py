"""An instruction as numbers, offline: the mean of static word vectors, from a package that brings them along.

The order of words does not count: "left, then right" is "right, then left". Instructions of one robot should differ in
words.

Where the goal lists its phrasings, an instruction is understood first, or refused, and its meaning's first phrasing is
what the network gets, in training as on the robot. A word stands for the meanings whose phrasings have it; an
instruction means what all its words can stand for, and that must be one. A word that no phrasing has counts as the
nearest one that some have, if it is nearer to it than any two words are that never stand for the same: by these, static
word vectors can't be trusted to tell meanings apart.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import shown
from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.task.goals import TEXT_WIDTH, Instruction

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
MOST_WORDS = 64
Phrasings = tuple[tuple[str, tuple[str, ...]], ...]


@lru_cache(maxsize=1024)
def embed(text: str) -> np.ndarray:
    """Return the embedding (256,) float64 of an instruction, of mean square 1; computed once for each.

    Raises
    ------
    DataError
        If the text is empty.
    ConfigError
        If the package with the word vectors is not installed.

    """
    words = ' '.join(text.split())
    if not words:
        raise DataError("instruction: got '', allowed words")
    vector = np.asarray(_model().embed(words)[0], dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if not length > 0.0:
        raise DataError(f'instruction: got {text!r}, allowed words that can be told from nothing')
    vector *= np.sqrt(TEXT_WIDTH) / length
    vector.flags.writeable = False  # one array for all who ask
    return vector


def instruction_value(spec: Instruction, text: str) -> np.ndarray:
    """Return what stands for an instruction (256,); DataError as `meaning_of` has it."""
    meaning = meaning_of(spec, text)
    return embed(spec.phrasings[meaning][0] if meaning else text)


def meaning_of(spec: Instruction, text: str) -> str:
    """Return which of its goal's meanings an instruction has; '' where the goal lists none.

    Raises
    ------
    DataError
        If a word is far from all of the phrasings, or the words do not come to one meaning.

    """
    if not spec.phrasings:
        return ''
    words = WORD.findall(text.lower())[: MOST_WORDS + 1]
    known = vocabulary(tuple((name, tuple(texts)) for name, texts in spec.phrasings.items()))
    allowed = 'allowed what means one of ' + listed(
        f'{name} ({texts[0]!r}, ...)' for name, texts in spec.phrasings.items()
    )
    where = f'instruction {shown(text)}'
    if not 1 <= len(words) <= MOST_WORDS:
        raise DataError(f'{where}: got {"none" if not words else f"more than {MOST_WORDS}"} words, {allowed}')
    left, narrowed = set(spec.phrasings), ''
    for word in words:
        nearest, likeness = known.nearest(word)
        if likeness <= known.limit:
            raise DataError(
                f'{where}: got {word!r}, a word like none of training ({likeness:.2f} to {nearest!r}, needed more than '
                f'{known.limit:.2f}); {allowed}'
            )
        meanings = known.meanings[nearest]
        if not left & meanings:
            raise DataError(f'{where}: got {word!r} with {narrowed!r}, which mean different things; {allowed}')
        narrowed = word if left - meanings else narrowed
        left &= meanings
    if len(left) > 1:
        raise DataError(f'{where}: got what may be {" or ".join(sorted(left))}; {allowed}')
    return left.pop()


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """The words of a goal's phrasings.

    Attributes
    ----------
    meanings
        What each word can stand for.
    vectors
        Their directions (N, 256), of length 1.
    limit
        The highest cosine of two of them that never stand for the same, at least 0: what another word is taken for must
        be nearer.

    """

    meanings: dict[str, frozenset[str]]
    vectors: np.ndarray
    limit: float

    def nearest(self, word: str) -> tuple[str, float]:
        """Return the nearest of the words, and its cosine: 1 for itself."""
        if word in self.meanings:
            return word, 1.0
        cosines = self.vectors @ _direction(word)
        best = int(cosines.argmax())
        return list(self.meanings)[best], float(cosines[best])


@lru_cache(maxsize=8)
def vocabulary(phrasings: Phrasings) -> Vocabulary:
    """Return the words of phrasings, given by meaning."""
    meanings: dict[str, set[str]] = {}
    for name, texts in phrasings:
        for word in (word for text in texts for word in WORD.findall(text.lower())):
            meanings.setdefault(word, set()).add(name)
    vectors = np.array([_direction(word) for word in meanings])
    cosines, sets = vectors @ vectors.T, list(meanings.values())
    apart = [cosines[i, j] for i, one in enumerate(sets) for j, other in enumerate(sets[:i]) if not one & other]
    return Vocabulary(
        meanings={word: frozenset(names) for word, names in meanings.items()},
        vectors=vectors,
        limit=max([0.0, *apart]),
    )


def _direction(word: str) -> np.ndarray:
    return embed(word) / np.sqrt(TEXT_WIDTH)


@lru_cache(maxsize=1)
def _model() -> Any:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        import wordllama
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"instruction: {error.name} is not installed; allowed with the extra 'language': pip install "
            "'dp_ros[language]'"
        ) from error
    finally:
        # Importing it sets up logging for the whole process.
        root.handlers[:], root.level = handlers, level
    # Its tokenizer lies beside its weights, but is looked for only in what it takes for a cache.
    return wordllama.WordLlama.load(dim=TEXT_WIDTH, cache_dir=Path(wordllama.__file__).parent, disable_download=True)
