"""A real hub under the power-cut recorder while files arrive, and what must hold of them after each cut."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from hub import __version__
from hub.app import Places
from hub.domain.ids import Epoch
from hub.domain.notices import State
from hub.services.identity import load_or_create
from hub.storage import files, inspection, journal, retention, uploads
from hub.storage.blobs import BlobStore
from hub.storage.database import Connection, Database
from hub.storage.incoming import Promised, agree
from tests.integration.hub.altered_hub import altered
from tests.integration.hub.hub_process import Visitor, hub_command
from tests.integration.hub.recorded_hub import NOW_MS
from tests.powercut.proof import State as Cut
from tests.powercut.recorder import Recorder, ack_pattern

ANSWERS = ack_pattern(rb"HTTP/1\.1 (?:303|204) .{0,600}?(?:Location: |Upload-Offset: )(/?[\w./?=&-]+)\r\n")
"""Where each form led, and each offset that was promised: a hub acknowledges files with nothing else."""
LARGEST = 300_000


@dataclass
class Sent:
    """All bytes that were sent, and what each answer stands for."""

    contents: dict[str, bytes] = field(default_factory=dict)
    """By SHA-256."""
    forms: dict[str, list[str]] = field(default_factory=dict)
    """Where a form led to the SHA-256 of its files."""
    begun: dict[str, bytes] = field(default_factory=dict)
    """Token of an upload to the whole it will be."""
    promised: dict[str, tuple[str, int]] = field(default_factory=dict)
    """An offset in an answer, which no two uploads share, to its upload."""
    given_up: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


def use(made: Recorder, sent: Sent, alteration: str = "", acts: int = 30, seed: int = 5) -> None:
    """Run a hub on the recorder's folder three times while residents send files; twice it is killed."""
    command = hub_command(made.folder)
    if alteration:
        command = altered(command, alteration)
    for number, ending in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)):
        with made.program(command, at_the_end=ending) as traced:
            port = 0
            for line in traced.stdout:
                if told := re.search(rb"http://127\.0\.0\.1:(\d+)/", line):
                    port = int(told[1])
                    break
            assert port, "the hub did not start under strace"
            left = itertools.count(acts // 3, -1)
            senders = [
                threading.Thread(target=_send, args=(port, sent, left, f"{seed} {number} {who}"))
                for who in range(3)
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            if ending == signal.SIGKILL:
                traced.send_signal(signal.SIGKILL)


def _send(port: int, sent: Sent, left: Iterator[int], seed: str) -> None:
    chance = random.Random(seed)
    visitor = Visitor(port)
    found = re.search(r'"/collections/(\w+)-', visitor.get("/files").text)
    assert found, "no collection to add to"
    collection = found[1]
    with suppress(OSError, HTTPException):
        while next(left) > 0:
            if chance.random() < 0.4:
                _whole(visitor, collection, sent, chance)
            else:
                _in_pieces(visitor, collection, sent, chance)
    visitor.close()


def _new(sent: Sent, chance: random.Random) -> bytes:
    data = chance.randbytes(chance.choice((0, 1, 900, 70_000, chance.randrange(LARGEST))))
    data += f" {len(sent.contents)} {chance.random()}".encode()
    with sent.lock:
        sent.contents[hashlib.sha256(data).hexdigest()] = data
    return data


def _whole(visitor: Visitor, collection: str, sent: Sent, chance: random.Random) -> None:
    contents = [_new(sent, chance) for _ in range(chance.randrange(1, 4))]
    given = [("file", f"{number}.bin", data) for number, data in enumerate(contents)]
    fields = {"key": f"{chance.random()}", "name": "Ada"}
    answer = visitor.post(f"/collections/{collection}/add", fields, given)
    assert answer.status == 303, answer.text
    sent.forms[answer.location] = [hashlib.sha256(data).hexdigest() for data in contents]


def _in_pieces(visitor: Visitor, collection: str, sent: Sent, chance: random.Random) -> None:
    data = _new(sent, chance)
    begun = visitor.send(
        "POST",
        "/uploads",
        b"",
        {
            "Upload-Length": str(len(data)),
            "Upload-Complete": "?0",
            "Content-Disposition": "attachment; filename*=UTF-8''film.bin",
        },
    )
    assert begun.status == 201, begun.text
    path = begun.location
    token = path.rpartition("/")[2]
    sent.begun[token] = data
    gives_up = chance.random() < 0.2
    offset = 0
    while offset < len(data):
        end = _next_offset(sent, token, offset, len(data), chance)
        answer = visitor.send(
            "PATCH",
            path,
            data[offset:end],
            {
                "Content-Type": "application/partial-upload",
                "Upload-Offset": str(offset),
                "Upload-Complete": "?1" if end == len(data) else "?0",
            },
        )
        assert answer.status == 204, answer.text
        offset = end
        if gives_up and chance.random() < 0.5:
            return
    fields = {"key": f"{chance.random()}", "upload": token}
    answer = visitor.post(f"/collections/{collection}/add", fields)
    assert answer.status == 303, answer.text
    sent.forms[answer.location] = [hashlib.sha256(data).hexdigest()]


def _next_offset(sent: Sent, token: str, offset: int, size: int, chance: random.Random) -> int:
    """Where the next piece ends: at a number that stands for this upload alone."""
    with sent.lock:
        while True:
            end = min(size, offset + chance.randrange(1, LARGEST // 2))
            if str(end) not in sent.promised:
                sent.promised[str(end)] = (token, end)
                return end
            if end == size:  # the end is where it is; another upload's number then stands for neither
                sent.promised[str(end)] = ("", 0)
                return end


def faults_in(cut: Cut, sent: Sent) -> Iterator[str]:
    """Open the folder as a start does, and say what is damaged, lost, half there or left over."""
    places = Places(cut.folder)
    identity = load_or_create(places.key, lambda size: bytes(size))
    blobs = BlobStore(cut.folder)
    blobs.open()
    database = Database.open(places.database, NOW_MS, __version__, lambda: None)
    connection = database._connection
    try:
        database.prepare(lambda within: journal.found(within, identity.hub, Epoch(bytes(8))))
        for finding in inspection.check(connection):
            yield f"{finding.what}: {finding.sentence}"
        yield from _files(connection, blobs, cut, sent)
        yield from _unfinished(connection, places.uploads, cut, sent)
    finally:
        connection.close()


def _files(connection: Connection, blobs: BlobStore, cut: Cut, sent: Sent) -> Iterator[str]:
    live = [file for file in files.largest(connection, NOW_MS, 100_000) if file.state is State.LIVE]
    there = {file.blob.sha256 for file in live}
    for location in cut.acknowledged:
        for sha256 in sent.forms.get(location, ()):
            if sha256 not in there:
                yield f"a file of {len(sent.contents[sha256])} bytes was acknowledged and is lost"
    for file in live:
        if file.blob.sha256 not in sent.contents:
            yield f"{file.name} is none of the files that were sent"
    named = retention.referenced_blobs(connection)
    for sha256 in named:
        if not (blobs.exists(sha256) and blobs.verify(sha256)):
            yield f"the blob {sha256[:8]} is missing or half there"
    blobs.collect(named, older_than_ms=0, now_ms=2**52)
    left = {path.name for path in (blobs.staging.parent / "blobs").rglob("*") if path.is_file()}
    if left != named:
        yield f"{len(left - named)} orphans are left after collection"


def _unfinished(connection: Connection, folder: Path, cut: Cut, sent: Sent) -> Iterator[str]:
    known = {each.token: each for each in uploads.every(connection)}
    lost = agree(
        folder, {token: Promised(each.offset, each.ref is not None) for token, each in known.items()}
    )
    put_up = {
        file.blob.sha256 for file in files.largest(connection, NOW_MS, 100_000) if file.state is State.LIVE
    }
    for token in lost:
        if hashlib.sha256(sent.begun.get(token, b"")).hexdigest() not in put_up:
            yield f"the upload {token[:8]} has a row and not its bytes"
    for token, each in known.items():
        if token in lost or token not in sent.begun:
            continue
        if (folder / token).read_bytes() != sent.begun[token][: each.offset]:
            yield f"the upload {token[:8]} does not hold what was sent"
    for number in cut.acknowledged:
        token, offset = sent.promised.get(number, ("", 0))
        if not token or hashlib.sha256(sent.begun[token]).hexdigest() in put_up:
            continue
        if token not in known or known[token].offset < offset:
            yield f"{offset} bytes of the upload {token[:8]} were promised and are lost"
    if {path.name for path in folder.iterdir()} != known.keys() - set(lost):
        yield "a file of an upload that nobody knows is left"
