"""Durable posts against plain `sqlite3` that commits the same rows, and the bytes each costs the card."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.card import inserted
from tests.bench.figures import Figure, percentile, ratios
from tests.bench.load import Driven, Job, drive
from tests.bench.processes import Hub
from tests.bench.street import Ground, believable, copied

ROUNDS, ALONE, TOGETHER = 7, 150, 1000
BYTES_ALONE, BYTES_TOGETHER = 600, 3000
CARD_WRITES = 500
"""A second: what the class A1 of the SD Association promises of a card."""
Rows = list[dict[str, tuple[object, ...]]]
_TABLES = ("record", "notice", "ownership", "search_doc", "search_tail")


def run(ground: Ground) -> list[Figure]:
    """Posts a second alone and with fifty clients, and device bytes for each post."""
    before = ground.street(10_000)
    rows = _captured(before, max(ROUNDS * ALONE, BYTES_ALONE))
    figures = _rates(before, rows, "this disk", ROUNDS, ALONE, TOGETHER, None)
    with inserted(ground.work) as card, card.as_slow_as(CARD_WRITES) as group:
        if group:
            home = card.folder / "before"
            shutil.copytree(before, home)
            where = f"a card of {CARD_WRITES} writes a second"
            figures += _rates(home, rows, where, 3, 100, 600, group)
    return [*figures, *_bytes(ground.work, before, rows)]


def _rates(
    before: Path,
    rows: Rows,
    where: str,
    rounds: int,
    count_alone: int,
    count_together: int,
    group: Path | None,
) -> list[Figure]:
    alone, together, plain = list[Driven](), list[Driven](), list[float]()
    ledger = Plain(copied(before, "plain"))
    cpu = {1: 0.0, 50: 0.0}
    with Hub(copied(before, "posts"), cgroup=group) as hub:
        forms = _forms(hub.port, seed=1)
        drive(Job(hub.port, [next(forms) for _ in range(50)]))
        for number in range(rounds):
            began = time.perf_counter()
            ledger.commit(rows[number * count_alone : (number + 1) * count_alone])
            plain.append(count_alone / (time.perf_counter() - began))
            for connections, count, results in ((1, count_alone, alone), (50, count_together, together)):
                used = hub.cpu_s()
                done = drive(Job(hub.port, [next(forms) for _ in range(count)], connections))
                cpu[connections] += (hub.cpu_s() - used) / count / rounds * 1e6
                assert set(done.statuses) == {303}, (done.statuses, done.first)
                assert not done.failed
                results.append(done)
    ledger.close()
    figures = []
    for connections, results, goal in ((1, alone, ">=0.6"), (50, together, ">=1.5")):
        rates = [done.rate for done in results]
        latencies = [latency for done in results for latency in done.latencies]
        note = (
            f"{percentile(rates, 0.5):,.0f} of {percentile(plain, 0.5):,.0f} /s; CPU {cpu[connections]:,.0f} us; "
            f"p50 {percentile(latencies, 0.5) * 1e3:.1f}, p99 {percentile(latencies, 0.99) * 1e3:.1f} ms"
        )
        what = "one client" if connections == 1 else "fifty clients"
        figures.append(
            Figure(
                "posts", f"{where}, {what}: of plain sqlite3's commits", ratios(rates, plain), "", goal, note
            )
        )
    return figures


def _bytes(work: Path, before: Path, rows: Rows) -> list[Figure]:
    """From the first post until all is indexed, checkpointed and closed; what starting writes is apart."""
    figures = []
    with inserted(work) as card:
        home = card.folder / "before"
        shutil.copytree(before, home)
        plain = Plain(copied(home, "plain"))
        began = card.written()
        plain.commit(rows[:BYTES_ALONE])
        plain.close()
        theirs = (card.written() - began) / BYTES_ALONE
        for connections, count, most in ((1, BYTES_ALONE, "<=50000"), (50, BYTES_TOGETHER, "<=20000")):
            data = copied(home, "posts")
            with Hub(data) as hub:
                time.sleep(1)
                forms = _forms(hub.port, seed=2)
                began = card.written()
                done = drive(Job(hub.port, [next(forms) for _ in range(count)], connections))
                assert set(done.statuses) == {303}
                _wait_for_index(data)
                hub.stop()
                ours = (card.written() - began) / count
            what = f"device bytes a post, {'alone' if connections == 1 else 'with fifty clients'}"
            figures.append(Figure("posts", what, ours, "B", most, card.note))
            note = f"plain {theirs:,.0f} B, a commit each, no index"
            figures.append(Figure("posts", f"{what}: of plain sqlite3", ours / theirs, "", "<=1.3", note))
    return figures


class Plain:
    """A plain `sqlite3` connection in WAL mode with synchronous=FULL, one commit for each post."""

    def __init__(self, data: Path) -> None:
        self._connection = sqlite3.connect(data / "hub.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._inserts = {
            table: f"INSERT INTO {table} VALUES ({', '.join('?' * self._columns(table))})"
            for table in _TABLES
        }

    def _columns(self, table: str) -> int:
        return len(self._connection.execute(f"SELECT * FROM {table} LIMIT 1").description)

    def commit(self, rows: Rows) -> None:
        """Each post's rows in a transaction of their own, with the two counters that go with them."""
        for post in rows:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("UPDATE lineage SET seq = seq + 1, ms = ms + 1")
            for table, values in post.items():
                self._connection.execute(self._inserts[table], values)
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Checkpoint and close."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._connection.close()


