"""Real hubs on one machine, each behind a gate that a test can shut, and their residents."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import re
import secrets
import selectors
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from hub import __version__
from hub.api.client import Client
from hub.api.schema import Decision, NeighbourOut, PairingIn
from hub.domain.clock import TimeQuality
from hub.domain.ids import ObjectId
from hub.domain.notices import Kind, NoticeDraft, Scope
from hub.domain.policy import DAY_MS
from hub.runtime.system_clock import SystemClock
from hub.services.identity import load_or_create
from hub.services.publishing import publish_notice
from hub.storage.database import Database
from hub.storage.journal import Pen
from tests.integration.hub.hub_process import (
    GENEROUS,
    HubProcess,
    Visitor,
    found_hub,
    hub_command,
    hub_says,
    start_hub,
)

GATED = Path(__file__).with_name("gated_hub.py")
SOON_S = 2.0
"""Until what was put up on one board is on its neighbour's."""
_WAITED_S = 15.0
_LOOK_S = 0.02


def until(true: Callable[[], object], seconds: float = _WAITED_S, what: str = "") -> float:
    """Wait until it is true; the seconds it took. AssertionError after ``seconds``."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what or true}"
        time.sleep(_LOOK_S)
    return time.monotonic() - began


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback that nobody listens on."""
    with contextlib.ExitStack() as held:
        bound = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in bound]


