"""Three hubs on this machine that are paired and swap while their residents go on writing; for the demo.

Each is a process of its own with its own data folder, started by ``python -m tests.demo --only KEY``. All
that happens afterwards goes through what people have: caretakers' sockets and residents' pages.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hub.api.client import Client
from hub.api.schema import PairingIn
from hub.domain.notices import Kind, Scope
from hub.runtime.system_clock import SystemClock
from tests import world
from tests.integration.hub.hub_process import encode_form
from tests.world import StreetReply
from tests.world_content.pictures import photograph

ROOT = Path(__file__).resolve().parents[1]
STARTS_WITHIN_S, PAIRS_WITHIN_S, ARRIVES_WITHIN_S, STOPS_WITHIN_S = 60.0, 20.0, 15.0, 10.0
LOOKS_EVERY_S = 0.1
STANDING_AT_MOST = 12
"""Of what was put up while one watches: beyond that, somebody rather takes something down."""
POOL = 600
"""From how many made-up notices those are taken that are put up while one watches."""
PICTURE_WIDTH = 1400
_LIMITS = "[limits]\nper_address = 100000\nwhole_hub = 100000\n"
"""The residents all write from this machine."""


def say(sentence: str) -> None:
    """Tell whoever started the demo."""
    print(sentence, flush=True)  # noqa: T201 - a command prints


def run(
    data: Path, keys: Sequence[str], port: int, listen: str | None, every_s: float, *, keep: Path | None
) -> None:
    """Fill what is empty in ``data``, run the hubs ``keys`` from ``port`` on, and let things happen.

    Something happens about every ``every_s`` seconds, until this process is interrupted or ended; then the
    hubs are stopped. ``port`` 0 takes free ones.
    """
    began = time.monotonic()
    data.mkdir(parents=True, exist_ok=True)
    ports = _free_ports(2 * len(keys))
    streets = [
        StreetProcess(key, data / key, port and port + number, listen, (ports.pop(), ports.pop()))
        for number, key in enumerate(keys)
    ]
    try:
        for street in streets:
            street.start()
        for street in streets:
            street.wait()
        for one, other in itertools.combinations(streets, 2):
            pair(one, other)
        for street in streets:
            street.desk.sync("")
        _introduce(streets, data, time.monotonic() - began, keep=keep)
        life = Life(streets, SystemClock().now_ms())
        while True:
            _pause(every_s * life.chance.uniform(2 / 3, 4 / 3), streets)
            life.go_on()
    except KeyboardInterrupt:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it is ending already
        for street in streets:
            street.tell_to_stop()
        for street in streets:
            street.stop()
    say("All three have stopped.")


def _introduce(streets: Sequence[StreetProcess], data: Path, seconds: float, *, keep: Path | None) -> None:
    say(f"Three hubs run on this machine, each with a street of its own, paired ({seconds:.1f} s).")
    for street in streets:
        status = street.desk.status()
        say(f"\n  {street.name}: {status.notices} notices on the board, its own and its neighbours’")
        for address in status.addresses:
            say(f"    {address}/")
        say(f"    its caretakers’ commands: hub status --data {street.data}")
    say("")
    say("Open two of them side by side. A coloured edge says from which hub a notice came, /neighbours when")
    say("they last swapped. Put something up on one for “Every hub that is connected”, and see it turn up on")
    say("the others; what you take down goes there too. What residents do meanwhile is told here.")
    say(f"What the hubs themselves say is in {data}/*.log.")
    if keep is None:
        say("All of it is thrown away when they stop; --data DIR keeps it.")
    say("Stop them with Ctrl+C.\n")


def _free_ports(count: int) -> list[int]:
    """Ports nobody has."""
    with contextlib.ExitStack() as bound:
        sockets = [bound.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _pause(seconds: float, streets: Sequence[StreetProcess]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for street in streets:
            street.must_run()
        time.sleep(min(1.0, left))


@dataclass(slots=True)
class StreetProcess:
    """A hub that runs in a process of its own. ``ports``: for neighbours, and while it is being paired."""

    key: str
    data: Path
    wanted_port: int
    listen: str | None
    ports: tuple[int, int]
    name: str = ""
    hub: str = ""
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to fill and run it."""
        settings = f"{_LIMITS}[neighbours]\nport = {self.ports[0]}\npairing_port = {self.ports[1]}\n"
        command = [sys.executable, "-m", "tests.demo", "--only", self.key, "--data", str(self.data)]
        command += ["--port", str(self.wanted_port), "--settings", settings]
        command += ["--listen", self.listen] if self.listen else []
        with self._said.open("wb") as said, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=log, cwd=ROOT,
                start_new_session=True,  # Ctrl+C is for this process, which stops the others in order
            )  # fmt: skip

    def wait(self) -> None:
        """Return once it answers; says how it was filled."""
        deadline = time.monotonic() + STARTS_WITHIN_S
        while b"Stop it with Ctrl+C." not in (said := self._said.read_bytes()):
            self.must_run()
            if time.monotonic() > deadline:
                self._give_up("did not start in time")
            time.sleep(LOOKS_EVERY_S)
        for line in said.decode().splitlines():
            if line.startswith("Made "):
                say(line)
        status = self.desk.status()
        self.name, self.hub = status.name, status.hub
        found = re.search(r":(\d+)$", status.addresses[-1])
        self.port = int(found[1]) if found else 80

    @property
    def desk(self) -> Client:
        """What its caretakers have."""
        return Client(self.data / "run" / "admin.sock")

    @property
    def host(self) -> str:
        """Where it answers on this machine."""
        return self.listen or "127.0.0.1"

    def notice(self, public_id: str) -> Mapping[str, Any] | None:
        """The notice with that id as its board shows it, if it does."""
        answer = Phone(self).ask("GET", f"/notices/{public_id}.json")
        return json.loads(answer.body) if answer.status == 200 else None

    def must_run(self) -> None:
        """Raise SystemExit if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            self._give_up("has ended")

    def tell_to_stop(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """Wait for its end, and make sure of it."""
        if self._process is None:
            return
        try:
            self._process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def _said(self) -> Path:
        return self.data.with_name(f"{self.key}.out")

    @property
    def _log(self) -> Path:
        return self.data.with_name(f"{self.key}.log")

    def _give_up(self, what: str) -> NoReturn:
        sys.exit(f"The hub {self.key} {what}:\n{self._log.read_text(errors='replace')[-3000:]}")


def pair(one: StreetProcess, other: StreetProcess) -> None:
    """Make neighbours of two hubs, as their caretakers would; nothing if they are already."""
    if other.hub in {each.hub for each in one.desk.neighbours()}:
        return
    one.desk.pairing("open", PairingIn())
    theirs = other.desk.pairing("begin", PairingIn(address=_address(one.host, one.ports[1])))
    ours = one.desk.pairing()
    if not ours.digits or ours.digits != theirs.digits:
        sys.exit(f"{one.name} and {other.name} show different digits: {ours.trouble or theirs.trouble}")
    for desk in (one.desk, other.desk):
        desk.pairing("accept", PairingIn())
    deadline = time.monotonic() + PAIRS_WITHIN_S
    while {desk.pairing().state for desk in (one.desk, other.desk)} != {"paired"}:
        if time.monotonic() > deadline:
            sys.exit(f"{one.name} and {other.name} did not pair: {one.desk.pairing().trouble}")
        time.sleep(LOOKS_EVERY_S)
    digits = f"{ours.digits[:3]} {ours.digits[3:]}"
    say(f"Paired {one.name} with {other.name}: both showed {digits}, both caretakers accepted.")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page answered."""

    status: int
    location: str
    body: bytes


