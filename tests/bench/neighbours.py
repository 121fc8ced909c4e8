"""Two neighbouring hubs as processes: a first join, how soon news is there, and what they cost at rest.

Both run on this machine, over mutual TLS on loopback, and share its processors. The environment variable
``JOIN_RECORDS`` makes it another number than 100,000.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import re
import socket
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub.api.schema import PairingIn
from hub.domain.files import CollectionDraft, FileDraft, Licence, MayAdd
from hub.domain.ids import Epoch, ObjectId
from hub.domain.notices import BlobRef, ReplyDraft, Scope
from hub.domain.records import decode_header
from hub.services.identity import load_or_create
from hub.services.publishing import publish_collection, publish_file, publish_notice, publish_reply
from hub.storage import journal, notices, search
from hub.storage.database import Database
from hub.storage.journal import Pen
from tests.bench.figures import Figure, percentile
from tests.bench.load import Job, drive, get
from tests.bench.posts import _forms
from tests.bench.processes import RAISED, Hub
from tests.bench.street import DAY_MS, Ground, copied, now_ms, wordy

RECORDS = int(os.environ.get("JOIN_RECORDS", "100000"))
MIX = "nnrnrnnnrnnrnnfnnrnn"
"""Of twenty records: notices, replies to earlier ones, and a file, of which nobody here has the bytes."""
OWN = 1_000
"""Notices of the hub that joins."""
READERS, PAUSE_S, IDLE_S, LOOK_S = 8, 0.5, 20.0, 2.0
SAMPLE = 5_000
"""Records that are barely verified, before the join and after it."""
LIVE = 50
SETTLE_S, REST_S = 30, 120
_VERIFIED = b"commhub-rec-1\0"
_GIVE_UP_S = 1800.0


def run(ground: Ground) -> list[Figure]:
    """The join first; then the same two hubs, which hold the same, swap news and rest."""
    full = ground.work / f"full-{RECORDS}"
    if not full.exists():
        filled(full, RECORDS)
    ports = _free_ports(4)
    with (
        Hub(copied(full, "giving"), _settings(ports[:2])) as giver,
        Hub(copied(ground.street(OWN), "joining"), _settings(ports[2:])) as joiner,
    ):
        pair = Pair(giver, joiner, ports)
        return [*_join(pair), *_live(pair), *_rest(pair)]


# --- a first join ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """A hub that has everything, and one that is to have it. ``ports``: for neighbours and for pairing, of
    each in turn."""

    giver: Hub
    joiner: Hub
    ports: Sequence[int]

    def become_neighbours(self) -> None:
        """Pair them as their caretakers would."""
        self.giver.desk.pairing("open", PairingIn())
        self.joiner.desk.pairing("begin", PairingIn(address=f"127.0.0.1:{self.ports[1]}"))
        for hub in (self.giver, self.joiner):
            hub.desk.pairing("accept", PairingIn())


def _join(pair: Pair) -> list[Figure]:
    """Pair them, and wait until all that one of them has is on the other, whose board is read meanwhile."""
    hubs = joiner, giver = pair.joiner, pair.giver
    sample, number = _sample(_folder(giver)), _logged(_folder(giver))
    job = Job(joiner.port, [get("/", joiner.port)], READERS, IDLE_S, pause_s=PAUSE_S)
    drive(job)
    quiet = drive(job)
    bare = [_verified_a_second(sample)]
    before = [(hub.memory().rss, hub.cpu_s()) for hub in hubs]
    for hub in hubs:
        Path(f"/proc/{hub.pid}/clear_refs").write_text("5")  # the peak counts from here
    whole = _logged(_folder(joiner)) + number
    pair.become_neighbours()
    began = time.perf_counter()
    latencies: list[float] = []
    while (there := _logged(_folder(joiner))) < whole:
        assert time.perf_counter() - began < _GIVE_UP_S, f"{there:,} of {whole:,} records are there"
        latencies += drive(replace(job, seconds=LOOK_S)).latencies
    seconds = time.perf_counter() - began
    load = os.getloadavg()[0]
    cpu = [(hub.cpu_s() - used) / number * 1e6 for hub, (_, used) in zip(hubs, before, strict=True)]
    grown = [hub.peak_mb() - held for hub, (held, _) in zip(hubs, before, strict=True)]
    bare.append(_verified_a_second(sample))
    rate, ceiling = number / seconds, statistics.mean(bare)
    busy_ms, quiet_ms = percentile(latencies, 0.95) * 1e3, quiet.percentile_ms(0.95)
    what = f"first join of {number:,} records"
    note = (
        f"{rate:,.0f} of {ceiling:,.0f} /s, {seconds:,.0f} s; CPU a record: joining {cpu[0]:.0f} us, "
        f"giving {cpu[1]:.0f} us; load {load:.1f}"
    )
    pages = f"{busy_ms:.1f} of {quiet_ms:.1f} ms"
    return [
        Figure("neighbours", f"{what}: of bare verification on one core", rate / ceiling, "", ">=0.5", note),
        Figure("neighbours", f"{what}: memory, joining hub", grown[0], "MB", "<=64", "more than before"),
        Figure("neighbours", f"{what}: memory, giving hub", grown[1], "MB", "<=64", "more than before"),
        Figure("neighbours", f"{what}: board's p95 meanwhile, of idle", busy_ms / quiet_ms, "", "<=3", pages),
    ]


# --- afterwards -----------------------------------------------------------------------------------------


def _live(pair: Pair) -> list[Figure]:
    """From sending a notice's form to one hub until the other shows the notice."""
    forms = (form for form in _forms(pair.giver.port, seed=4) if b'name="scope"\r\n\r\nnetwork' in form)
    seconds = []
    reader = http.client.HTTPConnection("127.0.0.1", pair.joiner.port)
    for _ in range(LIVE):
        began = time.perf_counter()
        answer = drive(Job(pair.giver.port, [next(forms)])).first
        place = re.search(rb"\r\nLocation: (/notices/[0-9a-z]+)", answer)
        assert place, answer
        while _status(reader, f"{place[1].decode()}.json") != 200:
            assert time.perf_counter() - began < _GIVE_UP_S
            time.sleep(0.005)
        seconds.append(time.perf_counter() - began)
        time.sleep(0.05)
    reader.close()
    p50, p95 = (percentile(seconds, share) for share in (0.5, 0.95))
    note = f"p50 {p50 * 1e3:.0f} ms, {LIVE} notices; load {os.getloadavg()[0]:.1f}"
    return [
        Figure("neighbours", "from posting until it stands on the other's board, p95", p95, "s", "<=2", note)
    ]


