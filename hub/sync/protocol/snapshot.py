"""What a session reads of this hub's sets and records."""

from __future__ import annotations

from typing import Protocol

from hub.domain.reconcile import SetView
from hub.domain.records import WireRecord
from hub.domain.sharing import Entry, SetKey


class Snapshot(Protocol):
    """One consistent read transaction, given to every step of a session and not kept after it."""

    def summary(self, key: SetKey) -> tuple[bytes, int]:
        """Fingerprint (16 bytes) and size of a set."""
        ...

    def view(self, key: SetKey) -> SetView:
        """The set to read; an empty one where there is none."""
        ...

    def entry(self, key: SetKey, record_id: bytes) -> Entry | None:
        """Where the log has the item of a set with that id, and how soon it is sent; None when the set
        lacks it."""
        ...

    def wire(self, n: int) -> WireRecord | None:
        """The record at a place in the log; None when it was dropped."""
        ...

    def lacks(self, record_id: bytes) -> bool:
        """Whether to fetch a record of that id: it is neither in the log, nor kept aside to wait."""
        ...
