"""What two hubs say to each other in a session: the frames, read and written (docs/protocol.md, "Frames").

A frame is one binary message: the byte of its type, then one item of deterministic CBOR (none for
`Received`). Reading is strict: a frame that can be read is the only spelling of what it says, and within
every limit here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from hub.domain import cbor
from hub.domain.clock import TimeQuality
from hub.domain.ids import HubId
from hub.domain.neighbours import Address
from hub.domain.reconcile import FINGERPRINT_BYTES, ID_BYTES, BadMessage
from hub.domain.records import MAX_BODY, MAX_HEADER, WireRecord
from hub.domain.sharing import Choice, Choices
from hub.sync.protocol.negentropy import FRAME_BYTES, FrameTooLong

MAX_FRAME = 512 * 1024
MAX_SMALL_FRAME = 64 * 1024
"""Bytes of a frame that is not `Records`: reading many small things costs more than reading few big ones."""
MAX_IDS = 1_000
"""In one frame."""
MAX_RECORDS = 100
MAX_RECORDS_BYTES = 256 * 1024
"""Of the records in one frame, added up; a frame is begun anew rather than to go over it."""
MAX_STREAMS = 32
MAX_LABEL = 40
"""Characters of a stream's name or a reason, bytes in UTF-8 alike."""
MAX_WORDS = 400
"""Bytes of UTF-8 of a name, a colour, a version: whoever shows them shortens them further."""
MAX_TOLD = 64
MAX_HOST = 300
SIGNATURE_BYTES = 64
FIRST_IGNORED_TYPE = 0x80
"""Frames of this type and above that nobody here knows are skipped; unknown ones below end the session."""
_REASON = re.compile(rf"[a-z0-9-]{{1,{MAX_LABEL}}}")


class BadFrame(BadMessage):
    """A frame that is not written as its type is, or breaks a limit of it."""

    code = "bad-frame"


class UnknownFrame(BadMessage):
    """A frame of a type that this hub does not know and must not skip."""

    code = "unknown-frame"


class OtherProtocol(BadMessage):
    """A hello whose protocol versions are all unknown here; nothing else in it was read.

    ``lowest`` and ``highest`` are the versions it offers.
    """

    code = "other-protocol"

    def __init__(self, lowest: int = 0, highest: int = 0) -> None:
        super().__init__()
        self.lowest = lowest
        self.highest = highest


class Told(NamedTuple):
    """Where a hub can be called, as another one says."""

    hub: HubId
    address: Address


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of either side.

    ``lowest`` to ``highest`` are the protocol versions it speaks. ``ms`` is its clock (Unix milliseconds),
    ``quality`` how far it trusts it. ``choices`` are its caretaker's for the hub that hears it, and decide
    which sets are swapped. ``told`` are addresses of its own, and of hubs both know. Words are foreign:
    clean them before showing.
    """

    hub: HubId
    lowest: int
    highest: int
    program: str
    name: str
    colour: str
    ms: int
    quality: TimeQuality
    choices: Choices
    told: tuple[Told, ...] = ()


class Mark(NamedTuple):
    """What a set adds up to: fingerprint and size (`hub.domain.reconcile.fingerprint_of`)."""

    fingerprint: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A mark for each set of `hub.domain.sharing.sets_between`. ``closing`` says that a round ends."""

    closing: bool
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Reconcile:
    """A message of Negentropy protocol v1 about the set at place ``index`` of the sets."""

    index: int
    message: bytes


@dataclass(frozen=True, slots=True)
class Offered:
    """Ids of records that the sender has and the other may lack; answered by one `Taken`, in turn."""

    index: int
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """Which ids of the oldest unanswered `Offered` the sender wants, in their order."""

    wanted: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Ids that the other side listed, and that the sender wants.

    ``more`` says that another follows at once: what is sent is chosen by urgency among all of them.
    """

    index: int
    ids: tuple[bytes, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Records:
    """Records that were wanted, and the ids of wanted ones that are no longer there."""

    records: tuple[WireRecord, ...]
    gone: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """The oldest unacknowledged `Records` were stored, or refused for good."""


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered by a `Pong` of the same number, at once."""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a `Ping`, with the sender's clock and how far it trusts it."""

    number: int
    ms: int
    quality: TimeQuality


@dataclass(frozen=True, slots=True)
class Bye:
    """The last frame: the sender ends the session, for a reason that is a code."""

    reason: str


Frame = Hello | Summary | Reconcile | Offered | Taken | Wanted | Records | Received | Ping | Pong | Bye


