"""Text as searches compare it: case, accents and letter variants folded away; hits marked in the original.

Folding looks at one character at a time, never at its neighbours, so every folded character can be
traced back to the original one and a hit can be marked in what the author wrote.

What is folded: case; accents and points; letters that Unicode does not decompose (``ł ø đ æ``);
compatibility forms (``ﬁ``, full width, Arabic presentation forms); Arabic harakat, tatweel and invisible
joiners; digits of every script to ``0-9``; apostrophes (``mae'n`` and ``maen`` are one word). Arabic
script: alef with hamza, madda or wasla is alef; ``ي ی ى ے ې`` are one letter, so are ``ك ک``,
``ه ہ ھ ة ۃ ە`` and ``ن ں``; ``پ`` and ``ب``, ``گ`` and ``ك``, ``چ`` and ``ج`` stay apart. Vowel signs,
nuktas and viramas of Indic scripts belong to the letters of their words and are kept.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

_SIGNS_OF_SPELLING = frozenset({0, 7, 8, 9})
"""Canonical combining classes of vowel signs, nukta, kana voicing and virama; the others are accents."""

_VARIANTS = str.maketrans(
    {
        "ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "þ": "th", "æ": "ae", "œ": "oe",
        "\u0671": "\u0627",  # alef wasla
        "\u0649": "\u064a", "\u06cc": "\u064a", "\u06cd": "\u064a", "\u06ce": "\u064a",
        "\u06d0": "\u064a", "\u06d2": "\u064a",  # alef maqsura, Farsi ya, ya with tail or v, e, ya barree
        "\u06a9": "\u0643", "\u06aa": "\u0643",  # keheh, swash kaf
        "\u0629": "\u0647", "\u06be": "\u0647", "\u06c1": "\u0647", "\u06c3": "\u0647",
        "\u06d5": "\u0647",  # ta marbuta, do-chashmi heh, heh goal, ta marbuta goal, ae
        "\u06ba": "\u0646",  # noon ghunna
    }
)  # fmt: skip

_DROPPED = frozenset("'’‘ʼʻ`\u00b4\u0640\u034f") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Apostrophes, tatweel, and marks that only choose how a letter is drawn."""


def _fold_character(character: str) -> str:
    if character in _DROPPED:
        return ""
    kept: list[str] = []
    for part in unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold()):
        category = unicodedata.category(part)
        if category[0] in "LN":
            digit = unicodedata.decimal(part, None)
            kept.append(part if digit is None else str(digit))
        elif category in ("Mn", "Mc"):
            if unicodedata.combining(part) in _SIGNS_OF_SPELLING and part not in _DROPPED:
                kept.append(part)
        elif category not in ("Cf", "Me") and part not in _DROPPED:
            kept.append(" ")
    return "".join(kept).translate(_VARIANTS)


class _Table(dict[int, str]):
    """Code point to folded text, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        folded = _fold_character(chr(code))
        if code < 0x3000:  # the alphabets; remembering all of Unicode would cost 100 MB
            self[code] = folded
        return folded


_TABLE = _Table()


def fold(text: str) -> str:
    """``text`` as searches compare it: folded words, everything between them turned into spaces."""
    return text.translate(_TABLE)


def words(text: str) -> list[str]:
    """The folded words of ``text`` in their order, repetitions included."""
    return fold(text).split()


def mark(text: str, terms: Iterable[str]) -> list[tuple[str, bool]]:
    """``text`` cut into pieces that join up to it again; True where a word begins with one of ``terms``.

    ``terms`` are folded words (from :func:`words`). Only the matching beginning of a word is marked,
    with the accents that stand on its letters.
    """
    pieces: list[tuple[str, bool]] = []
    done = 0
    for start, end in _hits(text, terms):
        if start > done:
            pieces.append((text[done:start], False))
        pieces.append((text[start:end], True))
        done = end
    if done < len(text):
        pieces.append((text[done:], False))
    return pieces


def excerpt_around(text: str, terms: Iterable[str], length: int) -> str:
    """At most ``length`` (>= 20) characters of ``text`` around its first hit, white space made single spaces.

    The beginning of ``text`` when nothing matches. ``…`` stands where something was left out.
    """
    text = " ".join(text.split())
    if len(text) <= length:
        return text
    hit = next(_hits(text, terms), (0, 0))[0]
    start = 0
    if hit > length // 2:
        start = min(hit - length // 3, len(text) - length + 1)
        start = text.find(" ", start - 1, hit) + 1 or hit
    opening = "…" if start else ""
    if len(opening) + len(text) - start <= length:
        return opening + text[start:]
    furthest = start + length - len(opening) - 1
    end = text.rfind(" ", hit + 1, furthest + 1)
    if end < 0:  # one very long word: cut it, but leave its accents on their letters
        end = furthest
        while end > hit + 1 and unicodedata.category(text[end])[0] == "M":
            end -= 1
    return opening + text[start:end].rstrip() + "…"


def _hits(text: str, terms: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Start and end in ``text`` of every beginning of a word that folds to one of ``terms``."""
    wanted = sorted({term for term in terms if term}, key=len, reverse=True)
    if not wanted:
        return
    beginnings = re.compile(f"(?<![^ ])(?:{'|'.join(map(re.escape, wanted))})")
    flat = fold(text)
    if len(flat) == len(text) and text.isascii():  # then each character folds to one
        yield from (found.span() for found in beginnings.finditer(flat))
        return
    until: list[int] = []
    done = 0
    for found in beginnings.finditer(flat):
        if not until:  # how many folded characters there are up to and with each original one
            until = list(accumulate(map(len, map(_TABLE.__getitem__, map(ord, text)))))
        start, end = bisect_right(until, found.start()), bisect_right(until, found.end() - 1) + 1
        while end < len(text) and unicodedata.category(text[end])[0] == "M":
            end += 1
        if start >= done:  # one character can fold to several words
            yield start, end
            done = end
