"""The long proof, for `make prove`: a million damaged messages, whatever another hub or a stick may bring.

Nothing of them raises anything but what each reader says it raises, and none leaves anything in memory.
``HUB_MUTATIONS`` makes it another number.
"""

from __future__ import annotations

import gc
import hashlib
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.domain import cbor
from hub.domain.certificates import BadCertificate, certificate_of, hub_of
from hub.domain.clock import TimeQuality
from hub.domain.hubcard import BadCardFile, encode_card, read_card
from hub.domain.ids import Epoch, HubId
from hub.domain.naming import HubHint, build_txt, parse_txt, unpack_txt
from hub.domain.neighbours import Address, Card
from hub.domain.records import Record, WireRecord
from hub.domain.sealing import box_for
from hub.domain.sharing import DEFAULT_CHOICES, SetKey
from hub.services.ingest import admit, look, verify_all
from hub.storage import journal, sets
from hub.storage.migrate import migrate
from hub.sync.protocol.bundle import (
    LEAST_SEGMENT,
    BadBundle,
    Chunk,
    Have,
    HeldSet,
    Manifest,
    Packer,
    decode_have,
    decode_manifest,
    encode_have,
    encode_manifest,
    entries,
)
from hub.sync.protocol.frames import Bye, Ping, encode
from tests.integration.services.foreign import NOW_MS, Foreign, obj, wire
from tests.unit.sync import halls

MESSAGES = int(os.environ.get("HUB_MUTATIONS", "1000000"))
MOST_GROWTH = 64_000_000
_CONTEXT = b"commhub-rec-1\0"
_EDGES = bytes.fromhex("00 01 17 18 1b 1f 3b 40 5b 5f 7f 80 9f a0 bf c0 db f6 f9 ff")
"""Bytes that mean something at an edge: of CBOR's lengths and kinds, of variable-length numbers."""


