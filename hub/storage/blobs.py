"""Blobs: files named by the SHA-256 of their bytes, written so that a power cut leaves all of one or nothing.

``root/tmp`` is the staging folder, emptied at every start; ``root/blobs/aa/<sha256>`` holds what is kept.
Staged files become blobs by rename, so both must lie on one file system. ``root/quarantine/<sha256>`` is
where a blob goes whose bytes are found not to be what its name says.

Order is what keeps promises here: a blob is kept (and fsynced) *before* the row that names it is
committed, and removed only *after* the row is gone. Two residents may post the same picture, so

- the transaction that stores a row naming a blob checks ``exists()`` first, and
- ``remove()`` is called after the commit that dropped a row, in the writer's thread, for blobs that no
  row names any more;

then no removal can fall between another's ``keep()`` and its row.

Bytes that are kept again replace those that were there, so that keeping heals what a card has spoilt.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import threading
import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from pathlib import Path
from typing import Protocol

from hub.domain.errors import NoRoom, NotFound
from hub.domain.fetching import PIECE as PIECE
from hub.domain.notices import BlobRef

_NAME = re.compile(r"[0-9a-f]{64}")
_FOLDER = re.compile(r"[0-9a-f]{2}")
_CARD_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_UNREADABLE = frozenset(
    {errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA, errno.EREMOTEIO, errno.ELOOP, errno.EISDIR}
)
"""What a card answers that has lost a file, or a file system that finds something else in its place."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """How much of the card stays free: ``share`` of its size or ``least`` bytes, whichever is more."""

    share: float
    least: int

    def of(self, size: int) -> int:
        """Bytes to keep free on a card of ``size`` bytes."""
        return max(int(size * self.share), self.least)


UPLOADS = Reserve(share=0.10, least=1_000_000_000)
"""Where files and pictures stop (reliability.md section 7)."""
NOTICES = Reserve(share=0.0, least=64 * 1024 * 1024)
"""Where words stop: long after files and pictures did."""


@contextmanager
def card_trouble() -> Iterator[None]:
    """Turn a full, read-only or failing card (ENOSPC, EDQUOT, EROFS, EIO) into NoRoom, with its cause."""
    try:
        yield
    except OSError as error:
        if error.errno in _CARD_TROUBLE:
            raise NoRoom from error
        raise


class Found(Enum):
    """What reading a blob through came to."""

    SOUND = "sound"
    BROKEN = "broken"
    """Its bytes are not what its name says, or cannot be read."""
    GONE = "gone"


class Inspection:
    """One blob read from the card, a stretch at a time, to see whether its bytes still have its name.

    Nothing is held open between two stretches, so it can be left at any time. Blocking.
    """

    def __init__(self, path: Path) -> None:
        self.sha256 = path.name
        self.found: Found | None = None
        """None until all is read."""
        self.identity: _Identity | None = None
        self._path = path
        self._hash = hashlib.sha256()
        self._offset = 0

    def read(self, most: int) -> int:
        """Read up to ``most`` bytes more and return how many there were; at the end, `found` is set.

        They come from the card itself and are not left in the system's cache, where they would take
        the place of what people ask for. Raises OSError for what says nothing about the blob.
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                return self._read(descriptor, most)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            self.found = Found.GONE
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            self.found = Found.BROKEN
            if self.identity is None:
                self.identity = _identity(self._path)
        return 0

    def _read(self, descriptor: int, most: int) -> int:
        identity = _identity(descriptor)
        if identity != self.identity:  # the first time, or it was kept again meanwhile
            self.identity, self._offset, self._hash = identity, 0, hashlib.sha256()
        os.posix_fadvise(descriptor, self._offset, most, os.POSIX_FADV_DONTNEED)
        try:
            data = os.pread(descriptor, most, self._offset)
        finally:
            os.posix_fadvise(descriptor, self._offset, most, os.POSIX_FADV_DONTNEED)
        self._hash.update(data)
        self._offset += len(data)
        if len(data) < most:
            self.found = Found.SOUND if self._hash.hexdigest() == self.sha256 else Found.BROKEN
        return len(data)


