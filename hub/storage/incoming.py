"""Files on their way in: written in place, named while they are written, cut back to what was promised.

The data folder's ``uploads/<token>`` grows by appending, so that what has arrived stays over restarts. A
file that is whole becomes a blob with `hub.storage.blobs.BlobStore.settle`.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

from hub.domain.errors import NoRoom, NotFound
from hub.domain.notices import BlobRef
from hub.storage.blobs import PIECE, card_trouble

FLUSH = 8 * 1024 * 1024
"""Bytes after which the kernel is told to write and forget: the last fsync is short and memory stays free."""
_READ = 1024 * 1024
_AT_ONCE = 512
"""Buffers handed to one call; Linux takes 1,024 (IOV_MAX)."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that is whole and on the card, under a name of its own until it is settled."""

    path: Path
    ref: BlobRef
    crc32: int
    hashes: bytes = field(default=b"", compare=False)
    """Of its pieces, where they are still known."""


class _Sums:
    """What names bytes, as far as they were read: SHA-256 of the whole and of its pieces, and CRC-32."""

    __slots__ = ("_in_piece", "_piece", "_pieces", "_whole", "crc32", "size")

    def __init__(self) -> None:
        self.size = 0
        self.crc32 = 0
        self._whole = hashlib.sha256()
        self._pieces = bytearray()
        self._piece = hashlib.sha256()
        self._in_piece = 0

    def update(self, data: bytes) -> None:
        self._whole.update(data)
        self.crc32 = zlib.crc32(data, self.crc32)
        self.size += len(data)
        rest = memoryview(data)
        while rest:
            part = rest[: PIECE - self._in_piece]
            self._piece.update(part)
            self._in_piece += len(part)
            rest = rest[len(part) :]
            if self._in_piece == PIECE:
                self._pieces += self._piece.digest()
                self._piece, self._in_piece = hashlib.sha256(), 0

    def copy(self) -> _Sums:
        twin = copy(self)
        twin._whole, twin._pieces = self._whole.copy(), self._pieces[:]
        twin._piece = self._piece.copy()
        return twin

    def hashes(self) -> bytes:
        return bytes(self._pieces) + (self._piece.digest() if self._in_piece else b"")

    def ref(self) -> BlobRef:
        pieces = hashlib.sha256(self.hashes()).hexdigest()
        return BlobRef(sha256=self._whole.hexdigest(), size=self.size, pieces=pieces)


