"""Take-down phrases: four plain words that stand for 40 random bits.

They are shown once, when a notice goes up, and let its author take it down from any device. The
words are in British spelling, easily said and spelt, unlike each other: none begins another, and
no slip of one letter turns one into another. Their order is fixed by the file; never change it.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

PHRASE_BYTES = 5
"""Random bytes that make one phrase: four words of ten bits."""

WORDS = tuple(Path(__file__).with_name("phrase_words.txt").read_text(encoding="ascii").split())

_BETWEEN = re.compile(r"[\W_]+")
_LONGEST = 200


def make_phrase(random_bytes: bytes) -> str:
    """The phrase for ``PHRASE_BYTES`` random bytes: ``lantern otter window plough``.

    Raises ``ValueError`` for any other number of bytes.
    """
    if len(random_bytes) != PHRASE_BYTES:
        raise ValueError(f"a phrase is made from {PHRASE_BYTES} bytes, not {len(random_bytes)}")
    number = int.from_bytes(random_bytes, "big")
    return " ".join(WORDS[number >> shift & 1023] for shift in (30, 20, 10, 0))


def normalise(typed: str) -> str:
    """``typed`` as ``make_phrase`` writes it: lower case, one space between words, nothing else.

    Whatever stands between words (hyphens, commas, line ends) is a space. Text that is no phrase
    comes back in the same form and matches none.
    """
    return _BETWEEN.sub(" ", unicodedata.normalize("NFKC", typed[:_LONGEST]).casefold()).strip()