def encode(frame: Frame) -> bytes:
    """``frame`` as bytes."""
    for kind, (form, write, _) in _FORMS.items():
        if isinstance(frame, form):
            return bytes((kind,)) + (b"" if form is Received else cbor.encode(write(frame)))
    raise TypeError(frame)


def decode(data: bytes, *, lowest: int, highest: int) -> Frame | None:
    """The frame in ``data``; None for one of a newer release that says nothing an older one needs.

    ``lowest`` and ``highest`` are the protocol versions spoken here: of a hello without any of them only
    that is read. Raises `BadFrame`, `FrameTooLong`, `UnknownFrame` or `OtherProtocol`.
    """
    if not data:
        raise BadFrame
    kind = data[0]
    if len(data) > (MAX_FRAME if kind == RECORDS else MAX_SMALL_FRAME):
        raise FrameTooLong
    if kind not in _FORMS:
        if kind >= FIRST_IGNORED_TYPE:
            return None
        raise UnknownFrame
    form, _, read = _FORMS[kind]
    try:
        if form is Received:
            _require(len(data) == 1)
            return Received()
        said = cbor.decode(data[1:])
        if form is Hello:
            _check_versions(said, lowest, highest)
        frame: Frame = read(said)
    except (cbor.NotCanonical, ValueError, KeyError, TypeError) as error:
        raise BadFrame from error
    return frame


def is_reason(text: str) -> bool:
    """Whether ``text`` can stand in a `Bye`: lower case ASCII letters, digits and hyphens, 1 to 40."""
    return _REASON.fullmatch(text) is not None


# Each type: how what it says becomes CBOR, and back. Reading raises ValueError, KeyError or TypeError.


def _write_hello(frame: Hello) -> Any:
    return {
        1: frame.lowest,
        2: frame.highest,
        3: frame.hub,
        4: frame.program,
        5: frame.name,
        6: frame.colour,
        7: frame.ms,
        8: int(frame.quality),
        9: [[stream, str(frame.choices[stream])] for stream in sorted(frame.choices)],
        10: [[hub, host, port] for hub, (host, port) in frame.told],
    }


def _check_versions(said: Any, lowest: int, highest: int) -> None:
    """Raises `OtherProtocol` where no version is common; later versions may say the rest differently."""
    theirs = (cbor.whole(_fields(said)[1]), cbor.whole(said[2]))
    _require(1 <= theirs[0] <= theirs[1])
    if theirs[1] < lowest or theirs[0] > highest:
        raise OtherProtocol(*theirs)


def _read_hello(said: Any) -> Hello:
    pairs = [(_words(stream, MAX_LABEL), Choice(choice)) for stream, choice in _list(said[9], MAX_STREAMS)]
    _require([stream for stream, _ in pairs] == sorted({stream for stream, _ in pairs}))
    told = [
        Told(HubId(cbor.octets(hub, 32)), Address(_words(host, MAX_HOST), _below(port, 65_536)))
        for hub, host, port in _list(said[10], MAX_TOLD)
    ]
    return Hello(
        hub=HubId(cbor.octets(said[3], 32)),
        lowest=said[1],
        highest=said[2],
        program=_words(said[4]),
        name=_words(said[5]),
        colour=_words(said[6]),
        ms=cbor.whole(said[7]),
        quality=TimeQuality(cbor.whole(said[8])),
        choices=dict(pairs),
        told=tuple(told),
    )


def _write_summary(frame: Summary) -> Any:
    return [frame.closing, [[*mark] for mark in frame.marks]]


def _read_summary(said: Any) -> Summary:
    closing, marks = _list(said, 2)
    _require(isinstance(closing, bool))
    return Summary(
        closing,
        tuple(
            Mark(cbor.octets(fingerprint, FINGERPRINT_BYTES), cbor.whole(size))
            for fingerprint, size in _list(marks, 3 * MAX_STREAMS)
        ),
    )


def _write_reconcile(frame: Reconcile) -> Any:
    return [frame.index, frame.message]


def _read_reconcile(said: Any) -> Reconcile:
    index, message = _list(said, 2)
    return Reconcile(_below(index, 3 * MAX_STREAMS), _bytes(message, FRAME_BYTES))


def _write_offered(frame: Offered) -> Any:
    return [frame.index, b"".join(frame.ids)]


def _read_offered(said: Any) -> Offered:
    index, ids = _list(said, 2)
    return Offered(_below(index, 3 * MAX_STREAMS), _some_ids(ids))


