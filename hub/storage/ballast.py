"""The ballast: room on the card that is given up when the database itself has none left.

A full card must not keep a hub from starting, from erasing, or from finishing a write that it began. So
a file that holds nothing lies in the data folder until then (reliability.md section 7).
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

from hub.storage.blobs import NOTICES, card_trouble

WHOLE = 32 * 1024 * 1024
"""Bytes of the ballast where there is room for it."""
SPARE = NOTICES.least + WHOLE
"""Bytes that stay free beside a ballast that is made: notices are not refused for its sake."""
START_BYTES = 8 * 1024 * 1024
"""What a start needs at most: the WAL's full size and the file that connections share."""
_BLOCK = 512
"""What `stat` counts in."""


class Ballast:
    """The file at ``path``. Every method blocks: call it in a thread; many may."""

    def __init__(self, path: Path, whole: int = WHOLE) -> None:
        self._path = path
        self._whole = whole
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes of the card that the ballast occupies."""
        try:
            return self._path.stat().st_blocks * _BLOCK
        except FileNotFoundError:
            return 0

    @property
    def is_whole(self) -> bool:
        """Whether it has its full size."""
        return self.held >= self._whole

    def lay(self, spare: int) -> None:
        """Make the ballast whole if ``spare`` bytes stay free beside it; else leave it as it is.

        Raises `NoRoom` for a card that cannot be written.
        """
        with self._lock:
            held = self.held
            if held < self._whole and held + self._free_bytes() - self._whole >= spare:
                self._occupy(self._whole)

    def take_back(self) -> None:
        """Make the ballast as large as there is room for, after it was lent. Raises as `lay`."""
        with self._lock:
            size = min(self._whole, self.held + self._free_bytes())
            if size > self.held:
                self._occupy(size)

    def free(self) -> bool:
        """Give the room up; returns whether any was won."""
        with self._lock:
            if not self.held:
                return False
            try:
                self._path.unlink()
                folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(folder)  # ext4 hands freed blocks out again once their freeing is on the card
                finally:
                    os.close(folder)
            except OSError:
                return False
            return True

    def _occupy(self, size: int) -> None:
        with card_trouble():
            try:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(descriptor, 0, size)
                finally:
                    os.close(descriptor)
            except OSError as error:
                if error.errno != errno.ENOSPC:  # somebody else was quicker: what could be had is held
                    raise

    def _free_bytes(self) -> int:
        card = os.statvfs(self._path.parent)
        return card.f_bavail * card.f_frsize