class Whole(Protocol):
    """A file on the blobs' file system that is complete, closed and fsynced, and the name of its bytes."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def ref(self) -> BlobRef:
        """What its bytes are called."""


class BlobStore:
    """Content-addressed files under ``root``. Every method blocks: call it in a thread; many may.

    All writing methods raise NoRoom when the card is full, read-only or failing. After a folder could
    not be fsynced the store keeps nothing more, because the kernel forgets such an error and the next
    fsync would succeed without having written (reliability.md section 7); ``failed`` then holds the
    error until the process is started anew.
    """

    def __init__(self, root: Path) -> None:
        self.staging = root / "tmp"
        self.failed: OSError | None = None
        self._root = root
        self._blobs = root / "blobs"
        self._quarantine = root / "quarantine"
        self._durable: set[str] = set()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Make the folders that are missing (the parent of ``root`` exists) and empty the staging folder.

        Called once, before any other method.
        """
        with card_trouble():
            if not self._root.is_dir():
                self._root.mkdir(mode=0o700)
                _fsync_folder(self._root.parent)
            for folder in (self._blobs, self.staging):
                folder.mkdir(mode=0o700, exist_ok=True)
            for left in self.staging.iterdir():
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
                else:
                    left.unlink()
            for folder in (self.staging, self._blobs, self._root):
                _fsync_folder(folder)
        self._durable = {folder.name for folder in self._folders()}

    def keep(self, staged: Path) -> BlobRef:
        """Make the regular file ``staged`` a blob and return its name once it is on the card.

        ``staged`` lies in the staging folder (or one below it), is complete and closed, and is gone
        afterwards, whether a blob was made, was there already, or NoRoom was raised.
        """
        with card_trouble():
            try:
                descriptor = os.open(staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    ref = _name(descriptor)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                self._settle(staged, ref)
            finally:
                staged.unlink(missing_ok=True)
        return ref

    def keep_bytes(self, data: bytes) -> BlobRef:
        """Make ``data`` a blob and return its name once it is on the card."""
        staged = self.staging / secrets.token_hex(16)
        with card_trouble():
            try:
                descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
            except OSError:
                staged.unlink(missing_ok=True)
                raise
        return self.keep(staged)

    def settle(self, whole: Whole) -> None:
        """Make a blob of a file that is whole, and return once it is on the card under its name.

        ``whole.path`` stays, as another name of the same bytes, for the caller to unlink: after the commit
        of the row that names the blob nothing is lost, and before it everything can be tried again.
        """
        staged = self.staging / secrets.token_hex(16)
        with card_trouble():
            os.link(whole.path, staged, follow_symlinks=False)
            try:
                self._settle(staged, whole.ref)
            finally:  # renaming a file to its own other name does nothing
                staged.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the blob lies, or would lie. NotFound for anything but 64 lower-case hex digits."""
        if not _NAME.fullmatch(sha256):
            raise NotFound
        return self._blobs / sha256[:2] / sha256

    def exists(self, sha256: str) -> bool:
        """Whether the blob is here. NotFound for what cannot be a name."""
        return self.path(sha256).is_file()

    def read(self, sha256: str) -> bytes:
        """All bytes of the blob (only for those known to be small). NotFound when it is not here."""
        try:
            return self.path(sha256).read_bytes()
        except FileNotFoundError:
            raise NotFound from None

    def pieces(self, sha256: str) -> bytes:
        """The SHA-256 (32 bytes) of each 256 KiB piece, in order. NotFound when the blob is not here."""
        try:
            with self.path(sha256).open("rb") as file:
                return b"".join(
                    hashlib.sha256(piece).digest() for piece in iter(lambda: file.read(PIECE), b"")
                )
        except FileNotFoundError:
            raise NotFound from None

    def crc32(self, sha256: str) -> int:
        """The CRC-32 of the blob's bytes. NotFound when the blob is not here."""
        try:
            with self.path(sha256).open("rb") as file:
                return reduce(
                    lambda crc, piece: zlib.crc32(piece, crc), iter(lambda: file.read(PIECE), b""), 0
                )
        except FileNotFoundError:
            raise NotFound from None

    def verify(self, sha256: str) -> bool:
        """Whether the blob is here, can be read, and its bytes still have its name."""
        try:
            with self.path(sha256).open("rb") as file:
                return _name(file.fileno()).sha256 == sha256
        except OSError:
            return False

    def remove(self, sha256: str) -> None:
        """Unlink the blob, if it is here, and return once it is gone from the card as well.

        Erasure of content: call it after the commit that dropped the last row naming it (see above).
        """
        path = self.path(sha256)
        with card_trouble():
            with self._lock:
                path.unlink(missing_ok=True)
                (self._quarantine / sha256).unlink(missing_ok=True)
            for folder in (path.parent, self._quarantine):
                if folder.is_dir():  # a process that died here may have unlinked without the fsync
                    self._fsync_or_fail(folder)

    def collect(self, referenced: Container[str], *, older_than_ms: int, now_ms: int) -> list[str]:
        """Remove blobs that no row names and that were kept over ``older_than_ms`` ago; return their names.

        ``referenced`` holds every blob that a row names: content, and what is held for a caretaker.
        A blob kept again since counts from then, so one whose row is about to be written stays.
        The age is that of the file, so call this while ``now_ms`` comes from a clock that was not
        just put right.
        """
        removed: list[str] = []
        with card_trouble():
            for folder in self._folders():
                gone = [
                    path.name
                    for path in folder.iterdir()
                    if self._drop(path, referenced, now_ms - older_than_ms)
                ]
                if gone:
                    self._fsync_or_fail(folder)
                    removed += gone
        return removed

    def names_after(self, position: str) -> list[str]:
        """Blobs whose names follow ``position``, in order: those of one folder at a time, none at the end."""
        for folder in sorted(self._folders()):
            if folder.name >= position[:2]:
                names = (path.name for path in folder.iterdir())
                found = sorted(name for name in names if _NAME.fullmatch(name) and name > position)
                if found:
                    return found
        return []

    def inspect(self, sha256: str) -> Inspection:
        """A look at the bytes of a blob. NotFound for what cannot be a name."""
        return Inspection(self.path(sha256))

    def set_aside(self, inspection: Inspection) -> bool:
        """Move a blob that was found broken into the quarantine; return once it lies there for good.

        False when it has gone, or was kept again since it was read.
        """
        path = self.path(inspection.sha256)
        with card_trouble():
            if not self._quarantine.is_dir():
                self._quarantine.mkdir(mode=0o700)
                self._fsync_or_fail(self._root)
            with self._lock:
                if inspection.identity is None or _identity(path) != inspection.identity:
                    return False
                path.rename(self._quarantine / path.name)
            for folder in (self._quarantine, path.parent):
                self._fsync_or_fail(folder)
        return True

    def set_aside_names(self) -> list[str]:
        """The blobs that lie in the quarantine."""
        try:
            names = [path.name for path in self._quarantine.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if _NAME.fullmatch(name))

    def inspect_set_aside(self, sha256: str) -> Inspection:
        """A second look at one that lies in the quarantine: the card may have recovered."""
        return Inspection(self._quarantine / self.path(sha256).name)

    def bring_back(self, inspection: Inspection) -> None:
        """Make a blob again of one in the quarantine that was found sound after all."""
        path = self._quarantine / inspection.sha256
        with card_trouble():
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                ref = _name(descriptor)
            finally:
                os.close(descriptor)
            if ref.sha256 == inspection.sha256:
                self._settle(path, ref)
                self._fsync_or_fail(self._quarantine)

    def drop_set_aside(self, sha256: str) -> None:
        """Unlink the blob in the quarantine, if it is there, and return once it is gone from the card."""
        with card_trouble():
            (self._quarantine / self.path(sha256).name).unlink(missing_ok=True)
            if self._quarantine.is_dir():
                self._fsync_or_fail(self._quarantine)

    def is_read_only(self) -> bool:
        """Whether the card takes no writes at all; tried with an empty file in the staging folder."""
        probe = self.staging / secrets.token_hex(16)
        try:
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            return error.errno == errno.EROFS
        return False

    def free_bytes(self) -> int:
        """Bytes of the card that the hub may still fill."""
        card = os.statvfs(self._root)
        return card.f_bavail * card.f_frsize

    def size_bytes(self) -> int:
        """Bytes of the whole card (the file system that holds the data folder)."""
        card = os.statvfs(self._root)
        return card.f_blocks * card.f_frsize

    def require_room(self, reserve: Reserve, size: int = 0) -> None:
        """Raise NoRoom unless ``reserve`` would still be free with ``size`` bytes more on the card."""
        if self.free_bytes() - size < reserve.of(self.size_bytes()):
            raise NoRoom

    def _settle(self, staged: Path, ref: BlobRef) -> None:
        """Rename ``staged`` to its name, in place of what may be there; make the name durable."""
        if self.failed:
            raise NoRoom from self.failed
        target = self.path(ref.sha256)
        folder = target.parent
        if folder.name not in self._durable:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._fsync_or_fail(self._blobs)
            self._durable.add(folder.name)
        os.utime(staged)  # young: collect() leaves it alone until its row is there
        with self._lock:
            staged.rename(target)
        self._fsync_or_fail(folder)

    def _fsync_or_fail(self, folder: Path) -> None:
        try:
            _fsync_folder(folder)
        except OSError as error:
            self.failed = error
            raise

    def _folders(self) -> list[Path]:
        return [folder for folder in self._blobs.iterdir() if _FOLDER.fullmatch(folder.name)]

    def _drop(self, path: Path, referenced: Container[str], before_ms: int) -> bool:
        """Unlink ``path`` if it is a blob that ``referenced`` lacks, kept before ``before_ms``."""
        if not _NAME.fullmatch(path.name) or path.name in referenced:
            return False
        with self._lock:
            try:
                if path.stat().st_mtime_ns // 1_000_000 >= before_ms:
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
        return True


def _name(descriptor: int) -> BlobRef:
    """Read an open file from its start, once, and name it."""
    whole, pieces, size = hashlib.sha256(), hashlib.sha256(), 0
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        while piece := file.read(PIECE):
            whole.update(piece)
            pieces.update(hashlib.sha256(piece).digest())
            size += len(piece)
    return BlobRef(sha256=whole.hexdigest(), size=size, pieces=pieces.hexdigest())


_Identity = tuple[int, int, int, int]
"""Device, inode, size and time of a file: another when bytes were kept in its place."""


def _identity(file: int | Path) -> _Identity | None:
    """None when it is not there."""
    try:
        found = file.lstat() if isinstance(file, Path) else os.fstat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