class Incoming:
    """One file on its way in. Every method blocks (call it in a thread), and none runs beside another.

    All writing methods raise NoRoom when the card is full, read-only or failing. What was written since
    the last `hold` can be taken back with `rewind`, also after such an error. A `sync` or `finish` that
    failed is final: the kernel forgets the error, so that what is there can no longer be trusted
    (reliability.md section 7), and every later call raises NoRoom.
    """

    def __init__(self, path: Path, descriptor: int, sums: _Sums) -> None:
        self.path = path
        self._descriptor = descriptor
        self._sums = sums
        self._held = sums.copy()
        self._flushed = sums.size
        self._failed: OSError | None = None

    @classmethod
    def begin(cls, path: Path, *, lasting: bool = False) -> Incoming:
        """A new, empty file; a ``lasting`` one has its name on the card as well.

        Its folder is there; FileExistsError if the name is taken.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with card_trouble():
            incoming = cls(path, os.open(path, flags, 0o600), _Sums())
            if lasting:
                try:
                    _fsync(path.parent, os.O_RDONLY | os.O_DIRECTORY)
                except OSError:
                    incoming.discard()
                    raise
        return incoming

    @classmethod
    def resume(cls, path: Path, offset: int, abandon: threading.Event | None = None) -> Incoming:
        """The file as it stood at ``offset``: what lies beyond is cut off, the rest is read and summed.

        Raises NotFound when it is not here or is shorter, and InterruptedError once ``abandon`` is set.
        """
        with card_trouble():
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                raise NotFound from None
            try:
                os.posix_fadvise(descriptor, 0, offset, os.POSIX_FADV_SEQUENTIAL)
                sums = _Sums()
                while sums.size < offset:
                    data = os.read(descriptor, min(_READ, offset - sums.size))
                    if not data:
                        raise NotFound
                    sums.update(data)
                    if sums.size % FLUSH < len(data):
                        os.posix_fadvise(descriptor, 0, sums.size, os.POSIX_FADV_DONTNEED)
                    if abandon is not None and abandon.is_set():
                        raise InterruptedError
                if os.fstat(descriptor).st_size > offset:
                    os.ftruncate(descriptor, offset)
            except BaseException:
                os.close(descriptor)
                raise
        return cls(path, descriptor, sums)

    @property
    def offset(self) -> int:
        """Bytes that were written and summed."""
        return self._sums.size

    @property
    def failed(self) -> bool:
        """Whether a `sync` or `finish` failed."""
        return self._failed is not None

    @property
    def held(self) -> int:
        """Bytes that a `rewind` would leave."""
        return self._held.size

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append ``chunks``, none of them empty."""
        self._require_sound()
        with card_trouble():
            for first in range(0, len(chunks), _AT_ONCE):
                _write_all(self._descriptor, chunks[first : first + _AT_ONCE])
        for chunk in chunks:
            self._sums.update(chunk)
        if self.offset - self._flushed >= FLUSH:
            self._flushed = self.offset
            # Linux begins to write what is dirty and drops what has been written.
            os.posix_fadvise(self._descriptor, 0, self.offset, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        """Return once all that was written is on the card."""
        self._require_sound()
        self._sync_or_fail(os.fdatasync)

    def hold(self) -> None:
        """What is there is promised: `rewind` leaves it."""
        self._held = self._sums.copy()

    def rewind(self) -> None:
        """Cut off what was written since the last `hold`."""
        self._require_sound()
        with card_trouble():
            os.ftruncate(self._descriptor, self._held.size)
            os.lseek(self._descriptor, self._held.size, os.SEEK_SET)
        self._sums = self._held.copy()
        self._flushed = min(self._flushed, self._held.size)

    def finish(self) -> Arrived:
        """The whole file, once it is on the card."""
        self._require_sound()
        self._sync_or_fail(os.fsync)
        return Arrived(self.path, self._sums.ref(), self._sums.crc32, self._sums.hashes())

    def close(self) -> None:
        """Let the file go and leave it where it is; may be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _sync_or_fail(self, sync: Callable[[int], None]) -> None:
        with card_trouble():
            try:
                sync(self._descriptor)
            except OSError as error:
                self._failed = error
                raise

    def _require_sound(self) -> None:
        if self._failed is not None:
            raise NoRoom from self._failed


@dataclass(frozen=True, slots=True)
class Promised:
    """Up to where a file was said to be on the card, and whether that is all of it."""

    offset: int
    whole: bool


def agree(folder: Path, promised: Mapping[str, Promised]) -> list[str]:
    """Make the files of ``folder`` fit what was promised of them by name; the names that cannot be kept.

    What lies beyond a promise is cut off, what nobody knows is removed, and so is what is too short.
    The folder is made if it is missing. For the start, before anything comes. Raises NoRoom.
    """
    with card_trouble():
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            _fsync(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
        sizes = {path.name: _size(path) for path in folder.iterdir() if path.is_symlink() or path.is_file()}
        lost = [name for name, promise in promised.items() if not _can_be_kept(promise, sizes.get(name))]
        kept = promised.keys() - set(lost)
        for name, size in sizes.items():
            if name not in kept:
                (folder / name).unlink()
            elif size is not None and size > promised[name].offset:
                os.truncate(folder / name, promised[name].offset)
                _fsync(folder / name, os.O_RDONLY)
    return lost


def _can_be_kept(promise: Promised, size: int | None) -> bool:
    if size is None:
        return False
    return size == promise.offset if promise.whole else size >= promise.offset


def _size(path: Path) -> int | None:
    return None if path.is_symlink() else path.stat().st_size


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, chunks: Sequence[bytes]) -> None:
    left: list[bytes | memoryview] = list(chunks)
    while left:
        written = os.writev(descriptor, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = memoryview(left[0])[written:]
