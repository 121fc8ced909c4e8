"""Where the log has the record of an id, in memory.

In the database such an index would cost each post a page, since ids come in random order
(docs/adr/0010-posts-and-pages.md); and only who exchanges records asks.
"""

from __future__ import annotations

import sqlite3
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterator

_RUN = 8_192


class LogIndex:
    """Every record's place by the first 8 bytes of its id, 16 bytes a record; for any number of threads.

    Only committed records may be shown to it. What it finds is looked up in the transaction that asks, so
    that what was dropped is not found; and it reads each place once, since none is given twice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: list[tuple[array[int], array[int]]] = []
        self._newest: dict[bytes, int] = {}
        self._end = 0

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Read what the log has got since the last time; the first time everything (0.1 s for 100,000)."""
        with self._lock:
            # Without an order the first time, SQLite reads the index of objects, a tenth of the log.
            newer = " WHERE n > ? ORDER BY n" if self._end else " WHERE ? = 0"
            for n, record_id in connection.execute(f"SELECT n, id FROM record{newer}", (self._end,)):
                self._newest[record_id] = n
                self._end = max(self._end, n)
                if len(self._newest) == _RUN:
                    self._sort_newest()

    def find(self, connection: sqlite3.Connection, record_id: bytes) -> int | None:
        """The record's place in the log as ``connection`` sees it, after a `catch_up` in that transaction."""
        with self._lock:
            places = list(self._places(record_id))
        for n in places:
            if connection.execute("SELECT 1 FROM record WHERE (n, id) = (?, ?)", (n, record_id)).fetchone():
                return n
        return None

    def _places(self, record_id: bytes) -> Iterator[int]:
        """The places of records whose ids begin alike; most often one or none."""
        if record_id in self._newest:
            yield self._newest[record_id]
        start = int.from_bytes(record_id[:8])
        for starts, places in self._runs:
            at = bisect_left(starts, start)
            while at < len(starts) and starts[at] == start:
                yield places[at]
                at += 1

    def _sort_newest(self) -> None:
        pairs = sorted((int.from_bytes(record_id[:8]), n) for record_id, n in self._newest.items())
        self._runs.append((array("Q", (start for start, _ in pairs)), array("Q", (n for _, n in pairs))))
        self._newest.clear()
