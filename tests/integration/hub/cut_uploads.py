"""People who upload in pieces while their connections are cut and the hub is killed under them.

Each remembers what the hub has promised: an offset it answered with, a file it put up. `cut_uploads`
kills again and again and says what was kept; what is lost, half there or left over is an AssertionError.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import re
import socket
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.integration.hub.hub_process import GENEROUS, HubProcess, Visitor, found_hub, running_hub

SETTINGS = f"{GENEROUS}\n[files]\ndevice_files = 1000000\ndevice_megabytes = 1000000\n"
UPLOADERS = 4
_AWAY = (OSError, http.client.HTTPException)


@dataclass(slots=True)
class Sending:
    """A file on its way: what the hub has said of it."""

    name: str
    key: str
    data: bytes
    to: str = ""
    promised: int = 0
    whole: bool = False
    asked: bool = False
    """Its form was sent; whether it was put up is in doubt until it is answered."""


class Uploader:
    """One device that sends file after file."""

    def __init__(self, name: str, seed: int, box: str) -> None:
        self.name = name
        self.box = box
        self.chance = random.Random(f"{name}/{seed}")
        self.device: str | None = None
        self.sending: Sending | None = None
        self.put_up: dict[str, str] = {}
        """SHA-256 by name of what was put up, acknowledged."""
        self.pieces = 0
        self.cuts = 0
        self.faults: list[str] = []

    def work(self, visitor: Visitor, until: Callable[[], bool]) -> None:
        """Piece after piece until ``until`` says so, the hub goes away, or a promise was broken."""
        visitor.device = self.device
        try:
            while not until() and not self.faults:
                self._act(visitor)
        except _AWAY:
            pass
        self.device = visitor.device or self.device

    def finish(self, visitor: Visitor) -> None:
        """Bring the file on its way to its end. Nothing is cut any more."""
        visitor.device = self.device
        while self.sending is not None and not self.faults:
            self._act(visitor, cut=False)

    def _act(self, visitor: Visitor, *, cut: bool = True) -> None:
        sending = self.sending
        if sending is None:
            size = self.chance.choice([0, 1, 70_000, 262_144, 900_000, 3_000_000])
            number = len(self.put_up)
            sending = Sending(
                f"{self.name}{number}.bin", self.chance.randbytes(8).hex(), self.chance.randbytes(size)
            )
            self.sending = sending
        if not sending.to:
            self._begin(visitor, sending)
        elif sending.whole:
            self._put_up(visitor, sending)
        elif self._look(visitor, sending):
            self._piece(visitor, sending, cut=cut)

    def _begin(self, visitor: Visitor, sending: Sending) -> None:
        named = f"attachment; filename*=UTF-8''{sending.name}"
        size = str(len(sending.data))
        answer = visitor.send("POST", "/uploads", None, {"Upload-Length": size, "Content-Disposition": named})
        if answer.status != 201:
            self.faults.append(f"could not begin: {answer.status} {answer.text}")
        sending.to = answer.location
        sending.whole = not sending.data

    def _look(self, visitor: Visitor, sending: Sending) -> bool:
        """Ask where it stands; False when it is whole."""
        answer = visitor.send("HEAD", sending.to)
        offset = int(answer.headers["Upload-Offset"] or -1)
        if answer.status != 204 or offset < sending.promised:
            self.faults.append(f"{sending.name}: promised {sending.promised}, but {answer.status}, {offset}")
        sending.promised = offset
        sending.whole = answer.headers["Upload-Complete"] == "?1"
        return not sending.whole

    def _piece(self, visitor: Visitor, sending: Sending, *, cut: bool) -> None:
        size = self.chance.choice([1, 5_000, 262_144, 1_000_000])
        piece = sending.data[sending.promised : sending.promised + size]
        fields = {
            "Content-Type": "application/partial-upload",
            "Upload-Offset": str(sending.promised),
            "Upload-Complete": "?0" if sending.promised + len(piece) < len(sending.data) else "?1",
        }
        if self.chance.random() < 0.6:
            fields["Upload-Piece-CRC32"] = f"{zlib.crc32(piece):08x}"
        if cut and self.chance.random() < 0.2:
            self._cut_off(visitor, sending, fields, piece)
            return
        answer = visitor.send("PATCH", sending.to, piece, fields)
        if answer.status == 204:
            sending.promised = int(answer.headers["Upload-Offset"])
            sending.whole = answer.headers["Upload-Complete"] == "?1"
            self.pieces += 1
        elif answer.status == 409:  # what was cut off a moment ago is still being read
            time.sleep(0.02)
        else:
            self.faults.append(f"{sending.name}: {answer.status} {answer.text}")

    def _cut_off(self, visitor: Visitor, sending: Sending, fields: dict[str, str], piece: bytes) -> None:
        """Send a part of a piece on a connection of its own, and break it."""
        host = f"127.0.0.1:{visitor.port}"
        named = {"Host": host, "Origin": f"http://{host}", "Content-Length": str(len(piece)), **fields}
        if self.device or visitor.device:
            named["Cookie"] = f"device={visitor.device or self.device}"
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        with closing(socket.create_connection(("127.0.0.1", visitor.port), timeout=20)) as connection:
            connection.sendall(f"PATCH {sending.to} HTTP/1.1\r\n{head}\r\n".encode())
            connection.sendall(piece[: self.chance.randrange(len(piece) + 1)])
        self.cuts += 1

    def _put_up(self, visitor: Visitor, sending: Sending) -> None:
        token = sending.to.rpartition("/")[2]
        sending.asked = True
        answer = visitor.post(f"/collections/{self.box}/add", {"key": sending.key, "upload": token})
        if answer.status != 303:
            self.faults.append(f"{sending.name} was not put up: {answer.status} {answer.text[-600:]}")
        self.put_up[sending.name] = hashlib.sha256(sending.data).hexdigest()
        self.sending = None


def cut_uploads(data: Path, cuts: int, seed: int) -> str:
    """Start the hub of ``data``, let people upload, kill it; ``cuts`` times. Returns the figures."""
    chance = random.Random(seed)
    began = time.monotonic()
    found_hub(data, SETTINGS)
    with running_hub(data) as hub:
        box = _box(hub)
    uploaders = [Uploader(f"u{number}x", seed, box) for number in range(UPLOADERS)]
    for number in range(cuts):
        with running_hub(data) as hub:
            _load(hub, uploaders, chance.uniform(0.05, 1.2))
            _require(uploaders, hub, f"cut {number}")
        _require_kept(data, uploaders)
    with running_hub(data) as hub:
        for uploader in uploaders:
            uploader.finish(hub.visitor())
        _require(uploaders, hub, "at the end")
        assert hub.stop() == 0
    _require_nothing_else(data, uploaders)
    files = sum(len(uploader.put_up) for uploader in uploaders)
    return (
        f"{cuts} kills of the hub, {sum(each.cuts for each in uploaders)} cuts of a client, "
        f"{sum(each.pieces for each in uploaders)} pieces, {files} files put up, 0 lost, 0 half there, "
        f"{time.monotonic() - began:.0f} s"
    )


def _box(hub: HubProcess) -> str:
    """The public id of the collection that is open from the start."""
    found = re.search(r'href="/collections/(\w+)', hub.visitor().get("/files").text)
    assert found, "there is no collection to upload to"
    return found[1]


def _load(hub: HubProcess, uploaders: list[Uploader], for_s: float) -> None:
    stop = threading.Event()
    threads = [threading.Thread(target=each.work, args=(hub.visitor(), stop.is_set)) for each in uploaders]
    for thread in threads:
        thread.start()
    try:
        time.sleep(for_s)
        hub.kill()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _require(uploaders: list[Uploader], hub: HubProcess, when: str) -> None:
    faults = [fault for uploader in uploaders for fault in uploader.faults]
    assert not faults, f"{when}: {'; '.join(faults[:5])}"
    assert "Traceback" not in hub.log(), hub.log()[-3000:]


def _require_kept(data: Path, uploaders: list[Uploader]) -> None:
    """Every promised byte lies on the disk, though nobody had time to close anything."""
    for uploader in uploaders:
        sending = uploader.sending
        if sending is None or not sending.to or sending.asked:
            continue
        kept = (data / "uploads" / sending.to.rpartition("/")[2]).read_bytes()
        assert kept[: sending.promised] == sending.data[: sending.promised], f"{sending.name} is spoilt"


def _require_nothing_else(data: Path, uploaders: list[Uploader]) -> None:
    """What was put up is there once and whole; nothing lies on its way that has no row."""
    expected = sorted(item for uploader in uploaders for item in uploader.put_up.items())
    with closing(sqlite3.connect(data / "hub.db")) as connection:
        files = connection.execute("SELECT name_key, sha256 FROM file WHERE state = 0").fetchall()
        tokens = {row[0] for row in connection.execute("SELECT token FROM upload")}
        named = {row[0].hex() for row in connection.execute("SELECT sha256 FROM blob_use")}
    assert sorted((name, sha256.hex()) for name, sha256 in files) == expected
    for path in (data / "blobs").rglob("*"):
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert {sha256 for _, sha256 in expected} <= named
    assert {path.name for path in (data / "uploads").iterdir()} == tokens