def _rest(pair: Pair) -> list[Figure]:
    """What two connected hubs cost while nothing happens."""
    time.sleep(SETTLE_S)
    hubs = pair.giver, pair.joiner
    before = [hub.cpu_s() for hub in hubs], _moved(pair.ports[0])
    time.sleep(REST_S)
    minutes = REST_S / 60
    cpu_ms = [(hub.cpu_s() - used) * 1e3 / minutes for hub, used in zip(hubs, before[0], strict=True)]
    moved = (_moved(pair.ports[0]) - before[1]) / minutes
    note = f"{cpu_ms[0]:.0f} and {cpu_ms[1]:.0f} ms"
    return [
        Figure(
            "neighbours",
            "two connected hubs at rest: CPU a minute, the busier one",
            max(cpu_ms),
            "ms",
            "<=60",
            note,
        ),
        Figure(
            "neighbours",
            "two connected hubs at rest: bytes a minute between them",
            moved,
            "B",
            "<=1,000",
            "of TCP, TLS included",
        ),
    ]


def _status(reader: http.client.HTTPConnection, path: str) -> int:
    reader.request("GET", path)
    answer = reader.getresponse()
    answer.read()
    return answer.status


def _moved(port: int) -> int:
    """Bytes that connections to ``port`` have carried both ways, as the kernel counts them."""
    said = subprocess.run(
        ["ss", "-tinH", "sport", "=", f":{port}"], stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    return sum(int(number) for number in re.findall(r"bytes_(?:sent|received):(\d+)", said))


# --- what they have -------------------------------------------------------------------------------------


def filled(data: Path, number: int) -> None:
    """Found a hub in ``data`` that has written so many records in the last four weeks."""
    data.mkdir(parents=True)
    chance = random.Random(8)
    identity = load_or_create(data / "key", chance.randbytes)
    database = Database.open(data / "hub.db", now_ms(), "bench", lambda: None)
    database.prepare(lambda connection: journal.found(connection, identity.hub, Epoch(chance.randbytes(8))))
    until = now_ms() + 60 * DAY_MS
    drafts = cycle([replace(draft, expires_ms=until) for _, draft in wordy(2_000)])
    shelf = ObjectId(chance.randbytes(16))
    answered: list[ObjectId] = []
    kinds = cycle(MIX)

    def write(connection: sqlite3.Connection) -> None:
        for _ in range(min(1000, number - journal.last_number(connection))):
            at_ms = now_ms() - 28 * DAY_MS + round(27 * DAY_MS * journal.last_number(connection) / number)
            pen, obj, salt = Pen(identity.sign, at_ms), ObjectId(chance.randbytes(16)), chance.randbytes(16)
            kind, draft = next(kinds), next(drafts)
            if kind == "n":
                publish_notice(connection, pen, obj, draft, salt)
                answered.append(obj)
            elif kind == "r":
                notice = notices.by_object(connection, at_ms, chance.choice(answered[-1000:]))
                assert notice is not None
                publish_reply(connection, pen, obj, ReplyDraft(draft.text, "en", "Bob"), notice, salt)
            else:
                blob = BlobRef(chance.randbytes(32).hex(), 2_000_000, chance.randbytes(32).hex())
                name = f"{draft.title}.mp4"
                file = FileDraft(name, blob, draft.text, "en", Scope.NETWORK, until)
                publish_file(connection, pen, obj, file, shelf, salt)
        search.index_batch(connection, 1000)

    def found_shelf(connection: sqlite3.Connection) -> None:
        draft = CollectionDraft("Films", "", "en", "", MayAdd.EVERYONE, Licence.ASK, 0, Scope.NETWORK, until)
        publish_collection(connection, Pen(identity.sign, until - 88 * DAY_MS), shelf, draft, bytes(16))

    database.prepare(found_shelf)
    while database.prepare(journal.last_number) < number:
        database.prepare(write)
    asyncio.run(database.close())


def _sample(data: Path) -> list[tuple[bytes, bytes, bytes]]:
    """Key, signature and what was signed of records all over the log."""
    with closing(sqlite3.connect(f"file:{data / 'hub.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT header, signature FROM record WHERE n % max(1, ?) = 0", (RECORDS // SAMPLE,)
        ).fetchall()
    return [(decode_header(header).hub, signature, _VERIFIED + header) for header, signature in rows]


def _verified_a_second(sample: list[tuple[bytes, bytes, bytes]]) -> float:
    began = time.process_time()
    for key, signature, signed in sample:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    return len(sample) / (time.process_time() - began)


def _folder(hub: Hub) -> Path:
    return hub.log.with_suffix("")


def _logged(data: Path) -> int:
    """How many records with words stand in a log."""
    with closing(sqlite3.connect(f"file:{data / 'hub.db'}?mode=ro", uri=True)) as connection:
        (number,) = connection.execute("SELECT count(*) FROM record WHERE length(body) > 100").fetchone()
    return int(number)


def _settings(ports: list[int]) -> str:
    return f"{RAISED}[neighbours]\nport = {ports[0]}\npairing_port = {ports[1]}\n"


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
