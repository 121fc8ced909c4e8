"""The typed client of the admin API, for the commands and the terminal UI. Blocking."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from hub.api.schema import (
    AddedOut,
    AdviceOut,
    CardOut,
    CollectionIn,
    CollectionOut,
    Decision,
    DeviceOut,
    Done,
    FileOut,
    Findings,
    ForkOut,
    FreedOut,
    HeldOut,
    ItemOut,
    LedgerOut,
    NeighbourOut,
    PackedOut,
    PairingIn,
    PairingOut,
    Problem,
    ReportOut,
    SeenOut,
    SettingOut,
    Status,
    StickIn,
    UnpackedOut,
)

T = TypeVar("T")
TIMEOUT_S = 7200.0
"""Reading a full card through takes half an hour, a film some minutes."""


class HubAway(Exception):
    """Nobody answers at the socket: the hub is not running, or the data folder is another one."""


class ProblemAnswer(Exception):
    """The hub answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("hub", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """One call, one connection. Every call may raise `HubAway` and `ProblemAnswer`."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def status(self) -> Status:
        """How the hub is."""
        return self._call("GET", "/status", Status)

    def notices(self, where: str) -> list[ItemOut]:
        """Notices: waiting, board, hidden, gone or all."""
        return self._call("GET", f"/notices?{urlencode({'where': where})}", list[ItemOut])

    def item(self, name: str) -> ItemOut:
        """One item."""
        return self._call("GET", f"/items/{quote(name, safe='')}", ItemOut)

    def act(self, name: str, verb: str, decision: Decision) -> Done:
        """Do ``verb`` (approve, refuse, hide, restore, erase, pin, urgent, flag, block) to an item."""
        return self._call("POST", f"/items/{quote(name, safe='')}/{verb}", Done, decision)

    def reports(self, *, decided: bool = False) -> list[ReportOut]:
        """Reports."""
        return self._call("GET", f"/reports?decided={int(decided)}", list[ReportOut])

    def decide(self, reference: str, decision: Decision) -> Done:
        """Decide the reports of an item."""
        return self._call("POST", f"/reports/{quote(reference, safe='')}/decide", Done, decision)

    def devices(self) -> list[DeviceOut]:
        """Devices."""
        return self._call("GET", "/devices", list[DeviceOut])

    def device(self, mark: str, verb: str, decision: Decision) -> Done:
        """Do ``verb`` (pause, ban, trust) to a device."""
        return self._call("POST", f"/devices/{quote(mark, safe='')}/{verb}", Done, decision)

    def collections(self) -> list[CollectionOut]:
        """Collections."""
        return self._call("GET", "/collections", list[CollectionOut])

    def add_collection(self, wanted: CollectionIn) -> CollectionOut:
        """Make a collection."""
        return self._call("POST", "/collections", CollectionOut, wanted)

    def change_collection(self, name: str, wanted: CollectionIn) -> CollectionOut:
        """Change the collection with that id or title."""
        return self._call("PUT", f"/collections/{quote(name, safe='')}", CollectionOut, wanted)

    def files(self, where: str, collection: str = "") -> list[FileOut]:
        """Files: newest, largest or expiring ones, of one collection or of all."""
        return self._call("GET", f"/files?{urlencode({'where': where, 'in': collection})}", list[FileOut])

    def add_file(
        self, collection: str, path: Path, *, by: str = "", description: str = "", original: bool = False
    ) -> AddedOut:
        """Put the file at ``path`` into a collection. Also raises OSError for a file that cannot be read."""
        query = urlencode({"by": by, "description": description, "original": int(original)})
        place = f"/collections/{quote(collection, safe='')}/files/{quote(path.name, safe='')}"
        with path.open("rb") as file:
            return self._call("PUT", f"{place}?{query}", AddedOut, file)

    def free_files(self, *, carry_out: bool) -> FreedOut:
        """Free what nobody misses, or say how much that is."""
        return self._call("POST", "/files/free", FreedOut, Decision(yes=carry_out))

    def scrub(self) -> Findings:
        """Verify the bytes of every file and picture."""
        return self._call("POST", "/scrub", Findings, Decision())

    def settings(self) -> list[SettingOut]:
        """Settings."""
        return self._call("GET", "/settings", list[SettingOut])

    def change_setting(self, key: str, value: str) -> Done:
        """Change a setting."""
        return self._call("PUT", f"/settings/{quote(key, safe='')}", Done, Decision(value=value))

    def neighbours(self) -> list[NeighbourOut]:
        """Paired hubs."""
        return self._call("GET", "/neighbours", list[NeighbourOut])

    def neighbour(self, name: str) -> NeighbourOut:
        """One of them, by name or by how its id begins."""
        return self._call("GET", f"/neighbours/{quote(name, safe='')}", NeighbourOut)

    def sync(self, name: str = "") -> list[NeighbourOut]:
        """Compare with one neighbour now, or with all."""
        path = f"/neighbours/{quote(name, safe='')}/sync" if name else "/sync"
        return self._call("POST", path, list[NeighbourOut], Decision())

    def neighbourly(self, name: str, verb: str, decision: Decision) -> Done:
        """Do ``verb`` (pause, resume, choose, remember, part, block, advice) with a neighbour."""
        return self._call("POST", f"/neighbours/{quote(name, safe='')}/{verb}", Done, decision)

    def advice(self) -> AdviceOut:
        """What neighbours advise."""
        return self._call("GET", "/advice", AdviceOut)

    def forks(self) -> list[ForkOut]:
        """Hubs that are there twice."""
        return self._call("GET", "/forks", list[ForkOut])

    def decide_fork(self, name: str, verdict: str) -> Done:
        """Say why: moved or new."""
        return self._call("POST", f"/forks/{quote(name, safe='')}/decide", Done, Decision(value=verdict))

    def held(self) -> list[HeldOut]:
        """What waits of other hubs, and why."""
        return self._call("GET", "/held", list[HeldOut])

    def answer_held(self, name: str, verb: str) -> Done:
        """Do ``verb`` (let-in, turn-away) to a hub of which something waits."""
        return self._call("POST", f"/held/{quote(name, safe='')}/{verb}", Done, Decision())

    def nearby(self, *, sweep: bool = False) -> list[SeenOut]:
        """Hubs on this network; with ``sweep`` every address of it is asked first."""
        if sweep:
            return self._call("POST", "/nearby/sweep", list[SeenOut], Decision())
        return self._call("GET", "/nearby", list[SeenOut])

    def pairing(self, verb: str = "", how: PairingIn | None = None) -> PairingOut:
        """How pairing stands, after ``verb`` (open, begin, accept, refuse)."""
        if not verb:
            return self._call("GET", "/pairing", PairingOut)
        body = Decision() if verb == "refuse" else how or PairingIn()
        return self._call("POST", f"/pairing/{verb}", PairingOut, body)

    def write_bundle(self, how: StickIn) -> PackedOut:
        """Write a bundle on a stick."""
        return self._call("POST", "/bundles/write", PackedOut, how)

    def read_bundles(self, directory: str) -> list[UnpackedOut]:
        """Take what a stick brings."""
        return self._call("POST", "/bundles/read", list[UnpackedOut], StickIn(directory=directory))

    def write_card(self, directory: str) -> CardOut:
        """Write this hub's card on a stick."""
        return self._call("POST", "/cards/write", CardOut, StickIn(directory=directory))

    def accept_card(self, card: bytes, words: str) -> Done:
        """Pair with the hub of a card, whose words its caretaker read out."""
        return self._call("POST", "/cards/accept", Done, StickIn(card=card, words=words))

    def ledger(self, before: int | None = None) -> list[LedgerOut]:
        """The ledger, newest first."""
        return self._call("GET", f"/ledger?before={before or ''}", list[LedgerOut])

    def check(self) -> Findings:
        """Verify everything."""
        return self._call("POST", "/check", Findings, Decision())

    def rebuild(self) -> Done:
        """Make the projections again."""
        return self._call("POST", "/rebuild", Done, Decision())

    def _call(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: Decision | CollectionIn | PairingIn | StickIn | BinaryIO | None = None,
    ) -> T:
        connection = _Connection(self._path)
        try:
            if isinstance(body, Decision | CollectionIn | PairingIn | StickIn):
                data = msgspec.json.encode(body)
                connection.request(method, path, data, {"Content-Type": "application/json"})
            elif body is not None:
                size = os.fstat(body.fileno()).st_size
                connection.request(method, path, body, {"Content-Length": str(size)})
            else:
                connection.request(method, path)
            response = connection.getresponse()
            payload = response.read()
        except (ConnectionError, FileNotFoundError) as error:
            raise HubAway from error
        finally:
            connection.close()
        if response.status >= 400:
            raise ProblemAnswer(msgspec.json.decode(payload, type=Problem))
        return msgspec.json.decode(payload, type=answer)