class Damage:
    """Messages that were right once."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.done = 0

    def to(self, message: bytes, others: Sequence[bytes] = ()) -> bytes:
        """``message`` with one to four things done to it."""
        self.done += 1
        data = bytearray(message)
        for _ in range(self.chance.choice((1, 1, 1, 2, 4))):
            self._harm(data, others)
        return bytes(data)

    def inside(self, frame: bytes, others: Sequence[bytes]) -> bytes:
        """``frame`` with one of the values in it damaged, and written as it has to be."""
        if len(frame) < 2 or self.chance.random() < 0.3:
            return self.to(frame, others)
        self.done += 1
        return frame[:1] + cbor.encode(self._changed(cbor.read(frame[1:]), others))

    def _changed(self, value: Any, others: Sequence[bytes]) -> Any:
        chance = self.chance
        if isinstance(value, bytes):
            data = bytearray(value)
            self._harm(data, others)
            return bytes(data)
        if isinstance(value, int):
            return chance.choice((value + 1, max(0, value - 1), 0, 1, 23, 24, 2**16, 2**53, not value))
        if isinstance(value, dict) and value:
            key = chance.choice(list(value))
            return {**value, key: self._changed(value[key], others)}
        if isinstance(value, list) and value:
            at = chance.randrange(len(value))
            match chance.randrange(6):
                case 0:
                    return value[:at] + value[at + 1 :]
                case 1:
                    return [*value, value[at]]
                case 2:
                    return value[::-1]
                case _:
                    return [*value[:at], self._changed(value[at], others), *value[at + 1 :]]
        return chance.choice((None, "", b"", [], {}, "notices", bytes(32)))

    def _harm(self, data: bytearray, others: Sequence[bytes]) -> None:
        chance = self.chance
        at = chance.randrange(len(data) + 1)
        run = min(len(data) - at, chance.choice((1, 1, 2, 4, 8, 32, 200)))
        match chance.randrange(8):
            case 0 if run:
                data[at] ^= 1 << chance.randrange(8)
            case 1 if run:
                data[at] = chance.choice(_EDGES)
            case 2 if run:
                data[at] = (data[at] + chance.choice((-1, 1))) % 256
            case 3:
                del data[at : at + run]
            case 4:
                data[at:at] = chance.randbytes(run)
            case 5:
                data[at:at] = data[at : at + run] * chance.choice((1, 1, 2, 50))
            case 6:
                del data[at:]
            case _:
                other = chance.choice(others) if others else data[::-1]
                start = chance.randrange(len(other) + 1)
                data[at : at + run] = other[start : start + chance.choice((1, 4, 40, 400))]


def sessions(damage: Damage) -> Iterator[None]:
    """Frames of a conversation, damaged on their way or out of turn."""
    frames = _conversation()
    while True:
        one, other = _pair()
        for _ in range(50):
            line = halls.Line(one, other)
            turns = 0
            while not any(session.has_ended for session in line.sessions):
                turns += 1
                side = turns % 2
                waiting = line.on_the_way[side]
                if waiting and damage.chance.random() < 0.7:
                    line.carry(side)
                    continue
                frame = waiting.popleft() if waiting else damage.chance.choice(frames)
                line.inject(side, damage.inside(frame, frames))
                yield
                if turns > 200:
                    break
            line.cut()


def records(damage: Damage) -> Iterator[None]:
    """Records as they travel, damaged: most are not signed by anybody."""
    _, made = _records()
    parts = [part for each in made for part in (each.header, each.signature, each.body or b"-")]
    while True:
        right = damage.chance.choice(made)
        place, fields = damage.chance.randrange(3), [right.header, right.signature, right.body]
        fields[place] = damage.to(fields[place] or b"", parts)
        header, signature, body = fields
        assert header is not None
        assert signature is not None
        verify_all([WireRecord(header, signature, body)])
        yield


def signed_records(damage: Damage) -> Iterator[None]:
    """Damaged before they were signed: a neighbour can sign what it likes, and it goes into the log."""
    mill_lane, made = _records()
    while True:
        with closing(_log(mill_lane)) as connection:
            for _ in range(20):
                batch = [signed(mill_lane, damage, damage.chance.choice(made), made) for _ in range(10)]
                looked = look(connection, batch, mill_lane.source, NOW_MS, TimeQuality.CARETAKER)
                genuine = [
                    each for each in verify_all(wire_ for wire_, _ in looked.rest) if isinstance(each, Record)
                ]
                connection.execute("BEGIN")
                admit(connection, genuine, mill_lane.source, NOW_MS, TimeQuality.CARETAKER)
                connection.execute("COMMIT")
                sets.news(connection, 0)
                yield from (None for _ in batch)
            assert not list(sets.faults(connection))


def signed(mill_lane: Foreign, damage: Damage, right: WireRecord, others: Sequence[WireRecord]) -> WireRecord:
    """``right`` with a damaged header or body, and a signature that holds."""
    header, body = right.header, right.body
    if body is not None and damage.chance.random() < 0.5:
        body = damage.to(body, [each.body or b"-" for each in others])
        fields = {**cbor.read(header), 12: hashlib.sha256(body).digest(), 13: len(body)}
        header = cbor.encode(fields)
    else:
        header = damage.to(header, [each.header for each in others])
    return WireRecord(header, mill_lane.identity.sign(_CONTEXT + header), body)


def segments(damage: Damage) -> Iterator[None]:
    """Parts of a bundle; whoever wrote one knows its hash, so that has to hold for nothing."""
    box = box_for(_hub("oakfield"), bytes(range(32))).box
    _, made = _records()
    packer, packed = Packer(box, LEAST_SEGMENT), []
    for number, each in enumerate(made):
        packed.append(packer.record(each, sealed=bool(number % 2)))
        packed.append(packer.chunk(Chunk(bytes(32), number, b"piece" * 50, False), sealed=False))
    parts = [part for part in (*packed, packer.rest()) if part]
    while True:
        part = damage.to(damage.chance.choice(parts), parts)
        with suppress(BadBundle):
            entries(part, hashlib.sha256(part).digest(), damage.chance.choice((box, None)))
        yield


def covers(damage: Damage) -> Iterator[None]:
    """Manifests and lists of what a hub has, signed by whoever damaged them."""
    key = _key("mill-lane")
    sets_ = (SetKey("notices", b""), SetKey("files", bytes(32)))
    manifest = encode_manifest(
        Manifest(_hub("mill-lane"), None, NOW_MS, 1, sets_, 7, 600, 600, (bytes(32),), length=LEAST_SEGMENT),
        key.sign,
    )
    ids = [hashlib.sha256(bytes((number,))).digest() for number in range(40)]
    have = encode_have(
        Have(_hub("mill-lane"), NOW_MS, {key_: HeldSet.of(bytes(16), ids) for key_ in sets_}), key.sign
    )
    while True:
        with suppress(BadBundle):
            decode_manifest(damage.to(manifest, [have]))
        with suppress(BadBundle):
            decode_have(damage.to(have, [manifest]), _hub("mill-lane"))
        yield
        yield


def certificates(damage: Damage) -> Iterator[None]:
    """What is shown in a handshake, before anybody is believed."""
    right = certificate_of(_hub("mill-lane"), _key("mill-lane").sign)
    while True:
        with suppress(BadCertificate):
            hub_of(damage.to(right, [right]))
        yield


def cards(damage: Damage) -> Iterator[None]:
    """Files that a stick brings to be paired by."""
    key = _key("mill-lane")
    card = Card(
        _hub("mill-lane"),
        "Mill Lane Hall",
        "moss",
        certificate_of(_hub("mill-lane"), key.sign),
        (Address("192.168.4.7", 8448), Address("fe80::1", 8448)),
        DEFAULT_CHOICES,
    )
    right = encode_card(card, NOW_MS, key.sign)
    while True:
        with suppress(BadCardFile):
            read_card(damage.to(right, [right]))
        yield


def hints(damage: Damage) -> Iterator[None]:
    """TXT records, which anybody on a network may send."""
    attributes = build_txt(HubHint("abcdefghijklmnop", "Mill Lane Hall", "0.1.0", 8448, (1, 1), 8449))
    right = b"".join(bytes((len(k) + len(v) + 1,)) + k + b"=" + v for k, v in attributes.items())
    while True:
        parse_txt(unpack_txt(damage.to(right, [right])))
        yield


SOURCES: tuple[tuple[float, Callable[[Damage], Iterator[None]]], ...] = (
    (0.40, sessions),
    (0.15, records),
    (0.03, signed_records),
    (0.15, segments),
    (0.07, covers),
    (0.07, certificates),
    (0.03, cards),
    (0.10, hints),
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_damaged_messages_break_nothing_and_leave_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sum(share for share, _ in SOURCES) == pytest.approx(1.0)
    damage, figures, held = Damage(random.Random(20261123)), [], 0
    for share, source in SOURCES:
        number, began = round(MESSAGES * share), time.perf_counter()
        steps = source(damage)
        for step in range(number):
            if step == number // 20:  # what is made once is made by now
                held = _resident()
            next(steps)
        grown = _resident() - held
        figures.append(
            f"{source.__name__}: {number:,}, {time.perf_counter() - began:.0f} s, {grown / 1e6:+.1f} MB"
        )
        assert grown < MOST_GROWTH, figures
    assert damage.done >= MESSAGES
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(figures) + "\n")


def _resident() -> int:
    """Bytes this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def _hub(name: str) -> HubId:
    return HubId(_key(name).public_key().public_bytes_raw())


