"""Words and pictures that stand nowhere else, and what of them is left in the bytes of a data folder."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from hub.domain.folding import fold

WINDOW = 6
"""Bytes of the shortest piece of a word that is looked for: search tables hold words without their
beginnings."""
_LATIN = "qxzjvkw"
_NOT_IN_IDS = "ilou"
"""Every third letter of a Latin word: Crockford's base32 has none of them, so no public id has a piece."""
_ARABIC = "ظغثذضخطص"
_LETTERS = re.compile(rb"[%s]{6,}|[\x80-\xff]{6,}" % (_LATIN + _NOT_IN_IDS).encode())
_EMPTY = re.compile(rb"\0{16,}")


@dataclass(eq=False)
class Secrets:
    """Everything about one item that must be gone after its erasure."""

    words: list[str] = field(default_factory=list)
    bytes_: list[bytes] = field(default_factory=list)

    def word(self, chance: random.Random) -> str:
        """A new word nobody uses, in Latin or Arabic letters, sometimes longer than the index keeps."""
        letters = chance.choice([(_LATIN, _LATIN, _NOT_IN_IDS), (_ARABIC,)])
        length = chance.choice([9, 14, 60])
        made = "".join(chance.choice(letters[at % len(letters)]) for at in range(length))
        self.words.append(made)
        return made

    def sentence(self, chance: random.Random, count: int = 3) -> str:
        """``count`` such words among everyday ones."""
        everyday = ["ladder", "tea", "hall", "Tuesday", "بيت", "świetlica"]
        return " ".join(f"{chance.choice(everyday)} {self.word(chance)}" for _ in range(count))

    def picture(self, chance: random.Random) -> bytes:
        """A JPEG of noise; what the hub makes of it is added with `keep_blob`."""
        made = io.BytesIO()
        noise = Image.frombytes("RGB", (48, 32), chance.randbytes(48 * 32 * 3)).resize((480, 320))
        noise.save(made, "JPEG", quality=85)
        self.keep_blob(made.getvalue(), chance)
        return made.getvalue()

    def keep_blob(self, content: bytes, chance: random.Random) -> None:
        """Look for pieces of these bytes too."""
        for _ in range(16):
            at = chance.randrange(len(content) // 4, len(content) - 24)
            self.bytes_.append(content[at : at + 24])

    def pieces(self) -> set[bytes]:
        """Every piece of a word, as written or folded, that must not be found."""
        found = set()
        for word in self.words:
            for spelt in {word, fold(word)}:
                raw = spelt.encode()
                # Arabic letters take two bytes each, and three of them are a word of many.
                size = WINDOW if spelt.isascii() else WINDOW + 4
                found |= {raw[at : at + size] for at in range(len(raw) - size + 1)}
        return found


def content_of(folder: Path) -> bytes:
    """All bytes of all files in ``folder``, long stretches of zeros made short."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return b"\n".join(_EMPTY.sub(b"\0", path.read_bytes()) for path in files)


def found_in(folder: Path, secrets: Iterable[Secrets], living: Iterable[Secrets] = ()) -> Iterator[str]:
    """What is left of ``secrets`` in the files of ``folder``, and in which.

    A piece that ``living`` have too may be found: so short a piece can be of two words.
    """
    secrets = list(secrets)
    pieces = {piece for secret in secrets for piece in secret.pieces()}
    pieces -= {piece for secret in living for piece in secret.pieces()}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = _EMPTY.sub(b"\0", path.read_bytes())
        letters = b"\n".join(_LETTERS.findall(content))  # some thousandth of it: most pieces are of words
        yield from (_around(path, content, piece) for piece in pieces if piece in letters)
        for secret in secrets:
            yield from (_around(path, content, piece) for piece in secret.bytes_ if piece in content)


def _around(path: Path, content: bytes, piece: bytes) -> str:
    at = content.find(piece)
    return f"{path.name}: {piece!r} in {content[max(at - 24, 0) : at + len(piece) + 24]!r}"
