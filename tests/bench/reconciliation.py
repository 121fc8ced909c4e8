"""Bytes and round trips of finding what two hubs lack of 100,000 records, between two databases.

Bytes are exact and those of the messages, without the frames and the TLS around them; only the CPU
is this machine's.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from hub.domain.clock import Stamp, TimeQuality
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import Scope
from hub.domain.policy import DAY_MS
from hub.domain.reconcile import Splitting, encode_varint
from hub.domain.records import Header, Record, RecordType, Stream, seal
from hub.domain.sharing import SetKey
from hub.storage import journal, sets
from hub.storage.database import connect
from hub.storage.migrate import migrate
from hub.storage.sets import StoredSnapshot
from hub.sync.protocol.negentropy import FRAME_BYTES, MAX_RANGES, Reconciler
from tests.bench.figures import Figure
from tests.bench.street import Ground

N = 100_000
FIRST_MS = 1_795_392_000_000 - N * 60_000
WHOLE = 2**20
"""A frame that no answer here fills: what the reference's figures were counted with."""
KEY = SetKey(Stream.NOTICES, b"")


def run(ground: Ground) -> list[Figure]:
    """What is different between two hubs, and what finding it costs on the wire."""
    chance = random.Random(4)
    records = [_record(number, chance) for number in range(N)]
    newest, scattered = records[-1000:], chance.sample(records, 1000)
    ours, theirs = (_hub(ground.work / f"reconciled-{name}.db", records) for name in ("ours", "theirs"))
    with closing(ours), closing(theirs):
        pair = Pair(ours, theirs)
        return [
            *_nothing(ours),
            *pair.cost(records[-10:], "10 newest differ", 2_000, 2),
            *pair.cost(chance.sample(records, 10), "10 scattered differ"),
            *pair.cost(newest, "1,000 newest differ", 24_000, 3),
            *pair.cost(scattered, "1,000 scattered differ, whole answers", 800_000, 2, WHOLE),
            *pair.cost(scattered, "1,000 scattered differ, 60 kB frames"),
            *pair.cost(scattered, "the same split 8 ways", splitting=Splitting(8, 8)),
            *pair.cost(records, "first join, asked by the fuller hub", lacking="other"),
            *pair.cost(records, "first join, asked by the empty hub", lacking="initiator"),
            *_lies(ours),
        ]


class Pair:
    """Two hubs that hold the same, and what it costs when they do not quite."""

    def __init__(self, ours: sqlite3.Connection, theirs: sqlite3.Connection) -> None:
        self._hubs = (ours, theirs)

    def cost(
        self,
        single: Sequence[Record],
        what: str,
        most_bytes: int = 0,
        most_rounds: int = 0,
        frame_limit: int = FRAME_BYTES,
        splitting: Splitting | None = None,
        lacking: str = "",
    ) -> list[Figure]:
        """Half of ``single`` are missing on either side, or all of them on the one that is ``lacking``."""
        missing: tuple[Sequence[Record], Sequence[Record]] = (single[::2], single[1::2])
        if lacking:
            missing = ((), single) if lacking == "other" else (single, ())
        for connection, gone in zip(self._hubs, missing, strict=True):
            connection.execute("BEGIN")
            for record in gone:
                sets.remove(connection, record)
        try:
            rounds, size, found, spent = self._reconcile(frame_limit, splitting)
        finally:
            for connection in self._hubs:
                connection.execute("ROLLBACK")
        assert found == len(single)
        note = f"{size / found:,.1f} B a difference; {1000 * spent:.0f} ms CPU, both sides"
        return [
            Figure(
                "reconciliation", f"{what}: bytes", size, "B", f"<={most_bytes}" if most_bytes else "", note
            ),
            Figure(
                "reconciliation",
                f"{what}: round trips",
                rounds,
                "",
                f"<={most_rounds}" if most_rounds else "",
            ),
        ]

    def _reconcile(self, frame_limit: int, splitting: Splitting | None) -> tuple[int, int, int, float]:
        """Round trips, bytes, differences and CPU seconds; every message is read in a state of its own."""
        began = time.process_time()
        initiator, other = (Reconciler(self._view(hub), frame_limit, splitting) for hub in self._hubs)
        found = size = rounds = 0
        message: bytes | None = initiator.initiate()
        while message is not None:
            other.view = self._view(self._hubs[1])
            answer = other.answer(message)
            initiator.view = self._view(self._hubs[0])
            step = initiator.reconcile(answer)
            size += len(message) + len(answer)
            rounds += 1
            found += len(step.have) + len(step.need)
            message = step.reply
        return rounds, size, found, time.process_time() - began

    def _view(self, connection: sqlite3.Connection) -> sets.StoredSet:
        return StoredSnapshot(connection).view(KEY)


def _record(number: int, chance: random.Random) -> Record:
    """A record a minute after the one before; nobody checks its signature here."""
    header = Header(
        HubId(bytes(32)),
        Epoch(bytes(8)),
        number + 1,
        RecordType.NOTICE,
        ObjectId(chance.randbytes(16)),
        Stamp(FIRST_MS + number * 60_000, 0),
        TimeQuality.REFERENCE,
        FIRST_MS + 400 * DAY_MS,
        Scope.NETWORK,
    )
    return seal(header, None, lambda data: bytes(64))


def _hub(path: Path, records: Iterable[Record]) -> sqlite3.Connection:
    """A hub's database with ``records`` in its log."""
    connection = connect(path)
    migrate(connection, FIRST_MS, "bench")
    connection.execute("BEGIN")
    for record in records:
        journal.append(connection, record, FIRST_MS)
    connection.execute("COMMIT")
    return connection


def _nothing(connection: sqlite3.Connection) -> list[Figure]:
    """Both sides say fingerprint and count of the set; equal ones end it."""
    began = time.perf_counter()
    mark, count = sets.summary(connection, KEY)
    spent = 1000 * (time.perf_counter() - began)
    size = 2 * len(mark + encode_varint(count))
    note = f"both sides; {spent:.1f} ms to sum it up"
    return [
        Figure("reconciliation", "nothing changed: bytes a set", size, "B", "<=64", note),
        Figure("reconciliation", "nothing changed: round trips", 1, "", "<=1"),
    ]


def _lies(connection: sqlite3.Connection) -> list[Figure]:
    """As many wrong fingerprints as a message may hold."""
    other = Reconciler(StoredSnapshot(connection).view(KEY), WHOLE)
    first, each = encode_varint(FIRST_MS + 1), encode_varint(24 * 60_000 + 1)
    ranges = ((each if number else first) + b"\0\x01" + bytes(16) for number in range(MAX_RANGES))
    message = b"\x61" + b"".join(ranges)
    began = time.process_time()
    answer = other.answer(message)
    spent = 1000 * (time.process_time() - began)
    note = f"{len(message):,} B asked, {len(answer):,} B answered"
    return [Figure("reconciliation", "4,096 wrong fingerprints: CPU", spent, "ms", "<=1,000", note)]
