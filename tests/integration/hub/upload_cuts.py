"""kill -9 of the hub, and of whoever sends, at random moments of uploads: everything goes on or is gone."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from tests.integration.hub.hub_process import HubProcess, Visitor, found_hub, hub_says, running_hub

SENDERS = 4
LARGEST = 3_000_000
PIECE = 400_000


@dataclass
class Sender:
    """Somebody with a phone who sends one film after another, each in pieces, whatever happens."""

    name: str
    seed: int
    device: str | None = None
    chance: random.Random = field(init=False)
    data: bytes = b""
    path: str = ""
    promised: int = 0
    """Bytes of ``data`` that the hub has said it has."""
    key: str = ""
    put_up: dict[str, str] = field(default_factory=dict)
    """SHA-256 to the name it was sent under."""
    faults: list[str] = field(default_factory=list)
    cuts: int = 0
    """Connections that this sender broke off itself."""

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.name} {self.seed}")

    def send(self, port: int, collection: str, stop: threading.Event) -> None:
        """Go on sending until ``stop`` or until nobody answers."""
        visitor = Visitor(port, self.device)
        try:
            with suppress(OSError, HTTPException):
                while not stop.is_set():
                    self._step(visitor, collection)
        finally:
            self.device = visitor.device
            visitor.close()

    def _step(self, visitor: Visitor, collection: str) -> None:
        if not self.data:
            self.data = self.chance.randbytes(self.chance.randrange(LARGEST))
            self.path, self.promised, self.key = "", 0, f"{self.chance.random()}"
        if not self.path:
            self.path = self._begin(visitor)
            return
        if self.promised == len(self.data):
            self._finish(visitor, collection)
            return
        standing = visitor.send("HEAD", self.path)
        if standing.status != 204:
            self.faults.append(f"{self.name}: an upload is gone: {standing.status}")
            self.data = b""
            return
        offset = int(standing.headers["Upload-Offset"])
        if offset < self.promised:
            self.faults.append(f"{self.name}: {self.promised} bytes were promised, {offset} are there")
        self.promised = offset
        if offset == len(self.data):
            return
        if self.chance.random() < 0.08:
            self._break_off(visitor, offset)
            return
        end = min(len(self.data), offset + self.chance.randrange(1, PIECE))
        answer = visitor.send("PATCH", self.path, self.data[offset:end], self._fields(offset, end))
        if answer.status == 204:
            self.promised = int(answer.headers["Upload-Offset"])
        elif answer.status != 409:  # its own broken connection may still be at work
            self.faults.append(f"{self.name}: {answer.status} {answer.text[:200]}")

    def _begin(self, visitor: Visitor) -> str:
        name = f"attachment; filename*=UTF-8''{self.name}.bin"
        fields = {
            "Upload-Length": str(len(self.data)),
            "Upload-Complete": "?0",
            "Content-Disposition": name,
        }
        answer = visitor.send("POST", "/uploads", b"", fields)
        if answer.status != 201:
            self.faults.append(f"{self.name}: does not begin: {answer.status} {answer.text[:200]}")
            return ""
        return answer.location

    def _fields(self, offset: int, end: int) -> dict[str, str]:
        return {
            "Content-Type": "application/partial-upload",
            "Upload-Offset": str(offset),
            "Upload-Complete": "?1" if end == len(self.data) else "?0",
        }

    def _break_off(self, visitor: Visitor, offset: int) -> None:
        """Die in the middle of a piece."""
        end = min(len(self.data), offset + PIECE)
        part = self.data[offset : offset + self.chance.randrange(end - offset)]
        head = "".join(f"{name}: {value}\r\n" for name, value in self._fields(offset, end).items())
        with socket.create_connection(("127.0.0.1", visitor.port), timeout=10) as broken:
            broken.sendall(
                f"PATCH {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{visitor.port}\r\n"
                f"Origin: http://127.0.0.1:{visitor.port}\r\nCookie: device={visitor.device}\r\n"
                f"Content-Length: {end - offset}\r\n{head}\r\n".encode()
                + part
            )
        self.cuts += 1

    def _finish(self, visitor: Visitor, collection: str) -> None:
        fields = {"key": self.key, "upload": self.path.rpartition("/")[2], "name": self.name}
        answer = visitor.post(f"/collections/{collection}/add", fields)
        if answer.status == 303:
            self.put_up[hashlib.sha256(self.data).hexdigest()] = self.name
        else:
            said = re.sub(r"<[^>]+>", " ", answer.text)
            self.faults.append(f"{self.name}: not put up: {answer.status} {' '.join(said.split())[:300]}")
        self.data = b""


def cut_again_and_again(data: Path, cuts: int, seed: int) -> str:
    """Let four people send films through ``cuts`` cuts, half of them kills of the hub and the others broken
    connections; returns the figures.

    AssertionError with what was lost, spoilt, half there or left behind.
    """
    chance = random.Random(seed)
    senders = [Sender(f"s{number}", seed) for number in range(SENDERS)]
    began = time.monotonic()
    found_hub(data)
    kills = 0
    while kills < cuts // 2 or sum(sender.cuts for sender in senders) < cuts // 2:
        with running_hub(data) as hub:
            _load(hub, senders, chance.uniform(0.1, 1.0))
            kills += 1
        assert "Traceback" not in hub.log(), hub.log()[-3000:]
        faults = [fault for sender in senders for fault in sender.faults]
        assert not faults, faults[:5]
    put_up = {sha256 for sender in senders for sha256 in sender.put_up}
    with running_hub(data) as hub:
        there = _everything(hub.visitor())
        assert hub.stop() == 0
    assert put_up <= there, f"{len(put_up - there)} of {len(put_up)} files are lost"
    unsaid = {hashlib.sha256(sender.data).hexdigest() for sender in senders}
    assert there - put_up <= unsaid, "a file that nobody sent whole"
    checked = hub_says(data, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    broken_off = sum(sender.cuts for sender in senders)
    return (
        f"{len(put_up)} files put up through {kills} kills of the hub and {broken_off} broken connections, "
        f"0 lost, 0 half there, {time.monotonic() - began:.0f} s; {checked.stdout.strip()}"
    )


def _load(hub: HubProcess, senders: list[Sender], for_s: float) -> None:
    collection = _box(hub.visitor())
    stop = threading.Event()
    threads = [threading.Thread(target=sender.send, args=(hub.port, collection, stop)) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        time.sleep(for_s)
        hub.kill()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _box(visitor: Visitor) -> str:
    found = re.search(r'"/collections/(\w+)-', visitor.get("/files").text)
    assert found, "no collection to add to"
    return found[1]


def _everything(visitor: Visitor) -> set[str]:
    """The SHA-256 of the bytes of every file that anybody can download."""
    place, found = f"/collections/{_box(visitor)}", set()
    while place:
        page = visitor.get(place).text
        for name in set(re.findall(r'"/files/(\w{10,26})[-"]', page)):
            found.add(hashlib.sha256(visitor.get(f"/files/{name}/it").body).hexdigest())
        older = re.search(r'href="([^"]*before=\d+)"', page)
        place = older[1].replace("&amp;", "&") if older else ""
    return found
