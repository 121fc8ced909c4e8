"""The hub's own program with one promise broken on purpose, or its reserve taken away.

``python altered_hub.py ALTERATION run --data DIR ...``: what the proofs of power cuts and full disks are
tried on.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub import app
from hub.storage import blobs, database, incoming


def _lax() -> None:
    """``synchronous=NORMAL``: a commit is answered before it is on the disk."""

    class Lax(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("synchronous = FULL", "synchronous = NORMAL"), *rest)

    real = sqlite3.connect
    sqlite3.connect = lambda path, **options: real(path, **{"factory": Lax, **options})  # type: ignore[assignment]


def _picture_unsynced() -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix != ".jpg":
            real(descriptor)

    os.fsync = fsync  # type: ignore[assignment]


def _folder_unsynced() -> None:
    blobs._fsync_folder = lambda folder: None


def _answered_early() -> None:
    def commit_together(self: database.Database, batch: list[Any]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        outcomes = [(job.answer, *self._attempt(job.work)) for job in batch]
        self._tell(outcomes, changed=True)
        time.sleep(0.005)
        self._connection.execute("COMMIT")

    database.Database._commit_together = commit_together  # type: ignore[method-assign]


def _upload_unsynced() -> None:
    incoming.Incoming._sync_or_fail = lambda self, sync: None  # type: ignore[method-assign]


def _upload_folder_unsynced() -> None:
    incoming._fsync = lambda path, flags: None


def _no_reserve() -> None:
    app.NOTICES = blobs.Reserve(0.0, 0)


ALTERATIONS: dict[str, Callable[[], None]] = {
    "lax": _lax,
    "picture-unsynced": _picture_unsynced,
    "folder-unsynced": _folder_unsynced,
    "answered-early": _answered_early,
    "upload-unsynced": _upload_unsynced,
    "upload-folder-unsynced": _upload_folder_unsynced,
    "no-reserve": _no_reserve,
}
FAULTS = ("lax", "picture-unsynced", "folder-unsynced", "answered-early")
"""Those that a power cut has to bring to light."""
UPLOAD_FAULTS = ("lax", "folder-unsynced", "upload-unsynced", "upload-folder-unsynced")
"""Those that it has to bring to light while files arrive."""


def altered(command: list[str], alteration: str) -> list[str]:
    """The command of a hub (`hub_command`) with ``alteration``."""
    return [command[0], str(Path(__file__)), alteration, *command[3:]]


if __name__ == "__main__":
    from hub.cli import main

    ALTERATIONS[sys.argv[1]]()
    main(sys.argv[2:])