class Gate:
    """A TCP relay in front of a port. Shut, it ends every connection and lets nobody through."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.passed = 0
        """Bytes, both ways."""
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._open = True
        self._lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many pass it now."""
        return len(self._pairs) // 2

    def shut(self) -> None:
        """Cut the cable."""
        with self._lock:
            self._open = False
            for each in self._pairs:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Mend it."""
        with self._lock:
            self._open = True

    def close(self) -> None:
        """End the relay."""
        self.shut()
        self._ended = True
        self._thread.join(5)
        for each in (*self._pairs, self._door):
            each.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._door, selectors.EVENT_READ)
            while not self._ended:
                for key, _ in ready.select(0.1):
                    arrived = key.fileobj
                    assert isinstance(arrived, socket.socket)
                    if arrived is self._door:
                        self._let_in(ready)
                    elif arrived in self._pairs:
                        self._pass_on(ready, arrived)

    def _let_in(self, ready: selectors.BaseSelector) -> None:
        outside, _ = self._door.accept()
        with self._lock:
            try:
                if not self._open:
                    raise ConnectionRefusedError
                inside = socket.create_connection(("127.0.0.1", self._behind), timeout=5)
            except OSError:
                outside.close()
                return
            self._pairs[outside], self._pairs[inside] = inside, outside
        for each in (outside, inside):
            each.settimeout(5)
            ready.register(each, selectors.EVENT_READ)

    def _pass_on(self, ready: selectors.BaseSelector, arrived: socket.socket) -> None:
        other = self._pairs[arrived]
        try:
            data = arrived.recv(65536)
            other.sendall(data)
        except OSError:
            data = b""
        self.passed += len(data)
        if not data:
            with self._lock:
                for each in (arrived, other):
                    del self._pairs[each]
                    ready.unregister(each)
                    each.close()


@dataclass
class Hall:
    """A hub that runs. ``visitor`` is one of its residents, always the same."""

    name: str
    data: Path
    process: HubProcess = field(init=False, repr=False)
    visitor: Visitor = field(init=False, repr=False)

    @property
    def client(self) -> Client:
        """A caretaker's."""
        return Client(self.data / "run" / "admin.sock")

    def neighbour(self, other: Hall) -> NeighbourOut:
        """What is known here of another hub."""
        return self.client.neighbour(other.name)

    def is_with(self, other: Hall) -> bool:
        """Whether the two are connected, and have been in step since the last trouble."""
        known = self.neighbour(other)
        return known.connected and known.swapped_ms is not None and not known.trouble

    def decide(self, other: Hall, verb: str, value: str = "", outcome: str = "", *, yes: bool = True) -> None:
        """Pause, resume, choose, remember or part from another hub."""
        self.client.neighbourly(other.name, verb, Decision(value=value, outcome=outcome, yes=yes))

    def puts_up(
        self, title: str, text: str = "Words.", *, pictures: Sequence[bytes] = (), **fields: str
    ) -> str:
        """A resident puts up a notice; its id."""
        shown = {"kind": "give", "scope": "network", **fields}
        form = {**shown, "title": title, "text": text, "key": secrets.token_hex(4)}
        files = [("picture", f"{number}.jpg", picture) for number, picture in enumerate(pictures)]
        answer = self.visitor.post("/notices", form, files)
        found = re.match(r"/notices/(\w+)", answer.location)
        assert answer.status == 303, answer.text[:2000]
        assert found
        return found[1]

    def changes(self, notice: str, *, title: str, text: str) -> None:
        """Whoever put up a notice changes it."""
        fields = {"kind": "give", "scope": "network", "title": title, "text": text}
        answer = self.visitor.post(f"/notices/{notice}/edit", fields)
        assert answer.status == 303, answer.text[:2000]

    def replies(self, notice: str, text: str) -> None:
        """A resident answers a notice."""
        fields = {"text": text, "key": secrets.token_hex(4)}
        assert self.visitor.post(f"/notices/{notice}/replies", fields).status == 303

    def shows(self, words: str, path: str = "/") -> bool:
        """Whether a page has ``words``."""
        answer = self.visitor.get(path)
        return answer.status == 200 and words in answer.text

    def says(self, *words: str) -> str:
        """What a command prints."""
        return hub_says(self.data, *words).stdout

    def check(self) -> None:
        """``hub check`` finds nothing."""
        found = self.client.check()
        assert not found.findings, found

    def holds(self, *words: str) -> list[str]:
        """The words that stand in the bytes of a file of the data folder, and in which."""
        found = []
        for path in self.data.rglob("*"):
            if path.is_file() and path.name != "ballast":
                content = path.read_bytes()
                found += [f"{word} in {path.name}" for word in words if word.encode() in content]
        return found

    def fill(self, count: int) -> None:
        """Put up so many notices for the network while the hub does not run."""
        identity, clock = load_or_create(self.data / "key", secrets.token_bytes), SystemClock()
        database = Database.open(self.data / "hub.db", clock.now_ms(), __version__, lambda: None)
        until_ms = clock.now_ms() + 28 * DAY_MS

        def write(connection: sqlite3.Connection) -> None:
            for number in range(count):
                draft = NoticeDraft(
                    Kind.NEWS, f"Notice {number}", f"Words {number}. " * 20, "en", Scope.NETWORK, until_ms
                )
                pen = Pen(identity.sign, clock.now_ms(), TimeQuality.CARETAKER)
                obj = ObjectId(secrets.token_bytes(16))
                publish_notice(connection, pen, obj, draft, secrets.token_bytes(16))

        database.prepare(write)
        asyncio.run(database.close())

    def shared(self) -> set[bytes]:
        """The ids of all records that are for every hub."""
        rows = self._read(
            "SELECT id FROM set_item JOIN shared_set ON shared_set = shared_set.n WHERE origin = x''"
        )
        return {record_id for (record_id,) in rows}

    def stored_twice(self) -> int:
        """How many records are in the log more than once."""
        [(twice,)] = self._read("SELECT count(*) - count(DISTINCT id) FROM record")
        return int(twice)

    def _read(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.data}/hub.db?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def cpu_s(self) -> float:
        """Seconds of processor time that it has taken so far."""
        parts = Path(f"/proc/{self.process.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / 100


@dataclass
class TownHall(Hall):
    """A hub behind a gate."""

    port: int
    pairing_port: int
    gate: Gate

    def start(self) -> float:
        """Start it and wait for its first page; the seconds that took."""
        command = [*hub_command(self.data, "--name", self.name)]
        gated = [sys.executable, str(GATED), str(self.gate.port), *command[3:]]
        began = time.monotonic()
        device = None
        if hasattr(self, "process"):
            device = self.visitor.device
            self.process.close()
        self.process = start_hub(self.data, gated)
        self.visitor = self.process.visitor(device)
        assert self.visitor.get("/").status == 200
        return time.monotonic() - began

    def moves(self) -> None:
        """Be found at another gate from the next start on."""
        self.gate.close()
        self.gate = Gate(self.port)


class Line(NamedTuple):
    """Three hubs, of which those at the ends know only the one between them."""

    elm: TownHall
    mill: TownHall
    oak: TownHall


class Town:
    """Halls that run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.halls: list[TownHall] = []

    def open(self, *names: str, settings: str = "") -> list[TownHall]:
        """New hubs that nobody knows yet, running; with ``settings`` of their own."""
        halls = [self._found(name, settings) for name in names]
        with ThreadPoolExecutor(len(halls)) as starting:
            list(starting.map(TownHall.start, halls))
        return halls

    def _found(self, name: str, settings: str) -> TownHall:
        port, pairing_port = free_ports(2)
        text = GENEROUS.replace("pairing_port = 0", f"pairing_port = {pairing_port}").replace(
            "\nport = 0", f"\nport = {port}"
        )
        data = found_hub(self._folder / name.replace(" ", "-").lower(), f"{text}\n{settings}")
        hall = TownHall(name, data, port, pairing_port, Gate(port))
        self.halls.append(hall)
        return hall

    def pair(self, one: TownHall, other: TownHall, *, swap: bool = True) -> None:
        """Their caretakers pair the two, by digits; with ``swap``, until both are in step."""
        other.client.pairing("open", PairingIn())
        shown = one.client.pairing("begin", PairingIn(address=f"127.0.0.1:{other.pairing_port}"))
        assert re.fullmatch(r"[0-9]{6}", shown.digits)
        assert shown.digits == other.client.pairing().digits
        one.client.pairing("accept", PairingIn())
        other.client.pairing("accept", PairingIn())
        until(lambda: one.client.pairing().state == other.client.pairing().state == "paired", what="paired")
        if swap:
            until(lambda: one.is_with(other) and other.is_with(one), what="in step after pairing")

    def cut(self) -> None:
        """Cut every cable."""
        for hall in self.halls:
            hall.gate.shut()

    def mend(self) -> None:
        """Mend them."""
        for hall in self.halls:
            hall.gate.open()

    def connections(self) -> int:
        """How many there are between hubs."""
        return sum(hall.gate.connections for hall in self.halls)

    def close(self) -> None:
        """End every hub and gate."""
        for hall in self.halls:
            if hasattr(hall, "process"):
                hall.process.close()
            hall.gate.close()


def photo(seed: int = 1) -> bytes:
    """A JPEG of noise, some 100 kB."""
    chance = random.Random(seed)
    noise = Image.frombytes("RGB", (240, 160), chance.randbytes(240 * 160 * 3)).resize((960, 640))
    made = io.BytesIO()
    noise.save(made, "JPEG", quality=85)
    return made.getvalue()


def pictures_on(visitor: Visitor, notice: str) -> list[int]:
    """The answers for each picture that the page of a notice shows."""
    page = visitor.get(f"/notices/{notice}").text
    return [visitor.get(found).status for found in re.findall(r'src="(/pictures/[^"]+)"', page)]


@contextlib.contextmanager
def open_town(folder: Path) -> Iterator[Town]:
    """A town for the block; no hub of it may have failed at anything."""
    town = Town(folder)
    try:
        yield town
        for hall in town.halls:
            log = hall.process.log()
            assert "Traceback" not in log, log[-4000:]
    finally:
        town.close()