@dataclass(slots=True)
class Phone:
    """A resident's phone on the Wi-Fi of one hub: it keeps the cookie it is given."""

    street: StreetProcess
    cookie: str = ""

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Answer:
        """One request. Raises OSError or HTTPException if there is no answer."""
        place = _address(self.street.host, self.street.port)
        headers = {"Origin": f"http://{place}", "Content-Type": kind} if body is not None else {}
        if self.cookie:
            headers["Cookie"] = self.cookie
        connection = http.client.HTTPConnection(self.street.host, self.street.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Host": place, **headers})
            answer = connection.getresponse()
            for given in answer.headers.get_all("Set-Cookie", []):
                self.cookie = given.partition(";")[0]
            return Answer(answer.status, answer.headers["Location"] or "", answer.read())

    def send(
        self, path: str, fields: Mapping[str, str], files: Sequence[tuple[str, str, bytes]] = ()
    ) -> Answer:
        """Fill in a form. Raises `Declined` unless it is taken."""
        answer = self.ask("POST", path, *encode_form(fields, files))
        if answer.status != 303:
            raise Declined(f"{path} was answered with {answer.status}")
        return answer


class Declined(Exception):
    """A hub did not take what a resident sent."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a resident put up while one watches."""

    street: StreetProcess
    phone: Phone
    name: str
    public_id: str
    title: str


class Life:
    """What residents do: `go_on` does one thing, and tells when it has turned up on the other boards."""

    def __init__(self, streets: Sequence[StreetProcess], now_ms: int) -> None:
        self.chance = random.Random(now_ms)
        self._streets = streets
        self._standing: list[Standing] = []
        self._phones: dict[tuple[str, str], Phone] = {}
        made_up = [
            each
            for each in world.many(POOL, self.chance.randrange(2**32), now_ms)
            if each.hub == world.OWN and each.scope is not Scope.HUB and each.kind is not Kind.URGENT
        ]
        self._replies: dict[str, list[StreetReply]] = defaultdict(list)
        for reply in (reply for each in made_up for reply in each.replies):
            self._replies[reply.lang].append(reply)
        self._notices = itertools.cycle(self.chance.sample(made_up, len(made_up)))

    def go_on(self) -> None:
        """Somebody puts something up, answers, or takes something down."""
        acts = [self._put_up, self._put_up, self._answer]
        if len(self._standing) > STANDING_AT_MOST:
            acts = [self._take_down]
        elif len(self._standing) > 1:
            acts.append(self._take_down)
        try:
            self.chance.choice(acts)()
        except (OSError, http.client.HTTPException, Declined) as error:
            say(f"{_now()}  Somebody tried in vain: {error}")

    def _put_up(self) -> None:
        street, notice = self.chance.choice(self._streets), next(self._notices)
        phone = self._phone(street, notice.name)
        fields = {
            "kind": str(notice.kind),
            "title": notice.title,
            "text": notice.text,
            "name": notice.name,
            "contact": notice.contact,
            "lang": notice.lang,
            "scope": str(notice.scope),
            "key": secrets.token_hex(12),
            **{f"alt{number}": picture.alt for number, picture in enumerate(notice.pictures, 1)},
        }
        files = [
            ("picture", f"{each.scene}.jpg", photograph(each.scene, width=PICTURE_WIDTH, location=True))
            for each in notice.pictures
        ]
        answer = phone.send("/notices", fields, files)
        public_id = answer.location.split("/")[2].partition("-")[0]
        self._standing.append(Standing(street, phone, notice.name, public_id, notice.title))
        self._tell(
            street,
            f"{notice.name or 'somebody'} puts up “{notice.title}”",
            "has it",
            lambda other: other.notice(public_id) is not None,
        )

    def _answer(self) -> None:
        """Answer one of the newest notices of another hub, where every board shows it."""
        street = self.chance.choice(self._streets)
        board = json.loads(Phone(street).ask("GET", "/notices.json").body)["items"]
        foreign = [
            item
            for item in board
            if item["origin"] not in (street.name, street.hub[:16])
            and item["language"] in self._replies
            and all(other.notice(item["id"]) for other in self._streets)
        ]
        if not foreign:
            return
        item = self.chance.choice(foreign[:8])
        reply = self.chance.choice(self._replies[item["language"]])
        fields = {"text": reply.text, "name": reply.name, "key": secrets.token_hex(12)}
        self._phone(street, reply.name).send(f"/notices/{item['id']}/replies", fields)

        def arrived(other: StreetProcess) -> bool:
            shown = other.notice(item["id"])
            return shown is None or reply.text in {each["content_text"] for each in shown["replies"]}

        self._tell(street, f"{reply.name or 'somebody'} answers “{item['title']}”", "has the answer", arrived)

    def _take_down(self) -> None:
        chosen = self.chance.choice(self._standing)
        self._standing.remove(chosen)
        chosen.phone.send(f"/notices/{chosen.public_id}/remove", {})
        self._tell(
            chosen.street,
            f"{chosen.name or 'somebody'} takes down “{chosen.title}”",
            "has taken it down",
            lambda other: other.notice(chosen.public_id) is None,
        )

    def _tell(
        self, street: StreetProcess, did: str, so: str, arrived: Callable[[StreetProcess], bool]
    ) -> None:
        """Say what was done at ``street``, and when each of the others ``so``."""
        began, said = time.monotonic(), []
        waiting = [other for other in self._streets if other is not street]
        while waiting and time.monotonic() - began < ARRIVES_WITHIN_S:
            for other in [each for each in waiting if arrived(each)]:
                waiting.remove(other)
                said.append(f"{other.name} {so} after {time.monotonic() - began:.1f} s")
            time.sleep(LOOKS_EVERY_S)
        said += [f"{other.name} not after {ARRIVES_WITHIN_S:.0f} s" for other in waiting]
        say(f"{_now()}  {street.name}: {did}. {', '.join(said)}.")

    def _phone(self, street: StreetProcess, name: str) -> Phone:
        """The phone of whoever writes as ``name``; people who give no name share one."""
        return self._phones.setdefault((street.key, name), Phone(street))


def _now() -> str:
    return time.strftime("%H:%M:%S")
