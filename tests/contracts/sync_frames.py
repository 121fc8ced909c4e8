"""Golden vectors of frames and of a session; ``python -m tests.contracts.sync_frames`` writes them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hub.domain import cbor
from hub.domain.admission import Stored
from hub.domain.clock import TimeQuality
from hub.domain.ids import HubId
from hub.domain.neighbours import Address
from hub.domain.reconcile import BadMessage, Item
from hub.domain.records import WireRecord, decode_header
from hub.domain.sharing import Choice, Entry, set_of, urgency
from hub.sync.protocol import frames
from hub.sync.protocol.fetching import id_of
from hub.sync.protocol.frames import (
    Bye,
    Frame,
    Hello,
    Mark,
    Offered,
    Ping,
    Pong,
    Received,
    Reconcile,
    Records,
    Summary,
    Taken,
    Told,
    Wanted,
    encode,
)
from tests.contracts import sync_records
from tests.unit.sync.halls import Hall, Line

FILE = Path(__file__).with_name("sync_frames.json")
ABOUT = [
    "Everything in bytes is in hex.",
    "frames: what a frame means, field by field, and how it is written.",
    "refused: frames that end the session, and the reason that is said in the bye.",
    "skipped: frames of newer hubs that older ones leave unread.",
    "session: everything two hubs say that meet with the records named, in an order in which it can be said.",
    "The records are those of sync_records.json; the urgent notice is written when the round is over.",
]
ONE, OTHER = b"\x11" * 32, b"\x22" * 32


def spoken() -> dict[str, Frame]:
    """A frame of each type, and what they may look like."""
    hub = sync_records.hub_of("Mill Lane Hub")
    hello = Hello(
        hub=hub,
        lowest=1,
        highest=1,
        program="0.4.2",
        name="Mill Lane Hub",
        colour="damson",
        ms=sync_records.NOW_MS,
        quality=TimeQuality.REFERENCE,
        choices={"status": Choice.EXCHANGE, "notices": Choice.HOLD, "files": Choice.NONE},
        told=(Told(hub, Address("192.168.4.7", 8448)), Told(hub, Address("mill-lane.local", 8448))),
    )
    record = WireRecord(b"\xa0", b"\x33" * 64, b"words")
    return {
        "hello": hello,
        "summary": Summary(False, (Mark(b"\x44" * 16, 3), Mark(b"\x55" * 16, 100_000))),
        "summary that closes a round": Summary(True, ()),
        "reconcile": Reconcile(2, bytes.fromhex("6100000200")),
        "offered": Offered(1, (ONE, OTHER)),
        "taken, the second only": Taken((False, True)),
        "taken, none of ten": Taken((False,) * 10),
        "taken, all of ten": Taken((True,) * 10),
        "wanted": Wanted(0, (ONE,)),
        "wanted, and more follows": Wanted(0, (ONE, OTHER), more=True),
        "records": Records((record, WireRecord(b"\xa0", b"\x66" * 64, None)), (ONE,)),
        "received": Received(),
        "ping": Ping(7),
        "pong": Pong(7, sync_records.NOW_MS, TimeQuality.CARETAKER),
        "bye": Bye("paused"),
    }


def spelt(kind: int, value: object) -> bytes:
    """A frame with content of any kind."""
    return bytes((kind,)) + cbor.encode(value)


REFUSED = {
    "nothing": b"",
    "a type between those known and those that may be skipped": b"\x0c\x00",
    "a hello of protocols 2 to 3 only": spelt(frames.HELLO, {1: 2, 2: 3}),
    "a hello without its hub": spelt(frames.HELLO, {1: 1, 2: 1}),
    "a number in a longer spelling than it needs": b"\x09\x18\x01",
    "an id twice": spelt(frames.OFFERED, [0, ONE + ONE]),
    "no ids": spelt(frames.WANTED, [0, b"", False]),
    "a bit too many": spelt(frames.TAKEN, [3, b"\x08"]),
    "a zero byte too many": spelt(frames.TAKEN, [3, b"\x01\x00"]),
    "neither records nor ids": spelt(frames.RECORDS, [[], b""]),
    "a reason that is no code": spelt(frames.BYE, "Because."),
}
SKIPPED = {"the lowest type that is skipped": b"\x80", "with anything in it": b"\xffanything"}


class VectorHall(Hall):
    """A hall that reads the records of the vectors."""

    @property
    def hub(self) -> HubId:
        return sync_records.hub_of(self.name)

    def keep(self, kept: WireRecord) -> Stored:
        header = decode_header(kept.header)
        key, item = set_of(header), Item(header.stamp.ms, id_of(kept))
        assert key is not None
        soon = urgency(header, urgent=kept == wire("an urgent notice"))
        self.held[item.id] = kept
        self.places.append(item.id)
        self.entries.setdefault(key, {})[item.id] = Entry(len(self.places) - 1, soon)
        self.items.setdefault(key, set()).add(item)
        self.vectors.pop(key, None)
        return Stored(key, item, soon)


def wire(what: str) -> WireRecord:
    """A record of the vectors as it travels."""
    _, record = sync_records.records()[what]
    return WireRecord(record.header_bytes, record.signature, record.body)


def session() -> list[list[str]]:
    """Who says what."""
    ours, theirs = (VectorHall(name) for name in sync_records.SEEDS)
    for what in HELD["Tanyard Road Hub"]:
        ours.keep(wire(what))
    for what in HELD["Mill Lane Hub"]:
        theirs.keep(wire(what))
    line = Line(ours, theirs)
    line.run()
    ours.write(wire("an urgent notice"))
    line.run()
    assert ours.held == theirs.held
    return [[hall.name, frame.hex()] for hall, frame in line.sent]


HELD = {
    "Tanyard Road Hub": ["a retraction", "a withdrawn file"],
    "Mill Lane Hub": ["a retraction", "a notice for neighbours only", "a reply by another hub"],
}


def reason(data: bytes) -> str:
    """What is said in the bye that answers a frame."""
    try:
        frames.decode(data, lowest=1, highest=1)
    except frames.OtherProtocol:
        return "protocol-too-new"
    except BadMessage as error:
        return error.code
    return ""


def readable(value: Any) -> Any:
    """``value`` with its bytes in hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): readable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [readable(each) for each in value]
    return value


def vectors() -> dict[str, Any]:
    """Everything in the file."""
    said = [
        {"name": name, "fields": readable(asdict(frame)), "frame": encode(frame).hex()}
        for name, frame in spoken().items()
    ]
    wrong = [{"name": name, "frame": data.hex(), "reason": reason(data)} for name, data in REFUSED.items()]
    skipped = [{"name": name, "frame": data.hex()} for name, data in SKIPPED.items()]
    met = {"dialled": "Tanyard Road Hub", "held": HELD, "said": session()}
    return {"about": ABOUT, "frames": said, "refused": wrong, "skipped": skipped, "session": met}


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n", "utf-8")