def _captured(before: Path, count: int) -> Rows:
    """The rows that ``count`` posts through a hub make, one dictionary of tables for each post."""
    data = copied(before, "capture")
    with Hub(data) as hub:
        forms = _forms(hub.port, seed=3)
        done = drive(Job(hub.port, [next(forms) for _ in range(count)], 8))
        assert set(done.statuses) == {303}, (done.statuses, done.first)
        hub.stop()
    connection = sqlite3.connect(data / "hub.db")
    posts = []
    for record in connection.execute("SELECT * FROM record ORDER BY n DESC LIMIT ?", (count,)).fetchall():
        notice = connection.execute("SELECT * FROM notice WHERE obj = ?", (record[2],)).fetchone()
        owner = connection.execute("SELECT * FROM ownership WHERE obj = ?", (record[2],)).fetchone()
        document = connection.execute(
            "SELECT * FROM search_doc WHERE shown_ms = ? AND notice = ?", (notice[6], record[2])
        ).fetchone()
        posts.append(
            dict(zip(_TABLES, (record, notice, owner, document, document[:3]), strict=True))
        )  # fmt: skip
    connection.close()
    return posts[::-1]


def _wait_for_index(data: Path) -> None:
    """Until the hub has indexed what it indexes by itself."""
    connection = sqlite3.connect(f"file:{data / 'hub.db'}?mode=ro", uri=True)
    deadline = time.monotonic() + 30
    while connection.execute("SELECT count(*) FROM search_tail").fetchone()[0] >= 200:
        assert time.monotonic() < deadline, "not indexed"
        time.sleep(0.2)
    connection.close()


def _forms(port: int, seed: int) -> Iterator[bytes]:
    """What browsers send for a new notice without pictures, each from a device that has written before."""
    chance = random.Random(seed)
    devices = [chance.randbytes(16).hex() for _ in range(50)]
    drafts = [draft for _, draft in believable(3000)]
    number = 0
    while True:
        draft = drafts[number % len(drafts)]
        fields = {
            "key": chance.randbytes(12).hex(), "website": "", "kind": str(draft.kind),
            "title": draft.title, "text": draft.text, "name": draft.name, "contact": draft.contact,
            "lang": draft.lang, "scope": str(draft.scope), "until": "",
        }  # fmt: skip
        if fields["kind"] == "urgent":
            fields["kind"] = "news"
        boundary = f"----geckoformboundary{chance.randbytes(16).hex()}"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="picture"; filename=""\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n\r\n--{boundary}--\r\n"
        )
        body = "".join(parts).encode()
        head = (
            f"POST /notices HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            f"Accept-Encoding: gzip, deflate\r\nAccept-Language: en-GB\r\nSec-Fetch-Site: same-origin\r\n"
            f"Cookie: device={devices[number % 50]}\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
        )
        yield head.encode("ascii") + body
        number += 1
