"""Blobs that are here in part: the data folder's ``fetching``, a file and a list of hashes for each.

There is no note of which pieces have arrived: a piece is here if its bytes have the hash that the list
says, which is looked up when the hub starts again. So a kill costs the piece that was on its way, and a
power cut what was not on the card yet, and neither can make a wrong piece count as a right one.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from hub.domain.errors import NotFound
from hub.domain.fetching import HASH, PIECE, Untrue, WrongBytes, length_of, pieces_in, require_list
from hub.domain.notices import BlobRef
from hub.storage.blobs import card_trouble

FLUSH = 8 * 1024 * 1024
"""Bytes after which the kernel is told to write and forget: the last fsync is short and memory stays free."""
_NAME = re.compile(r"([0-9a-f]{64})-([0-9]{1,18})-([0-9a-f]{64})(\.list)?")
_READ = 4 * PIECE

Chunk = bytes | memoryview
"""Some bytes as they came from a network."""


class Partial:
    """One blob that is being fetched. Methods block and exclude each other; `Partials.open` makes one.

    All raise NotFound once the blob was discarded or closed, and NoRoom when the card is full, read-only
    or failing. A sync that failed discards what is there (reliability.md section 7): the kernel forgets
    such an error.
    """

    def __init__(self, folder: Path, ref: BlobRef) -> None:
        self.ref = ref
        self.path = folder / _name(ref)
        self._list_path = folder / f"{_name(ref)}.list"
        self._lock, self._summing = threading.Lock(), threading.Lock()
        self._descriptor = -1
        self.hashes = b""
        """Of its pieces, once they are known."""
        self._whole = hashlib.sha256()
        self._summed = 0
        """Bytes from the start that `_whole` has seen."""
        self._unflushed = 0
        self._gone = False

    def resume(self) -> tuple[bool, list[int]]:
        """Whether the list is here, and which pieces are."""
        with self._lock, card_trouble():
            self._require()
            try:
                hashes = self._list_path.read_bytes()
                require_list(self.ref, hashes)
            except (FileNotFoundError, WrongBytes):
                return False, []
            self.hashes = hashes
            self._open()
            return True, self._look()

    def take_list(self, hashes: bytes) -> None:
        """The list, as it came; raises WrongBytes when it is not the one the record means."""
        require_list(self.ref, hashes)
        with self._lock, card_trouble():
            self._require()
            self._list_path.write_bytes(hashes)
            self.hashes = hashes
            self._open()

    def put(self, piece: int, chunks: Sequence[Chunk]) -> None:
        """Keep a piece; raises WrongBytes, and keeps nothing, when it is not the one that the list says."""
        sum_ = hashlib.sha256()
        size = 0
        for chunk in chunks:
            sum_.update(chunk)
            size += len(chunk)
        if size != length_of(self.ref.size, piece) or sum_.digest() != self._hash(piece):
            raise WrongBytes
        at = piece * PIECE
        with self._lock, card_trouble():
            self._require_open()
            _write(self._descriptor, chunks, at)
            self._unflushed += size
            if self._unflushed >= FLUSH:
                self._unflushed = 0
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def sum(self, piece: int, chunks: Sequence[Chunk]) -> None:
        """Count a piece for the sum of the whole, if it is its turn: what is not counted, `finish` reads.

        It may be called while `put` looks whether the piece is right; if it is not, let `sum_anew` follow.
        """
        with self._summing:
            if piece * PIECE == self._summed:
                for chunk in chunks:
                    self._whole.update(chunk)
                self._summed += length_of(self.ref.size, piece)

    def sum_anew(self) -> None:
        """Something wrong was counted."""
        with self._summing:
            self._whole, self._summed = hashlib.sha256(), 0

    def finish(self) -> None:
        """All pieces were put: return once they are on the card.

        Raises Untrue when the whole has another name than its record says, though every piece is right.
        """
        with self._lock, self._summing, card_trouble():
            self._require_open()
            while data := os.pread(self._descriptor, _READ, self._summed):
                self._whole.update(data)
                self._summed += len(data)
            if self._summed != self.ref.size or self._whole.hexdigest() != self.ref.sha256:
                raise Untrue
            self._sync()

    def discard(self) -> None:
        """Remove what is here; may be called again."""
        with self._lock:
            self._gone = True
            self.path.unlink(missing_ok=True)
            self._list_path.unlink(missing_ok=True)
            self._close()

    def close(self) -> None:
        """Let the file go and leave it where it is, to be resumed."""
        with self._lock:
            self._close()

    def _hash(self, piece: int) -> bytes:
        return self.hashes[piece * HASH : (piece + 1) * HASH]

    def _look(self) -> list[int]:
        """The pieces that are here."""
        found = []
        self._whole, self._summed = hashlib.sha256(), 0
        size = min(os.fstat(self._descriptor).st_size, self.ref.size)
        for piece in range(pieces_in(size)):
            at = piece * PIECE
            data = os.pread(self._descriptor, length_of(self.ref.size, piece), at)
            if hashlib.sha256(data).digest() != self._hash(piece):
                continue
            found.append(piece)
            if at == self._summed:
                self._whole.update(data)
                self._summed += len(data)
        return found

    def _open(self) -> None:
        self._close()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError:
            self._gone = True
            self.path.unlink(missing_ok=True)
            raise

    def _require(self) -> None:
        if self._gone:
            raise NotFound

    def _require_open(self) -> None:
        if self._descriptor < 0:  # discarded, or left by those who brought it
            raise NotFound


class Partials:
    """The folder. Every method blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[BlobRef, Partial] = {}
        self._lock = threading.Lock()

    def begun(self) -> set[BlobRef]:
        """What lies here in part. Makes the folder if there is none, and removes strays. Raises NoRoom."""
        refs = set()
        with card_trouble():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            for path in self.folder.iterdir():
                found = _NAME.fullmatch(path.name)
                if found:
                    refs.add(BlobRef(found[1], int(found[2]), found[3]))
                else:
                    path.unlink()
        return refs

    def open(self, ref: BlobRef) -> Partial:
        """The partial blob ``ref``; the same one for everybody who brings some of it."""
        with self._lock:
            if ref not in self._open:
                self._open[ref] = Partial(self.folder, ref)
            return self._open[ref]

    def leave(self, partial: Partial) -> None:
        """Close it and leave it where it is."""
        with self._lock:
            if self._open.get(partial.ref) is partial:
                del self._open[partial.ref]
        partial.close()

    def remove(self, ref: BlobRef) -> None:
        """Remove what is here of ``ref``, also while it is being fetched."""
        self.open(ref).discard()
        with self._lock:
            self._open.pop(ref, None)

    def discard(self, sha256: str) -> None:
        """Remove whatever is here of a blob (hex), however it was described: erasure of content."""
        for ref in self.begun():
            if ref.sha256 == sha256:
                self.remove(ref)


def _name(ref: BlobRef) -> str:
    return f"{ref.sha256}-{ref.size}-{ref.pieces}"


def _write(descriptor: int, chunks: Sequence[Chunk], at: int) -> None:
    left: list[Chunk] = list(chunks)
    while left:
        written = os.pwritev(descriptor, left[:_AT_ONCE], at)
        at += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = memoryview(left[0])[written:]


_AT_ONCE = 512
"""Buffers handed to one call; Linux takes 1,024 (IOV_MAX)."""
