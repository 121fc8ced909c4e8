"""Golden vectors of the reconciliation protocol; ``python -m tests.contracts.negentropy`` writes them.

The messages were compared, byte for byte, with those of an independent port of the reference JavaScript
(nostr-tools 2.25.2, nip77) as initiator, and as the other side with the reference's branch for lists added
and its numbers widened from 32 bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

from hub.domain.reconcile import Item, Vector, encode_varint, fingerprint_of
from hub.sync.protocol.negentropy import FRAME_BYTES, Reconciler

FILE = Path(__file__).with_name("negentropy.json")
FIRST_MS = 1_795_392_000_000
ABOUT = [
    "Item k has the timestamp first + k * apart, and SHA-256 of the text 'item k' as its id.",
    "initiator and other say which items each side holds, as [from, to] with both in.",
    "messages go to and fro, the initiator's first; have and need are the items it has found in the end.",
    "A message of 'refused' breaks the rule beside it, and one of 'versions' is answered as beside it.",
]

Spans = list[list[int]]

CASES: list[tuple[str, int, Spans, Spans, int]] = [
    ("both empty", 1, [], [], FRAME_BYTES),
    ("the initiator is empty", 1000, [], [[0, 2]], FRAME_BYTES),
    ("the other side is empty", 1000, [[0, 39]], [], FRAME_BYTES),
    ("equal, and small enough for a list", 1000, [[0, 30]], [[0, 30]], FRAME_BYTES),
    ("equal, and large enough for buckets", 1000, [[0, 31]], [[0, 31]], FRAME_BYTES),
    ("one newer on either side", 60_000, [[0, 98], [99, 99]], [[0, 98], [100, 100]], FRAME_BYTES),
    ("all in one millisecond", 0, [[0, 79]], [[0, 9], [11, 60], [63, 79]], FRAME_BYTES),
    ("scattered, two rounds", 1, [[0, 99], [110, 699]], [[0, 400], [405, 710]], FRAME_BYTES),
    ("an answer that does not fit", 1000, [], [[0, 149]], 4096),
]
REFUSED = {
    "": "truncated-message",
    "6100": "truncated-message",
    "61000001": "truncated-message",
    "6100000201": "truncated-message",
    "6180000200": "bad-varint",
    "61ffffffffffffffff010000": "bad-varint",
    "61000003": "unknown-mode",
    "610021": "id-prefix-too-long",
    "61022100": "id-prefix-too-long",
    "610001ff00": "id-prefix-too-long",
    "6191808080808080000000": "timestamp-too-large",
    "610201050001010400": "descending-bounds",
    "61000000000000": "data-after-infinity",
    "61" + "020000" * 4097: "too-many-ranges",
}
VERSIONS = {"62": "61", "6000": "61", "61": "61"}


def items(spans: Spans, apart: int) -> list[Item]:
    """The items that ``spans`` stand for."""
    numbers = chain.from_iterable(range(first, last + 1) for first, last in spans)
    return [Item(FIRST_MS + number * apart, sha256(b"item %d" % number).digest()) for number in numbers]


def transcript(ours: Iterable[Item], theirs: Iterable[Item], frame_limit: int) -> dict[str, Any]:
    """The messages of one reconciliation, and what the initiator learnt."""
    initiator, other = Reconciler(Vector(ours), frame_limit), Reconciler(Vector(theirs), frame_limit)
    messages: list[str] = []
    have: list[bytes] = []
    need: list[bytes] = []
    message: bytes | None = initiator.initiate()
    while message is not None:
        answer = other.answer(message)
        step = initiator.reconcile(answer)
        messages += [message.hex(), answer.hex()]
        have += step.have
        need += step.need
        message = step.reply
    found = {"have": sorted(each.hex() for each in have), "need": sorted(each.hex() for each in need)}
    return {"messages": messages, **found}


def vectors() -> dict[str, Any]:
    """Everything in the file."""
    cases = []
    for name, apart, ours, theirs, frame_limit in CASES:
        mark, count = fingerprint_of(Vector(items(ours, apart)))
        case = {"name": name, "first": FIRST_MS, "apart": apart, "frame_limit": frame_limit}
        case |= {"initiator": ours, "other": theirs, "fingerprint": mark.hex(), "count": count}
        cases.append(case | transcript(items(ours, apart), items(theirs, apart), frame_limit))
    numbers = [0, 1, 127, 128, 16_383, 16_384, FIRST_MS, 2**53]
    varints = {str(number): encode_varint(number).hex() for number in numbers}
    return {"about": ABOUT, "varints": varints, "cases": cases, "refused": REFUSED, "versions": VERSIONS}


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n", "utf-8")