def _write_taken(frame: Taken) -> Any:
    number = sum(1 << place for place, wanted in enumerate(frame.wanted) if wanted)
    return [len(frame.wanted), number.to_bytes((number.bit_length() + 7) // 8, "little")]


def _read_taken(said: Any) -> Taken:
    size, bits = _list(said, 2)
    size = _below(size, MAX_IDS + 1)
    number = int.from_bytes(_bytes(bits, MAX_IDS // 8), "little")
    _require(size > 0 and not number >> size and not bits.endswith(b"\0"))
    return Taken(tuple(bool(number >> place & 1) for place in range(size)))


def _write_wanted(frame: Wanted) -> Any:
    return [frame.index, b"".join(frame.ids), frame.more]


def _read_wanted(said: Any) -> Wanted:
    index, ids, more = _list(said, 3)
    _require(isinstance(more, bool))
    return Wanted(_below(index, 3 * MAX_STREAMS), _some_ids(ids), more)


def _write_records(frame: Records) -> Any:
    return [[[each.header, each.signature, each.body] for each in frame.records], b"".join(frame.gone)]


def _read_records(said: Any) -> Records:
    listed, gone = _list(said, 2)
    records = tuple(
        WireRecord(
            _bytes(header, MAX_HEADER),
            cbor.octets(signature, SIGNATURE_BYTES),
            None if body is None else _bytes(body, MAX_BODY),
        )
        for header, signature, body in _list(listed, MAX_RECORDS)
    )
    _require(sum(each.size for each in records) <= MAX_RECORDS_BYTES)
    ids = _ids(gone)
    _require(bool(records or ids))
    return Records(records, ids)


def _write_ping(frame: Ping) -> Any:
    return frame.number


def _read_ping(said: Any) -> Ping:
    return Ping(cbor.whole(said))


def _write_pong(frame: Pong) -> Any:
    return [frame.number, frame.ms, int(frame.quality)]


def _read_pong(said: Any) -> Pong:
    number, ms, quality = _list(said, 3)
    return Pong(cbor.whole(number), cbor.whole(ms), TimeQuality(cbor.whole(quality)))


def _write_bye(frame: Bye) -> Any:
    return frame.reason


def _read_bye(said: Any) -> Bye:
    _require(is_reason(_words(said, MAX_LABEL)))
    return Bye(said)


HELLO, SUMMARY, RECONCILE, OFFERED, TAKEN, WANTED, RECORDS, RECEIVED, PING, PONG, BYE = range(1, 12)
_FORMS: dict[int, tuple[type[Frame], Callable[[Any], Any], Callable[[Any], Frame]]] = {
    HELLO: (Hello, _write_hello, _read_hello),
    SUMMARY: (Summary, _write_summary, _read_summary),
    RECONCILE: (Reconcile, _write_reconcile, _read_reconcile),
    OFFERED: (Offered, _write_offered, _read_offered),
    TAKEN: (Taken, _write_taken, _read_taken),
    WANTED: (Wanted, _write_wanted, _read_wanted),
    RECORDS: (Records, _write_records, _read_records),
    RECEIVED: (Received, lambda frame: None, lambda said: Received()),
    PING: (Ping, _write_ping, _read_ping),
    PONG: (Pong, _write_pong, _read_pong),
    BYE: (Bye, _write_bye, _read_bye),
}


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError


def _fields(value: Any) -> dict[int, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _list(value: Any, longest: int) -> list[Any]:
    _require(isinstance(value, list) and len(value) <= longest)
    listed: list[Any] = value
    return listed


def _bytes(value: Any, longest: int) -> bytes:
    _require(isinstance(value, bytes) and len(value) <= longest)
    found: bytes = value
    return found


def _words(value: Any, longest: int = MAX_WORDS) -> str:
    text = cbor.label(value)
    _require(len(text.encode()) <= longest)
    return text


def _below(value: Any, limit: int) -> int:
    number = cbor.whole(value)
    _require(number < limit)
    return number


def _ids(value: Any) -> tuple[bytes, ...]:
    """The ids one after the other in ``value``, none twice."""
    data = _bytes(value, MAX_IDS * ID_BYTES)
    _require(len(data) % ID_BYTES == 0)
    ids = tuple(data[at : at + ID_BYTES] for at in range(0, len(data), ID_BYTES))
    _require(len(set(ids)) == len(ids))
    return ids


def _some_ids(value: Any) -> tuple[bytes, ...]:
    ids = _ids(value)
    _require(len(ids) > 0)
    return ids
