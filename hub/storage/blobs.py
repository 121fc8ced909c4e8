"""Blobs: files named by the SHA-256 of their bytes, written so that a power cut leaves all of one or nothing.

``root/tmp`` is the staging folder, emptied at every start; ``root/blobs/aa/<sha256>`` holds what is kept.
Staged files become blobs by rename, so both must lie on one file system.

Order is what keeps promises here: a blob is kept (and fsynced) *before* the row that names it is
committed, and removed only *after* the row is gone. Two residents may post the same picture, so

- the transaction that stores a row naming a blob checks ``exists()`` first, and
- ``remove()`` is called after the commit that dropped a row, in the writer's thread, for blobs that no
  row names any more;

then no removal can fall between another's ``keep()`` and its row.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hub.domain.errors import NoRoom, NotFound
from hub.domain.notices import BlobRef

PIECE = 256 * 1024
"""Bytes of a piece: what is verified and fetched at a time (decision 26)."""

_NAME = re.compile(r"[0-9a-f]{64}")
_FOLDER = re.compile(r"[0-9a-f]{2}")
_CARD_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


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
            if path.parent.is_dir():  # a process that died here may have unlinked without the fsync
                self._fsync_or_fail(path.parent)

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
        """Rename ``staged`` to its name, or drop it for its equal that is there; make the name durable."""
        if self.failed:
            raise NoRoom from self.failed
        target = self.path(ref.sha256)
        folder = target.parent
        if folder.name not in self._durable:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._fsync_or_fail(self._blobs)
            self._durable.add(folder.name)
        with self._lock:
            if _size(target) == ref.size:
                os.utime(target)  # young again: collect() leaves it alone until its new row is there
                staged.unlink()
            else:
                staged.rename(target)
        # Also for a file that was there: whoever renamed it may not have come to this line.
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


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
