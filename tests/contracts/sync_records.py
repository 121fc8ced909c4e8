"""Golden vectors of records; ``python -m tests.contracts.sync_records`` writes them (docs/protocol.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.domain import cbor
from hub.domain.bodies import NoticeBody, ReplyBody, encode_notice, encode_reply
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.errors import Refused
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import Kind, NoticeDraft, ReplyDraft, Scope
from hub.domain.policy import DAY_MS, leaves_at
from hub.domain.records import Header, Record, RecordType, Stream, encode_header, seal, verify
from hub.domain.sharing import set_of, urgency

FILE = Path(__file__).with_name("sync_records.json")
NOW_MS = 1_795_426_860_000
ENDS_MS = NOW_MS + 28 * DAY_MS
SALT = bytes(range(16))
OBJECT, REPLY_OBJECT = ObjectId(b"\x01" * 16), ObjectId(b"\x02" * 16)
ABOUT = [
    "Everything in bytes is in hex. A hub's key is made from its seed (RFC 8032).",
    "id, set and leaves_ms (when it leaves its set) follow from header and signature alone.",
    "urgency is how soon it is sent: 0 first.",
    "A record of 'refused' is not stored by anybody, whatever it says.",
]
SEEDS = {"Tanyard Road Hub": b"\x01" * 32, "Mill Lane Hub": b"\x02" * 32}


def key_of(name: str) -> Ed25519PrivateKey:
    """The key of a hub of the vectors."""
    return Ed25519PrivateKey.from_private_bytes(SEEDS[name])


def hub_of(name: str) -> HubId:
    """Its id."""
    return HubId(key_of(name).public_key().public_bytes_raw())


def header(name: str, seq: int, kind: str, **more: Any) -> Header:
    """A header of the vectors; ``more`` are the fields that are not as usual."""
    given: dict[str, Any] = {
        "hub": hub_of(name),
        "epoch": Epoch(b"\x07" * 8),
        "seq": seq,
        "type": kind,
        "obj": OBJECT,
        "stamp": Stamp(NOW_MS + seq, 0),
        "quality": TimeQuality.REFERENCE,
        "exp": ENDS_MS,
        "scope": Scope.NETWORK,
    }
    return Header(**{**given, **more})


def notice(kind: Kind) -> bytes:
    """The body of a notice."""
    draft = NoticeDraft(kind, "Water is off", "Until noon, at numbers 3 to 9.", "en", Scope.NETWORK, ENDS_MS)
    return encode_notice(NoticeBody(draft, NOW_MS), SALT)


def records() -> dict[str, tuple[str, Record]]:
    """Records by what they are, each with the name of its hub."""
    ours, theirs = SEEDS
    reply = encode_reply(ReplyBody(ReplyDraft("I have a spare can.", "en", "Ada"), NOW_MS + 2), SALT)
    made = [
        ("an urgent notice", ours, header(ours, 1, RecordType.NOTICE), notice(Kind.URGENT)),
        (
            "a reply by another hub",
            theirs,
            header(theirs, 2, RecordType.REPLY, obj=REPLY_OBJECT, ref=OBJECT),
            reply,
        ),
        ("a retraction", ours, header(ours, 3, RecordType.RETRACT, exp=ENDS_MS + 30 * DAY_MS), None),
        (
            "a notice for neighbours only",
            theirs,
            header(theirs, 4, RecordType.NOTICE, scope=Scope.NEIGHBOURS),
            notice(Kind.NEWS),
        ),
        ("a withdrawn file", ours, header(ours, 5, RecordType.WITHDRAW, stream=Stream.FILES), None),
        (
            "a record of a newer hub",
            theirs,
            header(theirs, 6, "poll", stream="polls", unknown={64: [1, b"more"]}),
            cbor.encode({0: SALT, 99: "?"}),
        ),
    ]
    found = {what: (name, seal(said, body, key_of(name).sign)) for what, name, said, body in made}
    name, whole = found["an urgent notice"]
    found["the same, its body erased"] = (
        name,
        Record(whole.header, whole.header_bytes, whole.signature, None),
    )
    return found


def refused() -> Iterator[tuple[str, bytes, bytes, bytes | None]]:
    """Records that break a rule: header, signature, body."""
    ours, _ = SEEDS
    key = key_of(ours)

    def signed(data: bytes) -> bytes:
        return key.sign(b"commhub-rec-1\0" + data)

    body = notice(Kind.NEWS)
    good = seal(header(ours, 9, RecordType.NOTICE), body, key.sign)
    yield "a signature of other bytes", good.header_bytes, signed(b"other"), body
    yield "signed without the context", good.header_bytes, key.sign(good.header_bytes), body
    yield "the body of another record", good.header_bytes, good.signature, notice(Kind.URGENT)
    yield "a body that the header does not name", *_bodiless(signed), body
    fields = cbor.read(good.header_bytes)
    changes: list[tuple[str, Callable[[dict[int, Any]], None]]] = [
        ("more than 23 fields", lambda said: said.update(dict.fromkeys(range(64, 80), 0))),
        ("another version", lambda said: said.update({1: 2})),
        ("no hub", lambda said: said.pop(2)),
        ("an epoch of 7 bytes", lambda said: said.update({3: bytes(7)})),
        ("an unknown scope", lambda said: said.update({11: "world"})),
        ("a body's length without its hash", lambda said: said.pop(12)),
        ("a body of more than 16 KiB", lambda said: said.update({13: 16_385})),
        ("the stream that goes without saying", lambda said: said.update({15: "notices"})),
    ]
    for what, change in changes:
        said = dict(fields)
        change(said)
        data = cbor.encode(said)
        yield what, data, signed(data), None
    long_spelling = good.header_bytes.replace(b"\x01\x01", b"\x01\x18\x01", 1)
    yield "a number in a longer spelling than it needs", long_spelling, signed(long_spelling), None
    behind = good.header_bytes + b"\x00"
    yield "something behind the header", behind, signed(behind), None


def _bodiless(signed: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    data = encode_header(header(next(iter(SEEDS)), 10, RecordType.RETRACT))
    return data, signed(data)


def is_refused(data: bytes, signature: bytes, body: bytes | None) -> bool:
    """Whether nobody stores it."""
    try:
        verify(data, signature, body)
    except Refused:
        return True
    return False


def vectors() -> dict[str, Any]:
    """Everything in the file."""
    made = []
    for what, (name, each) in records().items():
        key = set_of(each.header)
        assert key is not None
        urgent = each.body is not None and each.header.type == RecordType.NOTICE and "urgent" in what
        made.append({
            "name": what,
            "hub": name,
            "header": each.header_bytes.hex(),
            "signature": each.signature.hex(),
            "body": None if each.body is None else each.body.hex(),
            "id": each.id.hex(),
            "set": [key.stream, key.origin.hex()],
            "leaves_ms": leaves_at(each.header.exp),
            "urgency": urgency(each.header, urgent=urgent),
        })  # fmt: skip
    wrong = [
        {
            "name": what,
            "header": data.hex(),
            "signature": signature.hex(),
            "body": None if body is None else body.hex(),
        }
        for what, data, signature, body in refused()
    ]
    hubs = {name: {"seed": seed.hex(), "hub": hub_of(name).hex()} for name, seed in SEEDS.items()}
    return {"about": ABOUT, "hubs": hubs, "records": made, "refused": wrong}


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n", "utf-8")
