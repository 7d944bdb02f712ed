"""An instruction as numbers, offline: the mean of static word vectors, from a package that brings them along.

The order of words does not count: "left, then right" is "right, then left". Instructions of one robot should differ in
words.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.errors import ConfigError, DataError
from dp_ros.task.goals import TEXT_WIDTH


@lru_cache(maxsize=256)
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
