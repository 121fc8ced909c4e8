"""A real hub under the power-cut recorder, residents who use it, and what must hold after each cut."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub import __version__
from hub.api.client import Client, HubAway, ProblemAnswer
from hub.api.schema import Decision
from hub.app import Places
from hub.domain.ids import Epoch
from hub.domain.notices import Notice, State
from hub.services.identity import load_or_create
from hub.storage import inspection, journal, notices, retention
from hub.storage.blobs import BlobStore
from hub.storage.database import Database
from tests.integration.hub.altered_hub import altered
from tests.integration.hub.crowd import Writer
from tests.integration.hub.hub_process import Answer, Fields, Visitor, hub_command
from tests.powercut.proof import State as Cut
from tests.powercut.recorder import Recorder, ack_pattern

ANSWERS = ack_pattern(rb"HTTP/1\.1 303 .{0,400}?Location: (/[^\r]+)\r\n")
"""Where each redirect leads: a hub acknowledges what was written with nothing else."""
NOW_MS = 1_795_426_860_000


@dataclass
class Sent:
    """Every form that was sent, in order for each notice, and what an answer's address stands for."""

    meant: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    """Address in an answer to the act, the notice (or marker), and the number of its version."""
    versions: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    """Public id to every version sent: title, text, number of pictures."""
    unknown: set[tuple[str, str, int]] = field(default_factory=set)
    """What was put up, whether its id ever came back or not."""
    replies: dict[str, set[str]] = field(default_factory=dict)
    going: set[str] = field(default_factory=set)


class Noted(Visitor):
    """A browser whose forms are noted in ``sent`` before they go and when they are answered."""

    def __init__(self, port: int, sent: Sent) -> None:
        super().__init__(port)
        self._sent = sent

    def post(self, path: str, fields: Fields = (), *rest: Any, **more: Any) -> Answer:
        """As the visitor's own."""
        pairs = dict(fields)
        files = rest[0] if rest else more.get("files", ())
        said = (
            pairs.get("title", ""),
            pairs.get("text", "").strip(),
            len(list(files)) or ("kept" in pairs) * 1,
        )
        act, name = path.rpartition("/")[2], path.split("/")[2] if path.count("/") > 1 else ""
        number = 0
        if path == "/notices":
            act = "put-up"
            self._sent.unknown.add(said)
        elif act == "edit":
            self._sent.versions[name].append(said)
            number = len(self._sent.versions[name]) - 1
        elif act == "replies":
            self._sent.replies.setdefault(name, set()).add(said[1])
        elif act == "remove":
            self._sent.going.add(name)
        answer = super().post(path, fields, *rest, **more)
        if answer.status == 303:
            if act == "put-up":
                found = re.match(r"/notices/(\w+)", answer.location)
                assert found
                name = found[1]
                self._sent.versions[name] = [said]
            what = said[1] if act == "replies" else name
            self._sent.meant[answer.location] = (act, f"{name} {what}" if act == "replies" else name, number)
        return answer


def use(made: Recorder, sent: Sent, alteration: str = "", acts: int = 60, seed: int = 3) -> None:
    """Run a hub on the recorder's folder (`found_hub`) three times, residents writing; twice it is killed."""
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
            _write(made.folder, port, sent, acts // 3, seed * 10 + number, killed=ending == signal.SIGKILL)
            if ending == signal.SIGKILL:
                traced.send_signal(signal.SIGKILL)


def _write(data: Path, port: int, sent: Sent, acts: int, seed: int, *, killed: bool) -> None:
    done = threading.Event()
    writers = [Writer(f"r{seed}w{number}x", seed) for number in range(3)]
    visitors = [Noted(port, sent) for _ in writers]
    left = [acts]

    def enough() -> bool:
        left[0] -= 1
        return left[0] < 0 or done.is_set()

    threads = [
        threading.Thread(target=writer.write, args=(visitor, enough))
        for writer, visitor in zip(writers, visitors, strict=True)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    posted = [name for writer in writers for name in writer.posted]
    if posted and not killed:
        name = random.Random(seed).choice(posted)
        sent.going.add(name)
        with contextlib.suppress(HubAway, ProblemAnswer):
            Client(data / "run" / "admin.sock").act(name, "erase", Decision(rule="1"))
    for thread in threads:
        thread.join()
    for visitor in visitors:
        visitor.close()
    assert sum(writer.acknowledged for writer in writers) > acts // 3


def faults_in(cut: Cut, sent: Sent) -> Iterator[str]:
    """Open the folder as a start does, and say what is damaged, lost, or half there."""
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
        found = {each.public_id: each for each in notices.every(connection, NOW_MS, limit=100_000)}
        replies = {
            name: {each.text for each in notices.replies(connection, found[name].obj)} for name in found
        }
        for sha256 in retention.referenced_blobs(connection):
            if not (blobs.exists(sha256) and blobs.verify(sha256)):
                yield f"the picture {sha256[:8]} is missing or half there"
    finally:
        connection.close()
    yield from _promises_broken(cut, sent, found, replies)


def _promises_broken(
    cut: Cut, sent: Sent, found: Mapping[str, Notice], replies: Mapping[str, set[str]]
) -> Iterator[str]:
    least: dict[str, int] = {}
    gone: set[str] = set()
    for location in cut.acknowledged:
        if location not in sent.meant:
            continue  # answered, but the kill came before the visitor had read it
        act, name, number = sent.meant[location]
        if act in ("put-up", "edit"):
            least[name] = number
        elif act == "remove":
            gone.add(name)
        elif act == "replies":
            notice, _, text = name.partition(" ")
            if notice not in sent.going and text not in replies.get(notice, ()):
                yield f"a reply to {notice} was acknowledged and is lost"
    for name, number in least.items():
        if name not in found:
            yield f"{name} was acknowledged and is lost"
        elif found[name].state is State.LIVE:
            if name in gone:
                yield f"{name} came back"
            if _said(found[name]) not in sent.versions[name][number:]:
                yield f"{name} says {_said(found[name])[0]!r}, an earlier version or nothing anybody wrote"
        elif name not in sent.going:
            yield f"{name} is {found[name].state}, and nobody took it down"
    for name, notice in found.items():
        if notice.state is State.LIVE:
            if name not in sent.versions and _said(notice) not in sent.unknown:
                yield f"{name} is half there: {_said(notice)}"
            if not replies[name] <= sent.replies.get(name, set()):
                yield f"{name} has a reply that nobody wrote"


def _said(notice: Notice) -> tuple[str, str, int]:
    return notice.title, notice.text, len(notice.pictures)