def _pair() -> tuple[halls.Hall, halls.Hall]:
    """Two halls that lack some of what the other has."""
    one, other, _ = halls.street()
    for number in range(40):
        for hall in (one,) if number < 10 else (other,) if number < 20 else (one, other):
            hall.keep(halls.record(number))
    return one, other


def _conversation() -> list[bytes]:
    """Every kind of frame, as it is sent."""
    line = halls.Line(*_pair())
    line.run()
    line.halls[0].write(halls.record(50))
    line.run()
    return [*(frame for _, frame in line.sent), encode(Bye("left")), encode(Ping(7))]


def _records() -> tuple[Foreign, list[WireRecord]]:
    """A hub, and one record of each kind that it has signed."""
    mill_lane = Foreign("mill-lane")
    bike, films = mill_lane.notice("A bike"), mill_lane.collection("Films")
    made = [
        bike,
        mill_lane.reply(obj("A bike")),
        films,
        mill_lane.file("heron.mp4", obj("Films")),
        mill_lane.withdraw(obj("A bike")),
        mill_lane.restore(obj("A bike")),
        mill_lane.retract(obj("A bike")),
        mill_lane.says("of-a-newer-release", obj("Something"), b"\xa0"),
    ]
    return mill_lane, [wire(each) for each in made]


def _log(neighbour: Foreign) -> sqlite3.Connection:
    """The database of a hub that is paired with ``neighbour``."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, NOW_MS, "prove")
    journal.found(connection, _hub("tanyard-road"), Epoch(bytes(8)))
    neighbour.pair(connection)
    return connection
